"""Reading history for the API, inside one consistent view: one entity, or a page of those that a query means.

All of it runs in a reader thread and is bounded: in time by a deadline, in size by ``slices`` and ``summary``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from gateway.server.broker.model import Stored, time_text
from gateway.server.broker.query import Query
from gateway.server.broker.record import SCOPE
from gateway.server.broker.tenants import check_tenant
from gateway.server.errors import InvalidRequest, ResourceNotFound, TooComplexQuery
from gateway.server.settings import PAGE_MAX
from gateway.server.storage.base import Reader, Sample, Selection, Span, Subject
from gateway.server.temporal import columns, show
from gateway.server.temporal.ask import Ask
from gateway.server.temporal.slices import ROWS_MAX, Slice
from gateway.server.temporal.summary import Summary
from gateway.server.wire import Paging

SECONDS_MAX = 10.0
MATCH_ROWS_MAX = 20_000  # instances of one entity that a condition looks at


@dataclass(frozen=True, slots=True)
class Answer:
    """Entities as the client gets them. ``cut_us``: from and to where in time, if they do not hold everything."""

    entities: list[dict[str, Any]]
    more: bool = False
    total: int | None = None
    cut_us: tuple[int, int] | None = None


@dataclass(slots=True)
class Work:
    """One question to one view of the storage. ``present``: the newest samples in the interval, by entity id."""

    reader: Reader
    tenant: str
    ask: Ask
    deadline: float = field(default_factory=lambda: time.monotonic() + SECONDS_MAX)
    present: dict[str, list[Sample]] = field(default_factory=dict)

    def retrieve(self, entity_id: str, query: Query) -> Answer:
        """Raises ResourceNotFound, NonexistentTenant."""
        subject = self.reader.subject(self.tenant, entity_id)
        if subject is None:
            check_tenant(self.reader, self.tenant)
            raise ResourceNotFound(f"there is no history of {entity_id}")
        whole = Span(self.ask.span.attributes, last_n=1, time_property="any", datasets=self.ask.span.datasets)
        known = self.reader.history(self.tenant, entity_id, whole)
        if query.types is not None and not query.types.matches(frozenset(subject.types)):
            raise ResourceNotFound(f"{entity_id} is not of that type")
        if self.ask.span.attributes and not known:
            raise ResourceNotFound(f"{entity_id} has none of these attributes")
        answer = self._answer([subject])
        entity = answer.entities[0]
        if self.ask.form != "aggregatedValues" and answer.cut_us is None:
            for sample in known:
                name = self.ask.context.compact_name(sample.attribute)
                if name not in entity and sample.mark != "deleted" and self.ask.shows(sample.attribute):
                    entity[name] = show.empty(sample, self.ask)
        return answer

    def query(self, queries: Sequence[Query], page: Paging) -> Answer:
        """The page of those entities that one of the queries means. Raises NonexistentTenant, TooComplexQuery."""
        check_tenant(self.reader, self.tenant)
        candidates = self._candidates(queries)
        if self.ask.order:
            candidates = sorted(candidates, key=lambda subject: subject.id, reverse=self.ask.order == "desc")
        found: list[Subject] = []
        matching = 0
        for subject in candidates:
            if time.monotonic() > self.deadline:
                raise TooComplexQuery(f"the query took more than {SECONDS_MAX:.0f} s")
            if not self._matches(subject, queries):
                continue
            matching += 1
            if page.offset < matching <= page.offset + page.limit:
                found.append(subject)
            elif matching > page.offset + page.limit and not page.count:
                break
        answer = self._answer(found) if found else Answer([])
        return replace(answer, more=matching > page.offset + page.limit, total=matching if page.count else None)

    # which entities

    def _candidates(self, queries: Sequence[Query]) -> Iterable[Subject]:
        """What indexes say of the queries together."""
        if len(queries) == 1:
            return self.reader.subjects(self.tenant, queries[0].selection)
        return self.reader.subjects(self.tenant, Selection())

    def _matches(self, subject: Subject, queries: Sequence[Query]) -> bool:
        plain: Stored = {"id": subject.id, "type": subject.types}
        possible = [query for query in queries if _who(query).matches(plain)]
        if not possible or not self._present(subject.id):
            return False
        if all(query == replace(_who(query), attrs=query.attrs) for query in possible):
            return True  # no conditions on values
        seen = self._seen(subject)
        return any(query.matches(seen) for query in possible)

    def _present(self, entity_id: str) -> list[Sample]:
        """The newest sample of each wanted series that has one in the interval."""
        known = self.present.get(entity_id)
        if known is not None:
            return known
        found = self.reader.history(self.tenant, entity_id, replace(self.ask.span, last_n=1))
        found.sort(key=lambda sample: sample.dataset)
        if self.ask.picked is None or self.ask.span.attributes:  # otherwise id or type alone is wanted
            found = [sample for sample in found if self.ask.shows(sample.attribute)]
        if found and len(self.present) < PAGE_MAX:
            self.present[entity_id] = found
        return found

    def _seen(self, subject: Subject) -> Stored:
        """The entity as conditions see it: each attribute has all its instances of the interval."""
        span = replace(self.ask.span, attributes=(), datasets=None, last_n=None, limit=MATCH_ROWS_MAX)
        samples = self.reader.history(self.tenant, subject.id, span)
        if len(samples) > MATCH_ROWS_MAX:
            raise TooComplexQuery(
                f"{subject.id} has more than {MATCH_ROWS_MAX} instances in the interval",
                fix="Ask for a shorter interval, or leave out the conditions.",
            )
        seen: Stored = {"id": subject.id, "type": subject.types}
        plain = replace(self.ask, languages=())
        scopes: list[str] = []
        for sample in samples:
            if sample.mark == "deleted":
                continue
            instance = show.instance(sample, plain)
            if sample.attribute == SCOPE:
                scopes += instance["value"]
            else:
                seen.setdefault(sample.attribute, []).append(instance)
        return {**seen, "scope": scopes} if scopes else seen

    # what is shown of them

    def _answer(self, subjects: Sequence[Subject]) -> Answer:
        if self.ask.aggregation is not None:
            return self._summaries(subjects)
        if self.ask.form == "temporalValues":
            entities = self._columns(subjects)
            if entities is not None:
                return Answer(entities)
        held = Slice(self.reader, self.tenant, self.ask.span)
        for subject in subjects:
            held.add(subject.id, len(self._present(subject.id)) if self.ask.span.last_n else 0)
        held.finish()
        entities = []
        for subject in subjects:
            if held.parts[subject.id] or not held.cut:
                entities.append(self._header(subject) | show.evolution(held.parts[subject.id], self.ask))
        return Answer(entities, cut_us=held.range_us() if held.cut else None)

    def _columns(self, subjects: Sequence[Subject]) -> list[dict[str, Any]] | None:
        """Entities of which all wanted series are numbers and together not too long."""
        ask, rows = self.ask, 0
        entities: list[dict[str, Any]] = []
        for subject in subjects:
            present = [newest for newest in self._present(subject.id) if ask.shows(newest.attribute)]
            found = columns.values_of(self.reader, self.tenant, subject.id, present, ask.span)
            if found is None:
                return None
            rows += sum(len(each.at_us) for each in found)
            if rows > ROWS_MAX:
                return None
            shown: dict[str, list[dict[str, Any]]] = {}
            for newest, each in zip(present, found, strict=True):
                shown.setdefault(ask.context.compact_name(newest.attribute), []).append(
                    columns.shown(each, newest.dataset)
                )
            entities.append(self._header(subject) | _single(shown))
        return entities

    def _summaries(self, subjects: Sequence[Subject]) -> Answer:
        ask = self.ask
        if ask.aggregation is None:
            raise ValueError("no aggregation")
        summary = Summary(self.reader, self.tenant, ask.span, ask.aggregation, self.deadline)
        entities = []
        series = 0
        for subject in subjects:
            shown: dict[str, list[dict[str, Any]]] = {}
            for newest in self._present(subject.id):
                if ask.shows(newest.attribute):
                    series += 1
                    found = summary.of(subject.id, newest)
                    if found is not None:
                        shown.setdefault(ask.context.compact_name(newest.attribute), []).append(found)
            entities.append(self._header(subject) | _single(shown))
        if series and not summary.fitting:
            raise InvalidRequest(f"no value can be aggregated by {', '.join(ask.aggregation.methods)}")
        return Answer(entities)

    def _header(self, subject: Subject) -> dict[str, Any]:
        return show.header(subject.id, subject.types, self._dates(subject) if self.ask.system else {}, self.ask)

    def _dates(self, subject: Subject) -> Stored:
        """When the entity came, changed and went: of what is there now, or else by its history."""
        document = self.reader.entity(self.tenant, subject.id) if subject.live else None
        if document is not None:
            entity: Mapping[str, Any] = orjson.loads(document)
            return {name: entity[name] for name in ("createdAt", "modifiedAt", "expiresAt") if name in entity}
        first = self.reader.history(self.tenant, subject.id, Span(limit=0, time_property="createdAt"))
        last = self.reader.history(self.tenant, subject.id, Span(last_n=1, time_property="modifiedAt"))
        gone = self.reader.history(self.tenant, subject.id, Span(last_n=1, time_property="deletedAt"))
        dates: Stored = {"deletedAt": time_text(max(sample.at_us for sample in gone))} if gone else {}
        if first:
            dates["createdAt"] = time_text(first[0].created_us)
            dates["modifiedAt"] = time_text(max(sample.modified_us for sample in last))
        return dates


def _single(shown: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Several datasets as a list, one alone as it is."""
    return {name: each[0] if len(each) == 1 else each for name, each in shown.items()}


def _who(query: Query) -> Query:
    """The part of a query that names entities."""
    return Query(types=query.types, ids=query.ids, id_pattern=query.id_pattern)
