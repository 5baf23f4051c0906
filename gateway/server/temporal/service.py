"""History of entities. An instance enters history when it says when it was observed (``observedAt``); one without such
a date has no place in time and stays current state only. Deleting an entity keeps its history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from gateway.server.broker.model import Stored
from gateway.server.broker.tenants import check_tenant
from gateway.server.errors import ResourceNotFound, TooManyResults
from gateway.server.storage.base import Reader, Sample, Span, Storage

ROWS_MAX = 20_000  # of one answer of the API without lastN
LAST_N_MAX = 1_000  # of each attribute
SERIES_ROWS_MAX = 500_000  # of one call from a page of the server itself


class Observed(NamedTuple):
    """One instance in history: type, value and sub-attributes as stored; ``dataset`` "" is the default one."""

    observed_ns: int
    dataset: str
    instance: Stored


@dataclass(frozen=True, slots=True)
class Evolution:
    """History of one entity. ``complete_until_us``: where the answer was cut, None where it holds everything."""

    types: list[str]
    samples: list[Sample]
    complete_until_us: int | None


class Temporal:
    """Reads of history; writing happens in the broker, in the same commit as the current state."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def series(
        self,
        tenant: str,
        entity_id: str,
        attrs: Sequence[str] | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        last_n: int | None = None,
    ) -> dict[str, list[Observed]]:
        """Instances by attribute IRI, in the order of time: since (included) until (excluded), the newest ``last_n``.

        Unknown entities and attributes have none. At most ``SERIES_ROWS_MAX`` instances, the oldest ones.
        """
        if attrs is not None and not attrs:
            return {}
        span = Span(tuple(attrs or ()), _us(since_ns), _us(until_ns), last_n, SERIES_ROWS_MAX)

        def work(reader: Reader) -> dict[str, list[Observed]]:
            found: dict[str, list[Observed]] = {}
            for sample in reader.history(tenant, entity_id, span):
                observed = Observed(sample.at_us * 1000, sample.dataset, orjson.loads(sample.instance))
                found.setdefault(sample.attribute, []).append(observed)
            return found

        return await self._storage.read(work)

    async def retrieve(self, tenant: str, entity_id: str, span: Span) -> Evolution:
        """Raises ResourceNotFound, NonexistentTenant. An answer that is too long is cut at a point in time."""

        def work(reader: Reader) -> Evolution:
            subject = reader.subject(tenant, entity_id)
            if subject is None:
                check_tenant(reader, tenant)
                raise ResourceNotFound(f"there is no history of {entity_id}")
            return _cut(subject.types, reader.history(tenant, entity_id, span), span)

        return await self._storage.read(work)

    async def delete(self, tenant: str, entity_id: str) -> None:
        """Delete all history of an entity. Raises ResourceNotFound."""
        if not await self._storage.write(lambda writer: writer.delete_history(tenant, entity_id)):
            raise ResourceNotFound(f"there is no history of {entity_id}")


def _cut(types: list[str], samples: list[Sample], span: Span) -> Evolution:
    if span.last_n is not None or len(samples) <= span.limit:
        return Evolution(types, samples, None)
    newest = samples[-1].at_us
    kept = [s for s in samples if s.at_us < newest]
    if not kept:
        raise TooManyResults(f"more than {span.limit} instances at one point in time", fix="Ask for some attrs.")
    return Evolution(types, kept, kept[-1].at_us)


def _us(ns: int | None) -> int | None:
    """Nanoseconds to microseconds, rounded up: since is included and until excluded."""
    return None if ns is None else -(-ns // 1000)
