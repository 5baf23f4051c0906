"""What both sides know beforehand: the quantities with their units by number, and words for Zstandard to refer to.

``dictionary-1.json`` never changes once a release had it, since what was written with it must be read; a quantity that
it does not have is written by name. A new one gets a new number; packaging/dictionary.py makes it.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec

NUMBER = 1


class _File(msgspec.Struct):
    quantities: list[tuple[str, str]]
    words: list[str]


@cache
def names() -> tuple[tuple[str, str], ...]:
    """(quantity, unit) by number."""
    return tuple(_file().quantities)


@cache
def quantities() -> dict[tuple[str, str], int]:
    """Numbers by (quantity, unit)."""
    return {name: number for number, name in enumerate(names())}


def content() -> bytes:
    """What Zstandard may refer to: the words, joined by spaces; those at the end are the cheapest."""
    return " ".join(_file().words).encode()


@cache
def _file() -> _File:
    data = resources.files(__package__).joinpath(f"dictionary-{NUMBER}.json").read_bytes()
    return msgspec.json.decode(data, type=_File)
