"""``lamppost scan``: serial ports of this box and what is on them, Modbus ids, Bluetooth and MQTT devices."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.control import NoDaemonError
from gateway.cli.options import client, config_path, daemon_options, host_port, require_config
from gateway.cli.output import plain, say_json, table
from gateway.errors import UsageError

if TYPE_CHECKING:
    from gateway.cli.control import ControlClient

DAEMON_SCAN_S = 300.0
BUS_NAMES = {"modbus-rtu": "line", "serial": "port", "ble": "bluetooth", "mqtt": "broker", "modbus-tcp": "host"}


@dataclass(frozen=True, slots=True)
class Found:
    """What is there: ``settings`` are those of a bus that the configuration does not have yet."""

    bus: str
    settings: dict[str, Any]
    devices: list[dict[str, Any]]


@click.command("scan", short_help="Find ports, Modbus ids, Bluetooth and MQTT devices.")
@click.argument("bus", required=False)
@click.option("--port", help="A serial port of which nothing is known: speeds and parities are tried.")
@click.option("--host", help="A Modbus TCP host, with :PORT where it is not 502.")
@click.option("--ble", is_flag=False, flag_value="hci0", metavar="[ADAPTER]", help="Bluetooth devices in the air.")
@click.option("--mqtt", metavar="HOST[:PORT]", help="Devices that publish at an MQTT broker.")
@click.option("--thorough", is_flag=True, help="With --port: every address at every setting; takes an hour.")
@daemon_options
@click.option(
    "--seconds", type=click.FloatRange(1, 120), default=10.0, show_default=True, help="How long (Bluetooth, MQTT)."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def command(bus: str | None, seconds: float, thorough: bool, as_json: bool, **where: Any) -> None:
    """Find what is there, without writing anything: the serial ports of this box, or what answers on one of them.

    BUS names one of the configuration: the daemon is asked, and goes on with its readings meanwhile. Where none runs,
    the bus is opened. A model is named only where the values are plausible; where several fit, all are.
    """
    given = [option for option in ("port", "host", "ble", "mqtt") if where[option] is not None]
    if len(given) + (bus is not None) > 1:
        raise UsageError("one thing at a time", fix="Give one of BUS, --port, --host, --ble and --mqtt.")
    if bus is None and not given:
        found = ports()
        say_json(found) if as_json else _show(found, "no serial ports on this box")
        return
    if given and bus is None:
        bus = _configured(where, given[0])
    scanned = _on_bus(bus, seconds, where) if bus is not None else _elsewhere(given[0], where, seconds, thorough)
    for device in scanned.devices:
        device["evidence"] = _evidence(device.get("could_be") or ())
    if as_json:
        say_json(scanned.devices)
        return
    _show(scanned.devices, f"nothing answers on {scanned.bus}")
    if scanned.devices:
        from gateway.cli.stanza import stanza

        click.echo(f"\n# for the configuration:\n{plain(stanza(scanned.bus, scanned.settings, scanned.devices))}")


def ports() -> list[dict[str, Any]]:
    """The serial ports of this box, under the names to configure."""
    from drivers.buses.serial_port import list_ports

    return [{"port": found.path, "device": found.device, "usable": found.usable} for found in list_ports()]


def _evidence(names: Iterable[str]) -> list[str]:
    """How far the map of each model is proven, in the same order."""
    from drivers import template

    known = set(template.names())
    return [template.load(name).evidence if name in known else "unknown" for name in names]


def _configured(where: dict[str, Any], option: str) -> str | None:
    """The bus of the configuration that has this port or adapter: its owner is asked rather than fought."""
    path = config_path(where["config_file"])
    if option not in ("port", "ble") or path is None:
        return None
    wanted = str(Path(where[option]).resolve()) if option == "port" else where[option]
    for name, settings in require_config(path).buses.items():
        if option == "ble" and settings.type == "ble" and settings.adapter == wanted:
            return name
        if option == "port" and str(Path(str(getattr(settings, "port", ""))).resolve()) == wanted:
            return name
    return None


def _on_bus(bus: str, seconds: float, where: dict[str, Any]) -> Found:
    daemon: ControlClient = client(where["config_file"], where["data"], where["socket_path"])
    try:
        return Found(bus, {}, daemon.ask("scan", timeout_s=DAEMON_SCAN_S, bus=bus, seconds=seconds))
    except NoDaemonError:
        if where["socket_path"] is not None or (where["data"] is not None and where["config_file"] is None):
            raise
    from gateway.cli import direct

    config = require_config(where["config_file"])
    return Found(bus, {}, direct.run(direct.scan(config, bus, seconds, _addresses)))


def _elsewhere(option: str, where: dict[str, Any], seconds: float, thorough: bool) -> Found:
    from gateway.cli import direct

    if option == "port":
        found = direct.run(direct.scan_port(where["port"], _tried, thorough))
        _progress_ends()
        return _port(where["port"], found)
    settings = _settings(option, where[option])
    found = direct.run(direct.scan_bus(settings, seconds, _addresses))
    return Found(BUS_NAMES[settings["type"]], settings, found)


def _settings(option: str, value: str) -> dict[str, Any]:
    if option == "ble":
        return {"type": "ble", "adapter": value}
    kind, port = ("modbus-tcp", 502) if option == "host" else ("mqtt", 1883)
    host, port = host_port(f"--{option}", value, port)
    return {"type": kind, "host": host, "port": port}


def _port(path: str, found: list[dict[str, Any]]) -> Found:
    """The devices of a port, with the settings of the line that they were found at."""
    if not found:
        return Found(path, {}, [])
    line = found[0]["port"]
    settings = {"type": "modbus-rtu" if found[0]["protocol"] == "modbus" else "serial", "port": line["path"]}
    usual = {"parity": "none", "data_bits": 8, "stop_bits": 1}
    settings |= {"baud": line["baud"], **{key: line[key] for key in usual if line[key] != usual[key]}}
    devices = [{key: one[key] for key in ("address", "answer", "could_be")} for one in found]
    return Found(BUS_NAMES[settings["type"]], settings, devices)


def _addresses(done: int, total: int) -> None:
    """How far a scan of a line is, on a terminal."""
    _tried("addresses", done, total)
    if done == total:
        _progress_ends()


def _tried(what: str, done: int, total: int) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(f"\r\x1b[K{done} of {total} {what}", err=True, nl=False)


def _progress_ends() -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(err=True)


def _show(found: list[dict[str, Any]], nothing: str) -> None:
    if not found:
        click.echo(nothing)
        return
    head = tuple(dict.fromkeys(key for one in found for key in one))
    click.echo(table(head, (tuple(_cell(one.get(key)) for key in head) for one in found)))


def _cell(value: object) -> object:
    return ", ".join(str(one) for one in value) if isinstance(value, list | tuple) else value
