"""Power over time for the chart: a meter and its appliances on one time grid. Pure functions; times in ms UTC."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from gateway.server.apps.console_service import OTHER, Json, has

Sample = tuple[int, float]
Series = Sequence[Sample]

POINTS_MAX = 600
MINUTES_MAX = 24 * 60
STEPS_S = (1, 2, 3, 6, 10, 15, 30, 60, 120, 150)
HOLD_MS = 60_000
"""A last value stands this long in the chart; afterwards the chart shows a gap."""
_METER_NAMES = ("grid-meter", "main-meter")


@dataclass(frozen=True, slots=True)
class Circuit:
    """A meter and the appliances found behind it, as compact entities."""

    meter: Json
    appliances: tuple[Json, ...]


def find_circuit(entities: Sequence[Json], site: str | None) -> Circuit | None:
    """The meter whose power the chart divides: the one with appliances, else the grid's or main one, else the first."""
    here = [entity for entity in entities if site is None or entity["site"] == site]
    meters = {(m["site"], m["name"]): m for m in here if m["kind"] == "meter" and has(m, "totalActivePower")}
    appliances = sorted((a for a in here if a["kind"] == "appliance"), key=lambda a: str(a["name"]))
    for appliance in appliances:
        meter = meters.get((appliance["site"], appliance["parent"]))
        if meter is not None:
            own = (a for a in appliances if (a["site"], a["parent"]) == (meter["site"], meter["name"]))
            return Circuit(meter, tuple(a for a in own if a["name"] != OTHER))
    ordered = sorted(meters.values(), key=_preference)
    return Circuit(ordered[0], ()) if ordered else None


def _preference(meter: Json) -> tuple[int, str]:
    name = str(meter["name"])
    if name in _METER_NAMES:
        return _METER_NAMES.index(name), name
    return len(_METER_NAMES) + (meter["type"] != "ThreePhaseAcMeasurement"), name


@dataclass(frozen=True, slots=True)
class Grid:
    """Time buckets, aligned to whole steps of UTC so that two answers can be joined."""

    first_ms: int
    count: int
    step_ms: int

    @classmethod
    def of(cls, minutes: int, since_ms: int | None, now_ms: int) -> Grid:
        """At most POINTS_MAX buckets that end with the present one; ``since_ms`` cuts the beginning off."""
        seconds = max(1, min(minutes, MINUTES_MAX)) * 60
        step_ms = 1000 * next((step for step in STEPS_S if seconds / step <= POINTS_MAX), STEPS_S[-1])
        last = now_ms // step_ms
        first = last - seconds * 1000 // step_ms + 1
        if since_ms is not None:
            first = min(max(first, since_ms // step_ms), last)
        return cls(first * step_ms, last - first + 1, step_ms)


def resample(series: Series, grid: Grid) -> list[float | None]:
    """Mean of each bucket; an empty bucket repeats the last value for ``HOLD_MS``, then None. In time order."""
    sums, counts = [0.0] * grid.count, [0] * grid.count
    last: Sample | None = None
    latest: dict[int, Sample] = {}
    for at, value in series:
        bucket = (at - grid.first_ms) // grid.step_ms
        if bucket < 0:
            last = (at, value)
        elif bucket < grid.count:
            sums[bucket] += value
            counts[bucket] += 1
            latest[bucket] = (at, value)
    out: list[float | None] = []
    for bucket in range(grid.count):
        if counts[bucket]:
            out.append(round(sums[bucket] / counts[bucket], 1))
            last = latest[bucket]
        else:
            start = grid.first_ms + bucket * grid.step_ms
            out.append(round(last[1], 1) if last and start - last[0] <= HOLD_MS else None)
    return out


def power(circuit: Circuit, grid: Grid, total: Series, parts: Sequence[Series]) -> Json:
    """Total, appliances and what they leave unexplained (never below zero), on one grid."""
    totals = resample(total, grid)
    if grid.count and total:
        _cut_future(totals, grid, total[-1][0])
    bands = [resample(part, grid) for part in parts]
    other: list[float | None] = []
    for index, watts in enumerate(totals):
        known = math.fsum(band[index] or 0.0 for band in bands)
        other.append(None if watts is None else round(max(0.0, watts - known), 1))
    return {
        "step_ms": grid.step_ms,
        "first_ms": grid.first_ms,
        "meter": {key: circuit.meter[key] for key in ("id", "name", "title", "place", "site")},
        "total": totals,
        "bands": [
            {"id": appliance["id"], "name": appliance["name"], "watts": watts}
            for appliance, watts in zip(circuit.appliances, bands, strict=True)
        ],
        "other": other,
    }


def _cut_future(totals: list[float | None], grid: Grid, last_ms: int) -> None:
    """Readings come in batches: what lies after the last one is not known yet, and is not drawn."""
    for bucket in range(max(0, (last_ms - grid.first_ms) // grid.step_ms + 1), grid.count):
        totals[bucket] = None


def trend(series: Series, points: int) -> list[list[float]]:
    """At most ``points`` samples as [ms, value]: the mean of equal shares of the series."""
    if len(series) <= points:
        return [[at, value] for at, value in series]
    share = len(series) / points
    cuts = [round(index * share) for index in range(points + 1)]
    return [_mean(series[a:b]) for a, b in pairwise(cuts)]


def _mean(samples: Series) -> list[float]:
    return [samples[-1][0], round(math.fsum(value for _, value in samples) / len(samples), 3)]
