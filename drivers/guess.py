"""Raw registers as every type and order, with what each number could plausibly be. Pure.

For people who stand before a device without a map: most readings of a register are nonsense, and a few are 231.4 V.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from drivers.codecs.registers import decode
from drivers.template import WIDTHS, Order, RegisterType

TYPES: tuple[RegisterType, ...] = ("u16", "i16", "u32", "i32", "f32", "u64", "i64", "f64")
ORDERS: tuple[Order, ...] = ("high-first", "low-first")
TINY, HUGE = 1e-4, 1e9  # a float read from the wrong place is most often far outside

# What an installer's meter or air sensor shows, at the scales that vendors use. Narrow on purpose: a hint, no proof.
_LIKELY: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "voltage": (207.0, 253.0),  # EN 50160: 230 V +- 10 %
        "voltage (120 V)": (108.0, 132.0),
        "voltage between phases": (360.0, 440.0),
        "frequency": (49.0, 51.0),
        "frequency (60 Hz)": (59.0, 61.0),
        "co2": (380.0, 2500.0),
        "pressure": (950.0, 1050.0),
    }
)
_SCALES = (1.0, 0.1, 0.01, 0.001)
_UNSCALED = ("co2",)


@dataclass(frozen=True, slots=True)
class Guess:
    """A number that begins at ``address``, read as ``type``; ``plausible`` says what it may be, "" for nothing known.

    ``scale`` makes it so.
    """

    address: int
    type: RegisterType
    word_order: Order
    byte_order: Order
    value: float | int
    plausible: str = ""
    scale: float = 1.0


def guesses(data: bytes, address: int) -> list[Guess]:
    """Every number that the registers can hold; types wider than what is left are left out."""
    return list(_guesses(data, address))


def _guesses(data: bytes, address: int) -> Iterator[Guess]:
    count = len(data) // 2
    for first in range(count):
        for kind in TYPES:
            if WIDTHS[kind] > count - first:
                continue
            for word_order, byte_order in _orders(kind):
                raw = data[2 * first : 2 * (first + WIDTHS[kind])]
                value = decode(_swapped(raw) if byte_order == "low-first" else raw, kind, word_order)
                if value is not None:
                    what, scale = _likely(kind, value)
                    yield Guess(address + first, kind, word_order, byte_order, value, what, scale)


def _orders(kind: RegisterType) -> list[tuple[Order, Order]]:
    words: tuple[Order, ...] = ORDERS if WIDTHS[kind] > 1 else ("high-first",)
    return [(word, byte) for byte in ORDERS for word in words]


def _swapped(raw: bytes) -> bytes:
    return b"".join(raw[at : at + 2][::-1] for at in range(0, len(raw), 2))


def _likely(kind: str, value: float | int) -> tuple[str, float]:
    if kind.startswith("f") and (not math.isfinite(value) or not TINY <= abs(value) <= HUGE):
        return "", 1.0
    scales = (1.0,) if kind.startswith("f") else _SCALES
    for what, (low, high) in _LIKELY.items():
        for scale in (1.0,) if what in _UNSCALED else scales:
            if low <= value * scale <= high:
                return what, scale
    return "", 1.0
