"""Modbus registers to numbers: types, word order, "no value" sentinels, scale.

Bytes inside a register are always big-endian (Modbus application protocol v1.1b3, 4.2); the order of the registers of a
wide value is the vendor's choice.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Mapping
from types import MappingProxyType

from drivers.errors import BadFrame

_FORMATS: Mapping[str, struct.Struct] = MappingProxyType(
    {
        kind: struct.Struct(code)
        for kind, code in {
            "u16": ">H",
            "i16": ">h",
            "u32": ">I",
            "i32": ">i",
            "u64": ">Q",
            "i64": ">q",
            "f32": ">f",
            "f64": ">d",
        }.items()
    }
)


def decode(data: bytes, kind: str, word_order: str = "high-first", nan: Collection[int] = ()) -> float | int | None:
    """The raw number at the start of ``data``; None for NaN, infinity or a raw number listed in ``nan``.

    An f32 is rounded to 9 significant digits, which name every f32 without loss. Raises BadFrame where bytes miss.
    """
    form = _FORMATS[kind]
    if len(data) < form.size:
        raise BadFrame(f"{len(data)} bytes are too few for a {kind}")
    raw = data[: form.size]
    if word_order == "low-first":
        raw = b"".join(raw[i : i + 2] for i in range(form.size - 2, -1, -2))
    value: float | int = form.unpack(raw)[0]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return float(f"{value:.9g}") if kind == "f32" else value
    return None if value in nan else value


def scaled(raw: float | int, scale: float) -> float | int:
    """``raw x scale``; a scale such as 0.001 divides by 1000, so that 2413 x 0.1 is 241.3 to the last digit."""
    if scale == 1:
        return raw
    inverse = round(1 / scale) if abs(scale) < 1 else 0
    return raw / inverse if inverse and abs(inverse * scale - 1) < 1e-12 else raw * scale
