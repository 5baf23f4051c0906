"""HTTP of reading current state: entities (CIM 009 clauses 6.4.3.2, 6.5.3.1, 6.23)."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

from gateway.server import wire
from gateway.server.broker.answers import entity_id_of, preferences_of, respond
from gateway.server.broker.asked import QUERY_PARAMETERS, RETRIEVE_PARAMETERS, Asked, asked_of, single_of
from gateway.server.broker.fragments import Fragments
from gateway.server.broker.model import Stored
from gateway.server.broker.queries import PLAIN, Queries
from gateway.server.broker.query import Query
from gateway.server.broker.query_body import query_of
from gateway.server.broker.query_join import Join
from gateway.server.broker.represent import View, amended, represent
from gateway.server.contexts import Context, Contexts
from gateway.server.errors import BadRequestData, ResourceNotFound
from gateway.server.routing import Route
from gateway.server.wire import ROOT, Request, Response

PLANS_MAX = 1_000
T = TypeVar("T")
Key: TypeAlias = tuple[bytes, str | None, str | None, Context]
EVERYTHING = Query()
BODY_PARAMETERS = QUERY_PARAMETERS - {"type", "id", "idPattern"}


class QueryRoutes:
    """The handlers that read entities."""

    def __init__(self, queries: Queries, contexts: Contexts) -> None:
        self._queries = queries
        self._contexts = contexts
        self._fragments = Fragments()
        self._queried: dict[Key, tuple[dict[str, str], Asked]] = {}
        self._retrieved: dict[Key, tuple[Query, View, Join | None, wire.Media]] = {}

    def routes(self) -> list[Route]:
        """What is offered."""
        return [
            Route("GET", f"{ROOT}/entities", self.query),
            Route("GET", f"{ROOT}/entities/{{id}}", self.retrieve),
            Route("POST", f"{ROOT}/entityOperations/query", self.query_by_body),
        ]

    async def query(self, request: Request) -> Response:
        """GET /entities."""
        context = await wire.context_of(request, self._contexts)
        key = _key(request, context)
        plan = self._queried.get(key)
        if plan is None:
            parameters = request.query(QUERY_PARAMETERS)
            media = wire.negotiate(request.header(b"accept"), geo=True)
            plan = parameters, asked_of(parameters, context, media, preferences_of(request))
            _remember(self._queried, key, plan)
        return await self._answer(request, *plan)

    async def query_by_body(self, request: Request) -> Response:
        """POST /entityOperations/query."""
        parameters = request.query(BODY_PARAMETERS)
        media = wire.negotiate(request.header(b"accept"), geo=True)
        raw = wire.json_body(request)
        context = await wire.context_of_part(raw, request, wire.body_media(request), self._contexts)
        await self._contexts.linked(context)
        members, selectors = query_of(raw, context)
        if both := parameters.keys() & members.keys() - {"local"}:
            raise BadRequestData(f"{', '.join(sorted(both))}: given in the URL and in the body")
        asked = asked_of({**parameters, **members}, context, media, preferences_of(request), selectors)
        return await self._answer(request, parameters, asked)

    async def retrieve(self, request: Request) -> Response:
        """GET /entities/{id}."""
        context = await wire.context_of(request, self._contexts)
        key = _key(request, context)
        plan = self._retrieved.get(key)
        if plan is None:
            media = wire.negotiate(request.header(b"accept"), geo=True)
            plan = single_of(request.query(RETRIEVE_PARAMETERS), context, media, preferences_of(request))
            _remember(self._retrieved, key, plan)
        query, view, join, media = plan
        entity_id = entity_id_of(request)
        if join is None and view.version is None and query == EVERYTHING:
            shown = self._fragments.shown((await self._queries.document(request.tenant, entity_id),), view)
            if not shown:
                raise ResourceNotFound(f"there is no entity {entity_id}")
            return respond(shown[0], view, media)
        entity = await self._queries.retrieve(request.tenant, entity_id)
        if not query.matches(entity):
            raise ResourceNotFound(f"{entity_id} has no such type or attribute")
        found = [entity] if join is None else await self._queries.linked(request.tenant, entity, join, view)
        status, headers = version_of(found, view)
        if join is not None and join.kind == "flat":
            return respond(collection(found, view), view, media, headers, status)
        return respond(represent(found[0], view), view, media, headers, status)

    async def _answer(self, request: Request, parameters: dict[str, str], asked: Asked) -> Response:
        page, view = asked.page, asked.view
        if asked.shape == PLAIN and view.version is None and view.geometry is None:
            return await self._encoded(request, parameters, asked)
        found = await self._queries.query(
            request.tenant, asked.query, limit=page.limit, offset=page.offset, count=page.count, shape=asked.shape
        )
        headers = wire.page_headers(request, parameters, page, found.more, found.total, asked.media)
        status, preferred = version_of(found.entities, view)
        return respond(collection(found.entities, view), view, asked.media, {**headers, **preferred}, status)

    async def _encoded(self, request: Request, parameters: dict[str, str], asked: Asked) -> Response:
        """The short way, where nothing is made of what is found but its representation."""
        page, view = asked.page, asked.view
        found = await self._queries.documents(
            request.tenant, asked.query, limit=page.limit, offset=page.offset, count=page.count
        )
        headers = wire.page_headers(request, parameters, page, found.more, found.total, asked.media)
        body = b"[" + b",".join(self._fragments.shown(found.documents, view)) + b"]"
        return respond(body, view, asked.media, headers)


def collection(entities: list[Stored], view: View) -> object:
    """A list of entities, or a FeatureCollection, which has its context once."""
    shown = [represent(entity, view) for entity in entities]
    if view.geometry is None:
        return shown
    result: dict[str, Any] = {"type": "FeatureCollection", "features": shown}
    if view.with_context:
        for feature in shown:
            del feature["@context"]
        result["@context"] = view.context.spec
    return result


def version_of(entities: list[Stored], view: View) -> tuple[int, dict[str, str]]:
    """203 and Preference-Applied where an older version of the API was wanted and that changes something."""
    if view.version is None or not any(amended(entity, view) for entity in entities):
        return 200, {}
    return 203, {"Preference-Applied": f"ngsi-ld={view.version[0]}.{view.version[1]}"}


def _key(request: Request, context: Context) -> Key:
    """All that a plan depends on, so that a question asked often is understood once."""
    return request.query_string, request.header(b"accept"), request.header(b"prefer"), context


def _remember(plans: dict[Key, T], key: Key, plan: T) -> None:
    if len(plans) >= PLANS_MAX:
        plans.clear()
    plans[key] = plan
