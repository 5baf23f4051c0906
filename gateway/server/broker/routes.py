"""HTTP of the broker: entities, batches, types (CIM 009 clauses 6.4 to 6.6, 6.14 to 6.17, 6.25)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from gateway.server import wire
from gateway.server.broker.merge import Merged
from gateway.server.broker.model import BatchResult, Stored
from gateway.server.broker.parse import URI, parse_entity
from gateway.server.broker.query import Query, build_query, expand_names
from gateway.server.broker.represent import Format, View, represent
from gateway.server.broker.service import Broker
from gateway.server.contexts import Context, Contexts
from gateway.server.errors import BadRequestData, InternalError, InvalidRequest, Problem, ResourceNotFound
from gateway.server.routing import Route
from gateway.server.settings import BATCH_MAX
from gateway.server.wire import ROOT, Request, Response, answer

BREATH = 100  # entities parsed between two chances for other requests
FORMATS: dict[str, Format] = {
    "normalized": "normalized",
    "concise": "concise",
    "simplified": "simplified",
    "keyValues": "simplified",
}
VIEW_PARAMETERS = frozenset({"attrs", "options", "format", "local"})
QUERY_PARAMETERS = VIEW_PARAMETERS | {"type", "id", "idPattern", "q", "limit", "offset", "count"}


class EntityRoutes:
    """The handlers of current state."""

    def __init__(self, broker: Broker, contexts: Contexts) -> None:
        self._broker = broker
        self._contexts = contexts

    def routes(self) -> list[Route]:
        """What is offered."""
        one = f"{ROOT}/entities/{{id}}"
        batch = f"{ROOT}/entityOperations"
        return [
            Route("POST", f"{ROOT}/entities", self.create),
            Route("GET", f"{ROOT}/entities", self.query),
            Route("GET", one, self.retrieve),
            Route("DELETE", one, self.delete),
            Route("POST", f"{one}/attrs", self.append),
            Route("PATCH", f"{one}/attrs", self.update),
            Route("POST", f"{batch}/create", self.create_batch),
            Route("POST", f"{batch}/upsert", self.upsert_batch),
            Route("POST", f"{batch}/update", self.update_batch),
            Route("POST", f"{batch}/delete", self.delete_batch),
            Route("GET", f"{ROOT}/types", self.types),
        ]

    async def create(self, request: Request) -> Response:
        """POST /entities."""
        wire.boolean(request.query({"local"}), "local")
        media, raw = wire.body_media(request), wire.json_body(request)
        context = await wire.context_of_part(raw, request, media, self._contexts)
        entity = parse_entity(raw, context)
        await self._broker.create(request.tenant, entity)
        return answer(201, headers={"Location": f"{ROOT}/entities/{quote(entity['id'], safe=':')}"})

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
        _check_narrow(query, parameters)
        view = view_of(parameters, context, media)
        found = await self._broker.query(request.tenant, query, limit=page.limit, offset=page.offset, count=page.count)
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
        entity = await self._broker.retrieve(request.tenant, entity_id)
        if not query.matches(entity):
            raise ResourceNotFound(f"{entity_id} has no such type or attribute")
        return respond(represent(entity, view), view, media)

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

    # batches

    async def create_batch(self, request: Request) -> Response:
        """POST /entityOperations/create."""
        wire.boolean(request.query({"local"}), "local")
        entities, errors = await self._parse_batch(request)
        result = await self._broker.create_batch(request.tenant, entities)
        return _batch_answer(result, errors, answer(201, result.created))

    async def upsert_batch(self, request: Request) -> Response:
        """POST /entityOperations/upsert: replace by default, ``options=update`` keeps other attributes."""
        words = wire.options(request.query({"local", "options"}), {"update", "replace"})
        if len(words) > 1:
            raise InvalidRequest("options: replace and update exclude each other")
        entities, errors = await self._parse_batch(request)
        result = await self._broker.upsert_batch(request.tenant, entities, replace="update" not in words)
        return _batch_answer(result, errors, answer(201, result.created) if result.created else answer(204))

    async def update_batch(self, request: Request) -> Response:
        """POST /entityOperations/update."""
        words = wire.options(request.query({"local", "options"}), {"noOverwrite"})
        entities, errors = await self._parse_batch(request)
        result = await self._broker.update_batch(request.tenant, entities, overwrite="noOverwrite" not in words)
        return _batch_answer(result, errors, answer(204))

    async def delete_batch(self, request: Request) -> Response:
        """POST /entityOperations/delete: a list of ids."""
        wire.boolean(request.query({"local"}), "local")
        wire.body_media(request)
        ids = _batch_list(wire.json_body(request))
        if not all(isinstance(entity_id, str) and URI.match(entity_id) for entity_id in ids):
            raise BadRequestData("the body must be a list of entity ids (URIs)")
        result = await self._broker.delete_batch(request.tenant, ids)
        return _batch_answer(result, [], answer(204))

    async def _parse_batch(self, request: Request) -> tuple[list[Stored], list[tuple[str, Problem]]]:
        """The good elements, and problems of the others by id."""
        media = wire.body_media(request)
        elements = _batch_list(wire.json_body(request))
        entities: list[Stored] = []
        errors: list[tuple[str, Problem]] = []
        for index, raw in enumerate(elements):
            if index % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            try:
                context = await wire.context_of_part(raw, request, media, self._contexts)
                entities.append(parse_entity(raw, context))
            except Problem as problem:
                entity_id = raw.get("id") if isinstance(raw, dict) else None
                known = isinstance(entity_id, str) and URI.match(entity_id)
                errors.append((str(entity_id) if known else f"urn:lamppost:element:{index}", problem))
        return entities, errors

    async def types(self, request: Request) -> Response:
        """GET /types."""
        wire.boolean(request.query({"local"}), "local")
        media = wire.negotiate(request.header(b"accept"))
        context = await wire.context_of(request, self._contexts)
        names = [context.compact_name(iri) for iri in await self._broker.types(request.tenant)]
        body: dict[str, Any] = {"id": "urn:ngsi-ld:EntityTypeList:local", "type": "EntityTypeList", "typeList": names}
        if media == wire.LD:
            body["@context"] = context.spec
        return respond(body, View(context), media)


def entity_id_of(request: Request) -> str:
    """The id in the path. Raises BadRequestData."""
    entity_id = request.params["id"]
    if not URI.match(entity_id):
        raise BadRequestData(f"{entity_id!r} is not a URI")
    return entity_id


def view_of(parameters: Mapping[str, str], context: Context, media: str) -> View:
    """Format, attributes and system attributes asked for; ``format`` wins over ``options``."""
    words = wire.options(parameters, {*FORMATS, "sysAttrs"})
    wire.boolean(parameters, "local")
    named = parameters.get("format") or next((word for word in sorted(words) if word in FORMATS), "normalized")
    if named not in FORMATS:
        raise InvalidRequest(f"the format {named!r} does not apply here")
    attrs = frozenset(expand_names(wire.comma_list(parameters, "attrs"), context))
    return View(context, FORMATS[named], attrs, "sysAttrs" in words, media == wire.LD)


def respond(content: object, view: View, media: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in the media type that was negotiated, its context in the body or in a Link header."""
    merged = dict(headers or {})
    if media == wire.JSON:
        merged["Link"] = ", ".join(filter(None, (wire.context_header(view.context), merged.get("Link"))))
    return answer(200, content, media, merged)


