"""The broker: rules of current state over the storage, and who is told of changes.

Everything given in and out is in stored form (``model``); names, formats and HTTP are the matter of the routes. Rules
run inside the storage writer, one write after the other, so reading, merging and writing back cannot interleave.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias

from gateway.server.broker import merge, patch, rules
from gateway.server.broker.merge import Merged
from gateway.server.broker.model import BatchResult, Change, Stored, instances, time_text
from gateway.server.broker.patch import Patch, completed
from gateway.server.broker.query import Query
from gateway.server.broker.rules import Applied, BatchRule, Element, TypeTest
from gateway.server.broker.tenants import check_tenant
from gateway.server.errors import ResourceNotFound
from gateway.server.storage.base import Sample, Storage, Writer

FEED_MAX = 1_000
FEEDS_MAX = 500
PURGE_CHUNK = 500  # entities of one commit
Observer = Callable[[Sequence[Change]], None]
Hook = Callable[[Writer, Sequence[Change]], None]
Arrival = Callable[[Writer, str, str, Sequence[Sample]], None]  # tenant, entity id
Also = Callable[[Writer], None]
Rule: TypeAlias = Callable[[Stored, str], Merged]
"""(what is there, now) -> merged, or a Problem"""


class Feed(asyncio.Queue[Change]):
    """Changes for one listener; when it is slow the oldest are dropped and ``lost`` counts them."""

    def __init__(self) -> None:
        super().__init__(FEED_MAX)
        self.lost = 0

    def offer(self, change: Change) -> None:
        """Add a change, if need be in place of the oldest."""
        if self.full():
            self.get_nowait()
            self.lost += 1
        self.put_nowait(change)


class Broker:
    """See the module. ``clock_ns`` is the system clock: system attributes and dates of notifications."""

    def __init__(self, storage: Storage, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._storage = storage
        self._clock_ns = clock_ns
        self._feeds: dict[str, set[Feed]] = {}
        self._observers: list[Observer] = []
        self._hooks: list[Hook] = []
        self._arrivals: list[Arrival] = []
        self._ready: Callable[[], Awaitable[None]] | None = None
        self.entities_written = 0
        self.samples_written = 0

    # being told

    @asynccontextmanager
    async def listen(self, tenant: str) -> AsyncIterator[Feed]:
        """The tenant's changes from now on, each after its commit. A slow listener loses the oldest (``lost``)."""
        feeds = self._feeds.setdefault(tenant, set())
        feed = Feed()
        feeds.add(feed)
        try:
            yield feed
        finally:
            feeds.discard(feed)

    def observe(self, observer: Observer) -> None:
        """Call the observer with all changes of an operation, after its commit; it must not wait."""
        self._observers.append(observer)

    def before_commit(self, hook: Hook) -> None:
        """Call the hook inside every write that changes something: what it writes is in the same commit.

        It runs in the writer's thread and must be quick; if it raises, nothing of the operation is kept.
        """
        self._hooks.append(hook)

    def wait_for(self, ready: Callable[[], Awaitable[None]]) -> None:
        """Wait for it before each write: then the hooks know what other servers have changed."""
        self._ready = ready

    def on_history(self, hook: Arrival) -> None:
        """Call the hook inside every write, with what arrived for the history of each entity: late and equal, too.

        It runs as those of ``before_commit`` do.
        """
        self._arrivals.append(hook)

    def _tell(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        for feed in tuple(self._feeds.get(changes[0].tenant, ())):
            for change in changes:
                feed.offer(change)
        for observer in self._observers:
            observer(changes)

    def now(self) -> str:
        """The DateTime of an operation that begins now."""
        return time_text(self._clock_ns() // 1000)

    # writing: one entity. ``types`` narrows the target: one without such a type counts as not there

    async def create(self, tenant: str, entity: Stored) -> None:
        """Raises AlreadyExists."""
        result = await self.create_batch(tenant, [entity])
        if result.errors:
            raise result.errors[0][1]

    async def replace(self, tenant: str, entity_id: str, entity: Stored | Patch, types: TypeTest | None = None) -> None:
        """Replace Entity. A patch has bare values, which take the types of the attributes there.

        Raises ResourceNotFound, BadRequestData.
        """

        def rule(old: Stored, now: str) -> Merged:
            return merge.replace(old, completed(old, entity) if isinstance(entity, Patch) else entity, now)

        await self._change(tenant, entity_id, rule, types, entity)

    async def merge(self, tenant: str, entity_id: str, fragment: Patch, types: TypeTest | None = None) -> None:
        """Merge Entity. Raises ResourceNotFound, BadRequestData."""
        await self._change(tenant, entity_id, lambda old, now: patch.merge(old, fragment, now), types, fragment)

    async def append(
        self, tenant: str, entity_id: str, fragment: Stored, *, overwrite: bool = True, types: TypeTest | None = None
    ) -> Merged:
        """Append Attributes. Raises ResourceNotFound."""

        def rule(old: Stored, now: str) -> Merged:
            return merge.update(old, fragment, now, overwrite=overwrite)

        return await self._change(tenant, entity_id, rule, types, fragment)

    async def update(self, tenant: str, entity_id: str, fragment: Stored, *, types: TypeTest | None = None) -> Merged:
        """Update Attributes: those that are there; null markers delete. Raises ResourceNotFound."""

        def rule(old: Stored, now: str) -> Merged:
            return merge.update(old, fragment, now, add=False)

        return await self._change(tenant, entity_id, rule, types, fragment)

    async def update_attribute(
        self, tenant: str, entity_id: str, name: str, fragment: Patch, types: TypeTest | None = None
    ) -> None:
        """Partial Attribute Update. Raises ResourceNotFound, BadRequestData."""

        def rule(old: Stored, now: str) -> Merged:
            return patch.update_attribute(old, name, fragment.entity, fragment.how, now)

        await self._change(tenant, entity_id, rule, types, fragment)

    async def replace_attribute(
        self, tenant: str, entity_id: str, name: str, value: Stored | list[Stored], types: TypeTest | None = None
    ) -> None:
        """Replace Attribute: the instances given, all of which must be there. Raises ResourceNotFound."""
        fragment = {name: value}

        def rule(old: Stored, now: str) -> Merged:
            known = {i.get("datasetId") for i in instances(old[name])} if name in old else set()
            if not all(instance.get("datasetId") in known for instance in instances(value)):
                raise ResourceNotFound(f"{entity_id}: {merge.NOT_THERE}")
            return merge.update(old, fragment, now)

        await self._change(tenant, entity_id, rule, types, fragment)

    async def delete_attribute(
        self,
        tenant: str,
        entity_id: str,
        name: str,
        dataset: str | None = None,
        *,
        every: bool = False,
        types: TypeTest | None = None,
    ) -> None:
        """Delete one instance of an attribute (None: the default one), or every one. Raises ResourceNotFound."""

        def rule(old: Stored, now: str) -> Merged:
            if name == "scope":
                merged = merge.delete_scope(old, now)
            else:
                merged = merge.delete(old, name, None if every else (dataset,), now)
            if merged.refused:
                raise ResourceNotFound(f"{entity_id}: {merge.NOT_THERE}")
            return merged

        await self._change(tenant, entity_id, rule, types, {})

    async def delete(self, tenant: str, entity_id: str, types: TypeTest | None = None) -> None:
        """Delete the current state; history stays. Raises ResourceNotFound."""
        _, at_us = self._moment()

        def work(writer: Writer) -> Applied:
            entity = rules.found(writer, tenant, entity_id, at_us, types)
            return Applied(changes=[rules.remove(writer, tenant, entity)])

        await self._write(work)

    async def _change(
        self, tenant: str, entity_id: str, rule: Rule, types: TypeTest | None, arrived: Element
    ) -> Merged:
        now, at_us = self._moment()
        done: list[Merged] = []

        def work(writer: Writer) -> Applied:
            merged = rule(rules.found(writer, tenant, entity_id, at_us, types), now)
            samples = rules.samples_of(arrived, merged)
            rules.save(writer, tenant, merged.entity, samples, at_us)
            done.append(merged)
            changes = [rules.change(tenant, merged, "updated")] if merged.changed or merged.header else []
            return Applied(changes=changes, arrived=[(tenant, entity_id, samples)] if samples else [])

        await self._write(work)
        self.entities_written += 1
        return done[-1]

    # writing: many

    async def create_batch(self, tenant: str, entities: Sequence[Stored]) -> BatchResult:
        """Entities that are there already go to the errors."""
        return await self._batch(tenant, entities, rules.create)

    async def upsert_batch(
        self, tenant: str, entities: Sequence[Stored], *, replace: bool = True, also: Also | None = None
    ) -> BatchResult:
        """Create what is not there; replace or update what is. In order: the same id may come several times.

        ``also`` writes something else in the same commit.
        """
        return await self._batch(tenant, entities, rules.replace if replace else rules.renew, also)

    async def update_batch(self, tenant: str, entities: Sequence[Stored], *, overwrite: bool = True) -> BatchResult:
        """Update what is there; the others go to the errors."""
        return await self._batch(tenant, entities, rules.update if overwrite else rules.append)

    async def merge_batch(self, tenant: str, fragments: Sequence[Patch]) -> BatchResult:
        """Merge into what is there; the others go to the errors."""
        return await self._batch(tenant, fragments, rules.merge_patch)

    async def delete_batch(self, tenant: str, ids: Sequence[str]) -> BatchResult:
        """``updated`` holds what was deleted."""
        _, at_us = self._moment()

        def work(writer: Writer) -> Applied:
            check_tenant(writer, tenant)
            applied = Applied()
            writer.prefetch(tenant, ids)
            for entity_id in ids:
                try:
                    applied.changes.append(rules.remove(writer, tenant, rules.found(writer, tenant, entity_id, at_us)))
                    applied.result.updated.append(entity_id)
                except ResourceNotFound as problem:
                    applied.result.errors.append((entity_id, problem))
            return applied

        return (await self._write(work, len(ids))).result

    async def purge(
        self, tenant: str, query: Query, *, keep: Collection[str] | None = None, drop: Collection[str] | None = None
    ) -> None:
        """Delete the entities that a query means, or only some attributes of them: those to drop, or all but some.

        Many are deleted in several commits, each entity as it is then. Raises NonexistentTenant, TooComplexQuery.
        """
        ids = await self._storage.read(lambda reader: rules.matching(reader, tenant, query, self._moment()[1]))
        for start in range(0, len(ids), PURGE_CHUNK):
            chunk, (now, at_us) = ids[start : start + PURGE_CHUNK], self._moment()
            purged = rules.Purge(query, keep, drop, now, at_us)
            await self._write(partial(rules.purge, tenant=tenant, ids=chunk, what=purged), len(chunk))

    async def sweep(self, limit: int) -> int:
        """Remove entities and attributes that have expired; returns how many entities were looked at."""
        _, at_us = self._moment()
        due = await self._storage.read(lambda reader: reader.expired(at_us, limit))
        for tenant in dict.fromkeys(tenant for tenant, _ in due):
            ids = [entity_id for of_tenant, entity_id in due if of_tenant == tenant]
            await self._write(partial(rules.sweep, tenant=tenant, ids=ids, at_us=at_us), len(ids))
        return len(due)

    async def _batch(
        self, tenant: str, elements: Sequence[Element], rule: BatchRule, also: Also | None = None
    ) -> BatchResult:
        now, at_us = self._moment()

        def work(writer: Writer) -> Applied:
            if also is not None:
                also(writer)
            return rules.apply_batch(writer, tenant, elements, rule, now, at_us)

        result = (await self._write(work, len(elements))).result
        self.entities_written += len(elements) - len(result.errors)
        return result

    async def _write(self, work: Callable[[Writer], Applied], weight: int = 1) -> Applied:
        """Run the work, with the hooks in its commit; then tell what it changed."""

        def whole(writer: Writer) -> Applied:
            applied = work(writer)
            if applied.changes:
                for hook in self._hooks:
                    hook(writer, applied.changes)
            for take in self._arrivals:
                for tenant, entity_id, samples in applied.arrived:
                    take(writer, tenant, entity_id, samples)
            return applied

        if self._ready is not None:
            await self._ready()
        applied = await self._storage.write(whole, weight=weight)
        self.samples_written += sum(len(samples) for _, _, samples in applied.arrived)
        self._tell(applied.changes)
        return applied

    def _moment(self) -> tuple[str, int]:
        at_us = self._clock_ns() // 1000
        return time_text(at_us), at_us
