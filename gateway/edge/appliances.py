"""Disaggregation on the edge: feeds the meter's power to the worker process, publishes what it says of appliances.

An appliance is a virtual device ``<meter>/<appliance>``. All parts are published at one instant, so that they sum to
the mains; a new set goes out when an appliance switches (an event, so it is urgent), else every ``PUBLISH_S`` seconds.
Its runs are ``<meter>/<appliance>/run``: one observation at the start of a run (provisional: it goes on), one at its
end with the whole of it. Both say the same start, which tells them to be of one run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from drivers.base import Measurement, Observation, Reading
from gateway.config.schema import Disaggregation
from gateway.edge.mains import MainsReader
from gateway.mapping.mapper import RUN, iso
from gateway.pipeline.nilm.result import ApplianceResult, Mains, RunEvent

PUBLISH_S = 5.0
PROVISIONAL_MAX = 64  # more than the samples that a small model looks ahead
RUNS_MAX = 256  # appliances whose run goes on; more than a model may have
OTHER = "other"
K = TypeVar("K")
V = TypeVar("V")
Publish = Callable[[str, Observation, bool, bool], None]  # device, what; urgent; takes the place of what was said
Feed = Callable[[int, Mains], None]
Utc = Callable[[int], int | None]  # of a monotonic instant, ns; None while no clock is trusted


class Appliances:
    """Between the readings of one meter and the worker's results.

    What is said twice of one instant has one date, even where the clock was set in between: it is noted the first time.
    So in a history the final values take the place of the provisional ones.
    """

    def __init__(self, settings: Disaggregation, feed: Feed, publish: Publish, utc: Utc) -> None:
        self._settings = settings
        self._mains = MainsReader(settings.quantity)
        self._feed = feed
        self._publish = publish
        self._utc = utc
        self._published_mono_ns = 0
        self._states: tuple[bool, ...] = ()
        self._provisional: dict[int, int | None] = {}  # instants whose final values are awaited, and their dates
        self._began: dict[str, tuple[int, int | None]] = {}  # start and its date, of runs that go on

    def observe(self, device: str, readings: Sequence[Reading], mono_ns: int) -> None:
        """Hand the power of the configured meter on."""
        if device != self._settings.meter:
            return
        if mains := self._mains.read(readings):
            self._feed(mono_ns, mains)

    def result(self, result: ApplianceResult) -> None:
        """Publish the parts of one instant when something switched or it is time again, and runs.

        What was published while provisional is published again, of the same instant, when it is final.
        """
        for event in result.events:
            self._run(event)
        if result.final and result.mono_ns in self._provisional:
            self._tell(result, self._provisional.pop(result.mono_ns), urgent=False, replaces=True)
            return
        if result.final and self._provisional:
            return  # of an instant of which nothing was published
        states = tuple(part.on for part in result.parts)
        due = result.mono_ns - self._published_mono_ns >= PUBLISH_S * 1e9
        switched = states != self._states
        if not switched and not due:
            return
        self._states, self._published_mono_ns = states, result.mono_ns
        utc_ns = self._utc(result.mono_ns)
        if not result.final:
            _note(self._provisional, result.mono_ns, utc_ns, PROVISIONAL_MAX)
        self._tell(result, utc_ns, urgent=switched)

    def _run(self, event: RunEvent) -> None:
        """Publish that a run began, or the whole of it at its end."""
        start_ns = event.mono_ns - round(event.duration_s * 1e9)
        if event.kind == "end" and not event.duration_s:
            return  # nobody saw it begin
        noted_ns, utc_ns = self._began.pop(event.name, (None, None))
        if noted_ns != start_ns or utc_ns is None:
            utc_ns = self._utc(start_ns)
        said = [Measurement("provisional", event.kind == "start")]
        if utc_ns is not None:
            said.append(Measurement("run_started", iso(utc_ns)))
        if event.kind == "start":
            _note(self._began, event.name, (start_ns, utc_ns), RUNS_MAX)
        else:
            if utc_ns is not None:
                said.append(Measurement("run_ended", iso(utc_ns + event.mono_ns - start_ns)))
            said += (
                Measurement("duration", event.duration_s),
                Measurement("run_energy", event.energy_kwh),
                Measurement("confidence", event.confidence),
            )
        device = f"{self._settings.meter}/{event.name}{RUN}"
        self._publish(device, Observation(tuple(said), event.mono_ns), True, False)

    def _tell(self, result: ApplianceResult, utc_ns: int | None, *, urgent: bool, replaces: bool = False) -> None:
        """Publish all parts of one instant; a provisional one says so."""
        for part in result.parts:
            measured = (
                Measurement("active_power_total", part.power_w),
                Measurement("energy_import_total", part.energy_kwh),
                Measurement("appliance_state", "on" if part.on else "off"),
                Measurement("confidence", part.confidence),
                Measurement("provisional", not result.final),
            )
            whole = Observation(measured, result.mono_ns, utc_ns)
            self._publish(f"{self._settings.meter}/{part.name}", whole, False, replaces)
        other = Observation((Measurement("active_power_total", result.other_w),), result.mono_ns, utc_ns)
        self._publish(f"{self._settings.meter}/{OTHER}", other, urgent, replaces)


def _note(notes: dict[K, V], key: K, value: V, most: int) -> None:
    """Remember; the oldest makes room."""
    while len(notes) >= most:
        del notes[next(iter(notes))]
    notes[key] = value
