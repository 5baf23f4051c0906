"""``lamppost replay``: decode recorded frames with a template, without any device."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from gateway.cli.output import number, plain, say_json
from gateway.errors import LamppostError, UsageError

if TYPE_CHECKING:
    from drivers.base import Frame
    from drivers.template import Template

LINE_MAX = 2**20


@click.command("replay", short_help="Decode recorded frames.")
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option("--template", "name", required=True, help="Name of the template to decode with.")
@click.option("--address", help="Only this device: Modbus id, Bluetooth address or MQTT topic prefix.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a value, or an error, per line.")
def command(file: Path, name: str, address: str | None, as_json: bool) -> int:
    """Decode a FILE of `lamppost capture` with a template and print what the frames say.

    Exit code 1 where no frame could be decoded.
    """
    from gateway.cli.replay_decode import decode

    template = load_template(name)
    good = 0
    try:
        with file.open("rb") as lines:
            for item in decode(template, _frames(lines, file), address):
                good += "error" not in item
                say_json(item) if as_json else click.echo(_line(item))
    except OSError as error:
        if error.filename is None:
            raise  # not of this file: what reads the output may have gone
        raise UsageError(f"{file} cannot be read: {error.strerror or error}", fix="Check the path.") from error
    if not good:
        cause = f"no frame in {file} could be decoded with {name}"
        fix = "Is it the right template, and the right --address?"
        raise LamppostError(cause, code="replay.nothing", fix=fix)
    return 0


def load_template(name: str) -> Template:
    """The template of that name. Raises LamppostError."""
    from drivers.template import TemplateError, load

    try:
        return load(name)
    except TemplateError as error:
        fix = "See docs/reference/templates.md."
        raise LamppostError(str(error), code=error.code, fix=fix) from error


def _frames(lines: IO[bytes], file: Path) -> Iterator[Frame]:
    from drivers.base import Frame

    row = 0
    while line := lines.readline(LINE_MAX):
        row += 1
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            direction = item["direction"]
            if direction not in ("tx", "rx"):
                raise ValueError("direction is neither tx nor rx")
            yield Frame(str(item["bus"]), direction, bytes.fromhex(item["hex"]), int(item["at_ns"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            cause = f"{file}:{row}: not a captured frame"
            fix = "Each line is {bus, direction, hex, at_ns}, as `lamppost capture` writes it."
            raise LamppostError(cause, code="replay.bad-line", fix=fix) from error


def _line(item: dict[str, Any]) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(item["at_ns"] / 1e9, datetime.UTC)
        when = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        when = str(item["at_ns"])
    where = f"{when}  {item['address']!s:20}"
    if "error" in item:
        return plain(f"{where}  {item['error']}")
    return plain(f"{where}  {item['quantity']:24} {number(item['value']):>14} {item['unit']}")
