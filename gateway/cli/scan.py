"""``lamppost scan``: serial ports of this box, Modbus ids on a line, Bluetooth devices in the air."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from gateway.cli.control import NoDaemonError
from gateway.cli.options import client, daemon_options, require_config
from gateway.cli.output import say_json, table

DAEMON_SCAN_S = 300.0


@click.command("scan", short_help="Find ports, Modbus ids and Bluetooth devices.")
@click.argument("bus", required=False)
@daemon_options
@click.option("--seconds", type=click.FloatRange(1, 120), default=10.0, show_default=True, help="How long (Bluetooth).")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def command(
    bus: str | None,
    config_file: Path | None,
    data: Path | None,
    socket_path: Path | None,
    seconds: float,
    as_json: bool,
) -> None:
    """Find what is there: without BUS the serial ports of this box, with it what answers on that bus.

    The daemon is asked, and goes on with its readings meanwhile. Where none runs, the bus is opened.
    """
    if bus is None:
        found = ports()
    else:
        try:
            found = client(config_file, data, socket_path).ask(
                "scan", timeout_s=DAEMON_SCAN_S, bus=bus, seconds=seconds
            )
        except NoDaemonError:
            if socket_path is not None or (data is not None and config_file is None):
                raise
            found = _scan_directly(config_file, bus, seconds)
    if as_json:
        say_json(found)
    else:
        _show(found, "no serial ports on this box" if bus is None else f"nothing answers on {bus}")


def ports() -> list[dict[str, Any]]:
    """The serial ports of this box, under the names to configure."""
    from drivers.buses.serial_port import list_ports

    return [{"port": found.path, "device": found.device, "usable": found.usable} for found in list_ports()]


def _scan_directly(config_file: Path | None, bus: str, seconds: float) -> list[dict[str, Any]]:
    from gateway.cli import direct

    config = require_config(config_file)
    return direct.run(direct.scan(config, bus, seconds, _progress))


def _progress(done: int, total: int) -> None:
    """How far a scan of a line is, on a terminal."""
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(f"\r{done} of {total} addresses", err=True, nl=done == total)


def _show(found: list[dict[str, Any]], nothing: str) -> None:
    if not found:
        click.echo(nothing)
        return
    head = tuple(dict.fromkeys(key for one in found for key in one))
    click.echo(table(head, (tuple(_cell(one.get(key)) for key in head) for one in found)))


def _cell(value: object) -> object:
    return ", ".join(str(one) for one in value) if isinstance(value, list | tuple) else value
