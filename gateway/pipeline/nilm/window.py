"""Layer (c), small supervised models: what they see of the mains, and their trees. Kernels: see ``jit``.

The features of an instant lie in a window of the mains that reaches back ``BACK`` samples and ahead ``AHEAD``, and in
what the tracker said. So the value of an instant is known ``AHEAD`` samples later, and memory is bounded. A window that
reaches over the begin or end of a run (a gap) sees the run's first or last sample there.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.pipeline.nilm.jit import Floats, Ints, kernel

STEPS = (1, 2, 3, 5, 8, 13, 21, 30)  # samples, either way
AHEAD = 30
FAR, FAR_STRIDE = 240, 8
BACK, BACK_STRIDE = 960, 32
RING = 1024  # more than BACK + AHEAD
LEAF = -1


class Forest(NamedTuple):
    """Trees of all loads, flat, each in preorder: the child for "not more" follows its node.

    ``start[k]``..``start[k + 1]``: the trees of model k in ``root``. ``feature`` is LEAF at leaves, whose ``value``
    adds up; elsewhere ``value`` is the threshold and ``right`` how far away the other child is.
    """

    start: Ints
    base: Floats
    root: Ints
    feature: Ints
    value: Floats
    right: Ints


def width(loads: int) -> int:
    """How many features there are for a tracker of so many loads."""
    return 1 + 2 * len(STEPS) + 3 * 6 + 2 * loads


@kernel
def _sweep(
    power: Floats, size: int, begin: int, end: int, stride: int, bounds: tuple[int, int], out: Floats, n: int
) -> int:
    """Least, most and mean of samples ``begin``..``end``; the next free feature."""
    low = high = power[min(max(end, bounds[0]), bounds[1]) % size]
    total = 0.0
    count = 0
    for k in range(begin, end + 1, stride):
        p = power[min(max(k, bounds[0]), bounds[1]) % size]
        low, high = min(low, p), max(high, p)
        total += p
        count += 1
    out[n], out[n + 1], out[n + 2] = low, high, total / count
    return n + 3


@kernel
def describe(power: Floats, watts: Floats, size: int, loads: int, i: int, bounds: tuple[int, int], out: Floats) -> None:
    """The features of sample i; ``bounds``: first and last sample known of its run.

    ``power`` and ``watts`` (``loads`` a sample: the tracker's) are rings of ``size`` samples.
    """
    p = power[i % size]
    out[0] = p
    n = 1
    for step in STEPS:
        out[n] = p - power[max(i - step, bounds[0]) % size]
        out[n + 1] = power[min(i + step, bounds[1]) % size] - p
        n += 2
    n = _sweep(power, size, i - 8, i, 1, bounds, out, n)
    n = _sweep(power, size, i, i + 8, 1, bounds, out, n)
    n = _sweep(power, size, i - AHEAD, i, 1, bounds, out, n)
    n = _sweep(power, size, i, i + AHEAD, 1, bounds, out, n)
    n = _sweep(power, size, i - FAR, i, FAR_STRIDE, bounds, out, n)
    n = _sweep(power, size, i - BACK, i, BACK_STRIDE, bounds, out, n)
    later = min(i + AHEAD, bounds[1]) % size
    for a in range(loads):
        out[n] = watts[(i % size) * loads + a]
        out[n + 1] = watts[later * loads + a]
        n += 2


@kernel
def estimate(forest: Forest, features: Floats, out: Floats) -> None:
    """What the trees of each small model sum to, W."""
    for k in range(len(forest.base)):
        total = forest.base[k]
        for tree in range(forest.start[k], forest.start[k + 1]):
            node = forest.root[tree]
            while forest.feature[node] != LEAF:
                node += 1 if features[forest.feature[node]] <= forest.value[node] else forest.right[node]
            total += forest.value[node]
        out[k] = total


@kernel
def describe_rows(
    power: Floats, watts: Floats, loads: int, rows: tuple[Ints, Ints, Ints], row: Floats, out: Floats
) -> None:
    """The features of some samples of a whole recording, row by row; rows: the sample, first and last of its run."""
    for r in range(len(rows[0])):
        describe(power, watts, len(power), loads, rows[0][r], (rows[1][r], rows[2][r]), row)
        for f in range(len(row)):
            out[r * len(row) + f] = row[f]


@kernel
def estimate_rows(
    power: Floats,
    watts: Floats,
    loads: int,
    runs: tuple[Ints, Ints],
    forest: Forest,
    scratch: tuple[Floats, Floats],
    out: Floats,
) -> None:
    """What the trees of each small model sum to at each sample of all runs (first and last); elsewhere it stays."""
    count = len(forest.base)
    for r in range(len(runs[0])):
        bounds = (runs[0][r], runs[1][r])
        for i in range(bounds[0], bounds[1] + 1):
            describe(power, watts, len(power), loads, i, bounds, scratch[0])
            estimate(forest, scratch[0], scratch[1])
            for k in range(count):
                out[i * count + k] = scratch[1][k]
