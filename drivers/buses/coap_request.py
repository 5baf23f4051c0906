"""Requests over CoAP: aiocoap sends them again until they are answered and matches answers to them.

The rest is here, so that every bound holds and nothing runs by itself: one connected UDP socket, so that the kernel
hands over what comes from the other side and nothing else; OSCORE (RFC 8613) where there are keys; bodies in blocks
(RFC 7959). Closing it ends all that belongs to it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiocoap
import aiocoap.error
from aiocoap.pipe import Pipe
from aiocoap.transports.simple6 import MessageInterfaceSimple6

from drivers.bound import bind
from drivers.buses.coap_message import BLOCK_EXPONENT_MAX, GET, Code, encode, parse
from drivers.errors import BadFrame, Disconnected, DriverError, NoPort, Refused, Timeout

if TYPE_CHECKING:
    from drivers.buses.coap_oscore import Context

WAITING_MAX = 64
TEXT_CHARACTERS_MAX = 120
_REORDERED_S = 128.0  # after it any notification is new (RFC 7641, 3.4)
_HALF = 1 << 23

log = logging.getLogger("lamppost.coap")
log.setLevel(logging.CRITICAL)  # aiocoap's: what matters comes as an exception, and a stranger could fill the journal


class _Wire(MessageInterfaceSimple6):  # type: ignore[misc]
    """aiocoap's UDP socket, given only messages that hold to our bounds: its own reader remembers unknown numbers."""

    bytes_sent = bytes_received = 0
    interface: str | None = None

    def send(self, message: Any) -> None:
        """Send a message; called by aiocoap."""
        self.bytes_sent += len(message.encode())
        super().send(message)

    async def determine_remote(self, request: Any) -> Any:
        """The socket to the other side; called by aiocoap. Raises OSError."""
        remote = await super().determine_remote(request)
        if remote is not None and self.interface is not None:
            bind(remote._transport.get_extra_info("socket"), self.interface)
        return remote

    def _received_datagram(self, address: Any, datagram: bytes) -> None:
        self.bytes_received += len(datagram)
        try:
            message = parse(datagram)
        except BadFrame:
            return
        # nothing is asked of this side; and an answer that cannot be understood is none
        if not message.is_request and message.critical is None:
            super()._received_datagram(address, encode(message))


