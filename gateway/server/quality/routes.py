"""HTTP of the quality of data (docs/reference/quality.md)."""

from __future__ import annotations

from typing import Any

from gateway.server import wire
from gateway.server.broker.query import build_query, expand_names
from gateway.server.contexts import Context, Contexts
from gateway.server.quality.service import Quality
from gateway.server.routing import Route
from gateway.server.storage.base import Selection
from gateway.server.wire import Request, Response, answer

PARAMETERS = frozenset({"id", "type", "attrs", "limit", "offset"})


class QualityRoutes:
    """The handlers of reports."""

    def __init__(self, quality: Quality, contexts: Contexts) -> None:
        self._quality = quality
        self._contexts = contexts

    def routes(self) -> list[Route]:
        """What is offered."""
        return [Route("GET", "/api/quality", self.report)]

    async def report(self, request: Request) -> Response:
        """GET /api/quality: of entities by ``id``, ``type`` (a list of names) and ``attrs``, in pages."""
        parameters = request.query(PARAMETERS)
        context = await wire.context_of(request, self._contexts)
        page = wire.paging(parameters)
        query = build_query(context, ids=wire.comma_list(parameters, "id"))
        types = expand_names(wire.comma_list(parameters, "type"), context)
        attributes = expand_names(wire.comma_list(parameters, "attrs"), context)
        selection = Selection(types=types, ids=query.ids)
        found = await self._quality.report(request.tenant, selection, attributes, limit=page.limit, offset=page.offset)
        headers = wire.page_headers(request, parameters, page, found.more, None, wire.JSON)
        return answer(200, [_compact(entity, context) for entity in found.entities], wire.JSON, headers)


def _compact(entity: dict[str, Any], context: Context) -> dict[str, Any]:
    named = {context.compact_name(name): series for name, series in entity["attributes"].items()}
    return {"id": entity["id"], "type": context.compact_names(entity["type"]), "attributes": named}
