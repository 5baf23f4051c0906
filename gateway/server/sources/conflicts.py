"""What exclusive and redirect registrations must not overlap with (CIM 009 clauses 4.3.6.3, 4.3.6.4, 5.9.2.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

from gateway.server.broker.model import Stored
from gateway.server.sources.model import EntityInfo, Information
from gateway.server.sources.record import Record
from gateway.server.storage.base import Reader, Selection

HARD = ("exclusive", "redirect")


def clash_with_others(record: Record, others: Sequence[Record]) -> str:
    """Why the registration cannot be beside the others; empty where it can."""
    mode = record.registration.mode
    if mode not in HARD:
        return ""
    for other in others:
        against = other.registration.mode
        if against in HARD and (mode, against) != ("redirect", "redirect") and _overlap(record, other):
            return f"the {against} registration {other.id} is about the same"
    return ""


def clash_with_entities(reader: Reader, record: Record) -> str:
    """Why it cannot be beside the entities here; empty where it can. Redirects may have to look at all of a type."""
    if record.registration.mode not in HARD:
        return ""
    for information in record.registration.information:
        for entity in _local(reader, record.tenant, information):
            names = information.attributes
            if names is None or any(name in entity for name in names):
                return f"the entity {entity['id']} is here, with what this source would answer for"
    return ""


def _overlap(one: Record, other: Record) -> bool:
    return any(
        _meet(mine, theirs) for mine in one.registration.information for theirs in other.registration.information
    )


def _meet(mine: Information, theirs: Information) -> bool:
    names, others = mine.attributes, theirs.attributes
    if names is not None and others is not None and not names & others:
        return False
    if not mine.entities or not theirs.entities:
        return True
    return any(_same(a, b) for a in mine.entities for b in theirs.entities)


def _same(a: EntityInfo, b: EntityInfo) -> bool:
    """Whether an entity could be meant by both; two patterns may always meet."""
    if not a.types & b.types:
        return False
    if a.id is not None:
        return b.covers(a.id, frozenset())
    return b.id is None or a.covers(b.id, frozenset())


def _local(reader: Reader, tenant: str, information: Information) -> Iterator[Stored]:
    """Entities here that it is about."""
    for part in information.entities:
        ids = () if part.id is None else (part.id,)
        for document in reader.entities(tenant, Selection(types=tuple(sorted(part.types)), ids=ids)):
            entity = orjson.loads(document)
            if part.covers(entity["id"], frozenset()):
                yield entity
    if not information.entities:
        for document in reader.entities(tenant, Selection()):
            yield orjson.loads(document)
