"""Learn a model from a recording with labels: one series per appliance and the mains, all in W at one period (numpy).

Levels and stays come from the appliance's own series; the edges that a change of level makes come from the mains where
it was recorded (it may be apparent power, and ramps look different). Edges of the mains that no labelled appliance
made tell how often to expect a foreign one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gateway.pipeline.nilm.batch import Array, edges
from gateway.pipeline.nilm.belief import UNKNOWN_FIRST_W, UNKNOWN_HALF, bin_start, stay_bin, unknown_bin
from gateway.pipeline.nilm.edges import EdgeSettings
from gateway.pipeline.nilm.levels import Stay, drift_of, levels_of, modulates, stays_of
from gateway.pipeline.nilm.model import (
    BINS,
    LOADS_MAX,
    UNKNOWN_BINS,
    VERSION,
    LoadModel,
    Model,
    State,
    SteadyLoad,
    Thresholds,
    Transition,
)
from gateway.pipeline.nilm.result import ModelError, NothingLearnedError

RUNS_MIN = 2  # an appliance seen less often than this is not learned
STEADY_LEAST_W = 1.0
STEADY_WITHIN = 0.25  # of its level: about that
LONGER = 1.5  # a stay may last this much longer than the longest seen
# of a load between two phases often one leg only is labelled, so the mains shows twice its change
ROUGH = 1.5  # relative
SETTINGS = Thresholds(threshold_w=12.0, noise_factor=4.0, ramp_max=5, settle=2)


@dataclass(slots=True)
class _Found:
    """What was seen of one transition: when, own changes of level, sizes of the mains edges that it made."""

    starts: list[int] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    pairs: list[tuple[float, float]] = field(default_factory=list)  # (size, own change)


@dataclass(frozen=True, slots=True)
class Edges:
    """Edges of a series: index of the completing sample, size in W, and whether nobody has claimed it."""

    at: npt.NDArray[np.int64]
    sizes: Array
    free: npt.NDArray[np.bool_]


def learn(
    series: Mapping[str, Array],
    mains: Array | None,
    period_s: float,
    provenance: str,
    thresholds: Thresholds = SETTINGS,
) -> Model:
    """A model of all appliances that were seen running at least twice.

    ``series``: W by name; ``mains``: W, None: their sum; NaN is a gap. Raises ModelError for no such data and
    NothingLearnedError where nothing can be learned from it.
    """
    total = np.sum([np.nan_to_num(own) for own in series.values()], axis=0) if series else np.zeros(0)
    if not series or len(total) < 10 or (mains is not None and len(mains) != len(total)):
        raise ModelError("nothing to learn from: no appliance, or series of different or no length")
    power = total if mains is None else mains
    mains_edges = edges_of(power, thresholds)
    loads, steady, skipped = [], [], []
    largest = sorted(series, key=lambda name: -float(np.nansum(series[name])))[:LOADS_MAX]
    skipped += [name for name in series if name not in largest]
    for name in (name for name in series if name in largest):
        own = np.where(np.isnan(power), np.nan, series[name])
        load = _learn_load(name, own, thresholds, mains_edges)
        if load is not None:
            loads.append(load)
        elif (constant := _steady(name, own)) is not None:
            steady.append(constant)
        else:
            skipped.append(name)
    if not loads and not steady:
        raise NothingLearnedError(f"no appliance ran at least {RUNS_MIN} times in the training data")
    days = len(power) * period_s / 86400
    return Model(
        version=VERSION,
        period_s=period_s,
        loads=tuple(loads),
        thresholds=thresholds,
        unknown=_unknown(mains_edges.sizes[mains_edges.free], int((~np.isnan(power)).sum())),
        floor_w=max(0.0, float(np.nanquantile(power - total, 0.01))) * 0.8,
        drift_w=max(0.05, drift_of(power - total)),
        steady=tuple(steady),
        provenance=provenance,
        trained_on=f"{days:.2f} days, {len(power)} samples; seen too seldom: {', '.join(skipped) or 'none'}",
    )


def edges_of(power: Array, thresholds: Thresholds) -> Edges:
    """The edges of a series, nobody's yet."""
    at, sizes = edges(
        power,
        EdgeSettings(thresholds.threshold_w, thresholds.noise_factor, thresholds.ramp_max, thresholds.settle),
    )
    return Edges(at, sizes, np.ones(len(at), dtype=bool))


