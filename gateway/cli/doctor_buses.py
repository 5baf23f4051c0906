"""The checks of ``lamppost doctor`` that concern buses: ports and lines, hosts, adapters, brokers, listeners.

Where the daemon runs it owns the buses: it is asked what it sees, and nothing is opened beside it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers import template as templates
from drivers.buses.serial_names import resolve, stays
from drivers.errors import DriverError, NoPermission, NoPort
from gateway.cli.control import SOCKET_NAME, ControlClient, NoDaemonError
from gateway.cli.doctor import CHECK_S, Check, Finding, Result
from gateway.cli.output import count
from gateway.config.buses import BleBus, CoapBus, HttpBus, MBusBus, ModbusRtuBus, ModbusTcpBus, MqttBus, SerialBus
from gateway.config.check_devices import stable_name
from gateway.config.schema import Config

if TYPE_CHECKING:
    from drivers.buses.line_doctor import Verdict

NETWORK_S = 4.0
LINE_MARGIN_S = 1.0  # of the time of a check: for the last request that was begun, and a slow box
DBUS_SOCKET = "/run/dbus/system_bus_socket"
NAMED_MAX = 3


def checks(config: Config) -> Iterator[tuple[str, Check]]:
    """What to look at, bus by bus."""
    for name, bus in config.buses.items():
        if isinstance(bus, ModbusRtuBus | SerialBus | MBusBus):
            yield f"port {name}", partial(port_of, name, bus.port)
        if isinstance(bus, ModbusRtuBus):
            yield f"line {name}", partial(line, name, bus, config)
        elif isinstance(bus, ModbusTcpBus):
            yield f"host {name}", partial(host, name, bus, config)
        elif isinstance(bus, BleBus):
            yield f"bluetooth {name}", partial(bluetooth, name, bus.adapter)
        elif isinstance(bus, MqttBus):
            yield f"mqtt {name}", partial(mqtt, name, bus)
        elif isinstance(bus, CoapBus | HttpBus) and bus.listen is not None:
            yield f"listener {name}", partial(listener, name, bus, config)


def daemon_status(config: Config) -> dict[str, Any] | None:
    """What the daemon says of itself, None where none runs. Raises ControlError."""
    try:
        status: dict[str, Any] = ControlClient(config.storage.path / SOCKET_NAME).ask("status", timeout_s=NETWORK_S)
    except NoDaemonError:
        return None
    return status


def port_of(name: str, port: str) -> Sequence[Finding]:
    """Whether a serial port is there, may be opened, and keeps its name."""
    title = f"port {name}"
    try:
        path = Path(resolve(port))
    except DriverError as error:
        return [Finding(title, "fail", str(error), error.fix)]
    shown = port if port == str(path) else f"{port} ({path})"
    if not path.exists():
        return [Finding(title, "fail", f"{shown} is not there", "Check the plug; `lamppost scan` lists what is there.")]
    if not os.access(path, os.R_OK | os.W_OK):
        fix = f"Add the service's user to the group {_group(path)}: `usermod -aG {_group(path)} lamppost`."
        return [Finding(title, "fail", f"{shown} may not be opened by this user", fix)]
    if not stays(port) and not path.is_symlink():
        stable = stable_name(str(path)).removeprefix("here it is ")
        fix = f"Use {stable or 'its name below /dev/serial/by-id/, or usb:SERIALNUMBER,'} in the configuration."
        return [Finding(title, "warn", f"{shown} may be another adapter after a restart", fix)]
    return [Finding(title, "ok", shown)]


def line(name: str, bus: ModbusRtuBus, config: Config) -> Sequence[Finding]:
    """What is on a Modbus line: its devices are asked for one register each, see drivers/buses/line_doctor.py."""
    title, begun = f"line {name}", time.monotonic()
    if status := daemon_status(config):
        return [_of_daemon(title, name, status)]
    from drivers.buses import line_doctor
    from drivers.buses.serial_port import PortSettings

    requests = list(_reads(name, config))
    if not requests:
        return []
    limit_s = CHECK_S - LINE_MARGIN_S - (time.monotonic() - begun)
    try:
        verdicts = asyncio.run(
            line_doctor.diagnose(PortSettings.of(bus.model_dump()), requests, limit_s=max(1.0, limit_s))
        )
    except NoPort:
        return []  # told of the port already
    except NoPermission as error:
        return [Finding(title, "fail", str(error), f"Stop the program that has it: `fuser -v {bus.port}` names it.")]
    except DriverError as error:
        return [Finding(title, "fail", str(error), error.fix)]
    return [_of_line(title, bus, verdicts)]


def _reads(name: str, config: Config) -> Iterator[bytes]:
    """For each Modbus device of a bus, the request for the first value of its template."""
    from drivers.buses.modbus_adu import encode_read

    for device in config.devices.values():
        if device.bus != name:
            continue
        template = templates.load(device.template)  # it is there: the configuration has been checked
        unit = template.address if device.address is None else int(device.address)
        if template.points and unit is not None:
            point = template.points[0]
            yield encode_read(unit, point.function, point.address, point.count)


def _of_line(title: str, bus: ModbusRtuBus, verdicts: Sequence[Verdict]) -> Finding:
    """Verdicts for people: the likeliest, and those that are not much less so."""
    first = verdicts[0]
    good = next((verdict for verdict in verdicts if verdict.cause == "fine"), None)
    if first is good:
        notes = [verdict.because for verdict in verdicts[1:] if verdict.cause == "undriven"]
        return Finding(title, "ok", "; ".join((first.because, *notes)))
    likely = [one for one in verdicts if one.confidence >= first.confidence / 2 and one is not good][:NAMED_MAX]
    detail = "; or ".join(f"{one.cause} ({one.confidence:.0%}): {one.because}" for one in likely)
    fixes = list(dict.fromkeys(one.fix for one in likely))
    if first.cause in ("silent", "garbage"):
        fixes.append(f"`lamppost scan --port {bus.port}` tries all speeds and addresses.")
    return Finding(title, "warn" if good else "fail", detail, " ".join(fixes))


def host(name: str, bus: ModbusTcpBus, config: Config) -> Sequence[Finding]:
    """Whether a Modbus TCP host takes connections. Some take one only, and that is the daemon's where it runs."""
    title = f"host {name}"
    if status := daemon_status(config):
        return [_of_daemon(title, name, status)]
    return [_connects(title, bus.host, bus.port, "Check its power, the network, and host and port of the bus.")]


