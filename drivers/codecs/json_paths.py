"""Values out of a JSON document by path: what templates of devices that speak JSON are made of.

A path is a row of steps: ``a.b[0].c`` is the member ``c`` of the first element of the list ``b`` in the member ``a``.
A key that holds a dot, a bracket, a quote or a hash stands in brackets and double quotes: ``["pm2.5"].value``; within
the quotes a backslash takes the next character as it is. Elements of lists count from 0. There are no wildcards.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

from drivers.base import Measurement
from drivers.codecs.registers import scaled
from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES

if TYPE_CHECKING:
    from drivers.template import Field

DOCUMENT_BYTES_MAX = 64 * 1024
PATH_CHARACTERS_MAX = 256
STEPS_MAX = 16
WORD_CHARACTERS_MAX = 128  # of the value of a state

Steps = tuple[str | int, ...]

_STEP = re.compile(
    r"""(?P<dot>\.)?
        (?: (?P<name>[^.\[\]"\\#]+)
          | \[(?P<index>[0-9]{1,5})\]
          | \["(?P<quoted>(?:[^"\\]|\\.)*)"\] )""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_NUMBER_CHARACTERS_MAX = 32
_TRUTHS = {"true": True, "false": False}


def parse(data: bytes, bytes_max: int = DOCUMENT_BYTES_MAX) -> object:
    """The document in ``data``. Raises BadFrame for what is too long, nested too deep or not JSON."""
    if len(data) > bytes_max:
        raise BadFrame(f"a JSON document of {len(data)} bytes; at most {bytes_max} are read")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadFrame(f"not JSON: {error}") from None


@lru_cache(maxsize=4096)
def steps(path: str) -> Steps:
    """The steps of a path. Raises ValueError with the place of the mistake."""
    if not path or len(path) > PATH_CHARACTERS_MAX:
        raise ValueError(f"a path has 1 to {PATH_CHARACTERS_MAX} characters, not {len(path)}")
    found: list[str | int] = []
    at = 0
    while at < len(path):
        step = _STEP.match(path, at)
        # a dot stands before every name but the first, and before nothing else
        if step is None or (step["dot"] is not None) != (step["name"] is not None and at > 0):
            raise ValueError(f'path {path!r}: expected a step such as .name, [0] or ["name"] at character {at + 1}')
        if step["name"] is not None:
            found.append(step["name"])
        elif step["index"] is not None:
            found.append(int(step["index"]))
        else:
            found.append(re.sub(r"\\(.)", r"\1", step["quoted"], flags=re.DOTALL))
        at = step.end()
    if len(found) > STEPS_MAX:
        raise ValueError(f"path {path!r} has {len(found)} steps; at most {STEPS_MAX} are taken")
    return tuple(found)


def get(document: object, path: str) -> object | None:
    """What stands at the path, None where nothing does. Raises ValueError for what is no path."""
    for step in steps(path):
        if isinstance(step, str) and isinstance(document, dict):
            document = document.get(step)
        elif isinstance(step, int) and isinstance(document, list) and step < len(document):
            document = document[step]
        else:
            return None
    return document


def number(value: object) -> float | int | None:
    """A finite number, also one written as text ("12.5", as many devices do). None for everything else, true and false.

    Words such as "nan" and "inf" are no numbers.
    """
    if isinstance(value, str) and len(value) <= _NUMBER_CHARACTERS_MAX:
        text = value.strip(" ")
        if not _NUMBER.fullmatch(text):
            return None
        value = float(text) if any(sign in text for sign in ".eE") else int(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def measurements(document: object, fields: Iterable[Field]) -> tuple[Measurement, ...]:
    """What the document says of each field; a field that is not there, or holds no such value, is left out.

    A number becomes ``value x scale + offset``. A field with a ``map`` is looked up in it: what it does not list is
    left out. A state without a map keeps its word. true and false, also as words of a map, are truth values of a state
    and no numbers. Of several fields of one quantity the first with a value counts.
    """
    found: dict[str, Measurement] = {}
    for field in fields:
        if field.quantity not in found:
            value = convert(get(document, field.path), field)
            if value is not None:
                found[field.quantity] = Measurement(field.quantity, value)
    return tuple(found.values())


def check(fields: Iterable[Field]) -> None:
    """Raise ValueError for the first field whose path is none."""
    for field in fields:
        steps(field.path)


def convert(raw: object, field: Field) -> float | int | str | None:
    """The value of a field from what stands at its path; None where that is none."""
    is_state = QUANTITIES[field.quantity].kind == "state"
    if field.map or is_state:
        word = _word(raw)
        word = field.map.get(word) if field.map and word is not None else word
        return _TRUTHS.get(word, word) if is_state and word is not None else number(word)
    value = number(raw)
    if value is None:
        return None
    value = scaled(value, field.scale)
    value = value + field.offset if field.offset else value
    return value if math.isfinite(value) else None


def _word(raw: object) -> str | None:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, int | float):
        return f"{raw:.0f}" if raw == int(raw) else str(raw)
    return raw if isinstance(raw, str) and 0 < len(raw) <= WORD_CHARACTERS_MAX else None
