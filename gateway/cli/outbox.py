"""``lamppost outbox``: what waits to be sent. It reads the file from beside; the daemon goes on meanwhile."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli import outbox_export
from gateway.cli.outbox_export import inspection, outbox_options
from gateway.cli.output import count, plain, say_json, style, table
from gateway.errors import OutboxError

if TYPE_CHECKING:
    from gateway.outbox.inspection import Contents

RANGES_SHOWN = 5


@click.group("outbox", short_help="What waits to be sent: show, export, verify.")
def command() -> None:
    """Look into the outbox of this box, whether its daemon runs or not. Nothing is ever changed."""


@command.command("show", short_help="What is in it.")
@outbox_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(file: Path | None, config_file: Path | None, data: Path | None, as_json: bool) -> None:
    """Show what waits in the outbox: how much, since when, of which devices, and what was dropped.

    FILE: an outbox, or one that was damaged and moved aside; without it that of the daemon.
    """
    with closing(inspection(file, config_file, data)) as outbox:
        contents = outbox.contents()
    if as_json:
        say_json(_as_json(contents))
        return
    for line in _lines(contents):
        click.echo(line)


@command.command("verify", short_help="Is the file whole?")
@outbox_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object: ok, and the list of faults.")
def verify(file: Path | None, config_file: Path | None, data: Path | None, as_json: bool) -> int:
    """Check the file: its pages, the checksum and the contents of each block, its counts.

    Exit code 1 where something is wrong. The daemon does the same when it starts, saves what can be read and goes on.
    """
    with closing(inspection(file, config_file, data)) as outbox:
        faults, blocks = outbox.verify(), outbox.blocks
    if as_json:
        say_json({"ok": not faults, "blocks": blocks, "faults": faults})
        return int(bool(faults))
    if faults:
        fix = "Restart the daemon: it moves the file aside, saves what can be read, and counts the rest."
        raise OutboxError(f"{outbox.path} is damaged: {'; '.join(faults)}", code="outbox.damaged", fix=fix)
    click.echo(f"{style('ok', 'green', bold=True)}: {count(blocks, 'block')}, every checksum fits")
    return 0


command.add_command(outbox_export.command)


def _as_json(contents: Contents) -> dict[str, Any]:
    found = asdict(contents)
    found["ranges"] = [[part["first"], part["last"]] for part in found["ranges"]]
    return found


def _lines(contents: Contents) -> list[str]:
    dropped = sum(contents.dropped.values())
    lines = [
        style(f"{count(contents.readings, 'reading')} in {count(contents.blocks, 'block')}", "green", bold=True)
        + f", {contents.bytes / 2**20:.1f} MiB on disk, stream {plain(contents.stream)}"
    ]
    if contents.first_ns is not None and contents.last_ns is not None:
        lines.append(f"from {_date(contents.first_ns)} to {_date(contents.last_ns)}")
    if contents.undated:
        lines.append(f"{count(contents.undated, 'reading')} of a boot that does not know the time yet")
    shown = ", ".join(f"{part.first}-{part.last}" for part in contents.ranges[:RANGES_SHOWN])
    more = len(contents.ranges) - RANGES_SHOWN
    if shown:
        lines.append(f"sequence numbers {shown}{f' and {more} ranges more' if more > 0 else ''}")
    why = ", ".join(f"{plain(reason)} {number}" for reason, number in sorted(contents.dropped.items()))
    lines.append(f"{dropped} dropped{f' ({why})' if why else ''}; {count(contents.crashes, 'crash', 'crashes')}"
                 f" cost {contents.crash_cost} at most")  # fmt: skip
    lines += [f"set aside as damaged: {plain(name)}" for name in contents.damaged_files]
    lines += [style(f"damaged: {plain(fault)}", "red") for fault in contents.faults]
    if contents.by_device:
        rows = [(name, waits, contents.made.get(name)) for name, waits in sorted(contents.by_device.items())]
        lines.append("\n" + table(("device", "waiting", "made"), rows))
    return lines


def _date(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