def mqtt(name: str, bus: MqttBus) -> Sequence[Finding]:
    """Whether the MQTT broker accepts connections."""
    return [_connects(f"mqtt {name}", bus.host, bus.port, "Start the broker, or correct host and port of the bus.")]


def _connects(title: str, address: str, port: int, fix: str) -> Finding:
    where = f"{address}:{port}"
    try:
        socket.create_connection((address, port), timeout=NETWORK_S).close()
    except OSError as error:
        return Finding(title, "fail", f"{where} cannot be reached: {error.strerror or error}", fix)
    return Finding(title, "ok", where)


def listener(name: str, bus: CoapBus | HttpBus, config: Config) -> Sequence[Finding]:
    """Whether the port on which sensors push is free, or the daemon's."""
    title = f"listener {name}"
    if status := daemon_status(config):
        return [_of_daemon(title, name, status)]
    if bus.listen is None:
        return []
    kind, protocol = (socket.SOCK_DGRAM, "UDP") if isinstance(bus, CoapBus) else (socket.SOCK_STREAM, "TCP")
    where = f"{bus.listen.host}, {protocol} port {bus.listen.port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(bus.listen.host, bus.listen.port, type=kind)[0]
        with socket.socket(family, kind) as taken:
            if kind == socket.SOCK_STREAM:  # as the daemon does: connections that are being closed are no hindrance
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
    except OSError as error:
        fix = "Stop the program that has it (`ss -lntup` names it), or correct `listen` of the bus."
        return [Finding(title, "fail", f"it cannot listen on {where}: {error.strerror or error}", fix)]
    return [Finding(title, "ok", f"{where} is free")]


def _of_daemon(title: str, name: str, status: dict[str, Any]) -> Finding:
    """What the daemon, which owns the bus, says of its devices."""
    devices = {device: each for device, each in status["devices"].items() if each["bus"] == name}
    ill = [device for device, each in devices.items() if each["state"] in ("down", "silent")]
    if not ill:
        return Finding(title, "ok", f"the daemon has it; {count(len(devices), 'device')}, none is down")
    errors = [devices[device]["error"] or {"cause": "no cause known", "fix": ""} for device in ill]
    told = [
        f"{device} is {devices[device]['state']}: {error['cause']}" for device, error in zip(ill, errors, strict=True)
    ]
    if len(told) > NAMED_MAX:
        told[NAMED_MAX:] = [f"and {len(told) - NAMED_MAX} more"]
    fix = str(errors[0]["fix"])
    if title.startswith("line"):
        fix += " To have the line itself looked at, stop the daemon (`systemctl stop lamppost`) and run this again."
    return Finding(title, "warn", "; ".join(told), fix.strip())


def bluetooth(name: str, adapter: str) -> Sequence[Finding]:
    """Whether the D-Bus, BlueZ on it, and the adapter are there."""
    return [Finding(f"bluetooth {name}", *asyncio.run(_bluez(adapter)))]


async def _bluez(adapter: str) -> tuple[Result, str, str]:
    from dbus_fast import BusType, DBusError, Message, MessageType
    from dbus_fast.aio import MessageBus

    address = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", DBUS_SOCKET)
    try:
        async with asyncio.timeout(NETWORK_S):
            bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
            try:
                question = Message(
                    destination="org.bluez",
                    path=f"/org/bluez/{adapter}",
                    interface="org.freedesktop.DBus.Properties",
                    member="Get",
                    signature="ss",
                    body=["org.bluez.Adapter1", "Powered"],
                )
                answer = await bus.call(question)
            finally:
                bus.disconnect()
    except (OSError, DBusError, ValueError, EOFError, TimeoutError) as error:
        cause = str(error) or "no answer"
        return "fail", f"the D-Bus at {address} cannot be reached: {cause}", "Install and start dbus and bluez."
    if answer is None or answer.message_type is MessageType.ERROR:
        cause = answer.error_name if answer is not None and answer.error_name else "no answer"
        fix = "Install bluez, plug the adapter in, and look at `bluetoothctl list`."
        return "fail", f"BlueZ has no adapter {adapter} ({cause})", fix
    if answer.body[0].value is not True:
        return (
            "fail",
            f"{adapter} is switched off",
            f"Run `rfkill unblock bluetooth` and `bluetoothctl power on` ({adapter}).",
        )
    return "ok", f"{adapter} is switched on", ""


def _group(path: Path) -> str:
    try:
        return path.group()
    except (KeyError, OSError):
        return "dialout"
