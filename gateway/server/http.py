"""The ASGI application: a small dispatcher for the NGSI-LD routes, Starlette behind it for the pages of the apps.

Here every request passes the guard, is bounded (body, time, number of bodies in memory) and is counted; here problems
become answers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from typing import Any

import orjson
from starlette.applications import Starlette

from gateway.prometheus import CONTENT_TYPE
from gateway.server import wire
from gateway.server.apps.console import Console
from gateway.server.broker.names import URI
from gateway.server.coding import OFFERED, decoded
from gateway.server.errors import (
    BadRequestData,
    InternalError,
    LengthRequired,
    MethodNotAllowed,
    OperationNotSupported,
    Overloaded,
    Problem,
    RequestTimeout,
    ResourceNotFound,
    TooLarge,
)
from gateway.server.identity.guard import Guard
from gateway.server.openapi.document import document
from gateway.server.outcome import Outcome
from gateway.server.platform import Platform
from gateway.server.routing import Route, Router
from gateway.server.settings import BODIES_BYTES_MAX, BODY_SECONDS_MAX, ServerSettings
from gateway.server.wire import ROOT, Request, Response, answer

log = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
BODY_METHODS = frozenset({"POST", "PATCH", "PUT"})
HEALTH_SECONDS_MAX = 5.0
DRAIN_BYTES_MAX, DRAIN_SECONDS_MAX = 8 * 2**20, 1.0
ON_SNAPSHOTS = frozenset(
    {"entities", "entityOperations", "temporal", "types", "attributes", "subscriptions", "entityMaps"}
)
LATER = frozenset({"info", "temporal", "entityOperations", "entities"})  # in the standard, not here


class App:
    """See the module."""

    def __init__(self, platform: Platform) -> None:
        settings = platform.settings
        self.platform = platform
        self._guard = Guard(
            settings.token,
            host=settings.host,
            secure=settings.secure,
            hosts=settings.hosts,
            invited=platform.distributed.kept.invited,
        )
        self._router = Router([*platform.routes(), *self._own_routes()])
        self._console = Console(platform.broker, platform.queries, platform.temporal)
        self._pages = Starlette(routes=self._console.routes())
        self._document = orjson.dumps(document())
        self._body_max = settings.body_max
        self._body_bytes = 0

    def running(self) -> AbstractAsyncContextManager[Platform]:
        """The services, for as long as the block lasts."""
        return self.platform.running()

    def stop(self) -> None:
        """The server is about to stop: end what would never end by itself."""
        self._console.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.monotonic()
        counter = self.platform.counter
        exchange = _Exchange(receive, send)
        counter.in_flight += 1
        try:
            with Outcome() as outcome:
                await self._serve(scope, exchange)
            if outcome.error is not None:
                await self._fail(scope, outcome.error, exchange)
        finally:
            counter.in_flight -= 1
            counter.done(scope["method"], exchange.status, time.monotonic() - started)

    async def _fail(self, scope: Scope, error: Exception, exchange: _Exchange) -> None:
        if not isinstance(error, Problem):
            log.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
            error = InternalError(f"{type(error).__name__} in {scope['method']} {scope['path']}")
        if exchange.status:
            return
        unread = scope["method"] in BODY_METHODS and not exchange.received
        if unread:
            await exchange.drain()
        refusal = _echoed(wire.problem(error), scope["headers"])
        await _send(exchange.send, _advertised(refusal) if error.status == 415 else refusal, close=unread)

    async def _serve(self, scope: Scope, exchange: _Exchange) -> None:
        raw_path = scope.get("raw_path", b"").decode("ascii") or scope["path"]
        request = Request(scope["method"], scope["path"], scope["headers"], scope["query_string"])
        if scope["path"] == "/login" and request.method == "GET":
            await _send(exchange.send, self._guard.login(request))
            return
        self._guard.check(request)
        found = self._router.find(request.method, raw_path)
        if found is None and not scope["path"].startswith(ROOT):
            await self._pages(scope, exchange.receive, exchange.send)
            return
        if found is None:
            raise _unknown(scope["path"])
        if request.method == "OPTIONS":
            await _send(exchange.send, answer(204, headers={"Allow": ", ".join(found.methods)}))
            return
        if found.handler is None:
            refusal = wire.problem(MethodNotAllowed(f"{request.method} is not offered at {scope['path']}"))
            allow = (b"allow", ", ".join(found.methods).encode("ascii"))
            await _send(exchange.send, Response(refusal.status, refusal.body, (*refusal.headers, allow)))
            return
        request.params = found.params
        await self._snapshot(request)
        with self._held() as hold:
            if request.method in BODY_METHODS:
                request.body = await self._body(request, exchange.receive, hold)
            result = await found.handler(request)
        if request.body and request.header(b"content-encoding") is None:
            result = _advertised(result)
        await _send(exchange.send, _echoed(result, request.headers))

    async def _snapshot(self, request: Request) -> None:
        """An operation on a snapshot works on its data alone. Raises ResourceNotFound, Conflict, BadRequestData."""
        named = request.header(b"ngsild-snapshot")
        if named is None or request.path.removeprefix(ROOT + "/").partition("/")[0] not in ON_SNAPSHOTS:
            return
        if not URI.match(named):
            raise BadRequestData("NGSILD-Snapshot must be the URI of a snapshot")
        await self.platform.snapshots.use(request.tenant, named)
        request.snapshot = named

    # bodies

    @contextmanager
    def _held(self) -> Iterator[Callable[[int], None]]:
        """Counts the bytes of a request's body in memory. Raises Overloaded beyond the bound of all together."""
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            held += size
            self._body_bytes += size
            if self._body_bytes > BODIES_BYTES_MAX:
                raise Overloaded(f"bodies of {self._body_bytes} bytes are in memory already")

        try:
            yield hold
        finally:
            self._body_bytes -= held

    async def _body(self, request: Request, receive: Receive, hold: Callable[[int], None]) -> bytes:
        """The whole body, decompressed. Raises LengthRequired, TooLarge, RequestTimeout, UnsupportedMediaType."""
        length = request.header(b"content-length")
        if length is None and request.header(b"transfer-encoding") is None:
            raise LengthRequired(f"{request.method} needs a body with Content-Length")
        if length is not None and int(length) > self._body_max:
            raise TooLarge(f"the body has {length} bytes; {self._body_max} are allowed")
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise BadRequestData("the connection ended within the body")
                    chunk = message.get("body", b"")
                    more = message.get("more_body", False)
                    size += len(chunk)
                    if size > self._body_max:
                        raise TooLarge(f"the body has more than {self._body_max} bytes")
                    hold(len(chunk))
                    chunks.append(chunk)
        except TimeoutError:
            raise RequestTimeout(f"the body took more than {BODY_SECONDS_MAX:.0f} s") from None
        return self._decoded(request, b"".join(chunks), hold)

    def _decoded(self, request: Request, body: bytes, hold: Callable[[int], None]) -> bytes:
        coding = (request.header(b"content-encoding") or "identity").strip().lower()
        plain = decoded(coding, body, self._body_max)
        if plain is not body:
            hold(len(plain))
        return plain

    # own routes

    def _own_routes(self) -> list[Route]:
        return [
            Route("GET", "/healthz", self._health),
            Route("GET", "/metrics", self._metrics),
            Route("GET", "/api/time", self._time),
            Route("GET", "/openapi.json", self._openapi),
        ]

    async def healthy(self) -> bool:
        """Whether the writer of the storage answers in time; a full disk is an answer: no restart would mend it."""
        try:
            async with asyncio.timeout(HEALTH_SECONDS_MAX):
                with suppress(Problem):
                    await self.platform.storage.write(lambda writer: None, weight=0)
        except TimeoutError:
            return False
        return True

    async def _health(self, request: Request) -> Response:
        """Alive, and the writer of its storage answers."""
        await self.platform.storage.write(lambda writer: None, weight=0)
        return answer(200, {"status": "ok"})

    async def _metrics(self, request: Request) -> Response:
        return Response(200, (await self.platform.metrics()).encode(), ((b"content-type", CONTENT_TYPE.encode()),))

    async def _openapi(self, request: Request) -> Response:
        """What this server offers, for programs."""
        request.query(())
        return answer(200, self._document)

    async def _time(self, request: Request) -> Response:
        """The server's clock, for gateways that have no better one."""
        return _advertised(answer(200, {"now_ns": time.time_ns()}, headers={"Cache-Control": "no-store"}))


