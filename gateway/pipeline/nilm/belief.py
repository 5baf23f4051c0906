"""What a belief consists of, as the kernels see it: the model and the hypotheses as flat sequences, and their costs."""

from __future__ import annotations

import math
from typing import NamedTuple

from gateway.pipeline.nilm.jit import Floats, Ints, kernel

WIDTH = 32  # hypotheses kept
HALF_LOG_2PI = 0.9189385332046727
UNKNOWN_HALF = 48  # bins of unknown edges of one sign
UNKNOWN_FIRST_W = 4.0
COUNT, BEST, NOW = 0, 1, 2  # places in Beam.size


class Tables(NamedTuple):
    """A model as flat sequences. States of all loads are numbered through; ``first[a]`` is the off state of load a."""

    first: Ints  # loads + 1
    level: Floats  # per state, W: the mean
    low: Floats  # per state, W: range that a modulating load moves in; else both are the level
    high: Floats
    drift: Floats  # per state, W^2 per sample: variance of slow change; 0: a fixed level
    factor: Floats  # per load: mains W for each W of its own
    longest: Ints  # per state, samples; off: unbounded
    run_longest: Ints  # per load, samples
    prior: Floats  # per state: cost of being in it when nothing is known
    log_hazard: Floats  # per state and bin of stay: -log hazard
    hazard: Floats  # the same as a rate per sample
    cumulative: Floats  # the same summed up to the beginning of the bin
    arcs: Ints  # states + 1: transitions arcs[s]..arcs[s+1] leave s
    target: Ints  # per transition
    edge: Floats  # per transition, W
    spread: Floats  # per transition, W
    arc_cost: Floats  # per transition: -log share
    unknown: Floats  # per bin of signed size: -log density
    radix: Ints  # per load: weight in the code of a joint state
    floor: Floats  # [W that loads without a model draw at least, W^2 per sample of their drift]


class Beam(NamedTuple):
    """All hypotheses; what is per (hypothesis, load) lies at ``h * loads + a``. ``to_*``: the next beam."""

    size: Ints  # [hypotheses, best hypothesis, now in samples]
    base: Floats
    score: Floats
    explained: Floats  # W
    code: Ints
    over: Ints  # samples in a row of explaining too much
    power: Floats  # W believed to be drawn
    state: Ints
    since: Ints
    run: Ints  # sample at which the load left off
    to_base: Floats
    to_score: Floats
    to_explained: Floats
    to_code: Ints
    to_over: Ints
    to_power: Floats
    to_state: Ints
    to_since: Ints
    to_run: Ints
    cost: Floats  # candidates
    parent: Ints
    arc1: Ints
    arc2: Ints


@kernel
def stay_bin(stay: int) -> int:
    """The bin of a stay: 0, 1, 2, 3, then two per octave."""
    bin_ = 0
    while stay >= 4:
        stay >>= 1
        bin_ += 2
    return bin_ + stay if bin_ + stay < 44 else 43


@kernel
def bin_start(bin_: int) -> int:
    """The shortest stay in a bin."""
    if bin_ < 4:
        return bin_
    return (2 + (bin_ & 1)) << ((bin_ - 2) >> 1)


@kernel
def unknown_bin(edge: float) -> int:
    """The bin of an edge's signed size."""
    size = abs(edge) / UNKNOWN_FIRST_W
    bin_ = 0 if size <= 1.0 else min(int(4.0 * math.log2(size)), UNKNOWN_HALF - 1)
    return UNKNOWN_HALF + bin_ if edge > 0 else bin_


@kernel
def stayed(t: Tables, state: int, stay: int) -> float:
    """Cost of a stay that goes on."""
    bin_ = stay_bin(stay)
    place = state * 44 + bin_
    return t.cumulative[place] + (stay - bin_start(bin_)) * t.hazard[place]


@kernel
def fit(edge: float, mean: float, spread: float) -> float:
    """Cost of an edge under a transition: Student's t with 4 degrees of freedom; ramps and noise leave long tails."""
    z = (edge - mean) / spread
    return 2.5 * math.log(1.0 + 0.25 * z * z) + math.log(spread) + HALF_LOG_2PI
