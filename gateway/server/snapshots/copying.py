"""What a snapshot is filled with, and how it is emptied: documents and samples as they are stored.

Each query looks at one consistent view of the storage; what it found is written in commits of bounded size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson

from gateway.server.broker.links import Links
from gateway.server.broker.model import Stored
from gateway.server.broker.tenants import check_tenant
from gateway.server.broker.transient import due_us, load
from gateway.server.contexts import Context
from gateway.server.errors import InternalError, Problem
from gateway.server.outcome import Outcome
from gateway.server.settings import PAGE_MAX
from gateway.server.snapshots.model import Wanted, now_us, wanted_of
from gateway.server.storage.base import Reader, Sample, Selection, Span, Storage, Subject, Writer
from gateway.server.temporal.reading import Work
from gateway.server.wire import Paging

ENTITIES_MAX, SAMPLES_MAX = 10_000, 200_000  # of one query
CHUNK = 500


@dataclass(slots=True)
class Part:
    """An entity on its way: its document (None: of history alone), and samples."""

    id: str
    types: list[str]
    document: bytes | None = None
    expires_us: int | None = None
    samples: list[Sample] = field(default_factory=list)


@dataclass(slots=True)
class Copied:
    """What became of one query; ``cut``: there was more than a snapshot holds."""

    entities: int = 0
    cut: bool = False
    problem: Problem | None = None

    def shown(self) -> dict[str, Any]:
        """ExecutionResultDetails."""
        if self.problem is not None:
            return {"resultStatus": "failure", "problemDetails": self.problem.body()}
        return {"resultStatus": "partial" if self.cut else "success" if self.entities else "empty"}


Found = tuple[list[Part], bool]


async def fill(
    storage: Storage, snapshot: dict[str, Any], context: Context, source: str, target: str
) -> tuple[list[Copied], list[Copied]]:
    """Run the queries of a snapshot, one after the other: results of those of current state, of history."""
    current, history = wanted_of(snapshot, context)
    return (
        [await _copied(storage, target, _current(source, wanted)) for wanted in current],
        [await _copied(storage, target, _history(source, wanted)) for wanted in history],
    )


async def copy_whole(storage: Storage, source: str, target: str) -> None:
    """All of a snapshot. Raises Problem."""
    result = await _copied(storage, target, lambda reader: _everything(reader, source))
    if result.problem is not None:
        raise result.problem


def drop_part(writer: Writer, target: str) -> bool:
    """Delete some of the data of a snapshot. Returns whether there may be more."""
    found = list(islice(writer.subjects(target, Selection()), CHUNK))
    for subject in found:
        writer.delete_entity(target, subject.id)
        writer.delete_history(target, subject.id)
    for _, document_id, _ in writer.documents("quality", target):
        writer.delete_document("quality", target, document_id)
    return bool(found)


async def _copied(storage: Storage, target: str, find: Callable[[Reader], Found]) -> Copied:
    with Outcome() as outcome:
        parts, cut = await storage.read(find)
        for chunk in _chunks(parts):
            await storage.write(lambda writer, chunk=chunk: _put(writer, target, chunk), weight=len(chunk))  # type: ignore[misc]
        return Copied(len(parts), cut)
    if isinstance(outcome.error, Problem):
        return Copied(problem=outcome.error)
    raise outcome.error or InternalError("a query of a snapshot has no result")


def _chunks(parts: Sequence[Part]) -> list[list[Part]]:
    return [list(parts[start : start + CHUNK]) for start in range(0, len(parts), CHUNK)]


def _put(writer: Writer, target: str, parts: Sequence[Part]) -> None:
    for part in parts:
        if part.document is not None:
            document, due = part.document, part.expires_us
            known = writer.entity(target, part.id)
            if known is not None:  # of another query: what both found
                together = {**orjson.loads(known), **orjson.loads(document)}
                document = orjson.dumps(together)
                due = due_us(together, document)
            writer.put_entity(target, part.id, part.types, document, due)
        elif writer.subject(target, part.id) is None:
            writer.put_subject(target, part.id, part.types)
        if part.samples:
            writer.put_history(target, part.id, part.samples, now_us())


def _of(entity: Stored) -> Part:
    document = orjson.dumps(entity)
    return Part(entity["id"], entity["type"], document, due_us(entity, document))


def _current(tenant: str, wanted: Wanted) -> Callable[[Reader], Found]:
    def find(reader: Reader) -> Found:
        check_tenant(reader, tenant)
        (query,), at_us, links = wanted.queries, now_us(), Links(reader, tenant)
        parts: list[Part] = []
        for document in reader.entities(tenant, query.selection):
            entity = load(document, at_us)
            if entity is None or not query.matches(entity, links):
                continue
            if len(parts) == ENTITIES_MAX:
                return parts, True
            names = wanted.attributes
            parts.append(_of({k: v for k, v in entity.items() if ":" not in k or not names or k in names}))
        return parts, False

    return find


def _history(tenant: str, wanted: Wanted) -> Callable[[Reader], Found]:
    def find(reader: Reader) -> Found:
        assert wanted.ask is not None
        parts: list[Part] = []
        more, samples = True, 0
        while more and len(parts) < ENTITIES_MAX and samples < SAMPLES_MAX:
            page = Paging(PAGE_MAX, len(parts), count=False)
            answer = Work(reader, tenant, wanted.ask).query(wanted.queries, page)
            more = answer.more
            for entity in answer.entities:
                subject = reader.subject(tenant, entity["id"])
                if subject is not None:
                    found = reader.history(tenant, subject.id, wanted.ask.span)
                    more = more or len(found) > wanted.ask.span.limit
                    samples += len(found)
                    parts.append(Part(subject.id, subject.types, samples=found))
        return parts, more or samples >= SAMPLES_MAX

    return find


def _everything(reader: Reader, source: str) -> Found:
    parts: list[Part] = []
    subjects: list[Subject] = list(reader.subjects(source, Selection()))
    for subject in subjects:
        document = reader.entity(source, subject.id)
        part = _of(orjson.loads(document)) if document is not None else Part(subject.id, subject.types)
        part.samples = reader.history(source, subject.id, Span(time_property="any", limit=SAMPLES_MAX))
        parts.append(part)
    return parts, False