def _learn_load(
    name: str,
    own: Array,
    thresholds: Thresholds,
    mains: Edges,
) -> LoadModel | None:
    """One appliance; None where it ran too seldom. Marks the mains edges that it made as no longer free."""
    levels = levels_of(own, thresholds.settle)
    if len(levels) < 2:
        return None
    stays = stays_of(own, levels, thresholds.settle)
    if sum(stay.state > 0 and (k == 0 or stays[k - 1].state == 0) for k, stay in enumerate(stays)) < RUNS_MIN:
        return None
    used = sorted({stay.state for stay in stays if stay.state > 0})
    place = {-1: -1, 0: 0} | {state: k + 1 for k, state in enumerate(used)}  # levels only seen in spikes go
    stays = [Stay(place[stay.state], stay.start, stay.length, stay.whole) for stay in stays]
    own_edges = edges_of(own, thresholds)
    found = _transitions(own, stays, own_edges, mains, thresholds.ramp_max + thresholds.settle)
    states = tuple(_state(own, stays, k) for k in range(len(used) + 1))
    ratios = [size / change for entry in found.values() for size, change in entry.pairs]
    factor = min(10.0, max(0.1, float(np.median(ratios)))) if len(ratios) >= 3 else 1.0
    transitions = _closed(found, states, factor, thresholds.threshold_w)
    for k, state in enumerate(states):
        if state.drift_w > 0:
            mine = [stay for stay in stays if stay.state == k]
            transitions += _modulations(mine, k, own_edges, mains, factor)
    return LoadModel(name=name, states=states, transitions=transitions, longest_run=_longest_run(stays), factor=factor)


def _steady(name: str, own: Array) -> SteadyLoad | None:
    """A load that hardly ever switches, at the power from which it is off by the least on average: the median."""
    known = own[~np.isnan(own)]
    level = float(np.median(known)) if len(known) else 0.0
    if level < STEADY_LEAST_W:
        return None
    return SteadyLoad(name, level, float((np.abs(known - level) <= STEADY_WITHIN * level).mean()))


def _modulations(stays: list[Stay], k: int, own_edges: Edges, mains: Edges, factor: float) -> tuple[Transition, ...]:
    """Edges within a stay that the load made by modulating; claims them."""
    sizes = []
    for stay in stays:
        low, high = np.searchsorted(own_edges.at, [stay.start, stay.start + stay.length])
        for own in range(low, high):
            e = _nearest(mains, int(own_edges.at[own]), float(own_edges.sizes[own]) * factor, 2, 0.5)
            if own_edges.free[own] and e >= 0:
                mains.free[e] = False
                sizes.append(float(mains.sizes[e]))
    time = sum(stay.length for stay in stays)
    arcs = []
    for some in ([size for size in sizes if size < 0], [size for size in sizes if size > 0]):
        if len(some) >= 3:
            middle = float(np.median(some))
            spread = max(0.4 * abs(middle), 1.4826 * float(np.median(np.abs(np.array(some) - middle))))
            arcs.append(Transition(k, k, middle, spread, min(1.0, len(some) / time)))
    return tuple(arcs)


def _transitions(
    own: Array, stays: list[Stay], own_edges: Edges, mains: Edges, reach: int
) -> dict[tuple[int, int], _Found]:
    """Each change of state with the mains edge that it made."""
    found: dict[tuple[int, int], _Found] = {}
    for before, stay in pairwise(stays):
        if before.state < 0 or stay.state < 0:
            continue
        lead = float(np.median(own[max(before.start, stay.start - 4) : max(before.start + 1, stay.start - 1)]))
        settled = own[stay.start + 1 : stay.start + 5] if stay.length > 1 else own[stay.start : stay.start + 1]
        change = float(np.nanmedian(settled)) - lead
        k = _nearest(own_edges, stay.start, change, reach, ROUGH)  # a ramp: as far as an edge of it goes
        entry = found.setdefault((before.state, stay.state), _Found())
        entry.starts.append(stay.start)
        entry.own.append(float(own_edges.sizes[k]) if k >= 0 else change)
        if k >= 0:
            own_edges.free[k] = False
    for entry in found.values():
        _match(entry, mains, reach)
    return found


def _match(entry: _Found, mains: Edges, reach: int) -> None:
    """Find the mains edges of one transition and claim them.

    First by direction and rough size, which gives the factor between mains and appliance (apparent and active power
    differ by half for a fridge); then by that.
    """
    claims = [
        _nearest(mains, start, change, reach, ROUGH) for start, change in zip(entry.starts, entry.own, strict=True)
    ]
    ratios = [mains.sizes[k] / change for k, change in zip(claims, entry.own, strict=True) if k >= 0]
    factor = float(np.median(ratios)) if len(ratios) >= 3 else 1.0
    for start, change in zip(entry.starts, entry.own, strict=True):
        k = _nearest(mains, start, change * factor, reach, 0.3)
        if k >= 0:
            mains.free[k] = False
            entry.sizes.append(float(mains.sizes[k]))
            entry.pairs.append((float(mains.sizes[k]), change))


def _nearest(mains: Edges, start: int, size: float, reach: int, tolerance: float) -> int:
    """The unclaimed mains edge around sample ``start`` that is nearest in size, -1 for none within the tolerance."""
    low, high = np.searchsorted(mains.at, [start - 2, start + reach + 1])
    window = np.arange(low, high)[mains.free[low:high]]
    if not len(window):
        return -1
    k = int(window[np.abs(mains.sizes[window] - size).argmin()])
    near = abs(mains.sizes[k] - size) <= max(20.0, tolerance * abs(size)) and mains.sizes[k] * size > 0
    return k if near else -1


