"""One meter followed online: sample in, parts out. Work and memory per sample do not grow with time.

Time is monotonic. A sample that comes later than ``GAP_PERIODS`` is behind a gap: nothing is known of what happened in
it, so the belief starts again and the energy of the gap is not counted (never filled forward).

With layer (b) alone a result is final at once. Small models see some samples ahead: then what ``step`` gives is
provisional, and final results come later in ``settled``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.pipeline.nilm.beam import publish, restart, step
from gateway.pipeline.nilm.belief import NOW
from gateway.pipeline.nilm.edges import new_detector, reset
from gateway.pipeline.nilm.jit import floats, ints
from gateway.pipeline.nilm.model import Model
from gateway.pipeline.nilm.result import ApplianceResult, Part, RunEvent
from gateway.pipeline.nilm.settle import Sample, Settler, Values
from gateway.pipeline.nilm.tables import new_beam, settings_of, tables_of

GAP_PERIODS = 3.5
POWER_MAX_W = 1e6  # beyond it, a number from a meter is not a power of a building's mains
J_PER_KWH = 3.6e6


@dataclass(slots=True)
class _Run:
    """A run that goes on: when it began, the counter then, and the sum of the confidence since."""

    began_ns: int
    began_kwh: float
    sure: float = 0.0
    samples: int = 0


class Tracker:
    """``energies`` (kWh by name): where the counters go on from; else they begin at 0.

    The mains must be what is consumed: where a feed-in meter goes negative, all parts are 0 and ``other`` is negative.
    """

    def __init__(self, model: Model, energies: Mapping[str, float] | None = None) -> None:
        self.names = model.names
        self._steady = model.steady
        self.resets = 0
        self.ignored = 0
        self.settled: list[ApplianceResult] = []
        self._period_ns = model.period_s * 1e9
        self._settings, self._tables = settings_of(model), tables_of(model)
        self._detector, self._beam = new_detector(), new_beam(model)
        count = len(model.loads)
        self._watts, self._on, self._confidence = floats([0] * count), ints([0] * count), floats([0] * count)
        self.energy_kwh = [float((energies or {}).get(name, 0.0)) for name in self.names]
        self._runs: list[_Run | None] = [None] * len(self.names)
        self._were_on = [False] * len(self.names)
        self._last_ns: int | None = None
        self._settler = Settler(model) if model.small else None

    def step(self, mono_ns: int, power_w: float, reactive_var: float = 0.0) -> ApplianceResult | None:
        """Take a sample; None when it is no sample: not a finite power, or not after the one before.

        Reactive power is not looked at: models are of active power (or of apparent, where the meter has no other).

        ``settled`` then holds the final results of earlier samples that became known with this one.
        """
        self.settled = []
        if not abs(power_w) <= POWER_MAX_W or (self._last_ns is not None and mono_ns <= self._last_ns):
            self.ignored += 1
            return None
        gap_ns = 0 if self._last_ns is None else mono_ns - self._last_ns
        lost = self._last_ns is None or gap_ns > GAP_PERIODS * self._period_ns
        # periods from the start's grid would drift; from the last sample an early and a late one cancel out
        samples = max(1, round(gap_ns / self._period_ns))
        self._last_ns = mono_ns
        if lost:
            self.settle()
            self.resets += 1
            reset(self._detector)
            restart(self._tables, self._beam)
        step(power_w, 1 if lost else samples, self._settings, self._tables, self._detector, self._beam)
        publish(power_w, self._tables, self._beam, self._watts, self._on, self._confidence)
        sample = Sample(mono_ns, power_w, 0 if lost else gap_ns, self._tracked(power_w))
        if self._settler is None:
            return self._final(sample, sample.values)
        if (due := self._settler.push(sample, self._watts)) is not None:
            self.settled.append(self._final(*due))
        values = self._settler.provisional(sample)
        parts = [Part(n, v[0], kwh, v[1], v[2]) for n, v, kwh in zip(self.names, values, self.energy_kwh, strict=True)]
        other = power_w - sum(part.power_w for part in parts)
        return ApplianceResult(mono_ns, power_w, other, tuple(parts), (), final=False)

    def settle(self) -> None:
        """Nothing comes after the last sample, or not soon: make what is provisional final with what there is."""
        if self._settler is not None:
            self.settled += [self._final(*due) for due in self._settler.flush()]

    def _tracked(self, power_w: float) -> Values:
        """What layer (b) says now; steady loads take what is left."""
        values: Values = []
        left = power_w
        for a in range(len(self._on)):  # bool, float: no numpy scalars get out
            watts, confidence = float(self._watts[a]), min(1.0, round(float(self._confidence[a]), 4))
            values.append((watts, bool(self._on[a]), confidence))
            left -= watts
        for load in self._steady:
            watts = min(load.level_w, max(left, 0.0))
            left -= watts
            values.append((watts, watts > 0, load.share))
        return values

    def _final(self, sample: Sample, values: Values) -> ApplianceResult:
        """Count energies, find begun and ended runs."""
        parts: list[Part] = []
        events: list[RunEvent] = []
        for a, (watts, on, confidence) in enumerate(values):
            self.energy_kwh[a] += watts * sample.counted_ns / 1e9 / J_PER_KWH
            parts.append(Part(self.names[a], watts, self.energy_kwh[a], on, confidence))
            if on != self._were_on[a]:
                self._were_on[a] = on
                events.append(self._event(a, on, sample.mono_ns))
            if (run := self._runs[a]) is not None:
                run.sure, run.samples = run.sure + confidence, run.samples + 1
        other = sample.power_w - sum(part.power_w for part in parts)
        return ApplianceResult(sample.mono_ns, sample.power_w, other, tuple(parts), tuple(events))

    def _event(self, a: int, on: bool, mono_ns: int) -> RunEvent:
        """The event of load a that went on or off."""
        run, self._runs[a] = self._runs[a], _Run(mono_ns, self.energy_kwh[a]) if on else None
        if on or run is None:
            return RunEvent(self.names[a], "start" if on else "end", mono_ns)
        duration_s, kwh = (mono_ns - run.began_ns) / 1e9, self.energy_kwh[a] - run.began_kwh
        sure = run.sure / run.samples if run.samples else 0.0
        return RunEvent(self.names[a], "end", mono_ns, duration_s, kwh, round(sure, 4))

    @property
    def samples(self) -> int:
        """Periods since the start."""
        return int(self._beam.size[NOW])
