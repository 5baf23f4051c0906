"""``lamppost template check``: does a template say what its own frames say?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.output import count, say_json
from gateway.errors import LamppostError, UsageError

if TYPE_CHECKING:
    from drivers.template import Example, Template

RELATIVE, ABSOLUTE = 1e-5, 1e-9


@click.command("check", short_help="Hold a template against its own frames.")
@click.argument("template")
@click.option("--json", "as_json", is_flag=True, help="One JSON object {name, ok, failures, ...}.")
def command(template: str, as_json: bool) -> int:
    """Check a TEMPLATE, by name or file: every key, and each frame of it against what it should decode to.

    Exit code 1 where something is wrong.
    """
    loaded = load(template)
    wrong = failures(loaded)
    if as_json:
        numbers = {"points": len(loaded.points) + len(loaded.fields), "frames": len(loaded.frames)}
        about = {"name": loaded.name, "evidence": loaded.evidence, **numbers}
        say_json({**about, "ok": not wrong, "failures": wrong})
        return int(bool(wrong))
    for failure in wrong:
        click.echo(f"wrong: {failure}")
    proven = f"{count(len(loaded.frames), 'frame')} decoded as expected" if loaded.frames else "no frame proves it"
    if not wrong:
        click.echo(f"{loaded.name}: {loaded.vendor} {loaded.model}, {proven}; evidence: {loaded.evidence}")
    return int(bool(wrong))


def load(template: str) -> Template:
    """A template by name, or out of a file. Raises LamppostError with the place of what is wrong in it."""
    from drivers import template as templates

    path = Path(template)
    try:
        if path.suffix != ".yaml":
            return templates.load(template)
        return templates.parse(
            path.read_text(encoding="utf-8"), name=path.stem, kind=path.absolute().parent.name, file=str(path)
        )
    except templates.TemplateError as error:
        raise LamppostError(str(error), code=error.code, fix=error.fix) from None
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(f"{path} cannot be read: {cause}", fix="Check the path.") from None


def failures(template: Template) -> list[str]:
    """What the frames of a template say that it does not expect, or the other way round; empty where all is right."""
    return [wrong for at, frame in enumerate(template.frames, 1) for wrong in _failures(template, frame, at)]


def _failures(template: Template, frame: Example, at: int) -> Iterator[str]:
    from drivers.codecs.framing import Hints
    from drivers.decoding import decode_with
    from drivers.errors import BadFrame

    try:
        found = decode_with(template, frame.request + frame.answer, Hints(topic=frame.topic))
    except BadFrame as error:
        yield f"frame {at}: {error}"
        return
    values = {measured.quantity: measured.value for measured in found}
    for quantity, expected in frame.expect.items():
        value = values.get(quantity)
        if not _same(value, expected):
            yield f"frame {at}: {quantity} is {value!r}, expected {expected!r}"


def _same(value: object, expected: object) -> bool:
    if isinstance(value, int | float) and isinstance(expected, int | float):
        return math.isclose(value, expected, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return value == expected
