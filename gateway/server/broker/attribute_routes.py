"""HTTP of writing attributes of an entity (CIM 009 clauses 6.6, 6.7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.server import wire
from gateway.server.broker.answers import entity_id_of
from gateway.server.broker.merge import Merged
from gateway.server.broker.names import Fault, check_uri
from gateway.server.broker.parse import parse_attribute, parse_entity
from gateway.server.broker.patch import How, Patch, parse_attribute_patch
from gateway.server.broker.service import Broker
from gateway.server.broker.writing import path_attribute, read_body, same_id, types_of
from gateway.server.contexts import Contexts
from gateway.server.errors import BadRequestData
from gateway.server.routing import Route
from gateway.server.wire import ROOT, Request, Response, answer


class AttributeRoutes:
    """The handlers that write attributes."""

    def __init__(self, broker: Broker, contexts: Contexts) -> None:
        self._broker = broker
        self._contexts = contexts

    def routes(self) -> list[Route]:
        """What is offered."""
        many = f"{ROOT}/entities/{{id}}/attrs"
        one = f"{many}/{{attr}}"
        return [
            Route("POST", many, self.append),
            Route("PATCH", many, self.update),
            Route("PATCH", one, self.update_one),
            Route("PUT", one, self.replace_one),
            Route("DELETE", one, self.delete_one),
        ]

    async def append(self, request: Request) -> Response:
        """POST /entities/{id}/attrs."""
        parameters = request.query({"local", "type", "options"})
        words = wire.options(parameters, {"noOverwrite"})
        return await self._many(request, parameters, overwrite="noOverwrite" not in words)

    async def update(self, request: Request) -> Response:
        """PATCH /entities/{id}/attrs."""
        return await self._many(request, request.query({"local", "type"}), overwrite=None)

    async def _many(self, request: Request, parameters: dict[str, str], overwrite: bool | None) -> Response:
        """``overwrite`` None: update what is there, else append."""
        wire.boolean(parameters, "local")
        entity_id = entity_id_of(request)
        raw, context = await read_body(request, self._contexts, patch=overwrite is None)
        fragment = parse_entity(raw, context, fragment=True, nulls=overwrite is None)
        same_id(fragment, entity_id)
        names = [name for name in fragment if ":" in name]
        if not names and not {"type", "scope", "expiresAt"} & fragment.keys():
            raise BadRequestData("/: the fragment has no attributes")
        types = types_of(parameters, context)
        if overwrite is None:
            merged = await self._broker.update(request.tenant, entity_id, fragment, types=types)
        else:
            merged = await self._broker.append(request.tenant, entity_id, fragment, overwrite=overwrite, types=types)
        return answer(207, _update_result(names, merged)) if merged.refused else answer(204)

    async def update_one(self, request: Request) -> Response:
        """PATCH /entities/{id}/attrs/{attr}."""
        parameters = request.query({"local", "type"})
        wire.boolean(parameters, "local")
        raw, context = await read_body(request, self._contexts, patch=True)
        name, how = path_attribute(request, context), How(context, deep=False)
        fragment = Patch(parse_attribute_patch(request.params["attr"], raw, how), how)
        types = types_of(parameters, context)
        await self._broker.update_attribute(request.tenant, entity_id_of(request), name, fragment, types)
        return answer(204)

    async def replace_one(self, request: Request) -> Response:
        """PUT /entities/{id}/attrs/{attr}."""
        parameters = request.query({"local", "type"})
        wire.boolean(parameters, "local")
        raw, context = await read_body(request, self._contexts)
        name = path_attribute(request, context)
        try:
            value = parse_attribute(request.params["attr"], raw, context)
        except Fault as fault:
            raise fault.problem() from None
        types = types_of(parameters, context)
        await self._broker.replace_attribute(request.tenant, entity_id_of(request), name, value, types)
        return answer(204)

    async def delete_one(self, request: Request) -> Response:
        """DELETE /entities/{id}/attrs/{attr}; also of the scope."""
        parameters = request.query({"local", "type", "datasetId", "deleteAll"})
        wire.boolean(parameters, "local")
        every = wire.boolean(parameters, "deleteAll")
        dataset = parameters.get("datasetId", "@none")
        if dataset != "@none":
            try:
                check_uri(dataset)
            except Fault as fault:
                raise BadRequestData(f"datasetId: {fault}") from None
        context = await wire.context_of(request, self._contexts)
        name = "scope" if request.params["attr"] == "scope" else path_attribute(request, context)
        await self._broker.delete_attribute(
            request.tenant,
            entity_id_of(request),
            name,
            None if dataset == "@none" else dataset,
            every=every,
            types=types_of(parameters, context),
        )
        return answer(204)


def _update_result(names: Sequence[str], merged: Merged) -> dict[str, Any]:
    """An UpdateResult (clause 5.2.18); names are IRIs, as it has no context."""
    return {
        "updated": [name for name in names if name not in merged.refused],
        "notUpdated": [{"attributeName": name, "reason": why} for name, why in merged.refused.items()],
    }
