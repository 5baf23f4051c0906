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
SLIDE = 0.4  # of the distance of two levels: less in six samples, and it is no jump
DRIFT_SAMPLES = 12
DRIFT_STEP_W = 30.0
ONSET = 0.4  # of the lowest level: on begins; a load that modulates begins lower
ONSET_MODULATING = 0.08
MODULATES = 0.35  # of the level: a range wider than this is not noise
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
    return [standby, *_merged(known, on, [float(c) for c in centres if c > standby + LEAST_ON_W])]


def _merged(known: Array, on: Array, levels: list[float]) -> list[float]:
    """One level in place of neighbours between which the load passes slowly: it modulates there, they are none."""
    groups = [[level] for level in levels[:1]]
    for low, high in pairwise(levels):
        if _slides(known, low, high):
            groups[-1].append(high)
        else:
            groups.append([high])
    bounds = [(low[-1] + high[0]) / 2 for low, high in pairwise(groups)]
    parts = [on[np.digitize(on, bounds) == k] for k in range(len(groups))]
    return [float(part.mean()) if len(group) > 1 else group[0] for group, part in zip(groups, parts, strict=True)]


def _slides(known: Array, low: float, high: float) -> bool:
    """Whether most passages between two levels take longer than six samples."""
    above = known > (low + high) / 2
    within = (known[:-6] > low / 2) & (known[6:] > low / 2)
    at = np.nonzero((above[4:-2] != above[3:-3]) & within)[0]
    return len(at) > 0 and float(np.median(np.abs(known[at + 6] - known[at]))) < SLIDE * (high - low)


def drift_of(power: Array) -> float:
    """W per square root of a sample: slow change, from differences over ``DRIFT_SAMPLES``; steps count little."""
    if len(power) <= DRIFT_SAMPLES:
        return 0.0
    change = power[DRIFT_SAMPLES:] - power[:-DRIFT_SAMPLES]
    change = change[~np.isnan(change)]
    if not len(change):
        return 0.0
    spread = 1.4826 * float(np.median(np.abs(change)))
    steps = max(3 * spread, DRIFT_STEP_W)
    return float(np.sqrt(np.mean(np.minimum(np.abs(change), steps) ** 2) / DRIFT_SAMPLES))


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


def modulates(values: Array) -> bool:
    """Whether the values of one level move in a wide range."""
    if len(values) < 50:
        return False
    low, high = np.quantile(values, [0.01, 0.99])
    return bool(high - low > MODULATES * values.mean())


def stays_of(power: Array, levels: list[float], shortest: int) -> list[Stay]:
    """The sequence of stays; ones shorter than ``shortest`` samples belong to the stay before (spikes, ramps)."""
    lowest = power[(power > (levels[0] + levels[1]) / 2) & (power < sum(levels[1:3]) / len(levels[1:3]) + 1)]
    onset = ONSET_MODULATING if modulates(lowest) else ONSET
    bounds = [
        levels[0] + max(onset * (levels[1] - levels[0]), LEAST_ON_W / 2),
        *((x + y) / 2 for x, y in pairwise(levels[1:])),
    ]
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
