"""Learning on site: a load that somebody switches a few times while the meter is watched, without any sub-meter.

What the edges cannot tell (how long it usually stays on, how often it runs) is assumed broadly; a model trained from
recordings knows that better.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from gateway.pipeline.nilm.belief import UNKNOWN_FIRST_W, UNKNOWN_HALF, bin_start
from gateway.pipeline.nilm.edges import EdgeSettings, detect, new_detector, reset
from gateway.pipeline.nilm.model import (
    BINS,
    LOADS_MAX,
    UNKNOWN_BINS,
    VERSION,
    LoadModel,
    Model,
    State,
    Thresholds,
    Transition,
    check,
    decode,
)
from gateway.pipeline.nilm.result import TOTAL, ModelError

SETTINGS = Thresholds(threshold_w=12.0, noise_factor=4.0, ramp_max=5, settle=2)
GAP_PERIODS = 3.5
PERIODS_KEPT = 60
FOUND = re.compile(r"load_[1-9]\d*")
SAME = 0.2  # relative: an edge that differs more is another load's
SAME_W = 15.0
TYPICAL_ON_S = 600.0
TYPICAL_OFF_S = 3600.0
LONGEST_ON_S = 24 * 3600.0
LONGEST_OFF_S = 90 * 86400.0
SHARE_ON = 0.05
CORRECTION = 0.5  # of the way that a load's power moves when a run is corrected
FLOOR_SHARE = 0.3  # of the least seen in a lesson: at night less is on
FOREIGN_PER_HOUR = 20.0  # edges of loads that are not known, of any size


@dataclass(frozen=True, slots=True)
class Edge:
    """A step of the mains that was just completed, W; ``power_w`` is the mains after it."""

    size_w: float
    power_w: float


class EdgeWatch:
    """Finds edges in the mains as they come: the detector that the tracker uses too."""

    def __init__(self, thresholds: Thresholds = SETTINGS) -> None:
        self._settings = EdgeSettings(
            thresholds.threshold_w, thresholds.noise_factor, thresholds.ramp_max, thresholds.settle
        )
        self._detector = new_detector()
        self._last_s: float | None = None
        self._gaps: deque[float] = deque(maxlen=PERIODS_KEPT)
        self.lowest_w = math.inf

    @property
    def period_s(self) -> float | None:
        """Seconds between samples, None until a few have come."""
        return statistics.median(self._gaps) if len(self._gaps) >= 3 else None

    def feed(self, time_s: float, power_w: float) -> Edge | None:
        """Take a sample (monotonic seconds, W); the edge that it completes."""
        if not math.isfinite(power_w):
            return None
        period = self.period_s
        if self._last_s is not None:
            gap = time_s - self._last_s
            if period is not None and gap > GAP_PERIODS * period:
                reset(self._detector)  # what happened meanwhile is not known
            else:
                self._gaps.append(gap)
        self._last_s = time_s
        self.lowest_w = min(self.lowest_w, power_w)
        size = float(detect(power_w, self._settings, self._detector))
        return Edge(size, power_w) if size else None


class PhaseWatch:
    """The same for each phase of the mains (or their ``total``), in which edges are told apart."""

    def __init__(self) -> None:
        self._watches: dict[str, EdgeWatch] = {}

    @property
    def period_s(self) -> float | None:
        """Seconds between samples, None until a few have come."""
        return next((watch.period_s for watch in self._watches.values()), None)

    @property
    def lowest_w(self) -> dict[str, float]:
        """The least that each phase showed."""
        return {phase: watch.lowest_w for phase, watch in self._watches.items()}

    def feed(self, phase: str, time_s: float, power_w: float) -> Edge | None:
        """Take a sample of a phase; the edge that it completes."""
        return self._watches.setdefault(phase, EdgeWatch()).feed(time_s, power_w)


def is_same(size_w: float, known_w: float) -> bool:
    """Whether an edge may be the same load's, as far as its size goes (signs do not count)."""
    return abs(abs(size_w) - abs(known_w)) <= max(SAME_W, SAME * abs(known_w))


def load_from(name: str, ups: Sequence[float], downs: Sequence[float], period_s: float) -> LoadModel:
    """A load of two states from the edges (W) seen when it was switched on and off. Raises ModelError."""
    sizes = [abs(size) for size in (*ups, *downs)]
    if not ups or not downs or min(sizes) <= 0:
        raise ModelError(f"{name} was not seen to go on and off", code="nilm.learn", fix="Switch it on and off again.")
    level = statistics.median(sizes)
    spread = 0.01 * level + 3.0 + 1.4826 * statistics.median(abs(size - level) for size in sizes)
    off = _state(0.0, 1.0, TYPICAL_OFF_S, LONGEST_OFF_S, 1 - SHARE_ON, period_s)
    on = _state(level, spread, TYPICAL_ON_S, LONGEST_ON_S, SHARE_ON, period_s)
    rise = Transition(0, 1, statistics.median(ups), spread, 0.95)
    fall = Transition(1, 0, -statistics.median(abs(size) for size in downs), spread, 0.95)
    return LoadModel(name, (off, on), (rise, fall), _samples(LONGEST_ON_S, period_s), 1.0)


