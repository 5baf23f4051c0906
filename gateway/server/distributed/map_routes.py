"""HTTP of entity maps (CIM 009 clauses 6.34 to 6.37): made by a query, shown, prolonged, deleted."""

from __future__ import annotations

from typing import Any

from gateway.server import wire
from gateway.server.broker.answers import entity_id_of
from gateway.server.broker.model import time_us
from gateway.server.broker.names import Fault, check_time
from gateway.server.contexts import CORE_URL, Contexts
from gateway.server.distributed.forward import warned
from gateway.server.distributed.history import History
from gateway.server.distributed.maps import LIFETIME_US_MAX, EntityMap, Maps, now_us
from gateway.server.distributed.reads import Reads
from gateway.server.errors import BadRequestData, OperationNotSupported, ResourceNotFound
from gateway.server.routing import Route
from gateway.server.wire import ROOT, Request, Response, answer

IGNORED = frozenset({"id", "type", "entityMap", "linkedMaps", "@context"})


class MapRoutes:
    """The handlers of /entityMaps."""

    def __init__(self, maps: Maps, reads: Reads, history: History, contexts: Contexts) -> None:
        self._maps = maps
        self._reads = reads
        self._history = history
        self._contexts = contexts

    def routes(self) -> list[Route]:
        """What is offered."""
        one = f"{ROOT}/entityMaps/{{id}}"
        return [
            Route("GET", f"{ROOT}/entityMaps", self.make),
            Route("POST", f"{ROOT}/entityMaps", self.make_by_body),
            Route("GET", f"{ROOT}/temporal/entityMaps", self.make_temporal),
            Route("POST", f"{ROOT}/temporal/entityMaps", self.make_temporal_by_body),
            Route("GET", one, self.retrieve),
            Route("PATCH", one, self.update),
            Route("DELETE", one, self.delete),
        ]

    async def make(self, request: Request) -> Response:
        """GET /entityMaps."""
        made, search = await self._reads.mapped(request, await self._reads.by_url(request))
        return _made(request, made, search.warnings)

    async def make_by_body(self, request: Request) -> Response:
        """POST /entityMaps."""
        made, search = await self._reads.mapped(request, await self._reads.by_body(request))
        return _made(request, made, search.warnings)

    async def make_temporal(self, request: Request) -> Response:
        """GET /temporal/entityMaps."""
        made, found = await self._history.mapped(request)
        return _made(request, made, found.warnings)

    async def make_temporal_by_body(self, request: Request) -> Response:
        """POST /temporal/entityMaps. Raises OperationNotSupported for several selectors, or an inline context."""
        by_url = await self._history.by_url(request)
        if by_url is None:
            raise OperationNotSupported("an entity map of history takes one selector, and a context that has a URL")
        made, found = await self._history.mapped(by_url)
        return _made(request, made, found.warnings)

    async def retrieve(self, request: Request) -> Response:
        """GET /entityMaps/{id}."""
        request.query(())
        return _shown(request, 200, await self._found(request), {})

    async def update(self, request: Request) -> Response:
        """PATCH /entityMaps/{id}: only when it ends may be changed."""
        request.query(())
        found = await self._found(request)
        raw = wire.json_body(request)
        await wire.context_of_part(raw, request, wire.body_media(request, patch=True), self._contexts)
        await self._maps.prolong(found, _expiry(raw))
        return answer(204)

    async def delete(self, request: Request) -> Response:
        """DELETE /entityMaps/{id}."""
        request.query(())
        await self._maps.remove(await self._found(request))
        return answer(204)

    async def _found(self, request: Request) -> EntityMap:
        map_id = entity_id_of(request)
        found = await self._maps.find(request.tenant, map_id)
        if found is None:
            raise ResourceNotFound(f"there is no entity map {map_id}, or it has expired")
        return found


def _expiry(raw: Any) -> int:
    if not isinstance(raw, dict) or "expiresAt" not in raw:
        raise BadRequestData("/expiresAt: only this may be changed, and it is missing")
    if unknown := raw.keys() - IGNORED - {"expiresAt"}:
        raise BadRequestData(f"/{min(unknown)}: an entity map has no such member")
    try:
        expires_us = time_us(check_time(raw["expiresAt"]))
    except Fault as fault:
        raise BadRequestData(f"/expiresAt: {fault}") from None
    if expires_us <= now_us():
        raise BadRequestData("/expiresAt: lies in the past")
    return min(expires_us, now_us() + LIFETIME_US_MAX)


def _made(request: Request, made: EntityMap, warnings: list[str]) -> Response:
    location = {"Location": f"{ROOT}/entityMaps/{made.id}", "NGSILD-EntityMap": made.id}
    return _shown(request, 201, made, {**location, **warned(warnings)})


def _shown(request: Request, status: int, found: EntityMap, headers: dict[str, str]) -> Response:
    media = wire.negotiate(request.header(b"accept"))
    if media == wire.LD:
        return answer(status, {**found.shown(), "@context": CORE_URL}, media, headers)
    link = f'<{CORE_URL}>; rel="{wire.CONTEXT_REL}"; type="{wire.LD}"'
    return answer(status, found.shown(), media, {**headers, "Link": link})
