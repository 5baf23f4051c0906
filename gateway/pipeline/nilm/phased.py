"""The phases of a meter followed side by side: a tracker each, their loads put together by name.

A load is on one phase; one on several phases (a cooker) is known to several trackers under the same name, and is the
sum of them. A phase without a value is a gap of that phase only: what is on it is not known, so its part is 0 and it is
missing from the mains, until it is back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

from gateway.pipeline.nilm.events import EventTracker
from gateway.pipeline.nilm.model import Model
from gateway.pipeline.nilm.result import ApplianceResult, Mains, Part, RunEvent
from gateway.pipeline.nilm.tracker import Tracker


@dataclass(slots=True)
class _Run:
    """A run that goes on, on some phases; what those used that have ended."""

    began_ns: int
    phases: set[str] = field(default_factory=set)
    energy_kwh: float = 0.0
    sure: list[float] = field(default_factory=list)


class PhasedTracker:
    """``energies`` (kWh by name): where the counters go on from; ``state``: what ``state()`` gave once.

    Work per sample is that of its trackers; a model of ``n`` loads on three phases costs less than one of ``n`` loads.
    """

    def __init__(self, model: Model, energies: Mapping[str, float] | None = None, state: object = None) -> None:
        assert model.phases is not None
        kept = state if isinstance(state, Mapping) else {}
        self._trackers: dict[str, Tracker | EventTracker] = {}
        found: list[EventTracker] = []
        for phase, part in model.phases.items():
            if part.found is None:
                self._trackers[phase] = Tracker(part)
            else:
                found.append(EventTracker(part.period_s, kept.get(phase), part.found))
                self._trackers[phase] = found[-1]
        numbers = count(max((one.number for each in found for one in each.clusters), default=0) + 1)
        for each in found:
            each.numbers = numbers  # no two loads of the meter have the same
        self._before = dict(energies or {}) if not found else {}  # what was found carries its own counters
        self._runs: dict[str, _Run] = {}
        self.settled: list[ApplianceResult] = []  # every result is final at once

    def step(self, mono_ns: int, mains: Mains) -> ApplianceResult | None:
        """Take a sample; None where no phase has one."""
        results: dict[str, ApplianceResult] = {}
        for phase, tracker in self._trackers.items():
            if phase in mains and (result := tracker.step(mono_ns, *mains[phase])) is not None:
                results[phase] = result
        if not results:
            return None
        parts = self._parts(results)
        mains_w = sum(result.mains_w for result in results.values())
        other_w = mains_w - sum(part.power_w for part in parts)
        return ApplianceResult(mono_ns, mains_w, other_w, parts, self._events(results))

    @property
    def names(self) -> list[str]:
        """All loads in the order of results."""
        return list(dict.fromkeys(name for tracker in self._trackers.values() for name in tracker.names))

    @property
    def energy_kwh(self) -> list[float]:
        """Their counters."""
        counters = self._counters()
        return [counters[name] for name in self.names]

    def settle(self) -> None:
        """Nothing is provisional."""

    def state(self) -> dict[str, list[dict[str, object]]]:
        """What was found on each phase, for JSON."""
        trackers = self._trackers.items()
        return {phase: tracker.state() for phase, tracker in trackers if isinstance(tracker, EventTracker)}

    def _counters(self) -> dict[str, float]:
        counters = dict.fromkeys(self.names, 0.0)
        for tracker in self._trackers.values():
            for name, kwh in zip(tracker.names, tracker.energy_kwh, strict=True):
                counters[name] += kwh
        return {name: kwh + self._before.get(name, 0.0) for name, kwh in counters.items()}

    def _parts(self, results: Mapping[str, ApplianceResult]) -> tuple[Part, ...]:
        """By name: powers add up, it is on where it is on any phase; confidence is that of the least sure phase."""
        watts = dict.fromkeys(self.names, 0.0)
        on: set[str] = set()
        sure: dict[str, float] = {}
        for result in results.values():
            for part in result.parts:
                watts[part.name] += part.power_w
                sure[part.name] = min(part.confidence, sure.get(part.name, 1.0))
                if part.on:
                    on.add(part.name)
        counters = self._counters()
        return tuple(Part(name, watts[name], counters[name], name in on, sure.get(name, 0.0)) for name in watts)

    def _events(self, results: Mapping[str, ApplianceResult]) -> tuple[RunEvent, ...]:
        """A run lasts from its start on the first phase to its end on the last one."""
        events: list[RunEvent] = []
        for phase, result in results.items():
            for event in result.events:
                if (whole := self._event(phase, event)) is not None:
                    events.append(whole)
        return tuple(events)

    def _event(self, phase: str, event: RunEvent) -> RunEvent | None:
        run = self._runs.get(event.name)
        if event.kind == "start":
            if run is not None:
                run.phases.add(phase)
                return None
            self._runs[event.name] = _Run(event.mono_ns, {phase})
            return event
        if run is None:
            return event  # of what was found: known when it ends, each phase by itself
        run.phases.discard(phase)
        run.energy_kwh += event.energy_kwh
        run.sure.append(event.confidence)
        if run.phases:
            return None
        del self._runs[event.name]
        duration_s = (event.mono_ns - run.began_ns) / 1e9
        return RunEvent(event.name, "end", event.mono_ns, duration_s, run.energy_kwh, sum(run.sure) / len(run.sure))
