"""Modbus registers to values: types, orders of words and bytes, "no value" sentinels, scales, texts, states.

A register is big-endian on the wire (Modbus application protocol v1.1b3, 4.2); the order of the registers of a wide
value is the vendor's choice, and some devices swap the bytes of each register too. Scale factors in a register, and
0x8000 for one that is not there: SunSpec Information Model Specification v1.9, 4.2 (sunssf).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES

if TYPE_CHECKING:
    from drivers.template import Point

EXPONENT_MAX = 10
SCALE_TINY = 1e-15
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
_TRUTHS = {"true": True, "false": False}


def decode(
    data: bytes,
    kind: str,
    word_order: str = "high-first",
    nan: Collection[int] = (),
    byte_order: str = "high-first",
) -> float | int | None:
    """The raw number at the start of ``data``; None for NaN, infinity or a raw number listed in ``nan``.

    ``nan`` lists numbers, or the bits of such a number without sign. An f32 is rounded to 9 significant digits, which
    name every f32 without loss. Raises BadFrame where bytes miss.
    """
    form = _FORMATS[kind]
    if len(data) < form.size:
        raise BadFrame(f"{len(data)} bytes are too few for a {kind}")
    raw = data[: form.size]
    if byte_order == "low-first":
        raw = _bytes_swapped(raw)
    if word_order == "low-first":
        raw = b"".join(raw[i : i + 2] for i in range(form.size - 2, -1, -2))
    value: float | int = form.unpack(raw)[0]
    if nan and (value in nan or int.from_bytes(raw, "big") in nan):
        return None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return float(f"{value:.9g}") if kind == "f32" else value
    return value


def text(data: bytes, byte_order: str = "high-first") -> str | None:
    """The ASCII text in registers, up to the first zero byte; None where there is none, or it is not printable."""
    raw = (_bytes_swapped(data) if byte_order == "low-first" else data).split(b"\0", 1)[0].strip(b" \xff")
    return raw.decode("ascii") if raw and all(32 <= byte < 127 for byte in raw) else None


def scaled(raw: float | int, scale: float) -> float | int:
    """``raw x scale``; a scale such as 0.001 divides by 1000, so that 2413 x 0.1 is 241.3 to the last digit."""
    if scale == 1:
        return raw
    inverse = round(1 / scale) if SCALE_TINY < abs(scale) < 1 else 0
    return raw / inverse if inverse and abs(inverse * scale - 1) < 1e-12 else raw * scale


def exponent(data: bytes, byte_order: str = "high-first") -> int | None:
    """The power of ten that a scale register holds; None where it is not there or makes no sense."""
    number = decode(data, "i16", nan=(-0x8000,), byte_order=byte_order)
    return number if isinstance(number, int) and abs(number) <= EXPONENT_MAX else None


def value(point: Point, data: bytes, power: int = 0) -> float | int | str | bool | None:
    """The value of a point whose registers are at the start of ``data``; None where the device has none.

    ``power`` is what its scale register holds. A number that its ``map`` does not list is left out. Raises BadFrame
    where bytes miss.
    """
    if point.type == "ascii":
        if len(data) < 2 * point.words:
            raise BadFrame(f"{len(data)} bytes are too few for {point.words} registers")
        return text(data[: 2 * point.words], point.byte_order)
    raw = decode(data, point.type, point.word_order, point.nan, point.byte_order)
    if raw is None:
        return None
    if point.map or QUANTITIES[point.quantity].kind == "state":
        word = point.map.get(int(raw)) if point.map else f"{raw:g}" if isinstance(raw, float) else str(raw)
        return None if word is None else _TRUTHS.get(word, word)
    number = scaled(raw, point.scale * 10.0**power if power else point.scale)
    number = number + point.offset if point.offset else number
    return number if math.isfinite(number) else None


def _bytes_swapped(data: bytes) -> bytes:
    swapped = bytearray(data[: len(data) // 2 * 2])
    swapped[0::2], swapped[1::2] = swapped[1::2], swapped[0::2]
    return bytes(swapped)
