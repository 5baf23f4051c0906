"""One appliance's own recording as a sequence of stays in a few levels (numpy; learning only)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
LEAST_ON_W = 8.0
LEVELS_MAX = 3  # besides off
SAMPLE_MAX = 4000  # values that the clustering looks at
GOOD_FIT = 0.06  # mean deviation from the levels, relative to their mean: no more levels are needed
GAP = -1


@dataclass(frozen=True, slots=True)
class Stay:
    """``length`` samples from ``start`` on in ``state``; ``whole``: neither end is cut by a gap or the recording's."""

    state: int
    start: int
    length: int
    whole: bool


def levels_of(power: Array, settle: int) -> list[float]:
    """The steady levels of an appliance in W, the first is off; only [standby] where it is never on."""
    known = power[~np.isnan(power)]
    if settle > 1 and len(known) > 2:  # a median of three takes out spikes of one sample
        known = np.median(np.stack([known[:-2], known[1:-1], known[2:]]), axis=0)
    threshold = _threshold(known)
    on = np.sort(known[known > threshold])
    idle = known[known <= threshold]
    standby = max(0.0, float(np.median(idle))) if len(idle) else 0.0
    if len(on) < 2:
        return [standby]
    sample = on[np.linspace(0, len(on) - 1, min(len(on), SAMPLE_MAX)).astype(int)]
    centres, error = _cluster(sample, 1)
    for count in range(2, LEVELS_MAX + 1):
        if error < GOOD_FIT * float(sample.mean()):
            break
        finer, finer_error = _cluster(sample, count)
        if finer_error > 0.75 * error:
            break
        centres, error = finer, finer_error
    return [standby, *(float(c) for c in centres if c > standby + LEAST_ON_W)]


def _threshold(known: Array) -> float:
    """Between off and the lowest level that matters."""
    least = max(LEAST_ON_W, 0.02 * float(known.max(initial=0.0)))
    on = known[known > least]
    return max(least, 0.2 * float(np.median(on))) if len(on) else least


def _cluster(sample: Array, count: int) -> tuple[Array, float]:
    """Lloyd's k-means in one dimension, begun at quantiles of the value range and of the samples; (centres, error)."""
    best: tuple[Array, float] = (np.array([sample.mean()]), float(np.abs(sample - sample.mean()).mean()))
    if count == 1:
        return best
    shares = (np.arange(count) + 0.5) / count
    for start in (np.quantile(sample, shares), sample[0] + (sample[-1] - sample[0]) * shares):
        centres = np.unique(start)
        for _ in range(30):
            nearest = np.abs(sample[:, None] - centres[None, :]).argmin(axis=1)
            centres = np.array([sample[nearest == k].mean() for k in range(len(centres)) if (nearest == k).any()])
        error = float(np.abs(sample[:, None] - centres[None, :]).min(axis=1).mean())
        if error < best[1]:
            best = np.sort(centres), error
    return best


def stays_of(power: Array, levels: list[float], shortest: int) -> list[Stay]:
    """The sequence of stays; ones shorter than ``shortest`` samples belong to the stay before (spikes, ramps)."""
    bounds = [0.6 * levels[0] + 0.4 * levels[1], *((x + y) / 2 for x, y in pairwise(levels[1:]))]
    states = np.digitize(np.nan_to_num(power), bounds)
    states[np.isnan(power)] = GAP
    cuts = np.nonzero(np.diff(states))[0] + 1
    starts = [0, *cuts.tolist()]
    ends = [*cuts.tolist(), len(states)]
    merged: list[list[int]] = []
    for start, end in zip(starts, ends, strict=True):
        state = int(states[start])
        short = end - start < shortest and state != GAP and merged and merged[-1][0] != GAP
        if merged and (short or merged[-1][0] == state):
            merged[-1][2] += end - start
        else:
            merged.append([state, start, end - start])
    return _with_ends(merged)


def _with_ends(runs: list[list[int]]) -> list[Stay]:
    """Mark the stays whose both ends were seen."""
    stays = []
    for k, (state, start, length) in enumerate(runs):
        whole = 0 < k < len(runs) - 1 and runs[k - 1][0] != GAP and runs[k + 1][0] != GAP
        stays.append(Stay(state, start, length, whole))
    return stays
