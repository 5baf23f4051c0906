"""HTTP of the contexts that the server keeps: /jsonldContexts (CIM 009 clauses 5.13, 6.29, 6.30)."""

from __future__ import annotations

import orjson

from gateway.server import wire
from gateway.server.contexts.service import Contexts, Kept
from gateway.server.errors import BadRequestData, OperationNotSupported, ResourceNotFound
from gateway.server.routing import Route
from gateway.server.wire import ROOT, Request, Response, answer

KINDS = ("Hosted", "Cached", "ImplicitlyCreated")


class ContextRoutes:
    """The handlers."""

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts

    def routes(self) -> list[Route]:
        """What is offered."""
        collection, one = f"{ROOT}/jsonldContexts", f"{ROOT}/jsonldContexts/{{id}}"
        return [
            Route("POST", collection, self.add),
            Route("GET", collection, self.list),
            Route("GET", one, self.serve),
            Route("DELETE", one, self.delete),
        ]

    async def add(self, request: Request) -> Response:
        """POST /jsonldContexts."""
        request.query(())
        wire.body_media(request)
        body = wire.json_body(request)
        content = body.get("@context") if isinstance(body, dict) else None
        if content is None:
            raise BadRequestData("the body must be a JSON object with @context")
        name = await self._contexts.host(content)
        return answer(201, headers={"Location": f"{ROOT}/jsonldContexts/{name}"})

    async def list(self, request: Request) -> Response:
        """GET /jsonldContexts."""
        parameters = request.query({"details", "kind", "limit", "offset", "count"})
        details, kind = wire.boolean(parameters, "details"), parameters.get("kind")
        if kind is not None and kind not in KINDS:
            raise BadRequestData(f"kind must be one of {', '.join(KINDS)}")
        wire.negotiate(request.header(b"accept"))
        page = wire.paging(parameters)
        found = [kept for kept in self._contexts.kept() if kind in (None, kept.kind)]
        part = found[page.offset : page.offset + page.limit]
        more = len(found) > page.offset + page.limit
        total = len(found) if page.count else None
        headers = wire.page_headers(request, parameters, page, more, total, wire.JSON)
        shown = [self._record(request, kept) if details else self._url(request, kept) for kept in part]
        return answer(200, shown, headers=headers)

    async def serve(self, request: Request) -> Response:
        """GET /jsonldContexts/{id}."""
        details = wire.boolean(request.query({"details"}), "details")
        media = wire.negotiate(request.header(b"accept"))
        kept = self._find(request)
        if details:
            return answer(200, self._record(request, kept))
        if kept.kind == "Cached":
            raise OperationNotSupported(f"{kept.url} is served where it comes from; details=true tells about the copy")
        return answer(200, orjson.dumps({"@context": kept.content}), media)

    async def delete(self, request: Request) -> Response:
        """DELETE /jsonldContexts/{id}; ``reload=true`` downloads a cached one anew."""
        again = wire.boolean(request.query({"reload"}), "reload")
        kept = self._find(request)
        if again and kept.kind != "Cached":
            raise BadRequestData(f"a context that is {kept.kind} cannot be loaded from elsewhere")
        await (self._contexts.reload(kept) if again else self._contexts.delete(kept))
        return answer(204)

    def _find(self, request: Request) -> Kept:
        wanted = request.params["id"]
        found = self._contexts.find(wanted)
        if found is None:
            raise ResourceNotFound(f"there is no context {wanted}")
        return found

    def _url(self, request: Request, kept: Kept) -> str:
        if kept.kind == "Cached":
            return kept.url
        return self._contexts.address(request.header(b"host"), kept.url)

    def _record(self, request: Request, kept: Kept) -> dict[str, object]:
        shown: dict[str, object] = {
            "URL": self._url(request, kept),
            "localId": kept.id,
            "kind": kept.kind,
            "createdAt": kept.created,
            "numberOfHits": kept.hits,
        }
        return shown if kept.used is None else {**shown, "lastUsage": kept.used}
