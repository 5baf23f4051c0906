"""``lamppost template new``: a template out of registers that somebody has just read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.modbus import ORDER_NAMES, Number, line_options, read_registers
from gateway.cli.options import daemon_options
from gateway.cli.output import number, table
from gateway.errors import LamppostError, UsageError

if TYPE_CHECKING:
    from drivers.modbus_capture import Exchange

_POINT = re.compile(
    r"(?P<quantity>[a-z0-9_]+)=(?P<address>0x[0-9a-fA-F]+|[0-9]+):(?P<type>[a-z0-9]+)"
    r"(?::(?P<order>ABCD|CDAB|BADC|DCBA))?(?:\*(?P<scale>[0-9.eE+-]+))?"
)
ORDERS = {name: orders for orders, name in ORDER_NAMES.items()}
# What makes a device plausible to a scan, where the quantity is one of these.
IDENTIFY = {"voltage": (80, 300), "frequency": (45, 65), "co2": (300, 10_000), "pressure": (800, 1100)}
MODELS = (
    *("ThreePhaseAcMeasurement", "ACMeasurement", "AirQualityObserved", "CyclingMeasurement"),
    *("TrafficFlowObserved", "Device"),
)


@dataclass(frozen=True, slots=True)
class Picked:
    """A point as it was picked: its line in the file."""

    quantity: str
    address: int
    type: str
    order: str = "ABCD"
    scale: str = "1"

    def yaml(self) -> str:
        """``{quantity: ..., address: ...}``."""
        words, octets = ORDERS[self.order]
        parts = [f"quantity: {self.quantity}", f"address: 0x{self.address:04X}", f"type: {self.type}"]
        parts += [f"word_order: {words}"] * (words != "high-first") + [f"byte_order: {octets}"] * (
            octets != "high-first"
        )
        parts += [f"scale: {self.scale}"] * (float(self.scale) != 1)
        return f"{{{', '.join(parts)}}}"


@click.command("new", short_help="Make a template out of registers that were read.")
@click.argument("name")
@click.option("--point", "points", multiple=True, metavar="QUANTITY=ADDRESS:TYPE[:ORDER][*SCALE]", help="Repeat it.")
@click.option(
    "--from", "files", multiple=True, type=click.Path(path_type=Path), help="Of `lamppost modbus read --json`."
)
@click.option("--read", "reads", multiple=True, metavar="ADDRESS+COUNT", help="Registers to read now, such as 0x0+20.")
@click.option("--id", "unit", type=click.IntRange(0, 255), help="Modbus id of the device, with --read.")
@click.option("--fc", "function", type=click.IntRange(3, 4), default=4, show_default=True, help="With --read.")
@line_options
@daemon_options
@click.option("--vendor", default="", help="Who makes it.")
@click.option("--model", default="", help="What the vendor calls it.")
@click.option("--kind", default="local", show_default=True, help="Folder, such as electricity_meter or air.")
@click.option("--data-model", type=click.Choice(MODELS), default="Device", show_default=True)
@click.option("--period", type=click.FloatRange(0.1), default=10.0, show_default=True, help="Seconds between polls.")
@click.option("--folder", type=click.Path(path_type=Path), help="Instead of /etc/lamppost/templates.d.")
@click.option("--force", is_flag=True, help="Replace a file of that name.")
def command(name: str, points: tuple[str, ...], files: tuple[Path, ...], reads: tuple[str, ...], **more: Any) -> None:
    """Write the template NAME: the points that are picked, and the frames that were read as its test.

    ORDER is ABCD (usual), CDAB, BADC or DCBA. Without --point the numbers are shown and picked on the terminal.
    """
    from drivers import modbus_capture

    frames = [_stored(path) for path in files] + [_live(text, more) for text in reads]
    if not frames:
        raise UsageError("no registers", fix="Give --from FILE of `lamppost modbus read --json`, or --read 0x0+20.")
    exchanges = [modbus_capture.parse(bytes.fromhex(frame["request"] + frame["answer"])) for frame in frames]
    picked = [_point(text) for text in points] or _ask(exchanges)
    text = render(name, picked, frames, exchanges[0].function, more)
    _proved(name, text, more["kind"])
    path = _write(name, text, more)
    click.echo(f"{path}: {len(picked)} points, {len(frames)} frames as its test")
    click.echo(f"try it: lamppost template check {path}")


def render(
    name: str, picked: Sequence[Picked], frames: Sequence[dict[str, str]], function: int, about: dict[str, Any]
) -> str:
    """The text of the file. Raises UsageError where no frame carries a picked point."""
    expected = _expected(name, picked, frames, function)
    identify = [
        f"  {one.quantity}: [{low}, {high}]"
        for one in picked
        for stem, (low, high) in IDENTIFY.items()
        if one.quantity == stem or one.quantity.startswith(f"{stem}_l")
    ]
    lines = [
        f"vendor: {json.dumps(about['vendor'] or 'unknown')}",
        f"model: {json.dumps(about['model'] or name)}",
        "protocol: modbus",
        f"data_model: {about['data_model']}",
        "evidence: captured",
        f"period_s: {about['period']:g}",
        f"modbus: {{function: {function}}}",
        "points:",
        *(f"  - {one.yaml()}" for one in picked),
        *(["identify:", *identify] if identify else []),
        "frames:",
    ]
    for frame, values in zip(frames, expected, strict=True):
        if values:
            lines += [f'  - request: "{frame["request"]}"', f'    answer: "{frame["answer"]}"', "    expect:"]
            lines += [f"      {quantity}: {json.dumps(value)}" for quantity, value in values.items()]
    return "\n".join(lines) + "\n"


def _expected(
    name: str, picked: Sequence[Picked], frames: Sequence[dict[str, str]], function: int
) -> list[dict[str, Any]]:
    from drivers import modbus_capture

    template = _parsed(name, _bare(picked, function), "local")
    values = []
    for frame in frames:
        exchange = modbus_capture.parse(bytes.fromhex(frame["request"] + frame["answer"]))
        values.append({m.quantity: m.value for m in modbus_capture.measurements(template, exchange)})
    missing = [one.quantity for one in picked if not any(one.quantity in found for found in values)]
    if missing:
        cause = f"no frame carries a value for {missing[0]}"
        raise UsageError(cause, fix="Read the registers that it stands in too, or leave it out.")
    return values


def _bare(picked: Iterable[Picked], function: int) -> str:
    points = "\n".join(f"  - {one.yaml()}" for one in picked)
    head = "vendor: v\nmodel: m\nprotocol: modbus\ndata_model: Device\nevidence: manual\n"
    return f"{head}modbus: {{function: {function}}}\npoints:\n{points}\nframes: []\n"


def _parsed(name: str, text: str, kind: str) -> Any:
    from drivers.template import TemplateError, parse

    try:
        return parse(text, name=name, kind=kind, file="")
    except TemplateError as error:
        raise UsageError(
            error.cause, fix="Correct the name or the --point; quantities: docs/reference/quantities.md."
        ) from None


def _proved(name: str, text: str, kind: str) -> None:
    """The file must say what it was made from."""
    from gateway.cli.template_check import failures

    wrong = failures(_parsed(name, text, kind))
    if wrong:
        raise LamppostError(
            f"the template does not pass its own test: {wrong[0]}", code="template.test", fix="Report it."
        )


def _stored(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        frame = {"request": str(found["request"]), "answer": str(found["answer"])}
        bytes.fromhex(frame["request"] + frame["answer"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        cause = f"{path} is not what `lamppost modbus read --json` prints"
        raise UsageError(cause, fix="Make it with `lamppost modbus read ... --json > FILE`.") from None
    return frame


def _live(text: str, options: dict[str, Any]) -> dict[str, str]:
    address, plus, count = text.partition("+")
    if options["unit"] is None or not plus:
        raise UsageError(f"--read {text}: expected ADDRESS+COUNT, and --id", fix="Give such as --id 1 --read 0x0+20.")
    convert = Number().convert
    wanted = {"address": convert(address, None, None), "count": convert(count, None, None)}
    return read_registers({"unit": options["unit"], "function": options["function"], **wanted}, options)


def _point(text: str) -> Picked:
    match = _POINT.fullmatch(text)
    if match is None:
        fix = "Give such as voltage_l1=0x0000:f32 or current_l1=6:u16*0.001 or energy_import_total=0x48:u32:CDAB*0.01."
        raise UsageError(f"--point {text!r} is not QUANTITY=ADDRESS:TYPE[:ORDER][*SCALE]", fix=fix)
    return Picked(
        match["quantity"], int(match["address"], 0), match["type"], match["order"] or "ABCD", match["scale"] or "1"
    )


def _ask(exchanges: Sequence[Exchange]) -> list[Picked]:
    from drivers.guess import guesses
    from drivers.quantities import QUANTITIES

    if not os.isatty(0):
        raise UsageError("no points", fix="Give --point, or pick them on a terminal.")
    rows = [guess for one in exchanges for guess in guesses(one.registers, one.address or 0)]
    shown = [
        (at, f"0x{g.address:04X}", g.type, ORDER_NAMES[g.word_order, g.byte_order], number(g.value), g.plausible)
        for at, g in enumerate(rows, 1)
    ]
    click.echo(table(("row", "address", "type", "order", "value", "may be"), shown))
    picked: list[Picked] = []
    while answer := click.prompt(
        "row, quantity and scale (such as: 12 voltage_l1 0.1), empty to end", default="", show_default=False
    ):
        row, _, rest = str(answer).partition(" ")
        quantity, _, scale = rest.strip().partition(" ")
        if not row.isdecimal() or not 1 <= int(row) <= len(rows) or quantity not in QUANTITIES:
            click.echo("not a row of the list with a quantity of docs/reference/quantities.md")
            continue
        guess = rows[int(row) - 1]
        order = ORDER_NAMES[guess.word_order, guess.byte_order]
        picked.append(Picked(quantity, guess.address, guess.type, order, scale.strip() or f"{guess.scale:g}"))
    if not picked:
        raise UsageError("no points were picked", fix="Pick at least one.")
    return picked


def _write(name: str, text: str, options: dict[str, Any]) -> Path:
    from drivers.template import folder

    path: Path = (options["folder"] or folder()) / options["kind"] / f"{name}.yaml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if options["force"] else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} is there already", fix="Take another name, or give --force.") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", fix="Give --folder, or use sudo.") from None
    return path
