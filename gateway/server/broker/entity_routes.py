"""HTTP of writing entities one by one (CIM 009 clauses 6.4 to 6.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from gateway.server import wire
from gateway.server.broker.answers import entity_id_of
from gateway.server.broker.merge import Merged
from gateway.server.broker.parse import parse_entity
from gateway.server.broker.service import Broker
from gateway.server.contexts import Contexts
from gateway.server.errors import BadRequestData
from gateway.server.routing import Route
from gateway.server.wire import ROOT, Request, Response, answer


class EntityRoutes:
    """The handlers that write one entity."""

    def __init__(self, broker: Broker, contexts: Contexts) -> None:
        self._broker = broker
        self._contexts = contexts

    def routes(self) -> list[Route]:
        """What is offered."""
        one = f"{ROOT}/entities/{{id}}"
        return [
            Route("POST", f"{ROOT}/entities", self.create),
            Route("DELETE", one, self.delete),
            Route("POST", f"{one}/attrs", self.append),
            Route("PATCH", f"{one}/attrs", self.update),
        ]

    async def create(self, request: Request) -> Response:
        """POST /entities."""
        wire.boolean(request.query({"local"}), "local")
        media, raw = wire.body_media(request), wire.json_body(request)
        context = await wire.context_of_part(raw, request, media, self._contexts)
        entity = parse_entity(raw, context)
        await self._broker.create(request.tenant, entity)
        return answer(201, headers={"Location": f"{ROOT}/entities/{quote(entity['id'], safe=':')}"})

    async def delete(self, request: Request) -> Response:
        """DELETE /entities/{id}."""
        wire.boolean(request.query({"local"}), "local")
        await self._broker.delete(request.tenant, entity_id_of(request))
        return answer(204)

    async def append(self, request: Request) -> Response:
        """POST /entities/{id}/attrs."""
        words = wire.options(request.query({"local", "options"}), {"noOverwrite"})
        return await self._change(request, overwrite="noOverwrite" not in words, nulls=False)

    async def update(self, request: Request) -> Response:
        """PATCH /entities/{id}/attrs."""
        wire.boolean(request.query({"local"}), "local")
        return await self._change(request, overwrite=True, nulls=True)

    async def _change(self, request: Request, *, overwrite: bool, nulls: bool) -> Response:
        entity_id = entity_id_of(request)
        media, raw = wire.body_media(request, patch=nulls), wire.json_body(request)
        context = await wire.context_of_part(raw, request, media, self._contexts)
        fragment = parse_entity(raw, context, fragment=True, nulls=nulls)
        if fragment.get("id", entity_id) != entity_id:
            raise BadRequestData("/id: it differs from the id in the path")
        names = [name for name in fragment if ":" in name]
        if not names and not {"type", "scope"} & fragment.keys():
            raise BadRequestData("the fragment has no attributes")
        merged = await self._broker.append(request.tenant, entity_id, fragment, overwrite=overwrite)
        return answer(207, _update_result(names, merged)) if merged.refused else answer(204)


def _update_result(names: Sequence[str], merged: Merged) -> dict[str, Any]:
    reason = "it is there already and was not overwritten, or it should be deleted and is not there"
    return {
        "updated": [name for name in names if name not in merged.refused],
        "notUpdated": [{"attributeName": name, "reason": reason} for name in merged.refused],
    }
