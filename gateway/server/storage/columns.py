"""Columns of numbers as few bytes. Pure; integers wrap around at 64 bits, so all of them come back."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Packed: TypeAlias = list[Any]
SIZES = (np.dtype(np.int8), np.dtype(np.int16), np.dtype(np.int32), np.dtype(np.int64))
LIMITS = tuple(2 ** (8 * size.itemsize - 1) for size in SIZES)
DECIMALS_MAX = 6
EXACT = 2.0**53


def pack(values: Ints, order: int = 1) -> Packed:
    """[first values, size, bytes] of the differences of an order: 1 for what stays near, 2 for what goes by steps."""
    heads: list[int] = []
    for _ in range(order):
        if not len(values):
            break
        heads.append(int(values[0]))
        values = np.diff(values)
    size = 0
    if len(values):
        low, high = int(values.min()), int(values.max())
        size = next(n for n, limit in enumerate(LIMITS) if -limit <= low and high < limit)
    return [heads, size, values.astype(SIZES[size]).tobytes()]


def unpack(packed: Packed) -> Ints:
    """The values."""
    heads, size, data = packed
    values: Ints = np.frombuffer(data, SIZES[size])
    if len(heads) == 2 and data.count(0) == len(data):  # even steps, as most times are
        even: Ints = np.arange(len(values) + 2, dtype=np.int64) * heads[1] + heads[0]
        return even
    for head in reversed(heads):
        steps = np.empty(len(values) + 1, np.int64)
        steps[0], steps[1:] = head, values
        values = np.add.accumulate(steps)
    return values if heads else values.astype(np.int64)


def constant(packed: Packed) -> int | None:
    """The value, where all are the same and differences of the first order were packed; a cheap look."""
    heads, _, data = packed
    return heads[0] if len(heads) == 1 and data.count(0) == len(data) else None


def pack_floats(values: Floats) -> Packed:
    """[decimals, packed] where all have few decimals, else [-1, bytes by significance]."""
    for decimals in range(DECIMALS_MAX + 1):
        scaled = np.round(values * 10.0**decimals)
        if not (np.abs(scaled) < EXACT).all():
            break
        if (scaled / 10.0**decimals == values).all() and not (np.signbit(values) & (values == 0)).any():
            return [decimals, pack(scaled.astype(np.int64))]
    return [-1, values.view(np.uint8).reshape(-1, 8).T.tobytes()]


def unpack_floats(packed: Packed) -> Floats:
    """The values."""
    decimals, data = packed
    if decimals < 0:
        return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(8, -1).T).view(np.float64).reshape(-1)
    scaled: Floats = unpack(data) / 10.0**decimals
    return scaled