def _closed(
    found: dict[tuple[int, int], _Found], states: tuple[State, ...], factor: float, threshold_w: float
) -> tuple[Transition, ...]:
    """Transitions that were seen in earnest, and from every state a way to off and from off to every state."""
    leaving = {i: sum(len(entry.own) for (s, _), entry in found.items() if s == i) for i in range(len(states))}
    transitions = []
    for i in range(len(states)):
        for j in range(len(states)):
            entry = found.get((i, j), _Found())
            seldom = len(entry.own) < max(2, 0.02 * leaving[i])
            if i == j or (seldom and i and j):
                continue
            step = factor * (states[j].level_w - states[i].level_w)
            edge, spread = _edge(entry, step, factor if states[i].drift_w > 0 else None)
            # a transition that the mains seldom shows as an edge of its own is a weak explanation of one
            share = (len(entry.sizes) + 0.3) / (leaving[i] + 1.0)
            if abs(edge) < 0.5 * threshold_w or edge * step <= 0:
                edge, spread = step, max(spread, 0.15 * abs(step))
            transitions.append(Transition(i, j, edge, spread, min(1.0, share)))
    return tuple(transitions)


def _edge(entry: _Found, step: float, factor: float | None) -> tuple[float, float]:
    """(size, spread) in W of a transition's edge: robust, from the mains if it was seen there at least three times.

    ``factor`` is given where the load modulates before: its edge is then ``step`` from its mean level, and what spreads
    is the difference to its own change.
    """
    sizes = entry.sizes if len(entry.sizes) >= 3 else entry.own
    if not sizes:
        return step, 0.1 * abs(step) + 5.0
    if len(sizes) < 3:
        return float(np.median(sizes)), 0.1 * abs(step) + 5.0
    if factor is not None and len(entry.pairs) >= 3:
        rest = [size - factor * change for size, change in entry.pairs]
        return step, 1.4826 * float(np.median(np.abs(rest))) + 0.03 * abs(step) + 3.0
    middle = float(np.median(sizes))
    return middle, 1.4826 * float(np.median(np.abs(np.array(sizes) - middle))) + 0.01 * abs(middle) + 3.0


def _state(own: Array, stays: list[Stay], k: int) -> State:
    """Level, stays and hazard of one state."""
    mine = [stay for stay in stays if stay.state == k]
    values = np.concatenate([own[stay.start : stay.start + stay.length] for stay in mine]) if mine else np.zeros(1)
    lengths = [stay.length for stay in mine if stay.whole] or [stay.length for stay in mine] or [1]
    seen = sum(stay.length for stay in stays if stay.state >= 0)
    level = max(0.0, float(np.median(values) if k == 0 else values.mean()))
    low, high = (max(0.0, float(np.quantile(values, q))) for q in (0.01, 0.99))
    wide = k > 0 and modulates(values)
    return State(
        level_w=level,
        low_w=min(low, level) if wide else level,
        high_w=max(high, level) if wide else level,
        drift_w=max(drift_of(own[stay.start : stay.start + stay.length]) for stay in mine) if wide else 0.0,
        sigma_w=float(values.std()),
        shortest=max(1, int(np.quantile(lengths, 0.02))),
        longest=max(2, math.ceil(LONGER * max(lengths))),
        share=sum(stay.length for stay in mine) / max(1, seen),
        hazard=_hazard(mine),
    )


def _hazard(stays: list[Stay]) -> tuple[float, ...]:
    """Chance per sample to leave, by time stayed: ends over exposure, drawn to the mean rate by half a stay."""
    ends, exposure = [0.0] * BINS, [0.0] * BINS
    for stay in stays:
        last = stay_bin(stay.length)
        for b in range(last):
            exposure[b] += bin_start(b + 1) - bin_start(b)
        exposure[last] += stay.length - bin_start(last) + 1
        ends[last] += stay.whole
    rate = (sum(ends) + 0.5) / (sum(exposure) + 1.0)
    return tuple(min(0.99, (e + 0.5) / (x + 0.5 / rate)) for e, x in zip(ends, exposure, strict=True))


def _longest_run(stays: list[Stay]) -> int:
    """The most samples from off to off, with the same allowance as for a stay."""
    longest = run = 0
    for stay in stays:
        run = run + stay.length if stay.state > 0 else 0
        longest = max(longest, run)
    return max(2, math.ceil(LONGER * longest))


def _unknown(sizes: Array, samples: int) -> tuple[float, ...]:
    """Foreign edges per sample and W by bin of signed size, smoothed over neighbours."""
    counts = np.zeros(UNKNOWN_BINS)
    for size in sizes:
        counts[unknown_bin(float(size))] += 1
    steps = UNKNOWN_FIRST_W * 2.0 ** (np.arange(UNKNOWN_HALF + 1) / 4)
    density = []
    for half in (counts[:UNKNOWN_HALF], counts[UNKNOWN_HALF:]):
        smooth = np.convolve(np.pad(half, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
        density += ((smooth + 0.1) / np.diff(steps) / max(1, samples)).tolist()
    return tuple(density)
