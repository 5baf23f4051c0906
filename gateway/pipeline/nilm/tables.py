"""From a model to the flat sequences that the kernels take, and an empty beam for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from gateway.pipeline.nilm.beam import PAIRS_FROM
from gateway.pipeline.nilm.belief import WIDTH, Beam, Tables, bin_start
from gateway.pipeline.nilm.edges import EdgeSettings
from gateway.pipeline.nilm.jit import floats, ints
from gateway.pipeline.nilm.model import BINS, LoadModel, Model, SmallModel, Transition
from gateway.pipeline.nilm.window import Forest

FOREVER = 2**50  # samples: off has no end
NEVER_COST = 40.0  # nats: -log of a rate that stands for "not seen"


def settings_of(model: Model) -> EdgeSettings:
    """The edge detector's settings."""
    own = model.thresholds
    return EdgeSettings(own.threshold_w, own.noise_factor, own.ramp_max, own.settle)


def tables_of(model: Model) -> Tables:
    """The model, flat. States are numbered through over all loads."""
    states = [state for load in model.loads for state in load.states]
    first = [0, *accumulate(len(load.states) for load in model.loads)]
    arcs = [(first[a] + arc.source, first[a] + arc.target, arc) for a, arc in _arcs(model.loads)]
    arcs.sort(key=lambda arc: arc[:2])
    starts = [sum(source < s for source, _, _ in arcs) for s in range(len(states) + 1)]
    rates = [rate for state in states for rate in state.hazard]
    radix = [1, *accumulate((len(load.states) for load in model.loads), lambda x, y: x * y)][:-1]
    offs = set(first)
    return Tables(
        first=ints(first),
        level=floats(state.level_w for state in states),
        low=floats(state.low_w for state in states),
        high=floats(state.high_w for state in states),
        drift=floats(state.drift_w**2 for state in states),
        factor=floats(load.factor for load in model.loads),
        longest=ints(FOREVER if s in offs else state.longest for s, state in enumerate(states)),
        run_longest=ints(load.longest_run for load in model.loads),
        prior=floats(-math.log(min(max(state.share, 1e-6), 0.9)) for state in states),
        log_hazard=floats(-math.log(rate) for rate in rates),
        hazard=floats(rates),
        cumulative=floats(total for state in states for total in _cumulative(state.hazard)),
        arcs=ints(starts),
        target=ints(target for _, target, _ in arcs),
        edge=floats(arc.edge_w for _, _, arc in arcs),
        spread=floats(arc.spread_w for _, _, arc in arcs),
        arc_cost=floats(-math.log(arc.share) for _, _, arc in arcs),
        unknown=floats(-math.log(rate) if rate > 0 else NEVER_COST for rate in model.unknown),
        radix=ints(radix),
        floor=floats([model.floor_w, model.drift_w**2]),
    )


def _arcs(loads: tuple[LoadModel, ...]) -> list[tuple[int, Transition]]:
    """(load, transition) for all."""
    return [(a, arc) for a, load in enumerate(loads) for arc in load.transitions]


def _cumulative(hazard: tuple[float, ...]) -> list[float]:
    """The cumulative hazard at the beginning of each bin of stay."""
    widths = [bin_start(b + 1) - bin_start(b) for b in range(BINS - 1)]
    return [0.0, *accumulate(rate * width for rate, width in zip(hazard, widths, strict=False))]


def new_beam(model: Model) -> Beam:
    """An empty beam with room for every candidate that an edge can give."""
    loads = len(model.loads)
    outgoing = sum(
        max(sum(arc.source == s for arc in load.transitions) for s in range(len(load.states))) for load in model.loads
    )
    candidates = WIDTH * (1 + outgoing) + PAIRS_FROM * outgoing * outgoing
    row, cells, spare = [0] * WIDTH, [0] * (WIDTH * loads), [0] * candidates
    return Beam(
        ints([0, 0, 0]),
        floats(row), floats(row), floats(row), ints(row), ints(row),
        floats(cells), ints(cells), ints(cells), ints(cells),
        floats(row), floats(row), floats(row), ints(row), ints(row),
        floats(cells), ints(cells), ints(cells), ints(cells),
        floats(spare), ints(spare), ints(spare), ints(spare),
    )  # fmt: skip


def forest_of(small: Sequence[SmallModel]) -> Forest:
    """The trees of all small models, flat."""
    begins = [0, *accumulate(len(own.features) for own in small)]
    return Forest(
        start=ints([0, *accumulate(len(own.roots) for own in small)]),
        base=floats(own.base_w for own in small),
        root=ints(begin + root for begin, own in zip(begins, small, strict=False) for root in own.roots),
        feature=ints(feature for own in small for feature in own.features),
        value=floats(value for own in small for value in own.values),
        right=ints(right for own in small for right in own.rights),
    )
