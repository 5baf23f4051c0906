"""Durations of ISO 8601 (``P1M``, ``PT15M``, ``P2W``) and the periods that they cut time into."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from gateway.server.broker.model import EPOCH, MICROSECOND

SECOND_US = 1_000_000
DURATION = re.compile(
    r"P(?=[\dT])(?:(?P<weeks>\d{1,6})W|(?:(?P<years>\d{1,4})Y)?(?:(?P<months>\d{1,5})M)?(?:(?P<days>\d{1,7})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,8})H)?(?:(?P<minutes>\d{1,9})M)?(?:(?P<seconds>\d{1,9}(?:[.,]\d{1,6})?)S)?)?)\Z",
    re.ASCII,
)
IN_SECONDS = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60}
LAST_US = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND


@dataclass(frozen=True, slots=True)
class Period:
    """Calendar months and microseconds; both 0: all of time is one period."""

    months: int = 0
    us: int = 0

    def edge(self, start_us: int, number: int) -> int:
        """Where the period of that number begins; those of months count from the day and time of the start.

        A day that a month lacks becomes its last: from 31 January on by months: 28 February, 31 March.
        """
        return min(_later(start_us, self.months * number) + self.us * number, LAST_US)

    def numbers(self, start_us: int, at_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """In which period each time lies; times are in order, none before the start."""
        if not self.months:
            return (at_us - start_us) // self.us if self.us else np.zeros(len(at_us), np.int64)
        edges = [start_us]
        while len(at_us) and edges[-1] <= at_us[-1] and edges[-1] < LAST_US:
            edges.append(self.edge(start_us, len(edges)))
        return np.searchsorted(np.array(edges, np.int64), at_us, side="right").astype(np.int64) - 1


def parse_duration(text: str) -> Period:
    """Raises ValueError."""
    found = DURATION.match(text)
    if found is None:
        raise ValueError("it must be a duration of ISO 8601, like PT15M, P1D, P2W or P1M")
    parts = found.groupdict(default="0")
    months = int(parts["years"]) * 12 + int(parts["months"])
    whole, _, fraction = parts["seconds"].replace(",", ".").partition(".")
    us = sum(int(parts[unit]) * seconds for unit, seconds in IN_SECONDS.items()) + int(whole)
    return Period(months, us * SECOND_US + int(fraction.ljust(6, "0") if fraction else 0))


def _later(start_us: int, months: int) -> int:
    if not months:
        return start_us
    start = EPOCH + start_us * MICROSECOND
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    if year > 9998:
        return LAST_US
    first = datetime(year, month + 1, 1, tzinfo=UTC)
    following = datetime(year + (month == 11), (month + 1) % 12 + 1, 1, tzinfo=UTC)
    day = min(start.day, (following - first).days)
    moment = start.replace(year=year, month=month + 1, day=day)
    return (moment - EPOCH) // MICROSECOND
