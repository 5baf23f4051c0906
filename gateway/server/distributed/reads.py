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
from gateway.server.broker.model import Stored
from gateway.server.broker.queries import Queries
from gateway.server.broker.query import Query
from gateway.server.broker.query_body import query_of
from gateway.server.broker.query_join import Join
from gateway.server.broker.query_routes import BODY_PARAMETERS, collection, version_of
from gateway.server.broker.represent import View, represent
from gateway.server.contexts import Contexts
from gateway.server.distributed.entities import Copy, merged, received
from gateway.server.distributed.forward import Forward, Forwarder, problem_of, warning_of
from gateway.server.distributed.gate import Gate
from gateway.server.distributed.headers import Caller
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


class Reads:
    """Wraps the handlers of this broker that read current state."""

    def __init__(self, gate: Gate, forwarder: Forwarder, queries: Queries, contexts: Contexts) -> None:
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
            matches = [m for m in self._gate.matching(caller, wanted) if "retrieveEntity" in m.registration.operations]
            if not matches:
                return await local(request)
            single = await self.single(caller, entity_id, matches, names)
            entity = merged(single.copies, frozenset(single.owned))
            if entity is None or not query.matches(entity):
                if entity is None and single.failed:
                    raise single.failed[0]
                raise ResourceNotFound(f"there is no entity {entity_id}, or not of such a type or with such attributes")
            return await self._shown(request, entity, view, join, media, single.warnings)

        return handler

    async def single(
        self, caller: Caller, entity_id: str, matches: Sequence[Match], names: frozenset[str] | None
    ) -> Single:
        """All copies of one entity: here and at those that match."""
        single = Single()
        for match in matches:
            if match.registration.mode in ("exclusive", "redirect"):
                single.whole = single.whole or match.attributes is None
                single.owned |= match.attributes or frozenset()
        works: list[Awaitable[None]] = [self._ask(caller, entity_id, match, names, single) for match in matches]
        await asyncio.gather(*works)
        if not single.whole:
            with suppress(ResourceNotFound, NonexistentTenant):
                single.copies.append(Copy(await self._queries.retrieve(caller.tenant, entity_id), "inclusive"))
        return single

    async def _ask(
        self, caller: Caller, entity_id: str, match: Match, names: frozenset[str] | None, single: Single
    ) -> None:
        registration = match.registration
        owner = registration.mode in ("exclusive", "redirect")
        try:
            context = await self._forwarder.context_for(registration, caller)
        except Problem as problem:
            single.warnings.append(f'299 {registration.id} "{problem.cause[:200]}"')
            return
        parameters = {} if registration.mode == "exclusive" else {"options": "sysAttrs"}
        wanted = match.attributes if names is None else names & match.attributes if match.attributes else names
        if wanted:
            parameters["attrs"] = ",".join(sorted(context.compact_name(name) for name in wanted))
        path = f"/entities/{quote(entity_id, safe=':')}"
        reply = await self._forwarder.send(caller, context, Forward(registration, "GET", path, parameters))
        warning = warning_of(reply, registration)
        if reply.good:
            try:
                entity = received(reply.content, context)
                if entity is not None and entity["id"] == entity_id:
                    single.copies.append(Copy(entity, registration.mode, match.attributes))
            except BadRequestData as problem:
                warning = f'299 {registration.id} "no valid entity: {problem.cause[:200]}"'
                single.failed += [problem_of(replace(reply, failure="broken", why=problem.cause), registration)]
        elif owner and reply.status != 404:
            single.failed.append(problem_of(reply, registration))
        if warning is not None:
            single.warnings.append(warning)

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
            if not self._gate.open(request):
                return await local(request)
            context = await wire.context_of(request, self._contexts)
            parameters = request.query(QUERY_PARAMETERS)
            media = wire.negotiate(request.header(b"accept"), geo=True)
            asked = asked_of(parameters, context, media, preferences_of(request))
            caller = self._gate.caller(request, context)
            found = await self._searched(caller, asked, parameters, by_body=False)
            return await local(request) if found is None else await self._page(request, parameters, asked, found)

        return handler

    def query_by_body(self, local: Handler) -> Handler:
        """POST /entityOperations/query."""

        async def handler(request: Request) -> Response:
            if not self._gate.open(request):
                return await local(request)
            parameters = request.query(BODY_PARAMETERS)
            media = wire.negotiate(request.header(b"accept"), geo=True)
            raw = wire.json_body(request)
            context = await wire.context_of_part(raw, request, wire.body_media(request), self._contexts)
            await self._contexts.linked(context)
            members, selectors = query_of(raw, context)
            if members.get("local") == "true" or parameters.keys() & members.keys():
                return await local(request)
            together = {**parameters, **members}
            asked = asked_of(together, context, media, preferences_of(request), selectors)
            caller = self._gate.caller(request, context)
            found = await self._searched(caller, asked, together, by_body=True)
            return await local(request) if found is None else await self._page(request, parameters, asked, found)

        return handler

    async def _searched(
        self, caller: Caller, asked: Asked, parameters: dict[str, str], *, by_body: bool
    ) -> Search | None:
        """None where nobody but this broker is to be asked."""
        search = Search(self._gate, self._forwarder, self._queries, caller, asked, parameters, by_body=by_body)
        if not search.sources:
            return None
        await search.run()
        return search

    async def _page(self, request: Request, parameters: dict[str, str], asked: Asked, search: Search) -> Response:
        found, view, join = search.page, asked.view, asked.shape.join
        entities = found.entities
        if join is not None:
            entities = []
            for entity in found.entities:
                entities += await self._queries.linked(request.tenant, entity, join, view)
            entities = list({entity["id"]: entity for entity in reversed(entities)}.values())[::-1]
        headers = wire.page_headers(request, parameters, asked.page, found.more, found.total, asked.media)
        status, preferred = version_of(entities, view)
        merged_headers = {**headers, **preferred, **warned(search.warnings)}
        return respond(collection(entities, view), view, asked.media, merged_headers, status)


def asked_names(query: Query) -> frozenset[str] | None:
    """The attributes that are asked for; None for all."""
    if query.attrs:
        return frozenset(query.attrs)
    picked = frozenset(name for name in query.pick.names if ":" in name) if query.pick is not None else frozenset()
    return picked or None


def warned(warnings: Sequence[str]) -> dict[str, str]:
    """NGSILD-Warning, each source once."""
    return {"NGSILD-Warning": ", ".join(dict.fromkeys(warnings))} if warnings else {}