def with_loads(
    model: Model | None, loads: Mapping[str, LoadModel], period_s: float, floors_w: Mapping[str, float], note: str
) -> Model:
    """The model with a load added, or replaced where the name is known: on the ``total``, or on each of its phases.

    ``floors_w``: the least that each phase of the meter showed. Raises ModelError.
    """
    if TOTAL in floors_w:
        return with_load(model, loads[TOTAL], period_s, floors_w[TOTAL], note)
    (name,) = {load.name for load in loads.values()}
    parts = {} if model is None or model.finds else dict(model.phases or {})
    period_s = model.period_s if model is not None and parts else period_s  # what was measured differs each time
    for phase, floor_w in floors_w.items():
        part = parts.get(phase) or replace(untrained(period_s), found=None, floor_w=max(0.0, FLOOR_SHARE * floor_w))
        part = replace(part, loads=tuple(one for one in part.loads if one.name != name))
        parts[phase] = with_load(part, loads[phase], period_s, floor_w, note) if phase in loads else part
    trained = note if model is None or model.finds else f"{model.trained_on}; {note}"[-2000:]
    return _checked(replace(phased(parts, period_s), trained_on=trained))


def phased(parts: Mapping[str, Model], period_s: float) -> Model:
    """A model of phases from those of each."""
    return replace(untrained(period_s), found=None, phases=dict(parts))


def with_load(model: Model | None, load: LoadModel, period_s: float, floor_w: float, note: str) -> Model:
    """The model with a load added, or replaced where the name is known. Raises ModelError.

    Small models go: their trees look at the loads that were tracked when they were learned.
    """
    if model is None or model.found is not None:
        floor_w = max(0.0, FLOOR_SHARE * floor_w)
        return _checked(replace(untrained(period_s), loads=(load,), found=None, floor_w=floor_w, trained_on=note))
    loads = [one for one in model.loads if one.name != load.name]
    if len(loads) >= LOADS_MAX:
        raise ModelError(f"a model has {LOADS_MAX} loads at most", code="nilm.learn", fix="Remove one first.")
    trained = f"{model.trained_on}; {note}"[-2000:]
    return _checked(replace(model, loads=(*loads, load), trained_on=trained, small=()))


def untrained(period_s: float, phases: Sequence[str] = ()) -> Model:
    """A model that knows no load and finds them while they run: in the total, or on each of these phases."""
    if phases:
        return _checked(phased({phase: untrained(period_s) for phase in phases}, period_s))
    return Model(
        version=VERSION,
        period_s=period_s,
        loads=(),
        thresholds=SETTINGS,
        unknown=_foreign(period_s),
        floor_w=0.0,
        drift_w=1.0,
        provenance="learned on site",
        trained_on="nothing",
        found={},
    )


def renamed(model: Model, old: str, new: str) -> Model:
    """The model with a load under another name, on each phase where it is. Raises ModelError."""
    if model.finds:
        if FOUND.fullmatch(new):
            raise _not_found(old)
        parts = {phase: _found_renamed(part, old, new) for phase, part in (model.phases or {}).items()}
        return _checked(replace(model, phases=parts) if parts else _found_renamed(model, old, new))
    if old not in model.names:
        raise _no_load(model, old)
    if model.phases is not None:
        return _checked(
            replace(model, phases={phase: _renamed(part, old, new) for phase, part in model.phases.items()})
        )
    return _checked(_renamed(model, old, new))


def _found_renamed(model: Model, old: str, new: str) -> Model:
    """Of what is found while it runs, numbers have names; several loads of different phases may share one."""
    known = dict(model.found or {})
    numbers = [number for number, name in known.items() if name == old] or [old]
    if any(FOUND.fullmatch(number) is None for number in numbers):
        raise _not_found(old)
    return replace(model, found={**known, **dict.fromkeys(numbers, new)})


def _renamed(model: Model, old: str, new: str) -> Model:
    return replace(
        model,
        loads=tuple(replace(one, name=new) if one.name == old else one for one in model.loads),
        steady=tuple(replace(one, name=new) if one.name == old else one for one in model.steady),
        small=tuple(replace(one, name=new) if one.name == old else one for one in model.small),
    )


