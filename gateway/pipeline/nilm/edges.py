"""Edges of power: from samples to steps between steady levels. O(1) a sample.

A sample within the threshold of the steady level moves the level and the noise estimate. One outside it begins a move,
which ends when ``settle`` samples in a row agree, or after ``ramp_max`` samples; a ramp over several samples is so one
edge, dated at its end. A spike (a motor's start-up current) that comes back to where it began is no edge; one that
settles elsewhere is an edge to the settled level. The threshold grows with the noise.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.pipeline.nilm.jit import Floats, Ints, floats, ints, kernel

LEVEL, NOISE, BEGIN, SETTLED = 0, 1, 2, 3  # places in Detector.f, all W
STEADY_COUNT, SETTLE_COUNT, MOVED = 0, 1, 2  # places in Detector.i, samples; MOVED 0: steady
MEMORY = 8  # samples that the steady level remembers
NOISE_GAIN = 0.05
NOISE_MAX_W = 60.0  # a base that trembles more than this must not blind the detector to large loads


class EdgeSettings(NamedTuple):
    """``threshold_w`` W; ``noise_factor`` thresholds per W of noise; ``ramp_max`` and ``settle`` samples."""

    threshold_w: float
    noise_factor: float
    ramp_max: int
    settle: int


class Detector(NamedTuple):
    """The detector's memory: see the names of the places above."""

    f: Floats
    i: Ints


def new_detector() -> Detector:
    """A detector that has seen nothing."""
    return Detector(floats([0.0] * 4), ints([0] * 3))


@kernel
def reset(detector: Detector) -> None:
    """Forget the level (a gap: what happened in it is not known); the noise estimate stays."""
    detector.i[STEADY_COUNT] = 0
    detector.i[SETTLE_COUNT] = 0
    detector.i[MOVED] = 0


@kernel
def detect(power: float, settings: EdgeSettings, detector: Detector) -> float:
    """Take one sample (W, not NaN); the size of the edge that it completes (W), 0.0 for none."""
    f, i = detector.f, detector.i
    if i[STEADY_COUNT] == 0:
        f[LEVEL] = power
        i[STEADY_COUNT] = 1
        return 0.0
    threshold = max(settings.threshold_w, settings.noise_factor * f[NOISE])
    if i[MOVED] == 0:
        difference = power - f[LEVEL]
        if abs(difference) <= threshold:
            i[STEADY_COUNT] = min(i[STEADY_COUNT] + 1, MEMORY)
            f[LEVEL] += difference / i[STEADY_COUNT]
            f[NOISE] = min(NOISE_MAX_W, f[NOISE] + NOISE_GAIN * (abs(difference) - f[NOISE]))
            return 0.0
        f[BEGIN] = f[LEVEL]
        i[SETTLE_COUNT] = 0
    return _move(power, threshold, settings, detector)


@kernel
def _move(power: float, threshold: float, settings: EdgeSettings, detector: Detector) -> float:
    """One sample of a move; the edge when it is over."""
    f, i = detector.f, detector.i
    i[MOVED] += 1
    # relative part: a large load that ramps or trembles by a few per cent has arrived all the same
    tolerance = max(threshold, 0.03 * abs(f[SETTLED] - f[BEGIN]))
    if i[SETTLE_COUNT] > 0 and abs(power - f[SETTLED]) <= tolerance:
        i[SETTLE_COUNT] += 1
        f[SETTLED] += (power - f[SETTLED]) / i[SETTLE_COUNT]
    else:
        i[SETTLE_COUNT] = 1
        f[SETTLED] = power
    if i[SETTLE_COUNT] < settings.settle and i[MOVED] < settings.ramp_max:
        return 0.0
    edge = f[SETTLED] - f[BEGIN]
    f[LEVEL] = f[SETTLED]
    i[STEADY_COUNT] = i[SETTLE_COUNT]
    i[MOVED] = 0
    return edge if abs(edge) > threshold else 0.0
