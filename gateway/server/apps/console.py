"""The page and what feeds it: ``/``, ``/static/*``, ``/api/console/{state,power,events}``.

Reads only. The tenant is that of the header NGSILD-Tenant, else of the query parameter ``tenant``, else the default.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gateway import __version__
from gateway.server.apps import console_power, console_service
from gateway.server.apps.console_power import Series
from gateway.server.broker.model import Change
from gateway.server.broker.queries import Queries
from gateway.server.broker.query import Query
from gateway.server.broker.service import Broker, Feed
from gateway.server.temporal.service import Temporal
from gateway.web.assets import Asset, assets

Json = dict[str, Any]
HEARTBEAT_S = 15.0
GATHER_S = 0.2
"""Changes of one entity within this time are one event: a batch of ten seconds is one picture, not ten."""
CLIENTS_MAX = 64
ENTITIES_MAX = 1000
TREND_POINTS = 120
TREND_ENTITIES_MAX = 24
TREND_MS = 3_600_000
TRENDS = {"air": ("co2", "temperature", "pm25"), "bicycle": ("speed",)}

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Console:
    """The handlers. One object a server: it counts its listening clients."""

    def __init__(self, broker: Broker, queries: Queries, temporal: Temporal) -> None:
        self._broker = broker
        self._queries = queries
        self._temporal = temporal
        self._clients = 0
        self._waits: set[asyncio.Timeout] = set()
        self._closed = False

    def routes(self) -> list[Route]:
        """Everything the page needs."""
        return [
            Route("/", self.page),
            Route("/static/{path:path}", self.static),
            Route("/api/console/state", self.state),
            Route("/api/console/power", self.power),
            Route("/api/console/events", self.events),
        ]

    async def page(self, request: Request) -> Response:
        """The page itself."""
        return _asset(request, assets()["index.html"])

    async def static(self, request: Request) -> Response:
        """One of the files known by name; there is no way to any other."""
        found = assets().get(request.path_params["path"])
        return _asset(request, found) if found else _problem(404, "ResourceNotFound", "There is no such file.")

    async def state(self, request: Request) -> Response:
        """All entities in compact form, trends of the last hour, thresholds."""
        tenant, now_ms = _tenant(request), _now_ms()
        page = await self._queries.query(tenant, Query(), limit=ENTITIES_MAX)
        compact = [console_service.compact(entity) for entity in page.entities]
        for entity in compact:
            entity["age_s"] = None if entity["at"] is None else round((now_ms - entity["at"]) / 1000, 1)
        body = {
            "version": __version__,
            "now": now_ms,
            "tenant": tenant,
            "settings": console_service.settings(),
            "entities": compact,
            "truncated": page.more,
            "trends": await self._trends(tenant, page.entities, compact, now_ms),
        }
        return _json(body)

    async def _trends(self, tenant: str, stored: Sequence[Json], compact: Sequence[Json], now_ms: int) -> Json:
        wanted = [pair for pair in zip(stored, compact, strict=True) if pair[1]["kind"] in TRENDS]
        trends: Json = {}
        for full, entity in wanted[:TREND_ENTITIES_MAX]:
            trends[entity["id"]] = {
                key: console_power.trend(await self._series(tenant, full, key, now_ms - TREND_MS, now_ms), TREND_POINTS)
                for key in TRENDS[entity["kind"]]
                if console_service.has(entity, key)
            }
        return trends

    async def _series(self, tenant: str, stored: Json, key: str, since_ms: int, until_ms: int) -> Series:
        """Numbers of one attribute in time order: the default instances, without what is no number."""
        attribute = next((name for name in stored if console_service.short(name) == key), None)
        if attribute is None:
            return []
        span_ns = since_ms * 1_000_000, until_ms * 1_000_000
        found = await self._temporal.series(tenant, stored["id"], [attribute], *span_ns)
        numbers = ((each.observed_ns // 1_000_000, each.instance.get("value")) for each in found.get(attribute, ()))
        return [(at, value) for at, value in numbers if isinstance(value, int | float)]

    async def power(self, request: Request) -> Response:
        """A site's meter, its appliances and the rest on one time grid: ``minutes``, ``site``, ``since`` (ms)."""
        try:
            minutes = int(request.query_params.get("minutes", "60"))
            since = request.query_params.get("since")
            grid = console_power.Grid.of(minutes, None if since is None else int(float(since)), _now_ms())
        except (ValueError, OverflowError):
            return _problem(400, "BadRequestData", "minutes and since must be numbers.")
        tenant = _tenant(request)
        page = await self._queries.query(tenant, Query(), limit=ENTITIES_MAX)
        stored = {entity["id"]: entity for entity in page.entities}
        compact = [console_service.compact(entity) for entity in stored.values()]
        circuit = console_power.find_circuit(compact, request.query_params.get("site"))
        if circuit is None:
            return _json({"meter": None})
        key = "totalActivePower"
        until = grid.first_ms + grid.count * grid.step_ms
        before = grid.first_ms - console_power.HOLD_MS
        total = await self._series(tenant, stored[circuit.meter["id"]], key, before, until)
        parts = [await self._series(tenant, stored[a["id"]], key, before, until) for a in circuit.appliances]
        return _json(console_power.power(circuit, grid, total, parts))

    async def events(self, request: Request) -> Response:
        """Server-sent events: ``entity`` as it is now, ``gone``, ``resync`` where some were missed."""
        if self._closed or self._clients >= CLIENTS_MAX:
            return _problem(
                503, "Overloaded", "As many pages listen as may, or the server stops.", {"Retry-After": "5"}
            )
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", **HEADERS}
        return StreamingResponse(self._stream(_tenant(request)), media_type="text/event-stream", headers=headers)

    async def _stream(self, tenant: str) -> AsyncIterator[bytes]:
        self._clients += 1
        try:
            async with self._broker.listen(tenant) as feed:
                lost = 0
                yield b": listening\n\n"
                while not self._closed:
                    first = await self._next(feed)
                    if first is None:
                        yield b": still here\n\n"
                        continue
                    await asyncio.sleep(GATHER_S)
                    yield b"".join(_events([first, *_waiting(feed)]))
                    if feed.lost != lost:
                        lost = feed.lost
                        yield _event("resync", {})
        finally:
            self._clients -= 1

    async def _next(self, feed: Feed) -> Change | None:
        """The next change; None after HEARTBEAT_S, or at once when the server stops."""
        limit = asyncio.timeout(HEARTBEAT_S)
        try:
            async with limit:
                self._waits.add(limit)
                return await feed.get()
        except TimeoutError:
            return None
        finally:
            self._waits.discard(limit)

    def close(self) -> None:
        """End all streams: a server that stops does not wait for pages that listen."""
        self._closed = True
        for limit in self._waits:
            if not limit.expired():
                limit.reschedule(0)


