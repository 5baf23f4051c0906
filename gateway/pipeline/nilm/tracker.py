"""One meter followed online: sample in, parts out. Work and memory per sample do not grow with time.

Time is monotonic. A sample that comes later than ``GAP_PERIODS`` is behind a gap: nothing is known of what happened in
it, so the belief starts again and the energy of the gap is not counted (never filled forward).
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.pipeline.nilm.beam import publish, restart, step
from gateway.pipeline.nilm.belief import NOW
from gateway.pipeline.nilm.edges import new_detector, reset
from gateway.pipeline.nilm.jit import floats, ints
from gateway.pipeline.nilm.model import Model
from gateway.pipeline.nilm.result import ApplianceResult, Part, RunEvent
from gateway.pipeline.nilm.tables import new_beam, settings_of, tables_of

GAP_PERIODS = 3.5
POWER_MAX_W = 1e6  # beyond it, a number from a meter is not a power of a building's mains
J_PER_KWH = 3.6e6


class Tracker:
    """``energies`` (kWh by name): where the counters go on from; else they begin at 0.

    The mains must be what is consumed: where a feed-in meter goes negative, all parts are 0 and ``other`` is negative.
    """

    def __init__(self, model: Model, energies: Mapping[str, float] | None = None) -> None:
        self.names = model.names
        self._steady = model.steady
        self.resets = 0
        self.ignored = 0
        self._period_ns = model.period_s * 1e9
        self._settings, self._tables = settings_of(model), tables_of(model)
        self._detector, self._beam = new_detector(), new_beam(model)
        count = len(model.loads)
        self._watts, self._on, self._confidence = floats([0] * count), ints([0] * count), floats([0] * count)
        self.energy_kwh = [float((energies or {}).get(name, 0.0)) for name in self.names]
        self._runs: list[tuple[int, float] | None] = [None] * len(self.names)  # began at, counter then
        self._last_ns: int | None = None

    def step(self, mono_ns: int, power_w: float) -> ApplianceResult | None:
        """Take a sample; None when it is no sample: not a finite power, or not after the one before."""
        if not abs(power_w) <= POWER_MAX_W or (self._last_ns is not None and mono_ns <= self._last_ns):
            self.ignored += 1
            return None
        gap_ns = 0 if self._last_ns is None else mono_ns - self._last_ns
        lost = self._last_ns is None or gap_ns > GAP_PERIODS * self._period_ns
        # periods from the start's grid would drift; from the last sample an early and a late one cancel out
        samples = max(1, round(gap_ns / self._period_ns))
        self._last_ns = mono_ns
        if lost:
            self.resets += 1
            reset(self._detector)
            restart(self._tables, self._beam)
        step(power_w, 1 if lost else samples, self._settings, self._tables, self._detector, self._beam)
        was_on = [bool(self._on[a]) for a in range(len(self._on))]  # bool, float: no numpy scalars get out
        publish(power_w, self._tables, self._beam, self._watts, self._on, self._confidence)
        return self._result(mono_ns, power_w, 0 if lost else gap_ns, was_on)

    def _result(self, mono_ns: int, power_w: float, counted_ns: int, was_on: list[bool]) -> ApplianceResult:
        """Count energies, find begun and ended runs."""
        parts: list[Part] = []
        events: list[RunEvent] = []
        for a, before in enumerate(was_on):
            watts, on = float(self._watts[a]), bool(self._on[a])
            self.energy_kwh[a] += watts * counted_ns / 1e9 / J_PER_KWH
            confidence = min(1.0, round(float(self._confidence[a]), 4))
            parts.append(Part(self.names[a], watts, self.energy_kwh[a], on, confidence))
            if on != before:
                events.append(self._event(a, on, mono_ns))
        left = power_w - sum(part.power_w for part in parts)
        for a, load in enumerate(self._steady, len(parts)):
            watts = min(load.level_w, max(left, 0.0))
            left -= watts
            self.energy_kwh[a] += watts * counted_ns / 1e9 / J_PER_KWH
            parts.append(Part(load.name, watts, self.energy_kwh[a], watts > 0, load.share))
        other = power_w - sum(part.power_w for part in parts)
        return ApplianceResult(mono_ns, power_w, other, tuple(parts), tuple(events))

    def _event(self, a: int, on: bool, mono_ns: int) -> RunEvent:
        """The event of load a that went on or off."""
        begun, self._runs[a] = self._runs[a], (mono_ns, self.energy_kwh[a]) if on else None
        if on or begun is None:
            return RunEvent(self.names[a], "start" if on else "end", mono_ns)
        began_ns, kwh = begun
        return RunEvent(self.names[a], "end", mono_ns, (mono_ns - began_ns) / 1e9, self.energy_kwh[a] - kwh)

    @property
    def samples(self) -> int:
        """Periods since the start."""
        return int(self._beam.size[NOW])
