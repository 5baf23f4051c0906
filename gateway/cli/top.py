"""``lamppost top``: devices and their readings in the terminal, live."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.control import ControlClient
from gateway.cli.options import client, daemon_options
from gateway.cli.output import ago, number, plain, table
from gateway.errors import ControlError

if TYPE_CHECKING:
    from rich.console import RenderableType

HEAD = ("device", "state", "quantity", "value", "unit", "age", "quality")
COLOURS = {"up": "green", "starting": "cyan", "silent": "yellow", "down": "red"}
ROWS_SPARE = 5  # head, frame and the two lines of text


@click.command("top", short_help="All devices and their readings, live.")
@daemon_options
@click.option(
    "--interval", type=click.FloatRange(0.2, 60), default=1.0, show_default=True, help="Seconds between looks."
)
def command(config_file: Path | None, data: Path | None, socket_path: Path | None, interval: float) -> None:
    """Show all devices and their latest readings, live. `q` or Ctrl-C ends it.

    Without a terminal it prints once.
    """
    daemon = client(config_file, data, socket_path)
    status, items = look(daemon)
    if not (sys.stdout is not None and sys.stdout.isatty() and sys.stdin is not None and sys.stdin.isatty()):
        click.echo(plain(str(status.get("summary", ""))))
        click.echo(table(HEAD, rows(status, items)))
        return
    _live(daemon, interval)


def look(daemon: ControlClient) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Status and latest readings. Raises ControlError."""
    return daemon.ask("status"), daemon.ask("readings")


def rows(status: dict[str, Any], items: list[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    """A row a reading; a device without readings has one too. Devices in the order of the configuration."""
    by_device: dict[str, list[dict[str, Any]]] = {name: [] for name in status.get("devices") or {}}
    for item in items:
        by_device.setdefault(str(item.get("device")), []).append(item)
    for name, readings in by_device.items():
        device = (status.get("devices") or {}).get(name)
        state = "" if device is None else device.get("state", "")
        if not readings:
            yield name, state, "-", None, "", ago(None if device is None else device.get("last_s")), ""
        for item in readings:
            quality = item.get("reason") or item.get("quality") or ""
            yield (
                name,
                state,
                item.get("quantity"),
                item.get("value"),
                item.get("unit"),
                ago(item.get("age_s")),
                quality,
            )


def _live(daemon: ControlClient, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with _keys(), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                status, items = look(daemon)
                picture = _picture(status, items, console.size.height)
            except ControlError as error:  # it may be restarting: stay, and say so
                picture = f"{plain(error.cause)}\n{plain(error.fix)}"
            live.update(picture, refresh=True)
            if _quit_within(interval):
                return


def _picture(status: dict[str, Any], items: list[dict[str, Any]], height: int) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table(*HEAD, box=None, pad_edge=False, header_style="bold")
    grid.columns[3].justify = "right"
    last = ""
    shown = list(rows(status, items))
    for name, state, *cells in shown[: max(1, height - ROWS_SPARE)]:
        first = ("", "") if name == last else (str(name), str(state))
        quality = str(cells[-1])
        colour = "" if quality in ("good", "") else "yellow"
        texts = [Text(plain(number(cell))) for cell in cells[:-1]]
        state_text = Text(first[1], style=COLOURS.get(first[1], ""))
        grid.add_row(Text(plain(first[0])), state_text, *texts, Text(plain(quality), style=colour))
        last = str(name)
    more = len(shown) - max(1, height - ROWS_SPARE)
    summary = Text(plain(str(status.get("summary", ""))), style="bold green" if status.get("ok") else "bold yellow")
    outbox = status.get("outbox") or {}
    foot = f"outbox {outbox.get('depth', '-')}{f', {more} more lines' if more > 0 else ''} - q ends it"
    return Group(summary, grid, Text(foot, style="dim"))


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Keys come one by one and are not echoed; the terminal is put back at the end."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _quit_within(seconds: float) -> bool:
    """Wait for a key; whether it is ``q``, or the terminal is gone."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    if not ready:
        return False
    keys = os.read(sys.stdin.fileno(), 64)
    return not keys or b"q" in keys.lower()
