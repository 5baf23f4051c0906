"""HTTP of types and attributes discovery (CIM 009 clauses 6.25 to 6.28)."""

from __future__ import annotations

from typing import Any

from gateway.server import wire
from gateway.server.broker import discovery
from gateway.server.broker.answers import respond
from gateway.server.broker.parse import Fault, expand_checked
from gateway.server.broker.queries import Queries
from gateway.server.broker.represent import View
from gateway.server.contexts import Context, Contexts
from gateway.server.errors import BadRequestData, ResourceNotFound
from gateway.server.routing import Route
from gateway.server.wire import ROOT, Request, Response

PARAMETERS = frozenset({"details", "local", "limit", "offset", "count"})


class DiscoveryRoutes:
    """The handlers of /types and /attributes."""

    def __init__(self, queries: Queries, contexts: Contexts) -> None:
        self._queries = queries
        self._contexts = contexts

    def routes(self) -> list[Route]:
        """What is offered."""
        return [
            Route("GET", f"{ROOT}/types", self.types),
            Route("GET", f"{ROOT}/types/{{name}}", self.type),
            Route("GET", f"{ROOT}/attributes", self.attributes),
            Route("GET", f"{ROOT}/attributes/{{name}}", self.attribute),
        ]

    async def types(self, request: Request) -> Response:
        """GET /types."""
        view, details = await self._asked(request)
        if not details:
            iris = await self._queries.types(request.tenant)
            return self._list(request, view, discovery.type_list(iris, view.context), "typeList")
        found = await self._queries.survey(request.tenant)
        shown = [discovery.entity_type(iri, seen, view.context) for iri, seen in sorted(found.types.items())]
        return self._elements(request, view, shown)

    async def type(self, request: Request) -> Response:
        """GET /types/{type}."""
        view, _ = await self._asked(request)
        iri = _name(request, view.context)
        found = await self._queries.survey(request.tenant, entity_type=iri)
        if iri not in found.types:
            raise ResourceNotFound(f"no entity is of the type {iri}")
        return _single(view, discovery.entity_type_info(iri, found.types[iri], view.context))

    async def attributes(self, request: Request) -> Response:
        """GET /attributes."""
        view, details = await self._asked(request)
        found = await self._queries.survey(request.tenant)
        if not details:
            return self._list(request, view, discovery.attribute_list(found.attributes, view.context), "attributeList")
        items = sorted(found.attributes.items())
        shown = [discovery.attribute(iri, seen, view.context, whole=False) for iri, seen in items]
        return self._elements(request, view, shown)

    async def attribute(self, request: Request) -> Response:
        """GET /attributes/{attr}."""
        view, _ = await self._asked(request)
        iri = _name(request, view.context)
        found = await self._queries.survey(request.tenant, attribute=iri)
        if iri not in found.attributes:
            raise ResourceNotFound(f"no entity has the attribute {iri}")
        return _single(view, discovery.attribute(iri, found.attributes[iri], view.context, whole=True))

    async def _asked(self, request: Request) -> tuple[View, bool]:
        parameters = request.query(PARAMETERS)
        wire.boolean(parameters, "local")
        media = wire.negotiate(request.header(b"accept"))
        context = await wire.context_of(request, self._contexts)
        return View(context, with_context=media == wire.LD), wire.boolean(parameters, "details")

    def _list(self, request: Request, view: View, body: dict[str, Any], member: str) -> Response:
        """All names, or (with limit) a page of them."""
        body[member], headers = _paged(request, body[member], view)
        return _single(view, body, headers)

    def _elements(self, request: Request, view: View, shown: list[dict[str, Any]]) -> Response:
        page, headers = _paged(request, shown, view)
        if view.with_context:
            page = [{**element, "@context": view.context.spec} for element in page]
        return respond(page, view, _media(view), headers)


def _paged(request: Request, elements: list[Any], view: View) -> tuple[list[Any], dict[str, str]]:
    parameters = request.query(PARAMETERS)
    if not parameters.keys() & {"limit", "offset", "count"}:
        return elements, {}
    page = wire.paging(parameters)
    more = len(elements) > page.offset + page.limit
    total = len(elements) if page.count else None
    headers = wire.page_headers(request, parameters, page, more, total, _media(view))
    return elements[page.offset : page.offset + page.limit], headers


def _single(view: View, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    if view.with_context:
        body["@context"] = view.context.spec
    return respond(body, view, _media(view), headers)


def _media(view: View) -> wire.Media:
    return wire.LD if view.with_context else wire.JSON


def _name(request: Request, context: Context) -> str:
    try:
        return expand_checked(request.params["name"], context)
    except Fault as fault:
        raise BadRequestData(f"the name in the path: {fault}") from None
