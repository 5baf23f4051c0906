"""Retrieve and query over all sources (CIM 009 clauses 5.7.1, 5.7.2): asked side by side, merged, cut into pages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from gateway.server import wire
from gateway.server.broker.answers import entity_id_of, preferences_of, respond
from gateway.server.broker.asked import QUERY_PARAMETERS, RETRIEVE_PARAMETERS, Asked, asked_of, single_of
from gateway.server.broker.model import Page, Stored
from gateway.server.broker.queries import Queries
from gateway.server.broker.query import Query
from gateway.server.broker.query_body import query_of
from gateway.server.broker.query_join import Join
from gateway.server.broker.query_routes import BODY_PARAMETERS, collection, version_of
from gateway.server.broker.represent import CHOSEN, View, represent
from gateway.server.contexts import Contexts
from gateway.server.distributed.entities import Copy, merged, received, undecided
from gateway.server.distributed.forward import Forward, Forwarder, problem_of, warned, warning, warning_of
from gateway.server.distributed.gate import Gate
from gateway.server.distributed.headers import Caller
from gateway.server.distributed.limits import limits_of
from gateway.server.distributed.maps import HEADER, EntityMap, Maps, lifetime_us, wants_map
from gateway.server.distributed.search import Search
from gateway.server.errors import BadRequestData, NonexistentTenant, Problem, ResourceNotFound
from gateway.server.routing import Handler
from gateway.server.sources.registry import Match, Wanted
from gateway.server.wire import Request, Response


@dataclass(slots=True)
class Single:
    """What is known of one entity so far: copies, and what went wrong at whom."""

    copies: list[Copy] = field(default_factory=list)
    owned: set[str] = field(default_factory=set)
    whole: bool = False  # a redirect source has all of it
    warnings: list[str] = field(default_factory=list)
    failed: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Questioned:
    """A query as it was understood; ``url``: the parameters of the URL, ``parameters``: with those of the body."""

    caller: Caller
    asked: Asked
    url: dict[str, str]
    parameters: dict[str, str]
    by_body: bool


class Reads:
    """Wraps the handlers of this broker that read current state."""

    def __init__(self, gate: Gate, forwarder: Forwarder, queries: Queries, contexts: Contexts, maps: Maps) -> None:
        self._maps = maps
        self._gate = gate
        self._forwarder = forwarder
        self._queries = queries
        self._contexts = contexts

    def retrieve(self, local: Handler) -> Handler:
        """GET /entities/{id}."""

        async def handler(request: Request) -> Response:
            if not self._gate.open(request):
                return await local(request)
            context = await wire.context_of(request, self._contexts)
            media = wire.negotiate(request.header(b"accept"), geo=True)
            parameters = request.query(RETRIEVE_PARAMETERS)
            query, view, join, media = single_of(parameters, context, media, preferences_of(request))
            caller, entity_id = self._gate.caller(request, context), entity_id_of(request)
            names = asked_names(query)
            wanted = Wanted(ids=(entity_id,), types=query.types, attributes=names)
            limits = limits_of(parameters, context)
            found = self._gate.matching(caller, wanted, limits)
            matches = [match for match in found if "retrieveEntity" in match.registration.operations]
            if not matches:
                return await local(request)
            single = await self.single(caller, entity_id, matches, names, dated=view.system)
            if not view.system and undecided(single.copies):
                single = await self.single(caller, entity_id, matches, names, dated=True)
            entity = merged(single.copies, frozenset(single.owned))
            if entity is None or not query.matches(entity):
                if entity is None and single.failed:
                    raise single.failed[0]
                missing = f"there is no entity {entity_id}, or not of such a type or with such attributes"
                return wire.problem(ResourceNotFound(missing), warned(single.warnings))
            return await self._shown(request, entity, view, join, media, single.warnings)

        return handler

    async def single(
        self,
        caller: Caller,
        entity_id: str,
        matches: Sequence[Match],
        names: frozenset[str] | None,
        *,
        dated: bool,
    ) -> Single:
        """All copies of one entity: here and at those that match; ``dated``: with the dates of the system."""
        single = Single()
        for match in matches:
            if match.registration.mode in ("exclusive", "redirect"):
                single.whole = single.whole or match.attributes is None
                single.owned |= match.attributes or frozenset()
        works: list[Awaitable[None]] = [self._ask(caller, entity_id, match, names, single, dated) for match in matches]
        await asyncio.gather(*works)
        if not single.whole:
            with suppress(ResourceNotFound, NonexistentTenant):
                single.copies.append(Copy(await self._queries.retrieve(caller.tenant, entity_id), "inclusive"))
        return single

    async def _ask(
        self, caller: Caller, entity_id: str, match: Match, names: frozenset[str] | None, single: Single, dated: bool
    ) -> None:
        registration = match.registration
        owner = registration.mode in ("exclusive", "redirect")
        try:
            context = await self._forwarder.context_for(registration, caller)
        except Problem as problem:
            single.warnings.append(warning(registration, problem.cause))
            return
        parameters = {"options": "sysAttrs"} if dated and registration.mode != "exclusive" else {}
        wanted = match.attributes if names is None else names & match.attributes if match.attributes else names
        if wanted:
            parameters["attrs"] = ",".join(sorted(context.compact_name(name) for name in wanted))
        path = f"/entities/{quote(entity_id, safe=':')}"
        reply = await self._forwarder.send(caller, context, Forward(registration, "GET", path, parameters))
        warns = warning_of(reply, registration)
        if reply.good:
            try:
                entity = received(reply.content, context)
                if entity is not None and entity["id"] == entity_id:
                    single.copies.append(Copy(entity, registration.mode, match.attributes))
            except BadRequestData as problem:
                warns = warning(registration, f"no valid entity: {problem.cause}")
                single.failed += [problem_of(replace(reply, failure="broken", why=problem.cause), registration)]
        elif owner and reply.status != 404:
            single.failed.append(problem_of(reply, registration))
        if warns is not None:
            single.warnings.append(warns)

    async def _shown(
        self, request: Request, entity: Stored, view: View, join: Join | None, media: wire.Media, warnings: list[str]
    ) -> Response:
        found = [entity] if join is None else await self._queries.linked(request.tenant, entity, join, view)
        status, headers = version_of(found, view)
        content = collection(found, view) if join is not None and join.kind == "flat" else represent(found[0], view)
        return respond(content, view, media, {**headers, **warned(warnings)}, status)

    # queries

    def query(self, local: Handler) -> Handler:
        """GET /entities."""

        async def handler(request: Request) -> Response:
            if not self._gate.open(request) and not wants_map(request):
                return await local(request)
            question = await self.by_url(request)
            return await self._answered(request, question, local)

        return handler

    def query_by_body(self, local: Handler) -> Handler:
        """POST /entityOperations/query."""

        async def handler(request: Request) -> Response:
            if not self._gate.open(request) and not wants_map(request):
                return await local(request)
            question = await self.by_body(request)
            return await self._answered(request, question, local)

        return handler

    async def by_url(self, request: Request) -> Questioned:
        """What the parameters ask. Raises BadRequestData, InvalidRequest, ..."""
        context = await wire.context_of(request, self._contexts)
        parameters = request.query(QUERY_PARAMETERS)
        media = wire.negotiate(request.header(b"accept"), geo=True)
        asked = asked_of(parameters, context, media, preferences_of(request))
        return Questioned(self._gate.caller(request, context), asked, parameters, parameters, False)

    async def by_body(self, request: Request) -> Questioned:
        """What a Query in the body asks. Raises BadRequestData, InvalidRequest, ..."""
        parameters = request.query(BODY_PARAMETERS)
        media = wire.negotiate(request.header(b"accept"), geo=True)
        raw = wire.json_body(request)
        context = await wire.context_of_part(raw, request, wire.body_media(request), self._contexts)
        await self._contexts.linked(context)
        members, selectors = query_of(raw, context)
        if both := parameters.keys() & members.keys() - {"local"}:
            raise BadRequestData(f"{', '.join(sorted(both))}: given in the URL and in the body")
        together = {**parameters, **members}
        asked = asked_of(together, context, media, preferences_of(request), selectors)
        return Questioned(self._gate.caller(request, context), asked, parameters, together, True)

    def search(self, request: Request, question: Questioned, asked: Asked) -> Search:
        """Over all who are to be asked."""
        local = not self._gate.open(request) or question.parameters.get("local") == "true"
        gate = None if local else self._gate
        return Search(
            gate,
            self._forwarder,
            self._queries,
            question.caller,
            asked,
            question.parameters,
            by_body=question.by_body,
        )

    async def mapped(self, request: Request, question: Questioned) -> tuple[EntityMap, Search]:
        """A new map, and the search that it was made of."""
        if question.parameters.get("splitEntities") == "true" and question.parameters.get("local") == "true":
            raise BadRequestData("splitEntities does not go with local=true")
        lasting = lifetime_us(question.parameters)
        search = self.search(request, question, question.asked)
        await search.run(whole=True)
        made = await self._maps.make(request.tenant, question.caller.context, search.where, lasting, temporal=False)
        return made, search

    async def _answered(self, request: Request, question: Questioned, local: Handler) -> Response:
        used = await self._maps.used(request, question.caller.context, temporal=False)
        if used is not None:
            return await self._turned(request, question, used)
        if question.parameters.get("entityMap") == "true" or request.header(HEADER) is not None:
            made, search = await self.mapped(request, question)
            return await self._page(request, question, search.page, search.warnings, made, 201)
        search = self.search(request, question, question.asked)
        if not search.sources:
            return await local(request)
        await search.run()
        return await self._page(request, question, search.page, search.warnings)

    async def _turned(self, request: Request, question: Questioned, used: EntityMap) -> Response:
        """A page of a map: these entities as they are now; those that match no more leave the map."""
        page, asked = question.asked.page, question.asked
        wanted = used.slice(page)
        selectors = tuple(replace(selector, ids=tuple(wanted), id_pattern=None) for selector in asked.query.selectors)
        query = replace(asked.query, ids=() if selectors else tuple(wanted), id_pattern=None, selectors=selectors)
        one = wire.Paging(max(len(wanted), 1), 0, False)
        entities: list[Stored] = []
        warnings: list[str] = []
        if wanted:
            search = self.search(request, question, replace(asked, query=query, page=one))
            await search.run()
            place = {name: at for at, name in enumerate(wanted)}
            entities = sorted(search.page.entities, key=lambda entity: place.get(entity["id"], len(place)))
            warnings = search.warnings
        if not warnings:  # a source that is missing takes nothing out of the map
            used.gone |= set(wanted) - {entity["id"] for entity in entities}
        more = len(used.entries) > page.offset + page.limit
        total = len(used.entries) - len(used.gone) if page.count else None
        return await self._page(request, question, Page(entities, more, total), warnings, used)

    async def _page(
        self,
        request: Request,
        question: Questioned,
        found: Page,
        warnings: list[str],
        of: EntityMap | None = None,
        made: int = 0,
    ) -> Response:
        asked, join = question.asked, question.asked.shape.join
        view, entities = asked.view, found.entities
        if join is not None:
            linked = [await self._queries.linked(request.tenant, entity, join, view) for entity in entities]
            entities = list({each.get("id", each.get(CHOSEN)): each for several in linked for each in several}.values())
        headers = wire.page_headers(request, question.url, asked.page, found.more, found.total, asked.media)
        status, preferred = version_of(entities, view)
        headers |= preferred | warned(warnings)
        if of is not None:
            headers["NGSILD-EntityMap"] = of.id
        return respond(collection(entities, view), view, asked.media, headers, made or status)


def asked_names(query: Query) -> frozenset[str] | None:
    """The attributes that are asked for; None for all."""
    if query.attrs:
        return frozenset(query.attrs)
    picked = frozenset(name for name in query.pick.names if ":" in name) if query.pick is not None else frozenset()
    return picked or None
