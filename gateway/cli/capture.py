"""``lamppost capture``: the frames on a bus, as JSON lines that ``replay`` reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from gateway.cli.control import NoDaemonError
from gateway.cli.options import client, daemon_options, require_config

if TYPE_CHECKING:
    from drivers.base import Frame

FRAMES_MAX = 1_000_000  # then it stops by itself: a forgotten capture must not fill the card


@click.command("capture", short_help="Record the frames on a bus.")
@click.argument("bus")
@daemon_options
@click.option(
    "--output", type=click.File("w", encoding="utf-8"), default="-", help="JSON lines; default: the terminal."
)
@click.option("--seconds", type=click.FloatRange(0.1, 86_400), default=60.0, show_default=True, help="How long.")
def command(
    bus: str,
    config_file: Path | None,
    data: Path | None,
    socket_path: Path | None,
    output: IO[str],
    seconds: float,
) -> None:
    """Record every frame on a BUS, sent and received: {"bus", "direction", "hex", "at_ns"} a line.

    The daemon is asked, and goes on with its readings. Where none runs, the bus is opened and its devices are read.
    """
    writer = Writer(output)
    try:
        for item in client(config_file, data, socket_path).stream("capture", seconds=seconds, bus=bus):
            writer.write(item)
            if writer.count >= FRAMES_MAX:
                break
    except NoDaemonError:
        if socket_path is not None or (data is not None and config_file is None):
            raise
        _capture_directly(config_file, bus, seconds, writer.write)
    click.echo(f"{writer.count} frames", err=True)


class Writer:
    """Writes frames as JSON lines, and counts them."""

    def __init__(self, output: IO[str]) -> None:
        self.count = 0
        self._output = output

    def write(self, item: dict[str, Any]) -> None:
        """One line."""
        if self.count < FRAMES_MAX:
            self._output.write(json.dumps(item) + "\n")
            self._output.flush()
            self.count += 1


def frame_json(frame: Frame) -> dict[str, Any]:
    """A frame as the daemon gives it too."""
    return {"bus": frame.bus, "direction": frame.direction, "hex": frame.data.hex(), "at_ns": frame.at_ns}


def _capture_directly(
    config_file: Path | None, bus: str, seconds: float, write: Callable[[dict[str, Any]], None]
) -> None:
    from gateway.cli import direct

    config = require_config(config_file)
    direct.run(direct.capture(config, bus, seconds, lambda frame: write(frame_json(frame))))
