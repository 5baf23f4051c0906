"""The aggregated form of series: numbers by columns, everything else value by value (CIM 009 clause 4.5.19)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import orjson

from gateway.server.broker.model import time_text
from gateway.server.errors import TooComplexQuery, TooManyResults
from gateway.server.storage.base import Reader, Sample, Span
from gateway.server.temporal.aggregate import Method, Sums, combine, needs, results, sums
from gateway.server.temporal.ask import Aggregation
from gateway.server.temporal.slices import time_of
from gateway.server.temporal.values import Value, aggregated, value_of

PART_US = 8 * 86_400_000_000  # of a series of numbers in memory at once: at one a second about 11 MB
VALUES_MAX = 200_000  # of other types, of all series of an answer together
RESULTS_MAX = 50_000  # of all series of an answer together
exact_text = lru_cache(maxsize=8192)(time_text)


@dataclass(slots=True)
class Summary:
    """Aggregates series of one answer. ``fitting``: some method applied to some value."""

    reader: Reader
    tenant: str
    span: Span
    aggregation: Aggregation
    deadline: float
    fitting: bool = False
    _values: int = 0
    _results: int = 0
    _edges: dict[tuple[int, int], tuple[str, str]] = field(default_factory=dict)  # series mostly have the same periods

    def of(self, entity_id: str, newest: Sample) -> dict[str, Any] | None:
        """One series, of which the newest sample in the span is given; None where no method applies.

        Raises TooManyResults, TooComplexQuery.
        """
        first = self._first(entity_id, newest)
        found = self._numbers(entity_id, newest, first) if self.span.time_property == "observedAt" else None
        start = self.span.since_us if self.span.since_us is not None else first
        if found is None:
            found = self._mixed(entity_id, newest, start)
        shown: dict[str, Any] = {"type": orjson.loads(newest.instance)["type"]}
        last = time_of(newest, self.span)
        self._results += self._bounded(sum(map(len, found.values())))
        for method, pairs in found.items():
            shown[method] = [[value, *self._texts(start, number, last)] for number, value in pairs]
        self.fitting = self.fitting or bool(found)
        if not found:
            return None
        return {**shown, "datasetId": newest.dataset} if newest.dataset else shown

    def _bounded(self, more: int) -> int:
        if self._results + more > RESULTS_MAX:
            raise TooManyResults(
                f"more than {RESULTS_MAX} aggregated values", fix="Ask for longer periods, or fewer entities."
            )
        return more

    def _first(self, entity_id: str, newest: Sample) -> int:
        """Where reading begins: not before the oldest sample where the interval is long or open."""
        since, until = self.span.since_us, self.span.until_us
        if since is not None and until is not None and until - since <= PART_US:
            return since
        span = replace(self._series(newest), limit=0)
        return time_of(self.reader.history(self.tenant, entity_id, span)[0], self.span)

    def _series(self, newest: Sample) -> Span:
        return replace(self.span, attributes=(newest.attribute,), datasets=(newest.dataset,), last_n=None)

    def _numbers(self, entity_id: str, newest: Sample, first: int) -> dict[Method, list[tuple[int, object]]] | None:
        """By columns; None where not all values are numbers."""
        methods, period = self.aggregation.methods, self.aggregation.period
        wanted = needs(methods)
        start = self.span.since_us if self.span.since_us is not None else first
        parts: list[Sums] = []
        for since, until in _parts(first, newest.at_us + 1):
            self._check()
            columns = self.reader.numbers(self.tenant, entity_id, newest.attribute, newest.dataset, since, until)
            if columns is None:
                return None
            if len(columns.at_us):
                parts.append(sums(period, start, columns.at_us, columns.values, wanted))
                self._bounded(sum(len(part.numbers) for part in parts) - len(parts))
        if not parts:
            return None
        whole = combine(parts)
        numbers = whole.numbers.tolist()
        return {method: list(_finite(numbers, results(whole, method).tolist())) for method in methods}

    def _mixed(self, entity_id: str, newest: Sample, start: int) -> dict[Method, list[tuple[int, object]]]:
        self._check()
        span = replace(self._series(newest), limit=VALUES_MAX - self._values)
        samples = self.reader.history(self.tenant, entity_id, span)
        self._values += len(samples)
        if self._values > VALUES_MAX:
            raise TooComplexQuery(
                f"more than {VALUES_MAX} values that are not all numbers", fix="Ask for a shorter interval."
            )
        times: list[int] = []
        values: list[Value] = []
        for sample in samples:
            value = value_of(orjson.loads(sample.instance)) if sample.mark != "deleted" else None
            if value is not None:
                times.append(time_of(sample, self.span))
                values.append(value)
        if not values:
            return {}
        found = aggregated(self.aggregation.period, start, times, values, self.aggregation.methods)
        return {method: [(n, _whole(v)) for n, v in each.items()] for method, each in found.items()}

    def _texts(self, start: int, number: int, last: int) -> tuple[str, str]:
        period = self.aggregation.period
        if not (period.months or period.us):
            until = self.span.until_us
            return exact_text(start), exact_text(last if until is None else until)
        known = self._edges.get((start, number))
        if known is None:
            known = exact_text(period.edge(start, number)), exact_text(period.edge(start, number + 1))
            self._edges[start, number] = known
        return known

    def _check(self) -> None:
        if time.monotonic() > self.deadline:
            raise TooComplexQuery("the aggregation took too long", fix="Ask for a shorter interval or fewer entities.")


def _parts(since_us: int, until_us: int) -> Iterator[tuple[int, int]]:
    while since_us < until_us:
        end = min(since_us + PART_US, until_us)
        yield since_us, end
        since_us = end


def _finite(numbers: Sequence[int], values: Sequence[float]) -> Iterator[tuple[int, object]]:
    return ((number, _whole(value)) for number, value in zip(numbers, values, strict=True) if math.isfinite(value))


def _whole(value: object) -> object:
    """A float that is a whole number as one: 120, not 120.0."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
