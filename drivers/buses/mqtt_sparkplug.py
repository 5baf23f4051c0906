"""Devices behind Sparkplug B edge nodes. The address is ``GROUP/NODE``, or ``GROUP/NODE/DEVICE``.

A template of this protocol has ``fields`` whose path is the name of a metric. All devices of one edge node share what
is known of it (``drivers.codecs.sparkplug_node``), and its messages are numbered together.

The one thing ever written: where a birth is missing, the node is asked for it (NCMD, Node Control/Rebirth), at most
once in ASK_MIN_S, less and less often while it does not answer. The option ``rebirth: false`` forbids that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from drivers.base import Bus, Driver, Observation
from drivers.buses.mailbox import Collector, SpeakingDriver
from drivers.buses.mqtt import Listener, Message, MqttBus, prefix
from drivers.codecs import sparkplug
from drivers.codecs.sparkplug_node import Named, Node
from drivers.errors import BadFrame, Disconnected, DriverError
from drivers.template import Field, Template

ASK_MIN_S, ASK_MAX_S = 10.0, 600.0
HISTORY_MAX_MS = 30 * 24 * 3600 * 1000  # older than that is no history but a wrong clock
_MS = 1_000_000


class EdgeNode:
    """One edge node, for all drivers of its devices."""

    def __init__(self, bus: MqttBus, group: str, name: str) -> None:
        self.node = Node()
        self._bus = bus
        self._command = f"{sparkplug.NAMESPACE}/{group}/NCMD/{name}"
        patterns = tuple(f"{sparkplug.NAMESPACE}/{group}/+/{name}{below}" for below in ("", "/+"))
        self._listener = Listener(patterns, self._heard, self._lost, self._ready)
        self._drivers: list[SparkplugDriver] = []
        self._ask_from_ns = 0
        self._wait_s = ASK_MIN_S

    def join(self, driver: SparkplugDriver) -> None:
        """Tell this driver what its device says. The present values come with the births that are asked for."""
        if driver in self._drivers:
            return
        self._drivers.append(driver)
        if len(self._drivers) == 1:
            self._bus.listen(self._listener)
        else:
            self._ask()

    def leave(self, driver: SparkplugDriver) -> None:
        """No longer; safe to call twice."""
        if driver in self._drivers:
            self._drivers.remove(driver)
            if not self._drivers:
                self._bus.unlisten(self._listener)

    def _ready(self) -> None:
        self._ask_from_ns, self._wait_s = 0, ASK_MIN_S
        self._ask()

    def _lost(self, why: str, kind: type[DriverError]) -> None:
        self.node.forget()
        self._each(lambda driver: driver.lose(why, kind))

    def _ask(self) -> None:
        now_ns = time.monotonic_ns()
        if now_ns >= self._ask_from_ns and any(driver.may_ask for driver in self._drivers):
            self._bus.command(self._command, sparkplug.rebirth(time.time_ns() // _MS))
            self._ask_from_ns = now_ns + int(self._wait_s * 1e9)
            self._wait_s = min(2 * self._wait_s, ASK_MAX_S)

    def _heard(self, message: Message) -> None:
        _, _, kind, _, *rest = message.topic.split("/")
        device = rest[0] if rest else ""
        if message.retained or kind not in sparkplug.KINDS or kind.startswith("D") != bool(device):
            return
        try:
            outcome = self.node.take(kind, device, message.payload)
        except BadFrame as error:
            damaged = error
            self._each(lambda driver: driver.damaged(damaged), device)
            return
        if kind == "NBIRTH":
            self._wait_s = ASK_MIN_S
        if outcome.named:
            self._each(lambda driver: driver.hear(outcome.named, message.mono_ns), device)
        if outcome.gone:
            why = f"{message.topic}: the {'device' if device else 'edge node'} said goodbye"
            self._each(lambda driver: driver.lose(why, Disconnected), device or None)
        if outcome.rebirth:
            self._ask()

    def _each(self, what: Callable[[SparkplugDriver], None], device: str | None = None) -> None:
        for driver in tuple(self._drivers):
            if device is None or driver.device == device:
                what(driver)


class SparkplugDriver(SpeakingDriver):
    """One device, or the node's own metrics (``device`` is ""); see drivers.base.Driver."""

    def __init__(
        self, bus: MqttBus, address: tuple[str, str, str], fields: tuple[Field, ...], silence_s: float, spacing_s: float
    ) -> None:
        super().__init__(silence_s)
        self.may_ask = True
        self.device = address[2]
        self._bus = bus
        self._fields = fields
        group, name, _ = address
        key = f"sparkplug {group}/{name}"
        self.edge_node: EdgeNode = bus.shared.get(key) or bus.shared.setdefault(key, EdgeNode(bus, group, name))
        self._collector = Collector(self._mailbox.put, 0.0, spacing_s)

    @property
    def thinned(self) -> int:
        """Values that a later one of the same period replaced."""
        return self._collector.thinned

    async def read(self) -> tuple[Observation, ...]:
        """What the device said next, with what waits. Raises a DriverError; see Mailbox.get."""
        self.edge_node.join(self)
        await self._bus.open()
        return await self._mailbox.get(self.silence_s)

    async def close(self) -> None:
        """Let go of the edge node."""
        self.edge_node.leave(self)
        self._collector.close()

    def hear(self, named: tuple[Named, ...], mono_ns: int) -> None:
        """Values that came at that instant, each dated by its age. What the node kept as history is never thinned."""
        by_date: dict[tuple[bool, int], list[Named]] = {}
        for one in named:
            if one.age_ms <= HISTORY_MAX_MS:
                by_date.setdefault((not one.historical, -one.age_ms), []).append(one)
        for (is_present, age_ms), values in sorted(by_date.items()):
            measured = sparkplug.measurements(((one.name, one.value) for one in values), self._fields)
            date_ns = mono_ns + age_ms * _MS
            if is_present:
                self._collector.add(measured, date_ns)
            elif measured:
                self._mailbox.put(Observation(measured, date_ns))

    def damaged(self, error: BadFrame) -> None:
        """Count a damaged message of the device."""
        self._mailbox.damaged(error)

    def lose(self, why: str, kind: type[DriverError]) -> None:
        """The device, its node or the session is gone."""
        self._collector.flush()
        self._mailbox.lose(why, kind)


def make_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol sparkplug. Raises ValueError."""
    session, path = prefix(template.name, bus, address)
    levels = path.split("/")
    if len(levels) not in (2, 3) or not all(levels):
        raise ValueError(f"{template.name} needs GROUP/NODE or GROUP/NODE/DEVICE as address, not {path!r}")
    if not template.fields:
        raise ValueError(f"{template.name}: a template of protocol sparkplug needs fields")
    unknown = sorted(set(options) - {"rebirth"})
    may_ask = options.get("rebirth", True)
    if unknown or not isinstance(may_ask, bool):
        cause = f"unknown option {unknown[0]!r}; known: rebirth" if unknown else f"option rebirth is {may_ask!r}"
        raise ValueError(cause)
    place = (levels[0], levels[1], levels[2] if len(levels) == 3 else "")
    driver = SparkplugDriver(session, place, template.fields, template.silence_s, period_s or template.period_s or 0.0)
    driver.may_ask = may_ask
    return driver
