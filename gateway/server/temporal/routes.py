"""HTTP of history: what clients write there (CIM 009 clauses 6.18 to 6.22), and what they read (6.18, 6.19, 6.24)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from gateway.server import wire
from gateway.server.broker.answers import entity_id_of, respond
from gateway.server.broker.geo_query import parse_geo
from gateway.server.broker.model import time_text
from gateway.server.broker.parse import Fault, check_uri, expand_checked
from gateway.server.broker.query import Query, build_query
from gateway.server.broker.record import SCOPE
from gateway.server.broker.represent import View
from gateway.server.broker.scope_query import parse_scope_query
from gateway.server.contexts import Context, Contexts
from gateway.server.errors import BadRequestData, ResourceNotFound
from gateway.server.routing import Route
from gateway.server.temporal.ask import PARAMETERS, Ask, ask_of
from gateway.server.temporal.body import asked_of
from gateway.server.temporal.parse import Evolution, parse_evolution
from gateway.server.temporal.reading import Answer
from gateway.server.temporal.service import Temporal
from gateway.server.temporal.show import INSTANCE
from gateway.server.wire import ROOT, Request, Response, answer

COLLECTION = f"{ROOT}/temporal/entities"
BODY_PARAMETERS = frozenset({"limit", "offset", "count", "options", "format", "local"})
CONDITIONS = frozenset({"q", "expandValues", "jsonKeys", "georel", "geometry", "coordinates", "geoproperty", "scopeQ"})
QUERY_PARAMETERS = PARAMETERS | CONDITIONS | {"type", "id", "idPattern", "q", "limit", "offset", "count", "orderBy"}


class TemporalRoutes:
    """The handlers of history."""

    def __init__(self, temporal: Temporal, contexts: Contexts) -> None:
        self._temporal = temporal
        self._contexts = contexts

    def routes(self) -> list[Route]:
        """What is offered."""
        one = f"{COLLECTION}/{{id}}"
        attribute = f"{one}/attrs/{{attr}}"
        instance = f"{attribute}/{{instance}}"
        return [
            Route("POST", COLLECTION, self.upsert),
            Route("GET", COLLECTION, self.query),
            Route("POST", f"{ROOT}/temporal/entityOperations/query", self.query_by_body),
            Route("GET", one, self.retrieve),
            Route("DELETE", one, self.delete),
            Route("POST", f"{one}/attrs", self.append),
            Route("DELETE", attribute, self.delete_attribute),
            Route("PATCH", instance, self.change_instance),
            Route("DELETE", instance, self.delete_instance),
        ]

    # writing

    async def upsert(self, request: Request) -> Response:
        """POST /temporal/entities."""
        evolution = await self._evolution(request, fragment=False)
        entity_id = str(evolution.id)
        if await self._temporal.add(request.tenant, entity_id, evolution, create=True):
            return answer(204)
        return answer(201, headers={"Location": f"{COLLECTION}/{quote(entity_id, safe=':')}"})

    async def append(self, request: Request) -> Response:
        """POST /temporal/entities/{id}/attrs."""
        entity_id = entity_id_of(request)
        evolution = await self._evolution(request, fragment=True)
        if evolution.id not in (None, entity_id):
            raise BadRequestData("/id: it differs from the id in the path")
        await self._temporal.add(request.tenant, entity_id, evolution, create=False)
        return answer(204)

    async def delete(self, request: Request) -> Response:
        """DELETE /temporal/entities/{id}."""
        wire.boolean(request.query({"local"}), "local")
        await self._temporal.delete(request.tenant, entity_id_of(request))
        return answer(204)

    async def delete_attribute(self, request: Request) -> Response:
        """DELETE /temporal/entities/{id}/attrs/{attr}: the default instances, those of a dataset, or all."""
        parameters = request.query({"local", "datasetId", "deleteAll"})
        wire.boolean(parameters, "local")
        dataset = parameters.get("datasetId", "@none")
        if dataset != "@none":
            dataset = _uri(dataset, "datasetId")
        everything = wire.boolean(parameters, "deleteAll")
        entity_id, attribute = entity_id_of(request), await self._attribute(request)
        chosen = None if everything else "" if dataset == "@none" else dataset
        await self._temporal.delete(request.tenant, entity_id, attribute, chosen)
        return answer(204)

    async def change_instance(self, request: Request) -> Response:
        """PATCH /temporal/entities/{id}/attrs/{attr}/{instanceId}."""
        wire.boolean(request.query({"local"}), "local")
        entity_id, number = entity_id_of(request), _instance_of(request)
        media, raw = wire.body_media(request, patch=True), wire.json_body(request)
        context = await wire.context_of_part(raw, request, media, self._contexts)
        attribute = _expanded(request.params["attr"], context)
        await self._temporal.change(request.tenant, entity_id, attribute, number, raw, context)
        return answer(204)

    async def delete_instance(self, request: Request) -> Response:
        """DELETE /temporal/entities/{id}/attrs/{attr}/{instanceId}."""
        wire.boolean(request.query({"local"}), "local")
        entity_id, number = entity_id_of(request), _instance_of(request)
        await self._temporal.delete(request.tenant, entity_id, await self._attribute(request), None, number)
        return answer(204)

    async def _evolution(self, request: Request, *, fragment: bool) -> Evolution:
        wire.boolean(request.query({"local"}), "local")
        media, raw = wire.body_media(request), wire.json_body(request)
        context = await wire.context_of_part(raw, request, media, self._contexts)
        return parse_evolution(raw, context, fragment=fragment)

    async def _attribute(self, request: Request) -> str:
        return _expanded(request.params["attr"], await wire.context_of(request, self._contexts))

    # reading

    async def retrieve(self, request: Request) -> Response:
        """GET /temporal/entities/{id}."""
        parameters = request.query(PARAMETERS | {"type"})
        media = wire.negotiate(request.header(b"accept"))
        context = await wire.context_of(request, self._contexts)
        ask = ask_of(parameters, context, timed=False)
        query = build_query(context, types=parameters.get("type"))
        found = await self._temporal.retrieve(request.tenant, entity_id_of(request), ask, query)
        return _shown(found, found.entities[0], ask, media, {})

    async def query(self, request: Request) -> Response:
        """GET /temporal/entities."""
        parameters = request.query(QUERY_PARAMETERS)
        media = wire.negotiate(request.header(b"accept"))
        context = await wire.context_of(request, self._contexts)
        page = wire.paging(parameters)
        query = _query(parameters, context)
        ask = ask_of(parameters, context, timed=True)
        found = await self._temporal.query(request.tenant, [query], ask, page)
        headers = wire.page_headers(request, parameters, page, found.more, found.total, media)
        return _shown(found, found.entities, ask, media, headers)

    async def query_by_body(self, request: Request) -> Response:
        """POST /temporal/entityOperations/query: a Query in the body, pages and form in the parameters."""
        parameters = request.query(BODY_PARAMETERS)
        media = wire.negotiate(request.header(b"accept"))
        body_media, raw = wire.body_media(request), wire.json_body(request)
        context = await wire.context_of_part(raw, request, body_media, self._contexts)
        await self._contexts.linked(context)
        page = wire.paging(parameters)
        asked = asked_of(raw)
        together = {**parameters, **asked.parameters}
        queries = [_query({**together, **selector}, context) for selector in asked.selectors]
        ask = ask_of(together, context, timed=True)
        found = await self._temporal.query(request.tenant, queries, ask, page)
        headers = wire.page_headers(request, parameters, page, found.more, found.total, media)
        return _shown(found, found.entities, ask, media, headers)


def _query(parameters: Mapping[str, str], context: Context) -> Query:
    """Which entities are meant. Raises BadRequestData."""
    query = build_query(
        context,
        types=parameters.get("type"),
        ids=wire.comma_list(parameters, "id"),
        id_pattern=parameters.get("idPattern"),
        attrs=wire.comma_list(parameters, "attrs"),
        q=parameters.get("q"),
        expand_values=wire.comma_list(parameters, "expandValues"),
        json_keys=wire.comma_list(parameters, "jsonKeys"),
    )
    geo = parse_geo(context, *(parameters.get(name) for name in ("georel", "geometry", "coordinates", "geoproperty")))
    scope = parse_scope_query(parameters["scopeQ"]) if "scopeQ" in parameters else None
    query = replace(query, geo=geo, scope=scope)
    local = wire.boolean(parameters, "local") or parameters.get("type", "").strip() == "*"
    if not local and not query.narrow:
        raise BadRequestData("the query is too wide: give type, attrs, q, a geo-query or scopeQ, or local=true")
    return query


def _shown(found: Answer, content: Any, ask: Ask, media: str, headers: Mapping[str, str]) -> Response:
    """200, or 206 with the part of time that it holds."""
    if media == wire.LD:
        for entity in found.entities:
            entity["@context"] = ask.context.spec
    whole = respond(content, View(ask.context), media, headers)
    if found.cut_us is None:
        return whole
    return Response(206, whole.body, (*whole.headers, (b"content-range", _content_range(found.cut_us, ask).encode())))


def _content_range(cut_us: tuple[int, int], ask: Ask) -> str:
    """From where to where this part goes: on in time, or with lastN back. The client goes on from its end."""
    oldest, newest = cut_us
    since, until, last_n = ask.span.since_us, ask.span.until_us, ask.span.last_n
    if last_n is None:
        return f"date-time {time_text(oldest if since is None else since)}-{time_text(newest)}/*"
    return f"date-time {time_text(newest if until is None else until)}-{time_text(oldest)}/{last_n}"


def _expanded(name: str, context: Context) -> str:
    if name == "scope":
        return SCOPE
    try:
        return expand_checked(name, context)
    except Fault as fault:
        raise BadRequestData(f"attribute name: {fault}") from None


def _uri(text: str, what: str) -> str:
    try:
        return check_uri(text)
    except Fault as fault:
        raise BadRequestData(f"{what}: {fault}") from None


def _instance_of(request: Request) -> int:
    """The number in an instanceId. Raises BadRequestData for what is no URI, ResourceNotFound for what is not ours."""
    text = _uri(request.params["instance"], "instanceId")
    number = text.removeprefix(INSTANCE)
    if number == text or not (number.isascii() and number.isdecimal()) or len(number) > 18:
        raise ResourceNotFound(f"there is no instance {text}")
    return int(number)
