"""The partitions of history, one a year; and what a server remembers of them and of series, since both stay."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

YEARS = range(1970, 2100)  # with a partition each; what is before and after has one together
SERIES_MAX = 200_000  # of which the keys are in memory, about 40 MB
Series = tuple[int, str, str]


@dataclass(slots=True)
class Known:
    """What is committed. A series (key of its subject, attribute, dataset) goes with its subject only, whose key is
    never used again."""

    series: dict[Series, int] = field(default_factory=dict)
    years: set[int] = field(default_factory=set)

    def learn(self, series: dict[Series, int], years: set[int]) -> None:
        """After a commit."""
        if len(self.series) + len(series) > SERIES_MAX:
            self.series.clear()
        self.series.update(series)
        self.years |= years


def year_of(at_us: int) -> int:
    """The year of UTC, as far as there are partitions of years."""
    if at_us < _start_us(YEARS.start):
        return YEARS.start - 1
    if at_us >= _start_us(YEARS.stop):
        return YEARS.stop
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).year


def partition(year: int) -> tuple[str, str, str]:
    """Name and bounds of the partition."""
    if year < YEARS.start:
        return "sample_before", "MINVALUE", str(_start_us(YEARS.start))
    if year >= YEARS.stop:
        return "sample_after", str(_start_us(YEARS.stop)), "MAXVALUE"
    return f"sample_{year}", str(_start_us(year)), str(_start_us(year + 1))


def _start_us(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
