"""History of entities: what the API adds, changes and deletes there, and reads of it.

The broker records history in the same commit as the current state (``broker.record``). What comes through the temporal
API enters history only. Deleting an entity keeps its history.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import orjson

from gateway.server.broker.model import Change, Stored, time_text
from gateway.server.broker.query import Query
from gateway.server.broker.record import record
from gateway.server.broker.service import Arrival
from gateway.server.broker.tenants import check_tenant
from gateway.server.contexts import Context
from gateway.server.errors import ResourceNotFound
from gateway.server.storage.base import Reader, Sample, Span, Storage, Writer
from gateway.server.temporal.ask import Ask
from gateway.server.temporal.parse import Evolution, parse_change, sample_of
from gateway.server.temporal.reading import Answer, Work
from gateway.server.wire import Paging

SERIES_ROWS_MAX = 500_000  # of one call from a page of the server itself


class Observed(NamedTuple):
    """One instance in history: type, value and sub-attributes as stored; ``dataset`` "" is the default one."""

    observed_ns: int
    dataset: str
    instance: Stored


class Temporal:
    """See the module. ``clock_ns`` is the system clock."""

    def __init__(self, storage: Storage, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._storage = storage
        self._hooks: list[Arrival] = []
        self._clock_ns = clock_ns

    def on_history(self, hook: Arrival) -> None:
        """Call the hook inside each write through the temporal API, with the samples that it adds."""
        self._hooks.append(hook)

    def record(self, writer: Writer, changes: Sequence[Change]) -> None:
        """What changes of current state leave in history; for ``Broker.before_commit``."""
        record(writer, changes, self._now_us())

    # reading

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

        return await self._storage.read(work, replica=True)

    async def retrieve(self, tenant: str, entity_id: str, ask: Ask, query: Query) -> Answer:
        """One entity. Raises ResourceNotFound, NonexistentTenant, InvalidRequest, TooManyResults, TooComplexQuery."""
        return await self._storage.read(
            lambda reader: Work(reader, tenant, ask).retrieve(entity_id, query), replica=True
        )

    async def query(self, tenant: str, queries: Sequence[Query], ask: Ask, page: Paging) -> Answer:
        """Entities that one of the queries means and that have instances in the interval. Raises as ``retrieve``."""
        return await self._storage.read(lambda reader: Work(reader, tenant, ask).query(queries, page), replica=True)

    # writing

    async def add(self, tenant: str, entity_id: str, evolution: Evolution, *, create: bool) -> bool:
        """Add instances; one with the same attribute, dataset and observedAt replaces. Returns whether it was there.

        Raises ResourceNotFound where the entity is unknown and not to be created.
        """
        now_us = self._now_us()

        def work(writer: Writer) -> bool:
            known = writer.subject(tenant, entity_id)
            if known is None and not create:
                raise _unknown(writer, tenant, f"there is no history of {entity_id}")
            if known is None or not known.live:  # types of a current state change with that state
                writer.put_subject(tenant, entity_id, evolution.types)
            samples = evolution.at(now_us)
            writer.put_history(tenant, entity_id, samples, now_us)
            for hook in self._hooks:
                hook(writer, tenant, entity_id, samples)
            return known is not None

        return await self._storage.write(work, weight=1 + len(evolution.samples) // 10)

    async def change(
        self, tenant: str, entity_id: str, attribute: str, number: int, raw: Mapping[str, object], context: Context
    ) -> None:
        """Partial update of one instance; it stays the same instance. Raises ResourceNotFound, BadRequestData."""
        now_us = self._now_us()

        def work(writer: Writer) -> None:
            old = self._sample(writer, tenant, entity_id, attribute, number)
            there: Stored = orjson.loads(old.instance)
            if old.mark == "observed":
                there["observedAt"] = time_text(old.at_us)
            if old.dataset:
                there["datasetId"] = old.dataset
            changed = parse_change(raw, attribute, there, context)
            new = sample_of(attribute, changed, old.at_us)
            writer.replace_sample(tenant, entity_id, old, new, now_us)

        await self._storage.write(work)

    async def delete(
        self,
        tenant: str,
        entity_id: str,
        attribute: str | None = None,
        dataset: str | None = None,
        number: int | None = None,
    ) -> None:
        """Delete history: all, of an attribute (all datasets, or one), or one instance. Raises ResourceNotFound."""

        def work(writer: Writer) -> None:
            if number is not None and attribute is not None:
                self._sample(writer, tenant, entity_id, attribute, number)
            known = writer.subject(tenant, entity_id)
            deleted = writer.delete_history(tenant, entity_id, attribute, dataset, number)
            if known is None or (attribute is not None and not deleted):
                what = entity_id if attribute is None else f"{attribute} of {entity_id}"
                raise _unknown(writer, tenant, f"there is no history of {what}")
            if attribute is not None and not known.live:  # the entity stays, also without its last attribute
                writer.put_subject(tenant, entity_id, known.types)

        await self._storage.write(work)

    def _now_us(self) -> int:
        return self._clock_ns() // 1000

    def _sample(self, reader: Reader, tenant: str, entity_id: str, attribute: str, number: int) -> Sample:
        found = reader.sample(tenant, entity_id, attribute, number)
        if found is None:
            raise _unknown(reader, tenant, f"{attribute} of {entity_id} has no such instance")
        return found


def _unknown(reader: Reader, tenant: str, text: str) -> ResourceNotFound:
    check_tenant(reader, tenant)
    return ResourceNotFound(text)


def _us(ns: int | None) -> int | None:
    """Nanoseconds to microseconds, rounded up: since is included and until excluded."""
    return None if ns is None else -(-ns // 1000)
