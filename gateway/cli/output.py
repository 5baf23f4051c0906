"""What commands print: errors, tables, values, JSON. Colours only on a terminal, and not where NO_COLOR is set."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any

import click

CELL_MAX = 60


def coloured(*, err: bool = False) -> bool:
    """Whether to use colours on stdout (or stderr): a terminal, and NO_COLOR (no-color.org) is not set."""
    stream = sys.stderr if err else sys.stdout
    return (
        stream is not None and stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def style(text: str, colour: str, *, bold: bool = False, err: bool = False) -> str:
    """The text in a colour where there are colours."""
    return click.style(text, fg=colour, bold=bold) if coloured(err=err) else text


def say_error(code: str, cause: str, fix: str) -> None:
    """``error[code]: cause`` and ``fix: ...`` on stderr."""
    click.echo(f"{style(f'error[{code}]', 'red', bold=True, err=True)}: {plain(cause)}", err=True)
    if fix:
        click.echo(f"{style('fix', 'green', err=True)}: {plain(fix)}", err=True)


def say_json(value: object, stream: IO[str] | None = None) -> None:
    """One line of JSON, made for programs; to stdout, or into ``stream``."""
    click.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str), file=stream)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns two blanks apart; numbers to the right; long cells are cut."""
    cells = [[_cell(value) for value in row] for row in rows]
    right = [bool(cells) and all(_numeric(row[i]) for row in cells) for i in range(len(head))]
    widths = [max(len(head[i]), *(len(row[i]) for row in cells)) if cells else len(head[i]) for i in range(len(head))]
    lines = []
    for row in [list(head), *cells]:
        placed = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
        lines.append("  ".join(placed).rstrip())
    return "\n".join(lines)


def number(value: object) -> str:
    """A value of a reading for people: at most four decimals, no more than are there."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) < 1e9 else f"{value:.6g}"
    if isinstance(value, dict) and {"latitude", "longitude"} <= value.keys():
        return f"{value['latitude']:.5f}, {value['longitude']:.5f}"
    return str(value)


def ago(seconds: Any) -> str:
    """How long ago, short: ``3 s``, ``5 min``, ``2 h``; ``-`` for never."""
    if not isinstance(seconds, int | float):
        return "-"
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def count(number: int, one: str, several: str = "") -> str:
    """``1 bus``, ``2 buses``."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def plain(text: str) -> str:
    """Text without control characters: what a device or a file says must not steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def _cell(value: object) -> str:
    text = plain(number(value)).replace("\n", " ")
    return text if len(text) <= CELL_MAX else text[: CELL_MAX - 1] + "…"


def _numeric(cell: str) -> bool:
    return cell[:1].isdigit() or cell[:1] == "-"