def _waiting(feed: asyncio.Queue[Change]) -> Iterator[Change]:
    while not feed.empty():
        yield feed.get_nowait()


def _events(changes: Sequence[Change]) -> Iterator[bytes]:
    """One event for each entity, as it is after the last of its changes."""
    for change in {change.entity["id"]: change for change in changes}.values():
        if change.event == "deleted":
            yield _event("gone", {"id": change.entity["id"]})
        else:
            yield _event("entity", console_service.compact(change.entity))


def _event(name: str, data: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))


def _tenant(request: Request) -> str:
    return request.headers.get("NGSILD-Tenant") or request.query_params.get("tenant") or ""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _json(body: Json) -> Response:
    return Response(orjson.dumps(body), media_type="application/json", headers={"Cache-Control": "no-store", **HEADERS})


def _problem(status: int, name: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    body = {"type": f"https://uri.etsi.org/ngsi-ld/errors/{name}", "title": name, "status": status, "detail": detail}
    return Response(orjson.dumps(body), status, {**HEADERS, **(headers or {})}, "application/problem+json")


def _asset(request: Request, asset: Asset) -> Response:
    headers = {"ETag": asset.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding", **HEADERS}
    if asset.etag in request.headers.get("If-None-Match", ""):
        return Response(status_code=304, headers=headers)
    body = asset.body
    if "gzip" in request.headers.get("Accept-Encoding", "") and len(asset.packed) < len(body):
        body, headers["Content-Encoding"] = asset.packed, "gzip"
    return Response(body, headers={**headers, "Content-Type": asset.media_type})
