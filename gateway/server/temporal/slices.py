"""Samples of an answer, and where in time it is cut when there are more than one answer may hold (clause 6.3.10).

Without lastN an answer goes from the oldest on, with it from the newest back. Whatever was cut off lies beyond one
point in time for all entities and attributes, so that the client can go on from there.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.server.errors import TooManyResults
from gateway.server.storage.base import Reader, Sample, Span

ROWS_MAX = 20_000


def time_of(sample: Sample, span: Span) -> int:
    """The sample's time of the time property of the span."""
    if span.time_property == "createdAt":
        return sample.created_us
    return sample.modified_us if span.time_property == "modifiedAt" else sample.at_us


class Slice:
    """Fill it with ``add``, then ``finish``. ``parts``: samples by entity id. ``cut``: it does not hold everything."""

    def __init__(self, reader: Reader, tenant: str, span: Span, rows_max: int = ROWS_MAX) -> None:
        self._reader = reader
        self._tenant = tenant
        self._rows_max = rows_max
        self._rows = 0
        self.span = replace(span, limit=rows_max)
        self.parts: dict[str, list[Sample]] = {}
        self.cut = False

    def add(self, entity_id: str, series: int) -> None:
        """Read an entity that has so many series in the span. Raises TooManyResults."""
        if self.span.last_n is None:
            found = self._reader.history(self._tenant, entity_id, self.span)
        else:
            found = self._newest(entity_id, max(series, 1), self.span.last_n)
        self.parts[entity_id] = found
        self._rows += len(found)
        if len(found) > self._rows_max or self._rows > 2 * self._rows_max:
            self._shorten()

    def finish(self) -> None:
        """Cut what is too long. Raises TooManyResults."""
        if self._rows > self._rows_max:
            self._shorten()

    def range_us(self) -> tuple[int, int] | None:
        """The oldest and the newest time in it."""
        times = [time_of(sample, self.span) for samples in self.parts.values() for sample in samples]
        return (min(times), max(times)) if times else None

    def _newest(self, entity_id: str, series: int, wanted: int) -> list[Sample]:
        """The newest of each series: of all of them no more than the answer holds, cut at the same time."""
        share = self._rows_max // series + 2
        found = self._reader.history(self._tenant, entity_id, replace(self.span, last_n=min(wanted, share)))
        if wanted <= share:
            return found
        times: dict[tuple[str, str], list[int]] = {}
        for sample in found:
            times.setdefault((sample.attribute, sample.dataset), []).append(time_of(sample, self.span))
        short = [min(each) for each in times.values() if len(each) == share]
        if short:
            self._keep(max(short) + 1, None)
            found = [sample for sample in found if time_of(sample, self.span) > max(short)]
        return found

    def _shorten(self) -> None:
        times = sorted(time_of(sample, self.span) for samples in self.parts.values() for sample in samples)
        if self.span.last_n is None:
            self._keep(None, times[self._rows_max])
        else:
            self._keep(times[-self._rows_max - 1] + 1, None)
        if not self._rows:
            raise TooManyResults(
                f"more than {self._rows_max} instances at one point in time",
                fix="Ask for some attrs, or fewer entities.",
            )

    def _keep(self, since_us: int | None, until_us: int | None) -> None:
        self.cut = True
        if since_us is not None:
            self.span = replace(self.span, since_us=since_us)
        if until_us is not None:
            self.span = replace(self.span, until_us=until_us)
        low, high = since_us or -(2**62), until_us if until_us is not None else 2**62
        self.parts = {
            entity_id: [sample for sample in samples if low <= time_of(sample, self.span) < high]
            for entity_id, samples in self.parts.items()
        }
        self._rows = sum(map(len, self.parts.values()))
