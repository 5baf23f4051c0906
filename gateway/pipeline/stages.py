"""Observation to readings: derive, follow counters, calibrate, check, date. Pure but for the memory of the last values.

Nothing is dropped here but values that are no numbers (NaN, infinity), which are counted in ``invalid``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from drivers.base import Measurement, Observation, Quality, Reading, Reason, Value
from drivers.quantities import PHASES, QUANTITIES, Quantity, plausible
from gateway.clock import Clock, stamp
from gateway.model import BootTime
from gateway.pipeline.counters import Counters

DEVICE_CLOCK_ERROR_MAX_NS = 60_000_000_000  # a device's own time further off than this is not believed
_SUMS = ("active_power", "reactive_power", "apparent_power")
_UNKNOWN = Quantity("", "", "C62")
MILLISECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Correction:
    """value = raw x scale + offset."""

    scale: float = 1.0
    offset: float = 0.0


class Pipeline:
    """The stages for all devices of a box; ``corrections`` by device and quantity."""

    def __init__(
        self,
        clock: Clock,
        corrections: Mapping[str, Mapping[str, Correction]],
        counters: Counters | None = None,
    ) -> None:
        self.invalid = 0
        self._clock = clock
        self._corrections = corrections
        self._counters = counters or Counters()
        self._last: dict[str, tuple[int, int]] = {}  # date and monotonic time of the observation before

    def correct(self, corrections: Mapping[str, Mapping[str, Correction]]) -> None:
        """Take the calibration of a new configuration."""
        self._corrections = corrections

    def process(self, device: str, observation: Observation) -> list[Reading]:
        """The readings of one observation, all with the same date; empty when no value was a number."""
        observed_ns, clock, own_clock_off = self._date(device, observation)
        corrections = self._corrections.get(device, {})
        utc_ns = observed_ns if clock is None else None
        readings = []
        for measured in derive(observation.measurements):
            value, quality, reason = self._follow(device, measured, observation.mono_ns, utc_ns)
            value = calibrate(value, corrections.get(measured.quantity))
            if isinstance(value, float) and not math.isfinite(value):
                self.invalid += 1
                continue
            if not plausible(measured.quantity, value):
                quality, reason = Quality.BAD, Reason.RANGE
            if own_clock_off and quality is Quality.GOOD:
                quality, reason = Quality.SUSPECT, Reason.CLOCK
            unit = QUANTITIES.get(measured.quantity, _UNKNOWN).unit
            readings.append(Reading(device, measured.quantity, value, unit, observed_ns, clock, quality, reason))
        return readings

    def _follow(
        self, device: str, measured: Measurement, mono_ns: int, utc_ns: int | None
    ) -> tuple[Value, Quality, Reason]:
        """A counter goes on as a total; all else, and what no counter can say, passes unchanged."""
        quantity, value = measured.quantity, measured.value
        if (
            QUANTITIES.get(quantity, _UNKNOWN).kind == "counter"
            and isinstance(value, int | float)
            and math.isfinite(value)
            and plausible(quantity, value)
        ):
            followed = self._counters.follow(device, quantity, value, mono_ns, utc_ns)
            return followed.value, followed.quality, followed.reason
        return value, Quality.GOOD, Reason.NONE

    def _date(self, device: str, observation: Observation) -> tuple[int, BootTime | None, bool]:
        """(observed_ns, clock, whether the device's own clock is too far off to be believed)."""
        observed_ns, clock = stamp(self._clock, observation.mono_ns)
        if clock is not None:
            return observed_ns, clock, False
        off = False
        if observation.device_ns is not None:
            off = abs(observation.device_ns - observed_ns) > DEVICE_CLOCK_ERROR_MAX_NS
            observed_ns = observed_ns if off else observation.device_ns
        # finer than a millisecond is noise that costs bytes on every way; two observations of a device never share one,
        # unless they speak of the very same instant: then the later one takes the place of the first
        observed_ns -= observed_ns % MILLISECOND
        last_ns, last_mono_ns = self._last.get(device, (-1, -1))
        if observed_ns == last_ns and observation.mono_ns != last_mono_ns:
            observed_ns += MILLISECOND
        self._last[device] = observed_ns, observation.mono_ns
        return observed_ns, None, off


def calibrate(value: Value, correction: Correction | None) -> Value:
    """Apply a correction to a number; anything else passes unchanged."""
    if correction is None or isinstance(value, bool) or not isinstance(value, float | int):
        return value
    return value * correction.scale + correction.offset


def derive(measurements: tuple[Measurement, ...]) -> tuple[Measurement, ...]:
    """Add the sum over three phases where a device gives the phases and no total (not for a missing phase)."""
    values = {measured.quantity: measured.value for measured in measurements}
    added = []
    for stem in _SUMS:
        phases = [values.get(f"{stem}_{phase}") for phase in PHASES]
        if f"{stem}_total" not in values and all(isinstance(phase, float | int) for phase in phases):
            added.append(Measurement(f"{stem}_total", sum(float(p) for p in phases if isinstance(p, float | int))))
    return (*measurements, *added)
