"""The server's end of the compact protocol over CoAP: the paths of HTTP, OSCORE always, bodies in blocks.

A gateway is who its keys say it is: their part in the credentials file has its name.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

import cbor2

from drivers.buses.coap_endpoint import BUSY, Endpoint, Reply, Take
from drivers.buses.coap_message import GET, POST, PUT, Code, Message, Option, uint
from drivers.buses.coap_oscore import Context, read_keys
from drivers.errors import DriverError
from gateway.compact.message import MESSAGE_BYTES_MAX
from gateway.server.errors import Forbidden, InternalError, Problem, ServerError
from gateway.server.ingest.service import Ingest
from gateway.server.outcome import Outcome
from gateway.server.settings import CoapSettings

log = logging.getLogger(__name__)
CBOR = 60  # application/cbor (RFC 7252, 12.3)

Answer = Callable[[bytes], Awaitable[bytes]]


class CoapEnd(Endpoint):
    """``start`` it, give it a ``group``, and ``close`` it; without the group all are asked to come again."""

    def __init__(self, settings: CoapSettings, ingest: Ingest) -> None:
        self._open: dict[str, Context] = {}
        super().__init__(self._open, MESSAGE_BYTES_MAX)
        self._settings = settings
        self._ingest = ingest

    async def start(self) -> None:
        """Read the keys and listen. Raises ServerError."""
        settings = self._settings
        folder = settings.state or settings.credentials.parent / "oscore"
        try:
            for peer, keys in read_keys(settings.credentials).items():
                self._open[peer] = Context(keys, folder)
            await self.open(settings.host, settings.port)
        except DriverError as error:
            self.close()
            raise ServerError(f"CoAP: {error}", code="server.coap", fix=error.fix) from error

    def close(self) -> None:
        """Stop listening, and write down what OSCORE must remember; safe to call twice."""
        super().close()
        for context in self._open.values():
            context.close()

    def resource(self, request: Message, peer: str | None) -> Reply | Take:
        """What is asked for; ``peer`` is the gateway."""
        path, method = request.path, request.code
        content_format = request.number(Option.CONTENT_FORMAT)
        if peer is None:
            return Reply(Code.UNAUTHORIZED)
        if method in (POST, PUT) and content_format not in (None, CBOR):
            return Reply(Code.UNSUPPORTED_FORMAT, "CBOR (60)")
        answer: Answer | None = None
        match path:
            case ("api", "time"):
                allowed, answer = GET, _time
            case ("lamppost", "v1", "batches"):
                allowed, answer = POST, self._batch(peer)
            case ("lamppost", "v1", "gateways", gateway, "profiles", name):
                allowed, answer = PUT, self._profiles(peer, gateway, name)
            case ("lamppost", "v1", "gateways", gateway, "streams"):
                allowed, answer = GET, self._held(peer, gateway)
            case _:
                return Reply(Code.NOT_FOUND)
        if method != allowed:
            return Reply(Code.METHOD_NOT_ALLOWED)
        if self.group is None or self.busy:
            return BUSY
        good = Code.CONTENT if method == GET else Code.CHANGED
        return lambda body, _mono_ns: _reply(good, answer(body))

    def _batch(self, peer: str) -> Answer:
        async def answer(body: bytes) -> bytes:
            return (await self._ingest.batch(body, peer)).to_bytes()

        return answer

    def _profiles(self, peer: str, gateway: str, name: str) -> Answer:
        async def answer(body: bytes) -> bytes:
            _check(peer, gateway)
            await self._ingest.put_profiles(gateway, name, body)
            return b""

        return answer

    def _held(self, peer: str, gateway: str) -> Answer:
        async def answer(_body: bytes) -> bytes:
            _check(peer, gateway)
            return (await self._ingest.held(gateway)).to_bytes()

        return answer


async def _time(_body: bytes) -> bytes:
    """The server's clock, UTC in ns: OSCORE says whose it is."""
    return cbor2.dumps(time.time_ns())


async def _reply(good: int, answer: Awaitable[bytes]) -> Reply:
    with Outcome() as outcome:
        body = await answer
        options = ((Option.CONTENT_FORMAT, uint(CBOR)),) if body else ()
        return Reply(good, options=options, body=body)
    problem = outcome.error
    if not isinstance(problem, Problem):
        log.error("a request over CoAP failed", exc_info=problem)
        problem = InternalError(type(problem).__name__)
    if problem.status == 403:
        return Reply(Code.FORBIDDEN, problem.cause)
    if problem.status < 500:
        return Reply(Code.BAD_REQUEST, problem.cause)
    return Reply(Code.UNAVAILABLE, problem.title, ((Option.MAX_AGE, uint(problem.retry_after_s or 1)),))


def _check(peer: str, gateway: str) -> None:
    if peer != gateway:
        raise Forbidden(f"these keys are for {peer}", fix="Each gateway has keys of its own.")
