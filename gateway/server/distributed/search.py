"""One query over all sources: how far each is read, what is made of it (CIM 009 clauses 5.7.2, 5.5.9).

Order of the result: the entities of this broker in theirs, then what each source adds. So a page needs of each source
no more than the page's end; entities of the page that a source may still have are asked for by id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.server.broker.asked import Asked
from gateway.server.broker.model import Page, Stored
from gateway.server.broker.qlang import nothing_linked
from gateway.server.broker.queries import Queries
from gateway.server.broker.query import Query, Selector
from gateway.server.contexts import Context
from gateway.server.distributed.client import Reply
from gateway.server.distributed.entities import Copy, covered, merged, received, undecided
from gateway.server.distributed.forward import Forwarder, warning, warning_of
from gateway.server.distributed.gate import Gate
from gateway.server.distributed.headers import Caller
from gateway.server.distributed.limits import limits_of
from gateway.server.distributed.question import Question, Wish
from gateway.server.errors import BadRequestData, NonexistentTenant, Problem, TooManyResults
from gateway.server.sources.model import Registration
from gateway.server.sources.registry import Wanted

MERGED_MAX = 10_000  # entities that are held at once to be merged, ordered or counted
SOURCE_PAGE = 1_000
USUAL_PAGE = 20  # of who was not told how many: as many or more, and there may be more to come
IDS_IN_URL_MAX = 50
OWNERS = ("exclusive", "redirect")


@dataclass(slots=True)
class Source:
    """A source in one query: what it is asked, what came of it; ``more``: it may have further entities."""

    registration: Registration
    names: frozenset[str] | None
    selectors: list[Selector] = field(default_factory=list)
    copies: dict[str, Stored] = field(default_factory=dict)
    more: bool = False


class Search:
    """``run`` it once; then ``page`` and ``warnings`` are there. Without a gate nobody but this broker is asked."""

    def __init__(
        self,
        gate: Gate | None,
        forwarder: Forwarder,
        queries: Queries,
        caller: Caller,
        asked: Asked,
        parameters: dict[str, str],
        *,
        by_body: bool,
    ) -> None:
        self._forwarder = forwarder
        self._queries = queries
        self._caller = caller
        self._asked = asked
        self._query = asked.query
        self._wish = Wish(parameters, split=parameters.get("splitEntities") == "true")
        self._operations = ("queryBatch", "queryEntity") if by_body else ("queryEntity", "queryBatch")
        self._dated = asked.view.system
        self.warnings: list[str] = []
        self.page = Page([], False, None)
        self.where: dict[str, list[str]] = {}
        self.sources = {} if gate is None else self._sources(gate)
        self._owners = [source for source in self.sources.values() if source.registration.mode in OWNERS]

    async def run(self, *, whole: bool = False) -> None:
        """``whole``: find all there is, and who has it (``where``). Raises TooManyResults, TooComplexQuery, ..."""
        page, order = self._asked.page, self._asked.shape.order
        everything = whole or page.count or order is not None or self._wish.split
        need = MERGED_MAX + 1 if everything else page.offset + page.limit + 1
        local: dict[str, Stored] = {}
        await asyncio.gather(self._local(need, local), *(self._read(each, need) for each in self.sources.values()))
        if not self._dated and any(undecided(self._copies(entity_id, local)) for entity_id in self._ids(local)):
            await self._again(need)
        entities = [entity for entity_id in self._ids(local) if (entity := self._merged(entity_id, local)) is not None]
        if everything and len(entities) > MERGED_MAX:
            raise TooManyResults(f"more than {MERGED_MAX} entities of several sources", fix="Narrow the query.")
        if order is not None:
            entities = order.sort(entities)
        self.where = {entity["id"]: self._who(entity["id"], local) for entity in entities} if whole else {}
        shown = entities[page.offset : page.offset + page.limit]
        if not everything:
            shown = await self._completed([entity["id"] for entity in shown], local)
        total = len(entities) if page.count else None
        self.page = Page(shown, len(entities) > page.offset + page.limit, total)

    def _who(self, entity_id: str, local: dict[str, Stored]) -> list[str]:
        """Who has an entity: ids of registrations, "@none" for here (clause 5.2.36)."""
        found = ["@none"] if entity_id in local else []
        return found + [key for key, source in self.sources.items() if entity_id in source.copies]

    # who is asked

    def _sources(self, gate: Gate) -> dict[str, Source]:
        query = self._query
        selectors = query.selectors or (Selector(query.types, query.ids, query.id_pattern),)
        names = frozenset(query.attrs) or None
        if names is None and query.pick is not None:
            names = frozenset(name for name in query.pick.names if ":" in name) or None
        found: dict[str, Source] = {}
        limits = limits_of(self._wish.parameters, self._caller.context)
        for selector in selectors:
            pattern = selector.id_pattern.text if selector.id_pattern is not None else None
            wanted = Wanted(ids=selector.ids, id_pattern=pattern, types=selector.types, attributes=names)
            for match in gate.matching(self._caller, wanted, limits):
                registration = match.registration
                if not registration.operations & set(self._operations):
                    continue
                attributes = match.attributes
                if names is not None:
                    attributes = names if attributes is None else names & attributes
                source = found.setdefault(registration.id, Source(registration, attributes))
                ids = match.ids or selector.ids
                source.selectors.append(Selector(selector.types, tuple(ids), None if ids else selector.id_pattern))
        return found

    # what they have

    async def _local(self, need: int, local: dict[str, Stored]) -> None:
        query = Query(self._query.types, self._query.ids, self._query.id_pattern, selectors=self._query.selectors)
        try:
            page = await self._queries.query(
                self._caller.tenant, query if self._wish.split else self._query, limit=need
            )
        except NonexistentTenant:
            if not self.sources:
                raise
            return
        local.update((entity["id"], entity) for entity in page.entities)

    async def _again(self, need: int) -> None:
        """With the dates of the system, which few need and which cost a source's answer half its size."""
        self._dated = True
        self.warnings.clear()
        for source in self.sources.values():
            source.copies.clear()
        await asyncio.gather(*(self._read(each, need) for each in self.sources.values()))

    async def _read(self, source: Source, need: int, ids: Sequence[str] = ()) -> None:
        """Fill ``source``, page by page, as far as is needed; with ``ids`` only these entities."""
        registration = source.registration
        try:
            context = await self._forwarder.context_for(registration, self._caller)
        except Problem as problem:
            self.warnings.append(warning(registration, problem.cause))
            return
        operation = next(each for each in self._operations if each in registration.operations)
        for selector in self._grouped(source.selectors, operation, ids):
            names = source.names if context is self._caller.context or self._query.q is None else None
            question = Question(self._wish, self._caller.context, context, selector, names)
            got, size = 0, min(need, SOURCE_PAGE) if ids or "limit" in self._wish.parameters else 0
            while got < need:
                forward = question.forward(registration, operation, size, got, self._dated)
                reply = await self._forwarder.send(self._caller, context, forward)
                count = self._take(source, reply, context)
                got += count
                if count < (size or USUAL_PAGE) and (size or not _goes_on(reply)):
                    break
                size = min(need, SOURCE_PAGE)
            source.more = source.more or got >= need

    def _grouped(self, selectors: list[Selector], operation: str, ids: Sequence[str]) -> list[tuple[Selector, ...]]:
        """What one request may ask: by URL one selector, by body all of them."""
        if ids:
            selectors = [Selector(selector.types, tuple(ids)) for selector in selectors[:1]]
        if operation == "queryBatch":
            return [tuple(selectors)]
        parts: list[tuple[Selector, ...]] = []
        for selector in selectors:
            for start in range(0, max(len(selector.ids), 1), IDS_IN_URL_MAX):
                parts.append((replace(selector, ids=selector.ids[start : start + IDS_IN_URL_MAX]),))
        return parts

    def _take(self, source: Source, reply: Reply, context: Context) -> int:
        """Keep what is an entity that was asked for; returns how many elements there were."""
        warns = warning_of(reply, source.registration)
        if warns is not None:
            self.warnings.append(warns)
        if not reply.good:
            return 0
        elements: list[Any] = reply.content if isinstance(reply.content, list) else []
        if not isinstance(reply.content, list):
            self.warnings.append(warning(source.registration, "its answer is no list of entities"))
        for raw in elements:
            try:
                entity = received(raw, context)
            except BadRequestData as problem:
                self.warnings.append(warning(source.registration, f"no valid entity: {problem.cause}"))
                continue
            if entity is not None and self._meant(entity, source, context):
                source.copies.setdefault(entity["id"], entity)
        return len(elements)

    def _meant(self, entity: Stored, source: Source, context: Context) -> bool:
        """Whether an entity was asked for; ``q`` is judged here where the source has names of its own."""
        q = None if self._wish.split or context is self._caller.context else self._query.q
        if q is not None and not q.matches(entity, nothing_linked):
            return False
        return any(selector.matches(entity) for selector in source.selectors)

    # what is made of it

    def _ids(self, local: dict[str, Stored]) -> list[str]:
        ids = dict.fromkeys(local)
        for source in self.sources.values():
            if source.registration.mode != "auxiliary":
                ids.update(dict.fromkeys(source.copies))
        return list(ids)

    def _copies(self, entity_id: str, local: dict[str, Stored]) -> list[Copy]:
        copies: list[Copy] = []
        if entity_id in local:
            copies.append(Copy(local[entity_id], "inclusive"))
        for source in self.sources.values():
            if entity_id in source.copies:
                copies.append(Copy(source.copies[entity_id], source.registration.mode, source.names))
        return copies

    def _merged(self, entity_id: str, local: dict[str, Stored]) -> Stored | None:
        copies = self._copies(entity_id, local)
        owned, whole = self._owned(entity_id, {iri for copy in copies for iri in copy.entity["type"]})
        if whole:
            copies = [copy for copy in copies if copy.mode in OWNERS]
        entity = merged(copies, owned)
        if entity is None or (self._wish.split and not self._query.matches(entity)):
            return None
        return entity

    def _owned(self, entity_id: str, types: set[str]) -> tuple[frozenset[str], bool]:
        """Attributes of an entity that only owners answer for, and whether that is all of it."""
        owned: set[str] = set()
        for source in self._owners:
            about, names = covered(source.registration, entity_id, types)
            if about and names is None:
                return frozenset(), True
            owned |= names or set() if about else set()
        return frozenset(owned), False

    async def _completed(self, ids: list[str], local: dict[str, Stored]) -> list[Stored]:
        """The entities of a page, also with what sources have of them beyond what was read."""
        works = []
        for source in self.sources.values():
            missing = [entity_id for entity_id in ids if entity_id not in source.copies]
            if source.more and missing:
                works.append(self._read(replace(source, copies=source.copies), len(missing), missing))
        await asyncio.gather(*works)
        return [entity for entity_id in ids if (entity := self._merged(entity_id, local)) is not None]


def _goes_on(reply: Reply) -> bool:
    """Whether the source says that there is another page (clause 6.3.10)."""
    return 'rel="next"' in (reply.headers or {}).get("link", "")
