"""What operations do to stored entities, inside the storage writer: the rules of batches, and saving."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import orjson

from gateway.server.broker import merge, patch
from gateway.server.broker.links import Links
from gateway.server.broker.merge import Merged
from gateway.server.broker.model import BatchResult, Change, Stored, instances, time_text
from gateway.server.broker.patch import Patch
from gateway.server.broker.query import Query
from gateway.server.broker.tenants import check_tenant
from gateway.server.broker.transient import alive, due_us, load
from gateway.server.errors import AlreadyExists, Problem, ResourceNotFound, TooComplexQuery
from gateway.server.storage.base import Reader, Sample, Writer

SCAN_SECONDS_MAX = 10.0
Element: TypeAlias = Stored | Patch
TypeTest: TypeAlias = Callable[[frozenset[str]], bool]
BatchRule: TypeAlias = Callable[[Stored | None, Any, str, bool], Merged]
"""(what is there, what arrives, now, whether it was written by this batch before) -> merged, or a Problem"""


@dataclass(slots=True)
class Applied:
    """What a write did: for the client, for who is told, and what arrived for history: (tenant, id, samples)."""

    result: BatchResult = field(default_factory=BatchResult)
    changes: list[Change] = field(default_factory=list)
    arrived: list[tuple[str, str, Sequence[Sample]]] = field(default_factory=list)


@dataclass(slots=True)
class _Draft:
    """An entity while a batch is applied to it: ``merged`` adds up over the elements with the same id."""

    before: Stored | None
    merged: Merged
    samples: list[Sample]


def create(before: Stored | None, entity: Stored, now: str, own: bool) -> Merged:
    """Batch create."""
    if before is not None:
        raise AlreadyExists(f"there is an entity {before['id']} already")
    return merge.create(entity, now)


def replace(before: Stored | None, entity: Stored, now: str, own: bool) -> Merged:
    """Batch upsert: a later element of the same batch updates what the first one made or replaced (clause 5.5.11)."""
    if before is None:
        return merge.create(entity, now)
    return merge.update(before, entity, now) if own else merge.replace(before, entity, now)


def renew(before: Stored | None, entity: Stored, now: str, own: bool) -> Merged:
    """Batch upsert with update: what was observed before what is there goes to history only."""
    return merge.create(entity, now) if before is None else merge.update(before, entity, now, newest=True)


def update(before: Stored | None, entity: Stored, now: str, own: bool) -> Merged:
    """Batch update."""
    return merge.update(_there(before, entity), entity, now)


def append(before: Stored | None, entity: Stored, now: str, own: bool) -> Merged:
    """Batch update with noOverwrite."""
    return merge.update(_there(before, entity), entity, now, overwrite=False)


def merge_patch(before: Stored | None, fragment: Patch, now: str, own: bool) -> Merged:
    """Batch merge."""
    return patch.merge(_there(before, fragment), fragment, now)


def _there(before: Stored | None, element: Element) -> Stored:
    if before is None:
        raise ResourceNotFound(f"there is no entity {_id_of(element)}")
    return before


def _id_of(element: Element) -> str:
    entity_id: str = element.entity["id"] if isinstance(element, Patch) else element["id"]
    return entity_id


def apply_batch(
    writer: Writer, tenant: str, elements: Sequence[Element], rule: BatchRule, now: str, at_us: int
) -> Applied:
    """Each entity of the batch is read once and written once, however often it occurs."""
    applied = Applied()
    result = applied.result
    drafts: dict[str, _Draft] = {}
    writer.prefetch(tenant, map(_id_of, elements))
    for element in elements:
        entity_id = _id_of(element)
        draft = drafts.get(entity_id)
        try:
            if draft is None:
                document = writer.entity(tenant, entity_id)
                before = None if document is None else load(document, at_us)
                merged = rule(before, element, now, False)
                drafts[entity_id] = _Draft(before, merged, samples_of(element, merged))
                (result.created if before is None else result.updated).append(entity_id)
            else:
                merged = rule(draft.merged.entity, element, now, True)
                draft.samples.extend(samples_of(element, merged))
                _add(draft.merged, merged)
        except Problem as problem:
            result.errors.append((entity_id, problem))
    for draft in drafts.values():
        if draft.samples:
            applied.arrived.append((tenant, draft.merged.entity["id"], draft.samples))
        save(writer, tenant, draft.merged.entity, draft.samples, at_us)
        if draft.before is None:
            applied.changes.append(change(tenant, draft.merged, "created"))
        elif draft.merged.changed or draft.merged.header:
            applied.changes.append(change(tenant, draft.merged, "updated"))
    return applied


def _add(total: Merged, step: Merged) -> None:
    total.entity = step.entity
    total.changed = list(dict.fromkeys(total.changed + step.changed))
    for name, value in step.previous.items():
        if name not in total.added:
            total.previous.setdefault(name, value)
    total.added = list(dict.fromkeys(total.added + step.added))
    total.removed += step.removed
    total.header |= step.header


def samples_of(element: Element, merged: Merged) -> list[Sample]:
    """What an operation adds to history: what arrived whole, or what became of the attributes that were patched."""
    if isinstance(element, Patch):
        return merge.samples({name: merged.entity[name] for name in merged.changed if name in merged.entity})
    return merge.samples(element, merged.refused)


def save(writer: Writer, tenant: str, entity: Stored, samples: Sequence[Sample], at_us: int) -> None:
    """Write an entity, and what it adds to history."""
    document = orjson.dumps(entity)
    writer.put_entity(tenant, entity["id"], entity["type"], document, due_us(entity, document))
    if samples:
        writer.put_history(tenant, entity["id"], samples, at_us)


def change(tenant: str, merged: Merged, event: Literal["created", "updated"]) -> Change:
    """The notice of a change."""
    changed, added, removed = tuple(merged.changed), tuple(merged.added), tuple(merged.removed)
    return Change(tenant, merged.entity, changed, event, added, removed, merged.previous)


def remove(writer: Writer, tenant: str, entity: Stored) -> Change:
    """Delete the current state of an entity that is there; history stays."""
    writer.delete_entity(tenant, entity["id"])
    names = tuple(name for name in entity if ":" in name)
    return Change(tenant, entity, names, "deleted", (), names, {name: entity[name] for name in names})


def sweep(writer: Writer, tenant: str, ids: Sequence[str], at_us: int) -> Applied:
    """Remove what has expired of these entities."""
    applied = Applied()
    writer.prefetch(tenant, ids)
    for entity_id in ids:
        document = writer.entity(tenant, entity_id)
        if document is None:
            continue
        entity: Stored = orjson.loads(document)
        left = alive(entity, at_us)
        if left is None:
            applied.changes.append(remove(writer, tenant, entity))
            continue
        merged = Merged(entity)
        for name in [name for name in entity if ":" in name and entity[name] != left.get(name)]:
            merge.assign(merged, name, instances(left[name]) if name in left else [], time_text(at_us))
        save(writer, tenant, entity, (), at_us)
        if merged.changed:
            applied.changes.append(change(tenant, merged, "updated"))
    return applied


@dataclass(frozen=True, slots=True)
class Purge:
    """What to delete of the entities that a query means: all, the attributes to drop, or all attributes but some."""

    query: Query
    keep: Collection[str] | None
    drop: Collection[str] | None
    now: str
    at_us: int

    def names(self, entity: Stored) -> list[str] | None:
        """The attributes to delete; None where it is the entity itself."""
        if self.drop is not None:
            return [name for name in self.drop if name in entity]
        if self.keep is not None:
            return [name for name in entity if ":" in name and name not in self.keep]
        return None


def matching(reader: Reader, tenant: str, query: Query, at_us: int) -> list[str]:
    """Ids of the entities that a query means. Raises NonexistentTenant, TooComplexQuery."""
    check_tenant(reader, tenant)
    deadline = time.monotonic() + SCAN_SECONDS_MAX
    ids: list[str] = []
    links = Links(reader, tenant)
    for document in reader.entities(tenant, query.selection):
        if time.monotonic() > deadline:
            raise TooComplexQuery(f"the query took more than {SCAN_SECONDS_MAX:.0f} s")
        entity = load(document, at_us)
        if entity is not None and query.matches(entity, links):
            ids.append(entity["id"])
    return ids


def purge(writer: Writer, tenant: str, ids: Sequence[str], what: Purge) -> Applied:
    """Delete what is meant, where the query still means it."""
    applied = Applied()
    writer.prefetch(tenant, ids)
    for entity_id in ids:
        document = writer.entity(tenant, entity_id)
        entity = None if document is None else load(document, what.at_us)
        if entity is None or not what.query.matches(entity, Links(writer, tenant)):
            continue
        names = what.names(entity)
        if names is None:
            applied.changes.append(remove(writer, tenant, entity))
        elif names:
            merged = Merged(entity)
            for name in names:
                merge.assign(merged, name, [], what.now)
            entity["modifiedAt"] = what.now
            save(writer, tenant, entity, (), what.at_us)
            applied.changes.append(change(tenant, merged, "updated"))
    return applied


def found(writer: Writer, tenant: str, entity_id: str, at_us: int, types: TypeTest | None = None) -> Stored:
    """The entity as it is. Raises ResourceNotFound (also where it has none of the types), NonexistentTenant."""
    document = writer.entity(tenant, entity_id)
    if document is None:
        check_tenant(writer, tenant)
    entity = None if document is None else load(document, at_us)
    if entity is None:
        raise ResourceNotFound(f"there is no entity {entity_id}")
    if types is not None and not types(frozenset(entity["type"])):
        raise ResourceNotFound(f"{entity_id} has no such type")
    return entity
