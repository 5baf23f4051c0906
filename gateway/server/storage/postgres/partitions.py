"""The partitions of history: one a year."""

from __future__ import annotations

from datetime import UTC, datetime

YEARS = range(1970, 2100)  # with a partition each; what is before and after has one together


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