def _check_narrow(query: Query, parameters: Mapping[str, str]) -> None:
    """A query must say more than which ids (clause 5.7.2), or be local."""
    local = wire.boolean(parameters, "local") or parameters.get("type", "").strip() == "*"
    if local or query.types is not None or query.attrs or (query.q is not None and not query.q.system_only):
        return
    raise BadRequestData("the query is too wide: give type, attrs or q, or local=true")


def _batch_list(body: object) -> list[Any]:
    if not isinstance(body, list) or not body:
        raise BadRequestData("the body must be a list with at least one element")
    if len(body) > BATCH_MAX:
        raise BadRequestData(f"a batch of {len(body)} elements; at most {BATCH_MAX} are taken")
    return body


def _batch_answer(result: BatchResult, errors: Sequence[tuple[str, Problem]], good: Response) -> Response:
    """The given answer where all went well, else 207 with a BatchOperationResult."""
    failed: list[tuple[str, Exception]] = [*errors, *result.errors]
    if not failed:
        return good
    details = [
        {"entityId": entity_id, "error": (p if isinstance(p, Problem) else InternalError(str(p))).body()}
        for entity_id, p in failed
    ]
    return answer(207, {"success": [*result.created, *result.updated], "errors": details})


def _update_result(names: Sequence[str], merged: Merged) -> dict[str, Any]:
    reason = "it is there already and was not overwritten, or it should be deleted and is not there"
    return {
        "updated": [name for name in names if name not in merged.refused],
        "notUpdated": [{"attributeName": name, "reason": reason} for name in merged.refused],
    }
