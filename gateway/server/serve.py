"""Serving the application with uvicorn: listening, limits of connections, a graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import socket
import ssl
from asyncio import TimerHandle
from collections.abc import Callable, Generator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from drivers.buses.mqtt_login import Session
from gateway.config.schema import Config
from gateway.server.egress import Egress
from gateway.server.errors import ServerError
from gateway.server.http import App, create_app
from gateway.server.identity.guard import check_listen, read_token
from gateway.server.settings import (
    CONNECTIONS_MAX,
    HEADER_BYTES_MAX,
    HEADER_SECONDS_MAX,
    IDLE_SECONDS_MAX,
    CoapSettings,
    ServerSettings,
)

log = logging.getLogger(__name__)
GRACE_S = 1  # for requests in flight when the server stops
BACKLOG = 512
TICK_S = 0.1  # uvicorn's: each tenth tick it sets the Date header
TICKS_A_DAY = 864_000
TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def settings_of(config: Config) -> ServerSettings:
    """Settings from the configuration; the part ``server`` may be missing. Raises ServerError for a bad token file."""
    from_file = config.server
    if from_file is None:
        return ServerSettings(data=config.storage.path)
    coap = from_file.coap
    return ServerSettings(
        data=config.storage.path,
        host=from_file.listen.host,
        port=from_file.listen.port,
        token=None if from_file.token_file is None else read_token(from_file.token_file),
        certificate=from_file.tls.certificate if from_file.tls else None,
        key=from_file.tls.key if from_file.tls else None,
        body_max=from_file.body_max,
        database=from_file.database,
        database_password_file=from_file.database_password_file,
        database_replica=from_file.database_replica,
        storage_max=from_file.storage_max,
        history_days=from_file.history_days,
        ca_file=from_file.ca_file,
        notify_prefixes=tuple(from_file.notify_prefixes),
        context_prefixes=tuple(from_file.context_prefixes),
        context_files=dict(from_file.context_files),
        alias=from_file.alias,
        hosts=tuple(from_file.hosts),
        mqtt=None if from_file.mqtt is None else Session(**dict(from_file.mqtt)),
        coap=None
        if coap is None
        else CoapSettings(coap.credentials_file, coap.listen.host, coap.listen.port, coap.state_path),
    )


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol with two bounds it does not have: bytes of a request's head, and time until it is complete."""

    _head_bytes = 0
    _head_timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEADER_SECONDS_MAX, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._stop_timer()
        self._head_timer = self.loop.call_later(HEADER_SECONDS_MAX, self._give_up)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop_timer()
        if self._head_bytes <= HEADER_BYTES_MAX:
            super().on_headers_complete()

    def _count(self, size: int) -> None:
        before, self._head_bytes = self._head_bytes, self._head_bytes + size
        if before <= HEADER_BYTES_MAX < self._head_bytes:
            self.transport.write(TOO_LONG)
            self.transport.close()

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _Server(uvicorn.Server):
    """uvicorn inside a program that has its own signal handling; ``up`` is set once it listens, ``leave`` stops it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        self.should_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        """uvicorn's, which notices at once that it is to stop."""
        ticks = itertools.cycle(range(TICKS_A_DAY))
        while not await self.on_tick(next(ticks)):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), TICK_S)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve(
    settings: ServerSettings, *, ready: Callable[[str], None], stop: asyncio.Event, app: App | None = None
) -> None:
    """Serve until ``stop``; ``ready`` gets the address (a URL) once requests are answered. Raises ServerError."""
    check_listen(settings.host, secure=settings.secure, token=settings.token)
    tls = _tls(settings)
    _check_authorities(settings)
    app = app or create_app(settings)
    listener = _bind(settings)
    with listener:
        async with app.running():
            _spare_collector()
            server = _Server(_config(app, tls))
            async with asyncio.TaskGroup() as group:
                group.create_task(server.serve(sockets=[listener]))
                await server.up.wait()
                ready(_address(settings, listener))
                await stop.wait()
                app.stop()
                server.leave()


def _spare_collector() -> None:
    """What was loaded stays: the garbage collector need not look at it again and again, nor as often as by default.

    Measured: up to a half of the CPU of writes into 20,000 entities. The first number is how long a pause is (10,000
    new objects, some milliseconds), the second how rare the long ones are.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 500, 1000)


def _config(app: Any, tls: Callable[..., ssl.SSLContext] | None) -> uvicorn.Config:  # any ASGI application
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_SECONDS_MAX,
        timeout_graceful_shutdown=GRACE_S,
        ssl_context_factory=tls,
    )


def _tls(settings: ServerSettings) -> Callable[..., ssl.SSLContext] | None:
    if settings.certificate is None or settings.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise ServerError(
            f"the certificate {settings.certificate} with the key {settings.key} cannot be used: {error}",
            code="server.bad-certificate",
            fix="Check server.tls: both files must be PEM, readable, and belong together.",
        ) from error
    return lambda *_: context


def _check_authorities(settings: ServerSettings) -> None:
    """Whether ``ca_file`` can be used: that is found at the start, not when the first receiver is told. ServerError."""
    if settings.ca_file is None:
        return
    try:
        Egress((), settings.ca_file).tls()
    except OSError as error:  # ssl.SSLError is one
        raise ServerError(
            f"the authorities in {settings.ca_file} cannot be used: {error.strerror or error}",
            code="server.bad-authorities",
            fix="Check server.ca_file: a readable PEM file with at least one certificate.",
        ) from error


def _bind(settings: ServerSettings) -> socket.socket:
    """Listen before anything else is done, so that a port in use is found at once. Raises ServerError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        raise ServerError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}",
            code="server.cannot-listen",
            fix="Is another server running there? Choose another port (server.listen.port, --listen).",
        ) from error
    return listener


def _address(settings: ServerSettings, listener: socket.socket) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if settings.secure else 'http'}://{host}:{listener.getsockname()[1]}"
