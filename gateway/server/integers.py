"""Integers of more than 64 bits in JSON: the decoder would make other numbers of them, so they are refused."""

from __future__ import annotations

import json
from typing import Any

from gateway.server.errors import BadRequestData

DIGITS = bytes(ord("0") if byte in b"-0123456789" else ord(" ") for byte in range(256))
SHORTEST = 20  # characters; 19 digits without a sign always fit
RUN = b"0" * SHORTEST
LEAST, MOST = -(2**63), 2**64 - 1


class _TooBig:
    """Stands where such a number was."""


def check_integers(body: bytes) -> None:
    """Refuse integers below -2^63 or from 2^64 in a body that is JSON. Raises BadRequestData with a JSON pointer."""
    if RUN not in body.translate(DIGITS):
        return
    try:
        content = json.loads(body, parse_int=_integer)
    except RecursionError:
        raise BadRequestData("the body is nested too deeply for numbers of this length") from None
    pointer = _find(content)
    if pointer is not None:
        raise BadRequestData(f"{pointer or '/'}: an integer of more than 64 bits; send it as text")


def _integer(text: str) -> int | _TooBig:
    if len(text) < SHORTEST:
        return 0
    return 0 if len(text) == SHORTEST and LEAST <= int(text) <= MOST else _TooBig()


def _find(content: Any) -> str | None:
    """The pointer of the first that is too big."""
    waiting = [("", content)]
    while waiting:
        pointer, value = waiting.pop()
        if isinstance(value, _TooBig):
            return pointer
        if isinstance(value, dict):
            parts = [(key.replace("~", "~0").replace("/", "~1"), part) for key, part in value.items()]
        elif isinstance(value, list):
            parts = [(str(index), part) for index, part in enumerate(value)]
        else:
            continue
        waiting.extend((f"{pointer}/{name}", part) for name, part in reversed(parts))
    return None
