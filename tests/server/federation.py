"""Several real brokers, and sources that answer as a test tells them to, all over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import orjson
import uvicorn

from gateway.server.http import create_app
from gateway.server.platform import Platform
from gateway.server.settings import ServerSettings

ROOT = "/ngsi-ld/v1"
DEFAULT = "https://uri.etsi.org/ngsi-ld/default-context/"


@dataclass
class Server:
    """A broker: a client for it, its address, its services."""

    client: httpx.AsyncClient
    url: str
    platform: Platform

    async def get(self, path: str, **parameters: str) -> httpx.Response:
        headers = {"NGSILD-Tenant": tenant} if (tenant := parameters.pop("tenant", "")) else {}
        return await self.client.get(ROOT + path, params=parameters, headers=headers)

    async def post(self, path: str, body: Any, **parameters: str) -> httpx.Response:
        return await self.client.post(ROOT + path, json=body, params=parameters)

    async def patch(self, path: str, body: Any) -> httpx.Response:
        return await self.client.patch(ROOT + path, json=body)


@asynccontextmanager
async def listening(app: Any, bound: socket.socket) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[bound]))
    async with asyncio.timeout(10):
        while not server.started:
            await asyncio.sleep(0.01)
    try:
        yield url_of(bound)
    finally:
        server.should_exit = server.force_exit = True
        await task


def bind() -> socket.socket:
    bound = socket.socket(proto=socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only where this is said
    bound.bind(("127.0.0.1", 0))
    return bound


def url_of(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


@asynccontextmanager
async def brokers(
    data: Path,
    *names: str,
    sources: Sequence[Odd] = (),
    files: Mapping[str, Path] | None = None,
    token: str | None = None,
) -> AsyncIterator[list[Server]]:
    """Brokers of these aliases; each may use all others and ``sources``."""
    sockets = {name: bind() for name in names}
    prefixes = (*(url_of(bound) for bound in sockets.values()), *(source.url for source in sources))
    async with AsyncExitStack() as stack:
        servers = []
        for name, bound in sockets.items():
            settings = ServerSettings(
                data=data / name,
                port=0,
                alias=name,
                notify_prefixes=prefixes,
                context_files=files or {},
                token=token,
            )
            app = create_app(settings)
            await stack.enter_async_context(app.running())
            url = await stack.enter_async_context(listening(app, bound))
            client = httpx.AsyncClient(base_url=url, timeout=20, verify=False)
            if token is not None:
                client.headers["Authorization"] = f"Bearer {token}"
            servers.append(Server(await stack.enter_async_context(client), url, app.platform))
        yield servers


@dataclass
class Seen:
    """A request that a source got."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    port: int  # of the asker's end


@dataclass
class Odd:
    """A source that answers what it is told: by method and path, else by method; ``delay_s`` before each answer."""

    url: str = ""
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    delay_s: float = 0.0
    seen: list[Seen] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        path = unquote(scope["raw_path"].decode()).removeprefix(ROOT)
        query = {k: v[0] for k, v in parse_qs(scope["query_string"].decode()).items()}
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.seen.append(
            Seen(scope["method"], path, query, headers, orjson.loads(body) if body else None, scope["client"][1])
        )
        await asyncio.sleep(self.delay_s)
        status, content = (
            self.answers.get(f"{scope['method']} {path}") or self.answers.get(scope["method"]) or (404, {})
        )
        raw = content if isinstance(content, bytes) else b"" if content is None else orjson.dumps(content)
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": raw})


@asynccontextmanager
async def odd(**answers: tuple[int, Any]) -> AsyncIterator[Odd]:
    source = Odd(answers=dict(answers))
    async with listening(source, bind()) as source.url:
        yield source


async def register(server: Server, endpoint: str, tenant: str = "", /, **members: Any) -> str:
    """Register a source of everything of the type Room, unless ``members`` say otherwise. Returns its id."""
    body = {
        "type": "ContextSourceRegistration",
        "endpoint": endpoint,
        "information": [{"entities": [{"type": "Room"}]}],
        "operations": ["federationOps", "redirectionOps"],
        **members,
    }
    headers = {"NGSILD-Tenant": tenant} if tenant else {}
    answer = await server.client.post(f"{ROOT}/csourceRegistrations", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return unquote(urlsplit(answer.headers["location"]).path.rsplit("/", 1)[1])


def room(number: int = 1, **attributes: Any) -> dict[str, Any]:
    return {
        "id": f"urn:ngsi-ld:Room:{number}",
        "type": "Room",
        **{name: {"type": "Property", "value": value} for name, value in attributes.items()},
    }
