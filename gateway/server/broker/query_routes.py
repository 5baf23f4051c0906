"""HTTP of reading current state: entities, types (CIM 009 clauses 6.4, 6.5, 6.25)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.server import wire
from gateway.server.broker.answers import VIEW_PARAMETERS, entity_id_of, respond, view_of
from gateway.server.broker.queries import Queries
from gateway.server.broker.query import Query, build_query
from gateway.server.broker.represent import View, represent
from gateway.server.contexts import Contexts
from gateway.server.errors import BadRequestData, ResourceNotFound
from gateway.server.routing import Route
from gateway.server.wire import ROOT, Request, Response

QUERY_PARAMETERS = VIEW_PARAMETERS | {"type", "id", "idPattern", "q", "limit", "offset", "count"}


class QueryRoutes:
    """The handlers that read current state."""

    def __init__(self, queries: Queries, contexts: Contexts) -> None:
        self._queries = queries
        self._contexts = contexts

    def routes(self) -> list[Route]:
        """What is offered."""
        return [
            Route("GET", f"{ROOT}/entities", self.query),
            Route("GET", f"{ROOT}/entities/{{id}}", self.retrieve),
            Route("GET", f"{ROOT}/types", self.types),
        ]

    async def query(self, request: Request) -> Response:
        """GET /entities."""
        parameters = request.query(QUERY_PARAMETERS)
        media = wire.negotiate(request.header(b"accept"))
        context = await wire.context_of(request, self._contexts)
        page = wire.paging(parameters)
        query = build_query(
            context,
            types=parameters.get("type"),
            ids=wire.comma_list(parameters, "id"),
            id_pattern=parameters.get("idPattern"),
            attrs=wire.comma_list(parameters, "attrs"),
            q=parameters.get("q"),
        )
        check_narrow(query, parameters)
        view = view_of(parameters, context, media)
        found = await self._queries.query(request.tenant, query, limit=page.limit, offset=page.offset, count=page.count)
        headers = wire.page_headers(request, parameters, page, found.more, found.total, media)
        return respond([represent(entity, view) for entity in found.entities], view, media, headers)

    async def retrieve(self, request: Request) -> Response:
        """GET /entities/{id}."""
        parameters = request.query(VIEW_PARAMETERS | {"type"})
        media = wire.negotiate(request.header(b"accept"))
        context = await wire.context_of(request, self._contexts)
        view = view_of(parameters, context, media)
        entity_id = entity_id_of(request)
        query = build_query(context, types=parameters.get("type"), attrs=wire.comma_list(parameters, "attrs"))
        entity = await self._queries.retrieve(request.tenant, entity_id)
        if not query.matches(entity):
            raise ResourceNotFound(f"{entity_id} has no such type or attribute")
        return respond(represent(entity, view), view, media)

    async def types(self, request: Request) -> Response:
        """GET /types."""
        wire.boolean(request.query({"local"}), "local")
        media = wire.negotiate(request.header(b"accept"))
        context = await wire.context_of(request, self._contexts)
        names = [context.compact_name(iri) for iri in await self._queries.types(request.tenant)]
        body: dict[str, Any] = {"id": "urn:ngsi-ld:EntityTypeList:local", "type": "EntityTypeList", "typeList": names}
        if media == wire.LD:
            body["@context"] = context.spec
        return respond(body, View(context), media)


def check_narrow(query: Query, parameters: Mapping[str, str]) -> None:
    """A query must say more than which ids (clause 5.7.2), or be local."""
    local = wire.boolean(parameters, "local") or parameters.get("type", "").strip() == "*"
    if local or query.types is not None or query.attrs or (query.q is not None and not query.q.system_only):
        return
    raise BadRequestData("the query is too wide: give type, attrs or q, or local=true")
