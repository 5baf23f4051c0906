"""Disaggregation on the edge: feeds the meter's power to the worker process, publishes what it says of appliances.

An appliance is a virtual device ``<meter>/<appliance>``. All parts are published at one instant, so that they sum to
the mains; a new set goes out when an appliance switches (an event, so it is urgent), else every ``PUBLISH_S`` seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from drivers.base import Measurement, Observation, Quality, Reading
from gateway.config.schema import Disaggregation
from gateway.pipeline.nilm.result import ApplianceResult

PUBLISH_S = 5.0
PROVISIONAL_MAX = 64  # more than the samples that a small model looks ahead
OTHER = "other"
Publish = Callable[[str, Observation, bool], None]
Feed = Callable[[int, float], None]


class Appliances:
    """Between the readings of one meter and the worker's results."""

    def __init__(self, settings: Disaggregation, feed: Feed, publish: Publish) -> None:
        self._settings = settings
        self._feed = feed
        self._publish = publish
        self._published_mono_ns = 0
        self._states: tuple[bool, ...] = ()
        self._provisional: deque[int] = deque(maxlen=PROVISIONAL_MAX)  # instants whose final values are awaited

    def observe(self, device: str, readings: Sequence[Reading], mono_ns: int) -> None:
        """Hand the total power of the configured meter on; a BAD value is a gap, not a power."""
        if device != self._settings.meter:
            return
        for reading in readings:
            if reading.quantity == self._settings.quantity and reading.quality is not Quality.BAD:
                assert isinstance(reading.value, float | int)
                self._feed(mono_ns, float(reading.value))

    def result(self, result: ApplianceResult) -> None:
        """Publish the parts of one instant when something switched or it is time again.

        What was published while provisional is published again, of the same instant, when it is final.
        """
        if result.final and result.mono_ns in self._provisional:
            self._provisional.remove(result.mono_ns)
            self._tell(result, urgent=False)
            return
        if result.final and self._provisional:
            return  # of an instant of which nothing was published
        states = tuple(part.on for part in result.parts)
        due = result.mono_ns - self._published_mono_ns >= PUBLISH_S * 1e9
        switched = states != self._states
        if not switched and not due:
            return
        self._states, self._published_mono_ns = states, result.mono_ns
        if not result.final:
            self._provisional.append(result.mono_ns)
        self._tell(result, urgent=switched)

    def _tell(self, result: ApplianceResult, *, urgent: bool) -> None:
        """Publish all parts of one instant; a provisional one says so."""
        for part in result.parts:
            measured = (
                Measurement("active_power_total", part.power_w),
                Measurement("energy_import_total", part.energy_kwh),
                Measurement("appliance_state", "on" if part.on else "off"),
                Measurement("confidence", part.confidence),
                Measurement("provisional", not result.final),
            )
            self._publish(f"{self._settings.meter}/{part.name}", Observation(measured, result.mono_ns), False)
        other = Observation((Measurement("active_power_total", result.other_w),), result.mono_ns)
        self._publish(f"{self._settings.meter}/{OTHER}", other, urgent)
