"""What a scan found, as lines to paste into the configuration. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

NAMELESS = "TEMPLATE"  # nothing known fits: somebody has to choose


def stanza(bus: str, settings: Mapping[str, Any], found: Iterable[Mapping[str, Any]]) -> str:
    """YAML of a bus (left out where ``settings`` are empty) and of the devices found on it.

    A device that could be several models names the first, and the others in a comment.
    """
    lines = ["buses:", f"  {bus}:", *(f"    {key}: {_scalar(value)}" for key, value in settings.items())]
    if not settings:
        lines = []
    devices = list(found)
    if devices:
        lines.append("devices:")
    names: set[str] = set()
    for one in devices:
        lines += _device(bus, one, names)
    return "\n".join(lines)


def _device(bus: str, one: Mapping[str, Any], names: set[str]) -> Iterator[str]:
    models = list(one.get("could_be") or ())
    yield f"  {_name(models, names)}:"
    rest = f"  # or: {', '.join(models[1:6])}" if len(models) > 1 else ""
    yield f"    template: {models[0] if models else NAMELESS}{rest or ('' if models else '  # none known fits')}"
    yield f"    bus: {bus}"
    if one.get("address") is not None:
        yield f"    address: {_scalar(one['address'])}"
    if one.get("encrypted"):
        yield "    key_file: FILE  # it encrypts: a file with the hexadecimal digits of its bind key"


def _name(models: list[str], names: set[str]) -> str:
    stem = re.sub(r"[^a-z0-9-]+", "-", models[0] if models else "device")[:56]
    name = next(name for name in (stem, *(f"{stem}-{n}" for n in range(2, 10_000))) if name not in names)
    names.add(name)
    return name


def _scalar(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z/][A-Za-z0-9_./-]*", value):
        return value
    return json.dumps(value, ensure_ascii=False)