class Exchange:
    """What comes back for one request."""

    def __init__(self) -> None:
        self.dropped = 0
        self.request_id: Any = None
        self._stop: Callable[[], None] | None = None
        self._ended = False
        self._waiting: deque[tuple[Any, int]] = deque()
        self._something = asyncio.Event()
        self._newest: tuple[int, float] | None = None  # Observe number and when it came

    @property
    def over(self) -> bool:
        """Whether nothing comes any more."""
        return self._ended and not self._waiting

    def begin(self, pipe: Any) -> None:
        """Listen on the pipe."""
        self._ended = False
        self._stop = pipe.on_event(self._heard)

    def end(self) -> None:
        """Lose interest; safe to call twice."""
        stop, self._stop = self._stop, None
        self._ended = True
        if stop is not None:
            stop()

    async def next(self) -> tuple[Any, int]:
        """The next message and its monotonic arrival. Raises what aiocoap says is wrong."""
        while not self._waiting:
            self._something.clear()
            await self._something.wait()
        event, mono_ns = self._waiting.popleft()
        if event.exception is not None:
            raise event.exception  # an aiocoap.error.Error, or its class
        return event.message, mono_ns

    def is_news(self, number: int, *, ordered: bool) -> bool:
        """Whether a notification is newer than all before (RFC 7641, 3.4; ``ordered``: RFC 8613, 7.4.1)."""
        now = time.monotonic()
        if self._newest is not None:
            last, at = self._newest
            newer = number > last if ordered else 0 < (number - last) % (2 * _HALF) < _HALF or now > at + _REORDERED_S
            if not newer:
                return False
        self._newest = number, now
        return True

    def _heard(self, event: Any) -> bool:
        if len(self._waiting) == WAITING_MAX:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append((event, time.monotonic_ns()))
        self._something.set()
        self._ended = self._ended or bool(event.is_last)
        return not event.is_last


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a whole request: code, body, and how long to wait or to believe it (Max-Age) where it says so."""

    code: int
    body: bytes
    max_age_s: int | None

    @property
    def text(self) -> str:
        """What it says is wrong, for people."""
        text = self.body[:TEXT_CHARACTERS_MAX].decode(errors="replace")
        code = f"{self.code >> 5}.{self.code & 0x1F:02}"
        return f"{code} ({text})" if text and text.isprintable() else code


class Requester:
    """Towards what is at ``url``; ``context``: None without OSCORE. Methods raise DriverError and nothing else."""

    def __init__(
        self, url: str, context: Context | None, timeout_s: float, body_max: int, *, interface: str | None = None
    ) -> None:
        self._url = url
        self._context = context
        self._timeout_s = timeout_s
        self._body_max = body_max
        self._interface = interface
        self._aiocoap: Any = None
        self._wire: Any = None
        self._counted = (0, 0)  # by sockets before

    @property
    def bytes_sent(self) -> int:
        """Bytes of CoAP sent so far."""
        return self._counted[0] + (0 if self._wire is None else int(self._wire.bytes_sent))

    @property
    def bytes_received(self) -> int:
        """Bytes of CoAP received so far."""
        return self._counted[1] + (0 if self._wire is None else int(self._wire.bytes_received))

    async def close(self) -> None:
        """End it; safe to call twice."""
        self._counted = (self.bytes_sent, self.bytes_received)
        self._wire = None
        context, self._aiocoap = self._aiocoap, None
        if context is not None:
            await context.shutdown()

    async def exchange(self, code: int, path: str, body: bytes = b"", content_format: int | None = None) -> Response:
        """A whole request with its whole answer, both in blocks where they are large; each block is bounded in time."""
        size = 1 << (BLOCK_EXPONENT_MAX + 4)
        options = {} if content_format is None else {"content_format": content_format}
        if len(body) <= size:
            return await self._whole(await self._one(code, path, body, options), path)
        for start in range(0, len(body), size):
            more = start + size < len(body)
            block = (start // size, more, BLOCK_EXPONENT_MAX)
            message = await self._one(code, path, body[start : start + size], {**options, "block1": block})
            if not more or message.code != Code.CONTINUE:
                break
        return await self._whole(message, path)

    async def _one(self, code: int, path: str, payload: bytes, options: dict[str, Any]) -> Any:
        exchange = Exchange()
        try:
            async with self._bounded():
                message, _ = await self._ask(exchange, code, path, payload, **options)
            return message
        finally:
            exchange.end()

    async def _whole(self, first: Any, path: str) -> Response:
        body = bytearray(first.payload)
        message = first
        while message.opt.block2 is not None and message.opt.block2.more:
            block = message.opt.block2
            if block.size_exponent > BLOCK_EXPONENT_MAX or block.start + block.size != len(body):
                raise BadFrame(f"{self._url} sends blocks that do not fit together")
            if len(body) > self._body_max:
                raise BadFrame(f"{self._url} sends more than {self._body_max} bytes")
            following = (block.block_number + 1, False, block.size_exponent)
            message = await self._one(GET, path, b"", {"block2": following})
            if message.code != first.code or message.opt.etag != first.opt.etag or message.opt.block2 is None:
                raise BadFrame(f"{self._url} changed while its blocks were read: {told(message)}")
            body += message.payload
        max_age = first.opt.max_age
        return Response(int(first.code), bytes(body), None if max_age is None else int(max_age))

    def _bounded(self) -> Bounded:
        return Bounded(self._timeout_s, self._url, self._fault)

    async def _ask(
        self, exchange: Exchange, code: int = GET, path: str = "", payload: bytes = b"", **options: Any
    ) -> tuple[Any, int]:
        """The first answer to a request and its arrival, opened where it is protected."""
        opened, mono_ns = await self._send(exchange, code, path, payload, options)
        echo = opened.opt.echo
        if self._context is not None and opened.code == Code.UNAUTHORIZED and echo is not None:
            exchange.end()  # the other side has restarted and wants to see that this is now (RFC 8613, B.1.2)
            opened, mono_ns = await self._send(exchange, code, path, payload, {**options, "echo": echo})
        return opened, mono_ns

    async def _send(
        self, exchange: Exchange, code: int, path: str, payload: bytes, options: dict[str, Any]
    ) -> tuple[Any, int]:
        if self._aiocoap is None:
            self._aiocoap = await self._start()
        message = aiocoap.Message(code=aiocoap.Code(code), uri=self._url + path, payload=payload, **options)
        if self._context is not None:
            remote = message.remote
            message, exchange.request_id = self._context.protect(message)
            message.remote = remote
        pipe = Pipe(message, log)
        exchange.begin(pipe)
        interface = await self._aiocoap.find_remote_and_interface(message)
        interface.request(pipe)
        raw, mono_ns = await exchange.next()
        return self._opened(raw, exchange.request_id), mono_ns

    def _opened(self, raw: Any, request_id: Any) -> Any:
        if self._context is None:
            if raw.opt.oscore is not None:
                raise BadFrame(f"{self._url} answers with OSCORE, which is not set up here")
            return raw
        from aiocoap import oscore

        if raw.opt.oscore is None:
            raise Refused(f"{self._url} does not accept the OSCORE keys: {told(raw)}")
        try:
            return self._context.unprotect(raw, request_id)[0]
        except (oscore.ProtectionInvalid, aiocoap.error.UnparsableMessage, UnicodeDecodeError, IndexError):
            raise BadFrame(f"{self._url} answers with other OSCORE keys than ours") from None

    def _fault(self, error: BaseException) -> DriverError:
        kinds = aiocoap.error
        if isinstance(error, kinds.TimeoutError):
            return Timeout(f"{self._url} does not answer")
        if isinstance(error, kinds.ResolutionError | UnicodeError):
            return NoPort(f"the host of {self._url} is not known")
        if isinstance(error, kinds.MessageError):
            return Refused(f"{self._url} resets what it is asked")
        if isinstance(error, kinds.NetworkError | OSError):
            return Disconnected(f"{self._url} cannot be reached: {error.__cause__ or error}")
        return BadFrame(f"{self._url}: {error}")

    async def _start(self) -> Any:
        """aiocoap with nothing but one kind of UDP socket."""
        context = aiocoap.Context(loggername=log.name)
        loop = asyncio.get_running_loop()

        async def make(manager: Any) -> Any:
            self._wire = await _Wire.create_client_transport_endpoint(manager, log, loop)
            self._wire.interface = self._interface
            return self._wire

        await context._append_tokenmanaged_messagemanaged_transport(make)
        return context


class Bounded:
    """A time limit around aiocoap, whose errors become ours."""

    def __init__(self, timeout_s: float, url: str, fault: Callable[[BaseException], DriverError]) -> None:
        self._limit = asyncio.timeout(timeout_s)
        self._text = f"{url} does not answer within {timeout_s:g} s"
        self._fault = fault

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError:
            raise Timeout(self._text) from None
        if isinstance(error, aiocoap.error.Error | OSError | UnicodeError):
            raise self._fault(error) from None


def told(message: Any) -> str:
    """The code of an answer with its diagnostic text."""
    text = message.payload[:TEXT_CHARACTERS_MAX].decode(errors="replace") if not message.code.is_successful() else ""
    code = f"{message.code >> 5}.{message.code & 0x1F:02}"
    return f"{code} ({text})" if text and text.isprintable() else code