class _Exchange:
    """The two ends of a request: whether its body has come as a whole, and the status of the answer (0: not begun)."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.received = False
        self.status = 0

    async def receive(self) -> Message:
        """The next part of the body."""
        message = await self._receive()
        self.received = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """A part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)

    async def drain(self) -> None:
        """Read on for a moment: a client still sending would lose the answer when the connection closes."""
        left = DRAIN_BYTES_MAX
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS_MAX):
                while left > 0 and not self.received:
                    left -= len((await self.receive()).get("body", b""))


async def _send(send: Send, response: Response, *, close: bool = False) -> None:
    """``close``: the body of the request may still be coming, so the connection is not used again."""
    headers = [*response.headers, (b"content-length", str(len(response.body)).encode("ascii"))]
    if response.status in (204, 304):
        headers = list(response.headers)
    if close:
        headers.append((b"connection", b"close"))
    headers.append((b"x-content-type-options", b"nosniff"))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def _echoed(response: Response, headers: wire.Headers) -> Response:
    """The answer, naming the tenant that was asked for (clause 6.3.14); never what is no name."""
    named = next((value for name, value in reversed(headers) if name == b"ngsild-tenant"), b"")
    if not named or not wire.TENANT.match(named.decode("latin-1")):
        return response
    return Response(response.status, response.body, (*response.headers, (b"ngsild-tenant", named)))


def _advertised(response: Response) -> Response:
    """The answer, with the content codings that bodies may have (RFC 7694)."""
    return Response(response.status, response.body, (*response.headers, (b"accept-encoding", OFFERED.encode("ascii"))))


def _unknown(path: str) -> Problem:
    parts = path[len(ROOT) :].split("/")
    if len(parts) > 1 and parts[1] in LATER:
        return OperationNotSupported(f"{path} is not offered by this version")
    return ResourceNotFound(f"there is nothing at {path}")


def create_app(settings: ServerSettings) -> App:
    """The application with all its services; they start with the lifespan or with ``running``."""
    return App(Platform(settings))