def _not_found(name: str) -> ModelError:
    return ModelError(f"{name!r} is no load that was found", code="nilm.no-load", fix="They are load_1, load_2, ...")


def without(model: Model, name: str) -> Model:
    """The model without a load; small models go too where it was tracked: see ``with_load``. Raises ModelError."""
    if name not in model.names:
        raise _no_load(model, name)
    if model.phases is not None:
        parts = {phase: _left(part, name) for phase, part in model.phases.items()}
        return _checked(replace(model, phases=parts))
    return _checked(_left(model, name))


def _left(model: Model, name: str) -> Model:
    """What is left of a model, or of that of a phase, without a load."""
    tracked = any(one.name == name for one in model.loads)
    return replace(
        model,
        loads=tuple(one for one in model.loads if one.name != name),
        steady=tuple(one for one in model.steady if one.name != name),
        small=() if tracked else tuple(one for one in model.small if one.name != name),
    )


def _no_load(model: Model, name: str) -> ModelError:
    fix = f"There are: {', '.join(model.names)}."
    return ModelError(f"there is no load {name!r}", code="nilm.no-load", fix=fix)


def _checked(model: Model) -> Model:
    """As it will be read again: what a name may look like is in the schema. Raises ModelError."""
    read = decode(msgspec.json.encode(model), "the model")
    check(read, "the model")
    return read


def _state(level: float, sigma: float, typical_s: float, longest_s: float, share: float, period_s: float) -> State:
    """Of a load that may stay for any time: the longer it stays, the longer it goes on staying."""
    hazard = tuple(min(0.5, period_s / (typical_s + bin_start(b) * period_s)) for b in range(BINS))
    longest = _samples(longest_s, period_s)
    return State(level, level, level, 0.0, sigma, 1, longest, share, hazard)


def _foreign(period_s: float) -> tuple[float, ...]:
    """Edges of unknown loads per sample and W: as many in each octave of size."""
    bins = [UNKNOWN_FIRST_W * 2.0 ** (k / 4) for k in range(UNKNOWN_HALF + 1)]
    each = FOREIGN_PER_HOUR * period_s / 3600 / UNKNOWN_BINS
    half = [each / (bins[k + 1] - bins[k]) for k in range(UNKNOWN_HALF)]
    return (*half, *half)


def _samples(seconds: float, period_s: float) -> int:
    return max(2, round(seconds / period_s))


def corrected(model: Model, name: str, power_w: float, note: str) -> Model:
    """The model after somebody said that a run of so much power (W) was of load ``name``.

    A load that is known moves a part of the way; another one is added. Raises ModelError.
    """
    if model.phases is not None:
        return _corrected_phase(model, model.phases, name, power_w, note)
    if model.found is not None:
        fix = "Give the load its name: `lamppost appliances name load_1 kettle`."
        raise ModelError("a model without training has no loads to correct", code="nilm.learn", fix=fix)
    if not math.isfinite(power_w) or power_w < SAME_W:
        raise ModelError(f"a run of {power_w:.0f} W says too little", code="nilm.learn", fix="Correct a clearer run.")
    known = next((load for load in model.loads if load.name == name), None)
    if known is None or len(known.states) > 2:
        added = load_from(name, [power_w], [-power_w], model.period_s)
        return with_load(model, added, model.period_s, 0.0, note)
    level = known.states[1].level_w
    moved = level + CORRECTION * (power_w - level)
    spread = max(0.01 * moved + 3.0, abs(power_w - level) / 2)
    arcs = tuple(
        replace(arc, edge_w=math.copysign(moved, arc.edge_w), spread_w=max(arc.spread_w, spread))
        for arc in known.transitions
    )
    on = replace(
        known.states[1], level_w=moved, low_w=moved, high_w=moved, sigma_w=max(known.states[1].sigma_w, spread)
    )
    load = replace(known, states=(known.states[0], on), transitions=arcs)
    return with_load(model, load, model.period_s, 0.0, note)


def _corrected_phase(model: Model, phases: Mapping[str, Model], name: str, power_w: float, note: str) -> Model:
    """Of a load that is on one phase; a run does not say on which, so that one must be known."""
    has = [phase for phase, part in phases.items() if name in part.names]
    if len(has) != 1:
        cause = f"on which phase {name} is cannot be told from a run"
        raise ModelError(cause, code="nilm.learn", fix=f"Switch it for `lamppost appliances learn {name}`.")
    part = corrected(phases[has[0]], name, power_w, note)
    return _checked(replace(model, phases={**phases, has[0]: part}))
