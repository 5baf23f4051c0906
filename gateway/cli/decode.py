"""``lamppost decode``: what a frame says, field by field."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.output import plain, say_json, table
from gateway.errors import LamppostError, UsageError

if TYPE_CHECKING:
    from drivers.base import Measurement
    from drivers.codecs.framing import Hints
    from drivers.decoding import Recognised

FILE_BYTES_MAX = 2**20


@click.command("decode", short_help="What does this frame say?")
@click.argument("frame")
@click.option("--as", "kind", metavar="CODEC|TEMPLATE", help="Decode it as this; without it the codec is found.")
@click.option("--key-file", type=click.Path(path_type=Path), help="File with the key (hex) of an encrypted frame.")
@click.option("--address", default="", help="Bluetooth address of the sender, where the key needs it.")
@click.option("--topic", default="", help="MQTT topic that the frame came on.")
@click.option("--json", "as_json", is_flag=True, help="A list of {quantity, value, unit, quality}.")
def command(frame: str, kind: str | None, key_file: Path | None, address: str, topic: str, as_json: bool) -> None:
    """Decode a FRAME: hexadecimal, base64, text or JSON; the name of a file with one; or - for standard input.

    For Modbus give request and answer one after the other, and with --as the template. Exit code 1 where the frame
    says nothing that can be relied on.
    """
    from drivers.codecs.framing import Hints
    from gateway.cli.decode_input import candidates, with_topic

    data, topic = with_topic(_read(frame), topic)
    hints = Hints(_key(key_file), address.upper(), topic)
    found = _decode(candidates(data), kind, hints)
    if as_json:
        say_json(items(found.measurements))
        return
    click.echo(f"{found.codec}:" if kind is None else f"{kind}:")
    if not found.measurements:
        click.echo("a good frame that carries no value")
        return
    rows = [(item["quantity"], item["value"], item["unit"], item["quality"]) for item in items(found.measurements)]
    click.echo(table(("quantity", "value", "unit", "quality"), rows))


def items(measurements: Iterable[Measurement]) -> list[dict[str, Any]]:
    """Measurements as ``--json`` shows them."""
    from drivers.quantities import QUANTITIES, plausible
    from gateway.edge.latest import json_value

    return [
        {
            "quantity": measured.quantity,
            "value": json_value(measured.value),
            "unit": QUANTITIES[measured.quantity].unit,
            "quality": "good" if plausible(measured.quantity, measured.value) else "bad",
        }
        for measured in measurements
    ]


def _decode(forms: list[bytes], kind: str | None, hints: Hints) -> Recognised:
    """The first form of the input that can be decoded. Raises LamppostError with the best reason where none can."""
    from drivers import decoding
    from drivers.errors import BadFrame, Misconfigured

    if kind is None:
        return _found(forms, hints)
    reasons = []
    for data in forms:
        try:
            if kind in decoding.codecs():
                return decoding.Recognised(kind, decoding.decode_as(kind, data, hints))
            return decoding.Recognised(kind, decoding.decode_with(_template(kind), data, hints))
        except BadFrame as error:
            reasons.append(str(error))
        except Misconfigured as error:
            raise LamppostError(str(error), code=error.code, fix=error.fix) from None
    raise LamppostError(f"not a good frame of {kind}: {reasons[0]}", code="decode.bad-frame", fix="Was it cut off?")


def _found(forms: list[bytes], hints: Hints) -> Recognised:
    from drivers import decoding
    from drivers.errors import BadFrame

    found = next((found for data in forms if (found := decoding.recognise(data, hints))), [])
    if not found:
        for data in forms:
            try:
                unit = _modbus_unit(data)
            except BadFrame:
                continue
            cause = f"registers of Modbus unit {unit}, whose meaning depends on the model"
            raise LamppostError(cause, code="decode.modbus", fix="Give --as TEMPLATE; see `lamppost template list`.")
        cause = "no codec takes this frame: it is damaged, encrypted, or of a kind that is not known"
        fix = f"Name it with --as; codecs: {', '.join(decoding.codecs())}."
        raise LamppostError(cause, code="decode.unknown", fix=fix)
    best = [one for one in found if one.measurements == found[0].measurements]
    rivals = [one.codec for one in found if len(one.measurements) == len(best[0].measurements) and one not in best]
    if rivals:
        names = ", ".join([best[0].codec, *rivals])
        raise LamppostError(
            f"several codecs take this frame: {names}", code="decode.ambiguous", fix="Name it with --as."
        )
    return best[0]


def _modbus_unit(data: bytes) -> int:
    from drivers import modbus_capture

    return modbus_capture.parse(data).unit


def _template(name: str) -> Any:
    from drivers import decoding, template
    from drivers.template_file import meant

    if name not in template.names():
        hint = meant(name, decoding.codecs() + template.names())
        fix = f"Codecs: {', '.join(decoding.codecs())}; templates: `lamppost template list`."
        raise UsageError(f"there is no codec and no template {name!r}{hint if 'mean' in hint else ''}", fix=fix)
    return template.load(name)


def _read(frame: str) -> bytes:
    if frame == "-":
        return sys.stdin.buffer.read(FILE_BYTES_MAX)
    try:
        if Path(frame).is_file():
            with Path(frame).open("rb") as file:
                return file.read(FILE_BYTES_MAX)
    except (OSError, ValueError):  # too long for a name, or with a zero byte: it is the frame itself
        pass
    return frame.encode("utf-8", "surrogateescape")


def _key(key_file: Path | None) -> bytes:
    if key_file is None:
        return b""
    try:
        return bytes.fromhex(key_file.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else "not hexadecimal"
        raise UsageError(
            f"{plain(str(key_file))}: {cause}", fix="A key file holds 24 or 32 hexadecimal digits."
        ) from None
