"""Checks of buses and devices: what goes with what, addresses, ports, quantities, and how busy a line will be."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from drivers import registry
from drivers import template as templates
from drivers.base import Bus
from drivers.errors import Misconfigured
from drivers.plugins import offered
from drivers.quantities import QUANTITIES, by_phase
from drivers.template import Template, TemplateError
from gateway.config import addresses, budget
from gateway.config.problem import Problem, meant
from gateway.config.schema import Config
from gateway.config.tree import Node, Scalar, Source, shown

Mistyped = frozenset[tuple[str, ...]]
BY_ID = Path("/dev/serial/by-id")
_UNSTABLE = re.compile(r"(/dev/)?tty(USB|ACM)\d+")
_NOTHING = Node(Source("", ""), 0, 0, {})


def check_devices(root: Node, config: Config | None, mistyped: Mistyped) -> list[Problem]:
    """All that is wrong with buses and devices; ``config`` where it is valid."""
    devices = _Devices(root, mistyped)
    devices.check()
    problems = [*_ports(root), *devices.problems]
    if not mistyped and not any(problem.code in ("config.unknown-bus", "config.wrong-bus") for problem in problems):
        problems += _unused(root)
    if config is not None and not any(problem.severity == "error" for problem in problems):
        problems += [*_refused(root, config), *_busy(root, config)]
    return problems


def delivers(template: Template) -> set[str]:
    """The quantities that a template is known to deliver: its points, and what its captured frames decode to."""
    return {point.quantity for point in template.points} | {word for frame in template.frames for word in frame.expect}


class _Devices:
    """The checks of all devices of one file; it remembers templates and addresses between them."""

    def __init__(self, root: Node, mistyped: Mistyped) -> None:
        self.problems: list[Problem] = []
        self._root = root
        self._mistyped = mistyped
        self._buses = dict((root.get("buses") or _NOTHING).items())
        self._devices = dict((root.get("devices") or _NOTHING).items())
        self._taken: dict[tuple[str, Scalar, str], tuple[str, int]] = {}
        self._templates: dict[str, Template | None] = {}

    def check(self) -> None:
        """Look at every device, then at the disaggregation that rests on one."""
        for name, device in self._devices.items():
            self._bus(device)
            template = self._template(device)
            if template is not None:
                self._fit(name, device, template)
                self._calibration(device, template)
        self._disaggregation()

    def _bus(self, device: Node) -> None:
        node, bus = device.get("bus"), device.text("bus")
        if node is None or bus is None or bus in self._buses or (not self._buses and () in self._mistyped):
            return
        hint = meant(bus, self._buses) if self._buses else "there are no buses"
        self.problems.append(Problem("config.unknown-bus", f"there is no bus {shown(bus)}", node.place(), hint))

    def _template(self, device: Node) -> Template | None:
        node, word = device.get("template"), device.text("template")
        if node is None or word is None:
            return None
        if word not in templates.names():
            hint = meant(word, templates.names())
            cause = f"there is no template {shown(word)}"
            self.problems.append(Problem("config.unknown-template", cause, node.place(), hint))
            return None
        if word not in self._templates:
            try:
                self._templates[word] = templates.load(word)
            except TemplateError as error:
                self._templates[word] = None
                cause = f"the template {shown(word)} is wrong: {error}"
                self.problems.append(Problem("config.bad-template", cause, node.place()))
        return self._templates[word]

    def _fit(self, name: str, device: Node, template: Template) -> None:
        node, bus, wanted = device.get("bus"), device.text("bus"), addresses.BUS_TYPES.get(template.protocol)
        there = self._buses.get(bus or "")
        if node is None or bus is None or there is None or wanted is None:
            return
        kind = there.text("type")
        if kind in wanted:
            self._address(name, device, template, bus, kind)
        elif kind in addresses.FORM:
            cause = f"'{template.name}' needs a bus of type {' or '.join(wanted)}, and {shown(bus)} is {kind}"
            fitting = [word for word, other in self._buses.items() if other.text("type") in wanted]
            hint = f"of that type: {', '.join(fitting)}" if fitting else ""
            self.problems.append(Problem("config.wrong-bus", cause, node.place(), hint))

    def _address(self, name: str, device: Node, template: Template, bus: str, kind: str) -> None:
        node = device.get("address")
        address = None if node is None else node.data
        if isinstance(address, list | dict):
            return  # of the wrong kind, and reported as such
        if address is None and kind in addresses.MODBUS:
            address = template.address
        if address is None and kind != "serial":
            if ("devices", name) not in self._mistyped:
                cause, place = f"{shown(name)} needs an address on {shown(bus)}", self._root.get("devices")
                at = device.place() if place is None else place.key_place(name)
                self.problems.append(Problem("config.address-needed", cause, at, addresses.FORM[kind]))
            return
        if not addresses.legal(kind, address, template.address):
            cause = f"{shown(str(address))} is not an address on a bus of type {kind}"
            at = (node or device).place()
            self.problems.append(Problem("config.address", cause, at, addresses.FORM[kind]))
            return
        # several devices of ours may be parts of one that publishes: its channels, or what another template reads
        options = sorted((word, str(value.data)) for word, value in (device.get("options") or _NOTHING).items())
        part = f"{template.name} {options}" if kind == "mqtt" else ""
        self._twin(name, node or device, bus, addresses.same(kind, address), part)

    def _twin(self, name: str, node: Node, bus: str, address: Scalar, part: str) -> None:
        """Nobody else may have this address on this bus; on a serial bus None is the address of the only device."""
        other = self._taken.setdefault((bus, address, part), (name, node.line + 1))
        if other[0] == name:
            return
        hint = f"{shown(other[0])} in line {other[1]} has it already"
        if address is None:
            cause = f"{shown(bus)} has a device already, and a serial bus carries one"
            self.problems.append(
                Problem("config.shared-serial", cause, node.place(), hint.replace("has it", "is on it"))
            )
        else:
            cause = f"the address {shown(str(address))} stands twice on {shown(bus)}"
            self.problems.append(Problem("config.duplicate-address", cause, node.place(), hint))

    def _calibration(self, device: Node, template: Template) -> None:
        calibration = device.get("calibration") or _NOTHING
        for quantity, _ in calibration.items():
            hint = _not_delivered(template, quantity)
            if hint is not None:
                cause = f"'{template.name}' does not deliver {shown(quantity)}"
                place = calibration.key_place(quantity)
                self.problems.append(Problem("config.unknown-quantity", cause, place, hint))

    def _disaggregation(self) -> None:
        part = self._root.get("disaggregation") or _NOTHING
        node, meter = part.get("meter"), part.text("meter")
        if node is None or meter is None:
            return
        device = self._devices.get(meter)
        if device is None:
            if self._devices or () not in self._mistyped:
                hint = meant(meter, self._devices)
                cause = f"there is no device {shown(meter)}"
                self.problems.append(Problem("config.unknown-device", cause, node.place(), hint))
            return
        template = self._templates.get(device.text("template") or "")
        quantity = part.text("quantity") if part.get("quantity") is not None else "active_power_total"
        first = quantity and next(iter(by_phase(quantity)), quantity)  # of phases, a meter has one at least
        hint_or_none = None if template is None or first is None else _not_delivered(template, first)
        if template is not None and quantity is not None and hint_or_none is not None:
            cause = f"{shown(meter)} ('{template.name}') does not deliver {shown(quantity)}"
            place = (part.get("quantity") or node).place()
            self.problems.append(Problem("config.unknown-quantity", cause, place, hint_or_none))


def _not_delivered(template: Template, quantity: str) -> str | None:
    """A hint where the template cannot deliver the quantity, None where it can.

    Only a Modbus map says all there is; frames of other protocols are examples of what may come.
    """
    known = delivers(template)
    if quantity in known or (quantity in QUANTITIES and (template.protocol != "modbus" or not known)):
        return None
    return meant(quantity, known or QUANTITIES)


def _ports(root: Node) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for name, bus in (root.get("buses") or _NOTHING).items():
        if bus.text("type") in ("modbus-tcp", "mqtt"):
            continue  # their port is a number
        key = "adapter" if bus.text("type") == "ble" else "port"
        node, port = bus.get(key), bus.text(key)
        if bus.text("type") == "ble" and node is None:
            node, port = bus, "hci0"
        if node is None or port is None:
            continue
        same = seen.setdefault(os.path.realpath(port) if port.startswith("/") and "\0" not in port else port, name)
        if same != name:
            cause = f"{shown(port)} is the {key} of the bus {shown(same)} already"
            yield Problem("config.shared-port", cause, node.place())
        if _UNSTABLE.fullmatch(port):
            cause = f"{shown(port)} may be another adapter after the next restart"
            yield Problem("config.unstable-port", cause, node.place(), stable_name(f"/dev/{Path(port).name}"))


def stable_name(port: str, folder: Path = BY_ID) -> str:
    """A hint with the by-id name of a serial port of this box; empty where there is none."""
    try:
        names = sorted(entry for entry in folder.iterdir() if entry.resolve() == Path(port).resolve())
    except OSError:
        return ""
    return f"here it is {names[0]}" if names and Path(port).exists() else ""


def _unused(root: Node) -> Iterator[Problem]:
    used = {device.text("bus") for _, device in (root.get("devices") or _NOTHING).items()}
    buses = root.get("buses") or _NOTHING
    for name, _ in buses.items():
        if name not in used:
            yield Problem("config.unused-bus", f"no device is on the bus {shown(name)}", buses.key_place(name))


def _refused(root: Node, config: Config) -> Iterator[Problem]:
    """What the drivers themselves say: they know their options. Those that are not installed here are not asked."""
    installed = offered(registry.DRIVERS)
    buses: dict[str, Bus] = {}
    for name, settings in config.buses.items():
        try:
            buses[name] = registry.make_bus(name, settings.model_dump())
        except Misconfigured as error:
            if not isinstance(error.__context__, ImportError):  # `lamppost doctor` tells what is not installed here
                yield Problem("config.option", str(error), (root.get("buses") or root).key_place(name))
    for name, device in config.devices.items():
        template = templates.load(device.template)
        bus, node = buses.get(device.bus), root.get("devices", name)
        if bus is None or node is None or template.protocol not in installed:
            continue
        try:
            registry.make_driver(template, bus, device.address, device.period, device.driver_options)
        except Misconfigured as error:
            if isinstance(error.__context__, ImportError):
                continue
            key = next((key for key in ("options", "period") if node.get(key) is not None), "template")
            yield Problem("config.option", f"{shown(name)}: {error}", node.key_place(key))


def _busy(root: Node, config: Config) -> Iterator[Problem]:
    """Lines whose time the polls of their devices fill, or more than fill."""
    for line in budget.budgets(config):
        if line.share > budget.WARN:
            code = "config.bus-overload" if line.share > budget.FULL else "config.bus-load"
            cause = f"the polls on {shown(line.bus)} need {line.share:.0%} of its time"
            place = (root.get("buses") or root).key_place(line.bus)
            yield Problem(code, cause, place, budget.remedy(config, line.bus))
