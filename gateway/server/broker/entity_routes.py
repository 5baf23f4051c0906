"""HTTP of writing entities one by one (CIM 009 clauses 6.4, 6.5)."""

from __future__ import annotations

from urllib.parse import quote

from gateway.server import wire
from gateway.server.broker.answers import entity_id_of
from gateway.server.broker.asked import CONDITIONS, check_narrow, query_from
from gateway.server.broker.parse import parse_entity
from gateway.server.broker.patch import parse_patch
from gateway.server.broker.query import expand_names
from gateway.server.broker.service import Broker
from gateway.server.broker.writing import MERGE_PARAMETERS, how_of, read_body, same_id, types_of
from gateway.server.contexts import Contexts
from gateway.server.errors import BadRequestData
from gateway.server.routing import Route
from gateway.server.wire import ROOT, Request, Response, answer

PURGE_PARAMETERS = (CONDITIONS - {"attrs"}) | {"local", "keep", "drop"}


class EntityRoutes:
    """The handlers that write one entity as a whole."""

    def __init__(self, broker: Broker, contexts: Contexts) -> None:
        self._broker = broker
        self._contexts = contexts

    def routes(self) -> list[Route]:
        """What is offered."""
        one = f"{ROOT}/entities/{{id}}"
        return [
            Route("POST", f"{ROOT}/entities", self.create),
            Route("DELETE", f"{ROOT}/entities", self.purge),
            Route("PUT", one, self.replace),
            Route("PATCH", one, self.merge),
            Route("DELETE", one, self.delete),
        ]

    async def create(self, request: Request) -> Response:
        """POST /entities."""
        wire.boolean(request.query({"local"}), "local")
        raw, context = await read_body(request, self._contexts)
        entity = parse_entity(raw, context)
        await self._broker.create(request.tenant, entity)
        return answer(201, headers={"Location": f"{ROOT}/entities/{quote(entity['id'], safe=':')}"})

    async def replace(self, request: Request) -> Response:
        """PUT /entities/{id}."""
        parameters = request.query({"local", "type", "options", "format"})
        entity_id = entity_id_of(request)
        raw, context = await read_body(request, self._contexts)
        how = how_of(parameters, context)
        entity = parse_patch(raw, how) if how.simplified else parse_entity(raw, context, fragment=True)
        members = entity if isinstance(entity, dict) else entity.entity
        same_id(members, entity_id)
        if "type" not in members:
            raise BadRequestData("/: an entity must have 'type'")
        await self._broker.replace(request.tenant, entity_id, entity, types_of(parameters, context))
        return answer(204)

    async def merge(self, request: Request) -> Response:
        """PATCH /entities/{id}."""
        parameters = request.query(MERGE_PARAMETERS | {"type"})
        entity_id = entity_id_of(request)
        raw, context = await read_body(request, self._contexts, patch=True)
        fragment = parse_patch(raw, how_of(parameters, context))
        same_id(fragment.entity, entity_id)
        await self._broker.merge(request.tenant, entity_id, fragment, types_of(parameters, context))
        return answer(204)

    async def delete(self, request: Request) -> Response:
        """DELETE /entities/{id}."""
        parameters = request.query({"local", "type"})
        wire.boolean(parameters, "local")
        context = await wire.context_of(request, self._contexts)
        await self._broker.delete(request.tenant, entity_id_of(request), types_of(parameters, context))
        return answer(204)

    async def purge(self, request: Request) -> Response:
        """DELETE /entities: what a query means, or some attributes of it (``drop``, or all but ``keep``)."""
        parameters = request.query(PURGE_PARAMETERS)
        context = await wire.context_of(request, self._contexts)
        query = query_from(parameters, context)
        check_narrow(query, parameters)
        if "keep" in parameters and "drop" in parameters:
            raise BadRequestData("keep and drop exclude each other")
        keep, drop = (
            expand_names(wire.comma_list(parameters, name), context) if name in parameters else None
            for name in ("keep", "drop")
        )
        await self._broker.purge(request.tenant, query, keep=keep, drop=drop)
        return answer(204)
