"""``lamppost read``: the readings of one device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.control import NoDaemonError
from gateway.cli.options import client, daemon_options, require_config
from gateway.cli.output import ago, number, plain, say_error, say_json, table

if TYPE_CHECKING:
    from drivers.errors import DriverError
    from gateway.cli.control import ControlClient


@click.command("read", short_help="Read one device.")
@click.argument("device")
@daemon_options
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="A list of readings; with --watch one reading a line.")
def command(
    device: str, config_file: Path | None, data: Path | None, socket_path: Path | None, watch: bool, as_json: bool
) -> None:
    """Read a DEVICE of the configuration.

    The daemon is asked for its latest readings. Where none runs, the bus is opened and the device is read once.
    """
    daemon = client(config_file, data, socket_path)
    try:
        _ask(daemon, device, watch, as_json)
    except NoDaemonError:
        if socket_path is not None or (data is not None and config_file is None):
            raise
        _read_directly(config_file, device, watch, as_json)


def _ask(daemon: ControlClient, device: str, watch: bool, as_json: bool) -> None:
    if not watch:
        show(daemon.ask("read", device=device), as_json)
        return
    daemon.ask("read", device=device)  # an unknown or a dead device is told at once
    for item in daemon.stream("watch", device=device):
        show_line(item, as_json)


def _read_directly(config_file: Path | None, device: str, watch: bool, as_json: bool) -> None:
    from gateway.cli import direct

    config = require_config(config_file)

    def show_items(items: list[dict[str, Any]]) -> None:
        for item in items:
            show_line(item, as_json)

    def tell(error: DriverError) -> None:
        say_error(error.code, str(error), error.fix)

    if watch:
        direct.known("device", device, config.devices)
        direct.run(direct.watch(config, device, show_items, tell))
    else:
        show(direct.run(direct.read_once(config, device)), as_json)


def show(items: list[dict[str, Any]], as_json: bool) -> None:
    """Print readings as a table or as one JSON list."""
    if as_json:
        say_json(items)
    elif not items:
        click.echo("no readings yet")
    else:
        click.echo(table(("quantity", "value", "unit", "age", "quality"), (_row(item) for item in items)))


def show_line(item: dict[str, Any], as_json: bool) -> None:
    """Print one reading in one line."""
    if as_json:
        say_json(item)
    else:
        quantity, value, unit, age, quality = _row(item)
        click.echo(plain(f"{quantity:28} {number(value):>14} {unit:6} {age:>8}  {quality}"))


def _row(item: dict[str, Any]) -> tuple[object, ...]:
    reason = f" ({item['reason']})" if item.get("reason") else ""
    return (
        item.get("quantity"),
        item.get("value"),
        item.get("unit"),
        ago(item.get("age_s")),
        f"{item.get('quality')}{reason}",
    )
