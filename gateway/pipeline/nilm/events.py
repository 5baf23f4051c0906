"""Layer (a), no training: edges of the mains become runs of "load_1", "load_2", ... while they are seen.

A rise opens a run, the fall that fits it best closes it. Alike runs are one load: the size, how far a motor's start
overshoots it, how long it lasts, and the reactive power that comes with it, where the meter tells it. What came once is
no load yet (it stays in ``other``), from ``SEEN_MIN`` whole runs on it has a number. Everything is bounded:
``CLUSTERS_MAX`` kinds of runs (the one that was seen least makes room) and ``OPEN_MAX`` runs at a time. A three-phase
meter has one tracker for each phase.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import count
from typing import NamedTuple

import msgspec

from gateway.pipeline.nilm.edges import BEGIN, LEVEL, MOVED, EdgeSettings, detect, new_detector, reset
from gateway.pipeline.nilm.result import ApplianceResult, Part, RunEvent
from gateway.pipeline.nilm.tracker import GAP_PERIODS, J_PER_KWH, POWER_MAX_W

CLUSTERS_MAX = 48
OPEN_MAX = 24
SEEN_MIN = 3
SETTINGS = EdgeSettings(15.0, 4.0, 5, 2)
NEAR_W, NEAR = 4.0, 0.05  # an edge this near to a load's, in W and relative to it, is its
FALL_NEAR = 0.12  # a fall may differ more from its rise: heaters warm up, motors settle
NEAR_SHOOT = 0.4  # of the size
NEAR_OCTAVES = 1.5  # of the duration
LEARN_MIN = 0.05  # weight of a new edge in the mean of many
OVER_MAX = 3  # samples of explaining more than there is
OVER_W = 20.0


class Seen(NamedTuple):
    """What a rise looked like: its size (W), overshoot (of the size) and change of reactive power (var)."""

    size_w: float
    shoot: float
    reactive_var: float


@dataclass(slots=True)
class Cluster:
    """Alike runs: means of what was seen and of log2 of the duration in s; ``number``: 0 until it is a load.

    ``energy_kwh``: of whole runs.
    """

    mean: Seen
    log_s: float
    runs: int = 0
    last_ns: int = 0
    number: int = 0
    energy_kwh: float = 0.0

    def distance(self, seen: Seen, duration_s: float | None) -> float:
        """1 is the farthest that may still be this load."""
        near_w = NEAR_W + NEAR * self.mean.size_w
        return max(
            abs(seen.size_w - self.mean.size_w) / near_w,
            abs(seen.shoot - self.mean.shoot) / NEAR_SHOOT,
            abs(seen.reactive_var - self.mean.reactive_var) / (2 * near_w),
            0.0 if duration_s is None else abs(math.log2(duration_s) - self.log_s) / NEAR_OCTAVES,
        )

    def take(self, seen: Seen, duration_s: float, now_ns: int) -> None:
        """Learn from a whole run."""
        self.runs += 1
        self.last_ns = now_ns
        weight = max(LEARN_MIN, 1 / self.runs)
        self.mean = Seen(*(old + weight * (new - old) for old, new in zip(self.mean, seen, strict=True)))
        self.log_s += weight * (math.log2(duration_s) - self.log_s)


@dataclass(slots=True)
class Open:
    """A run that goes on; ``cluster``: the load that it looks like."""

    seen: Seen
    cluster: Cluster | None
    began_ns: int
    energy_kwh: float = 0.0


class EventTracker:
    """Follows one meter, or one phase of it, with a sample each ``period_s``.

    ``state``: what ``state()`` gave once; ``names``: given to loads, by ``load_1``, ...

    ``run`` is what ended with the last sample: (when it began, its load); None for none. A run is of a load for certain
    when it ends, so its energy is counted then, and events are ends.
    """

    def __init__(self, period_s: float, state: object = None, names: Mapping[str, str] | None = None) -> None:
        self.clusters = _restored(state)
        self._given = dict(names or {})
        self.run: tuple[int, Cluster] | None = None
        self.ignored = self.resets = 0
        self.settled: list[ApplianceResult] = []  # every result is final at once
        self.numbers = count(max((one.number for one in self.clusters), default=0) + 1)  # of loads found from now on
        self._open: list[Open] = []
        self._detector = new_detector()
        self._period_ns = period_s * 1e9
        self._last_ns: int | None = None
        self._peak_w = self._reactive = self._reactive_before = 0.0
        self._over = 0

    def step(self, mono_ns: int, power_w: float, reactive_var: float = 0.0) -> ApplianceResult | None:
        """Take a sample; None when it is no sample: not a finite power, or not after the one before."""
        self.run = None
        if not abs(power_w) <= POWER_MAX_W or (self._last_ns is not None and mono_ns <= self._last_ns):
            self.ignored += 1
            return None
        gap_ns = 0 if self._last_ns is None else mono_ns - self._last_ns
        if self._last_ns is None or gap_ns > GAP_PERIODS * self._period_ns:
            self.resets += 1
            self._open.clear()  # what happened in the gap is not known
            reset(self._detector)
            gap_ns = 0
        self._last_ns = mono_ns
        for run in self._open:
            run.energy_kwh += run.seen.size_w * gap_ns / 1e9 / J_PER_KWH
        events = self._take(mono_ns, power_w, reactive_var if math.isfinite(reactive_var) else 0.0)
        self._relieve(power_w)
        return self._result(mono_ns, power_w, events)

    @property
    def names(self) -> list[str]:
        """The loads found so far, in the order of results."""
        return [self._name(one) for one in self._known()]

    @property
    def energy_kwh(self) -> list[float]:
        """Their counters."""
        return [one.energy_kwh for one in self._known()]

    def settle(self) -> None:
        """Nothing is provisional."""

    def state(self) -> list[dict[str, object]]:
        """What was learned, for JSON: the next start goes on with the same loads."""
        return [asdict(one) for one in self.clusters if one.number]

    def _name(self, cluster: Cluster) -> str:
        number = f"load_{cluster.number}"
        return self._given.get(number, number)

    def _known(self) -> list[Cluster]:
        return sorted((one for one in self.clusters if one.number), key=lambda one: one.number)

    def _take(self, mono_ns: int, power_w: float, reactive_var: float) -> list[RunEvent]:
        """Look for an edge; the events that it makes."""
        size = float(detect(power_w, SETTINGS, self._detector))  # never a numpy scalar
        if self._detector.i[MOVED] > 0:
            begins = self._detector.i[MOVED] == 1
            self._peak_w = power_w if begins else max(self._peak_w, power_w)
            self._reactive_before = self._reactive if begins else self._reactive_before
        else:
            self._reactive = reactive_var
        if not size:
            return []
        reactive = reactive_var - self._reactive_before
        if size > 0:
            level = max(float(self._detector.f[LEVEL]), float(self._detector.f[BEGIN]))
            self._rise(mono_ns, size, max(0.0, max(self._peak_w, power_w) - level) / size, reactive)
            return []
        return self._fall(mono_ns, -size)

    def _rise(self, mono_ns: int, size: float, shoot: float, reactive: float) -> None:
        """Something went on: a run of the load that it looks like, for now."""
        if len(self._open) == OPEN_MAX:
            self._open.pop(0)
        seen = Seen(size, shoot, reactive)
        self._open.append(Open(seen, self._nearest(seen, None), mono_ns))

    def _fall(self, mono_ns: int, size: float) -> list[RunEvent]:
        """Something went off: the open run that fits best, the newer one of two alike. Now its load is known."""
        best, nearest = None, 1.0
        for run in self._open:
            far = abs(run.seen.size_w - size) / (NEAR_W + FALL_NEAR * run.seen.size_w)
            if far <= nearest:
                best, nearest = run, far
        if best is None:
            return []
        self._open.remove(best)
        duration_s = (mono_ns - best.began_ns) / 1e9
        cluster = self._nearest(best.seen, duration_s) or self._new(best.seen, duration_s)
        cluster.take(best.seen, duration_s, mono_ns)
        self.run = (best.began_ns, cluster)
        if not cluster.number and cluster.runs >= SEEN_MIN:
            cluster.number = next(self.numbers)
        cluster.energy_kwh += best.energy_kwh
        if not cluster.number:
            return []
        sure = _confidence(cluster)
        return [RunEvent(self._name(cluster), "end", mono_ns, duration_s, best.energy_kwh, sure)]

    def _nearest(self, seen: Seen, duration_s: float | None) -> Cluster | None:
        """The load that a run looks like; the duration is not known while it goes on."""
        best, nearest = None, 1.0
        for one in self.clusters:
            far = one.distance(seen, duration_s)
            if far < nearest:
                best, nearest = one, far
        return best

    def _new(self, seen: Seen, duration_s: float) -> Cluster:
        """A kind of run not seen before; the one that was seen least, or longest ago, makes room."""
        if len(self.clusters) == CLUSTERS_MAX:
            least = min(self.clusters, key=lambda one: (one.number > 0, one.runs, one.last_ns))
            self.clusters.remove(least)
            for run in self._open:
                run.cluster = None if run.cluster is least else run.cluster
        self.clusters.append(Cluster(seen, math.log2(duration_s)))
        return self.clusters[-1]

    def _relieve(self, power_w: float) -> None:
        """More is explained than there is, for some samples: a fall was missed; the run that fits the excess goes."""
        excess = sum(run.seen.size_w for run in self._open) - power_w
        self._over = self._over + 1 if self._open and self._detector.i[MOVED] == 0 and excess > OVER_W else 0
        if self._over >= OVER_MAX:
            self._open.remove(min(self._open, key=lambda run: abs(run.seen.size_w - excess)))
            self._over = 0

    def _result(self, mono_ns: int, power_w: float, events: list[RunEvent]) -> ApplianceResult:
        """The loads that have a number; the powers never sum to more than the mains."""
        known = self._known()
        watts = [sum(run.seen.size_w for run in self._open if run.cluster is one) for one in known]
        whole, most = sum(watts), max(power_w, 0.0)
        scale = most / whole if whole > most else 1.0
        parts = tuple(
            Part(self._name(one), w * scale, one.energy_kwh, w > 0, _confidence(one))
            for one, w in zip(known, watts, strict=True)
        )
        other = power_w - sum(part.power_w for part in parts)
        return ApplianceResult(mono_ns, power_w, other, parts, tuple(events))


def _confidence(cluster: Cluster) -> float:
    """The more often alike runs were seen, the surer they are a load."""
    return cluster.runs / (cluster.runs + 2)


def _restored(state: object) -> list[Cluster]:
    """The clusters of a state; none where it is not one: loads are found again."""
    try:
        return msgspec.convert(state, list[Cluster])[:CLUSTERS_MAX]
    except msgspec.ValidationError:
        return []
