"""The broker: rules of current state over the storage, and who is told of changes.

Everything given in and out is in stored form (``model``); names, formats and HTTP are the matter of the routes. Rules
run inside the storage writer, one write after the other, so reading, merging and writing back cannot interleave.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.server.broker import merge
from gateway.server.broker.merge import Merged
from gateway.server.broker.model import BatchResult, Change, Stored, time_text
from gateway.server.broker.tenants import check_tenant
from gateway.server.errors import AlreadyExists, ResourceNotFound
from gateway.server.storage.base import Reader, Sample, Storage, Writer

log = logging.getLogger(__name__)
FEED_MAX = 1_000
FEEDS_MAX = 500
Observer = Callable[[Sequence[Change]], None]
Hook = Callable[[Writer, Sequence[Change]], None]
Also = Callable[[Writer], None]


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


@dataclass(slots=True)
class _Draft:
    """An entity while a batch is applied to it: ``merged`` adds up over the elements with the same id."""

    before: Stored | None
    merged: Merged
    samples: list[Sample]


class Broker:
    """See the module. ``clock_ns`` is the system clock: system attributes and dates of notifications."""

    def __init__(self, storage: Storage, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._storage = storage
        self._clock_ns = clock_ns
        self._feeds: dict[str, set[Feed]] = {}
        self._observers: list[Observer] = []
        self._hooks: list[Hook] = []
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

    def _hook(self, writer: Writer, changes: Sequence[Change]) -> None:
        if changes:
            for hook in self._hooks:
                hook(writer, changes)

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

    # writing

    async def create(self, tenant: str, entity: Stored) -> None:
        """Raises AlreadyExists."""
        result = await self.create_batch(tenant, [entity])
        if result.errors:
            raise result.errors[0][1]

    async def create_batch(self, tenant: str, entities: Sequence[Stored]) -> BatchResult:
        """Entities that are there already go to the errors."""
        return await self._batch(tenant, entities, _create)

    async def upsert_batch(
        self, tenant: str, entities: Sequence[Stored], *, replace: bool = True, also: Also | None = None
    ) -> BatchResult:
        """Create what is not there; replace or update what is. In order: the same id may come several times.

        ``also`` writes something else in the same commit.
        """
        return await self._batch(tenant, entities, _replace if replace else _update, also)

    async def update_batch(self, tenant: str, entities: Sequence[Stored], *, overwrite: bool = True) -> BatchResult:
        """Update what is there; the others go to the errors."""
        return await self._batch(tenant, entities, _update_existing if overwrite else _append_existing)

    async def append(self, tenant: str, entity_id: str, fragment: Stored, *, overwrite: bool = True) -> Merged:
        """Add and replace attributes, delete those with null markers. Raises ResourceNotFound."""
        fragment["id"] = entity_id
        now, at_us = self._moment()

        def work(writer: Writer) -> tuple[Merged, list[Change]]:
            before = _found(writer, tenant, entity_id)
            fragment.setdefault("type", before["type"])
            samples = merge.samples(fragment)
            merged = merge.update(before, fragment, now, overwrite=overwrite)
            _put(writer, tenant, merged.entity, samples, at_us)
            changes = [_change(tenant, merged, "updated")] if merged.changed else []
            self._hook(writer, changes)
            return merged, changes

        merged, changes = await self._storage.write(work)
        self._tell(changes)
        return merged

    async def delete(self, tenant: str, entity_id: str) -> None:
        """Delete the current state; history stays. Raises ResourceNotFound."""
        result = await self.delete_batch(tenant, [entity_id])
        if result.errors:
            raise result.errors[0][1]

    async def delete_batch(self, tenant: str, ids: Sequence[str]) -> BatchResult:
        """``updated`` holds what was deleted."""

        def work(writer: Writer) -> tuple[BatchResult, list[Change]]:
            check_tenant(writer, tenant)
            result, changes = BatchResult(), []
            for entity_id in ids:
                document = writer.entity(tenant, entity_id)
                if document is None:
                    result.errors.append((entity_id, ResourceNotFound(f"there is no entity {entity_id}")))
                    continue
                writer.delete_entity(tenant, entity_id)
                result.updated.append(entity_id)
                gone = _load(document)
                names = tuple(name for name in gone if ":" in name)
                previous = {name: gone[name] for name in names}
                changes.append(Change(tenant, gone, names, "deleted", (), names, previous))
            self._hook(writer, changes)
            return result, changes

        result, changes = await self._storage.write(work, weight=len(ids))
        self._tell(changes)
        return result

    async def _batch(
        self, tenant: str, entities: Sequence[Stored], rule: _Rule, also: Also | None = None
    ) -> BatchResult:
        now, at_us = self._moment()

        def work(writer: Writer) -> tuple[BatchResult, list[Change], int]:
            if also is not None:
                also(writer)
            applied = _apply(writer, tenant, entities, rule, now, at_us)
            self._hook(writer, applied[1])
            return applied

        result, changes, samples = await self._storage.write(work, weight=len(entities))
        self.entities_written += len(entities) - len(result.errors)
        self.samples_written += samples
        self._tell(changes)
        return result

    def _moment(self) -> tuple[str, int]:
        at_us = self._clock_ns() // 1000
        return time_text(at_us), at_us


# rules: (what is there, what arrives, now, whether it was made by this batch) -> merged, or a problem

_Rule = Callable[[Stored | None, Stored, str, bool], Merged]


def _create(before: Stored | None, entity: Stored, now: str, own: bool) -> Merged:
    if before is not None:
        raise AlreadyExists(f"there is an entity {entity['id']} already")
    return merge.create(entity, now)


def _replace(before: Stored | None, entity: Stored, now: str, own: bool) -> Merged:
    """A later element of the same batch updates what the first one made or replaced (clause 5.5.11)."""
    if before is None:
        return merge.create(entity, now)
    return merge.update(before, entity, now) if own else merge.replace(before, entity, now)


def _update(before: Stored | None, entity: Stored, now: str, own: bool) -> Merged:
    return merge.create(entity, now) if before is None else merge.update(before, entity, now)


def _update_existing(before: Stored | None, entity: Stored, now: str, own: bool) -> Merged:
    if before is None:
        raise ResourceNotFound(f"there is no entity {entity['id']}")
    return merge.update(before, entity, now)


def _append_existing(before: Stored | None, entity: Stored, now: str, own: bool) -> Merged:
    if before is None:
        raise ResourceNotFound(f"there is no entity {entity['id']}")
    return merge.update(before, entity, now, overwrite=False)


def _apply(
    writer: Writer, tenant: str, entities: Sequence[Stored], rule: _Rule, now: str, at_us: int
) -> tuple[BatchResult, list[Change], int]:
    """Each entity of the batch is read once and written once, however often it occurs."""
    result = BatchResult()
    drafts: dict[str, _Draft] = {}
    for entity in entities:
        entity_id: str = entity["id"]
        draft = drafts.get(entity_id)
        if draft is None:
            document = writer.entity(tenant, entity_id)
            before = None if document is None else _load(document)
        try:
            samples = merge.samples(entity)
            if draft is None:
                drafts[entity_id] = _Draft(before, rule(before, entity, now, False), samples)
                (result.created if before is None else result.updated).append(entity_id)
            else:
                _add(draft.merged, rule(draft.merged.entity, entity, now, True))
                draft.samples.extend(samples)
        except (AlreadyExists, ResourceNotFound) as problem:
            result.errors.append((entity_id, problem))
    changes: list[Change] = []
    for draft in drafts.values():
        _put(writer, tenant, draft.merged.entity, draft.samples, at_us)
        if draft.merged.changed or draft.before is None:
            changes.append(_change(tenant, draft.merged, "created" if draft.before is None else "updated"))
    return result, changes, sum(len(draft.samples) for draft in drafts.values())


def _add(total: Merged, step: Merged) -> None:
    total.entity = step.entity
    total.changed = list(dict.fromkeys(total.changed + step.changed))
    total.added = list(dict.fromkeys(total.added + step.added))
    total.removed += step.removed
    for name, value in step.previous.items():
        if name not in total.added:
            total.previous.setdefault(name, value)


def _put(writer: Writer, tenant: str, entity: Stored, samples: Sequence[Sample], at_us: int) -> None:
    writer.put_entity(tenant, entity["id"], entity["type"], orjson.dumps(entity))
    if samples:
        writer.put_history(tenant, entity["id"], samples, at_us)


def _change(tenant: str, merged: Merged, event: Any) -> Change:
    changed, added, removed = tuple(merged.changed), tuple(merged.added), tuple(merged.removed)
    return Change(tenant, merged.entity, changed, event, added, removed, merged.previous)


def _document(reader: Reader, tenant: str, entity_id: str) -> bytes | None:
    document = reader.entity(tenant, entity_id)
    if document is None:
        check_tenant(reader, tenant)
    return document


def _found(reader: Reader, tenant: str, entity_id: str) -> Stored:
    document = _document(reader, tenant, entity_id)
    if document is None:
        raise ResourceNotFound(f"there is no entity {entity_id}")
    return _load(document)


def _load(document: bytes) -> Stored:
    entity: Stored = orjson.loads(document)
    return entity
