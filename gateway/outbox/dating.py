"""Dates for readings that were made before the box knew the time. Pure functions.

A boot that learned the time has an offset: UTC = monotonic + offset. A boot that never did is placed, with its whole
length, between the last trusted time before it and the start of the next boot that has one; order and spacing stay and
the readings say SUSPECT (clock). An offset, once used, is kept for ever, so a reading sent again has the same date.
Offsets are whole microseconds, the resolution that leaves the box: two instants that differ there differ as dates.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from gateway.model import BootTime, Quality, Reading, Reason
from gateway.outbox.codec import instant

MICROSECOND = 1000
REMEMBERED = 8  # ranges of dates of a series that are looked back at; a repeated date is nearly always the last
SERIES_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Boot:
    """One boot of the box. ``placed``: its offset is an estimate. ``last_mono_ns``: the latest instant known of it."""

    boot_id: str
    offset_ns: int | None
    placed: bool
    last_mono_ns: int


def whole_microseconds(ns: int) -> int:
    """Cut to whole microseconds, downwards."""
    return ns - ns % MICROSECOND


def place(boots: Sequence[Boot]) -> dict[str, int]:
    """Offsets for the boots without one that have a dated boot somewhere after them. ``boots`` in order of time."""
    placed: dict[str, int] = {}
    waiting: list[Boot] = []
    before_ns: int | None = None
    for boot in boots:
        if boot.offset_ns is None:
            waiting.append(boot)
            continue
        placed |= _between(waiting, before_ns, boot.offset_ns)
        before_ns, waiting = boot.offset_ns + boot.last_mono_ns, []
    return placed


def _between(boots: Sequence[Boot], before_ns: int | None, after_ns: int) -> dict[str, int]:
    """Spread the boots evenly over the time between, or set them just before its end where the start is not known.

    Where they do not fit (the trusted times contradict each other) the end counts: nothing is dated in the future.
    """
    length_ns = sum(boot.last_mono_ns + MICROSECOND for boot in boots)
    gap_ns = 0 if before_ns is None else max(0, (after_ns - before_ns - length_ns) // (len(boots) + 1))
    offsets: dict[str, int] = {}
    end_ns = after_ns
    for boot in reversed(boots):
        end_ns = whole_microseconds(end_ns - gap_ns - boot.last_mono_ns - MICROSECOND)
        offsets[boot.boot_id] = end_ns
    return offsets


def redate(reading: Reading, offset_ns: int, placed: bool) -> Reading:
    """The reading with a date instead of a boot's time. A date by estimate makes a good reading suspect."""
    if reading.clock is None:
        return reading
    dated = replace(reading, observed_ns=reading.clock.mono_ns + offset_ns, clock=None)
    if placed and dated.quality is Quality.GOOD:
        return replace(dated, quality=Quality.SUSPECT, reason=Reason.CLOCK)
    return dated


class Distinct:
    """Keeps the readings of a series (device and quantity) apart by at least a microsecond.

    In a history a second value with the date of the first would replace it. A device whose own clock states whole
    seconds, or was set back, repeats dates; so its readings move on by a microsecond until the date is free. This is
    done before they are stored, so it does not change when they are sent again.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], _Taken] = {}

    def settle(self, readings: Sequence[Reading]) -> tuple[Reading, ...]:
        """The readings of one observation, moved where needed; those of one device and instant stay together."""
        settled: list[Reading] = []
        for (device, (clock, ns)), group in groupby(readings, lambda r: (r.device, instant(r))):
            run = list(group)
            once = len({reading.quantity for reading in run}) == len(run)
            for part in [run] if once else [[reading] for reading in run]:
                settled += self._settle([self._series(device, clock, r.quantity) for r in part], ns, part)
        return tuple(settled)

    @staticmethod
    def _settle(series: list[_Taken], ns: int, readings: list[Reading]) -> list[Reading]:
        micros = ns // MICROSECOND
        while (after := max(taken.after(micros) for taken in series)) != micros:
            micros = after
        for taken in series:
            taken.take(micros)
        moved = micros != ns // MICROSECOND
        return [_moved(reading, micros * MICROSECOND) for reading in readings] if moved else readings

    def _series(self, device: str, clock: str, quantity: str) -> _Taken:
        if len(self._seen) > SERIES_MAX:
            self._seen.clear()
        return self._seen.setdefault((device, clock, quantity), _Taken())


class _Taken:
    """The microseconds that a series used lately, as ranges [first, last], the latest used at the end."""

    __slots__ = ("_ranges",)

    def __init__(self) -> None:
        self._ranges: deque[list[int]] = deque(maxlen=REMEMBERED)

    def after(self, micros: int) -> int:
        """``micros`` where it is free, else the first one behind the range that holds it."""
        return next((last + 1 for first, last in self._ranges if first <= micros <= last), micros)

    def take(self, micros: int) -> None:
        for taken in self._ranges:
            if taken[1] == micros - 1:
                taken[1] = micros
                self._ranges.remove(taken)
                self._ranges.append(taken)
                return
        self._ranges.append([micros, micros])


def _moved(reading: Reading, ns: int) -> Reading:
    if reading.clock is None:
        return replace(reading, observed_ns=ns)
    return replace(reading, clock=BootTime(reading.clock.boot_id, ns))
