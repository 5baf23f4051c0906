"""Asking a CoAP sensor: GET, observe (RFC 7641), bodies in blocks (RFC 7959), OSCORE (RFC 8613).

aiocoap sends requests again until they are answered and matches answers to them; the rest is here, so that every bound
holds and nothing runs by itself. A conversation is one connected UDP socket: the kernel hands over what comes from the
sensor and nothing else. Ending it ends all that belongs to it.
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

from drivers.buses.coap_message import BLOCK_EXPONENT_MAX, SENML_FORMATS, Code, encode, parse
from drivers.errors import BadFrame, Disconnected, DriverError, NoPort, Refused, Timeout

if TYPE_CHECKING:
    from drivers.buses.coap_oscore import Context

WAITING_MAX = 64
MAX_AGE_S = 60  # where the sensor states none (RFC 7252, 5.10.5)
TEXT_CHARACTERS_MAX = 120
_REORDERED_S = 128.0  # after it any notification is new (RFC 7641, 3.4)
_HALF = 1 << 23

log = logging.getLogger("lamppost.coap")
log.setLevel(logging.CRITICAL)  # aiocoap's: what matters comes as an exception, and a stranger could fill the journal


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole body. ``max_age_s``: how long it is fresh; ``observed``: notifications will follow."""

    body: bytes
    mono_ns: int
    max_age_s: float
    observed: bool


class _Wire(MessageInterfaceSimple6):  # type: ignore[misc]
    """aiocoap's UDP socket, given only messages that hold to our bounds: its own reader remembers unknown numbers."""

    def _received_datagram(self, address: Any, datagram: bytes) -> None:
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


class Conversation:
    """With the resource at ``url``; ``context``: None without OSCORE. Methods raise DriverError and nothing else."""

    def __init__(self, url: str, context: Context | None, timeout_s: float, body_max: int) -> None:
        self.unusable = 0  # notifications that the keys do not open
        self._url = url
        self._context = context
        self._timeout_s = timeout_s
        self._body_max = body_max
        self._aiocoap: Any = None
        self._watch: Exchange | None = None

    @property
    def observing(self) -> bool:
        """Whether notifications come."""
        return self._watch is not None and not self._watch.over

    @property
    def dropped(self) -> int:
        """Notifications that nobody took in time."""
        return 0 if self._watch is None else self._watch.dropped

    async def close(self) -> None:
        """End it; safe to call twice."""
        self._unwatch()
        context, self._aiocoap = self._aiocoap, None
        if context is not None:
            await context.shutdown()

    async def get(self, *, observe: bool) -> Answer:
        """Ask for the resource, and where wanted to be told when it changes."""
        self._unwatch()
        exchange = Exchange()
        asked_ns = time.monotonic_ns()
        try:
            async with self._bounded():
                first, heard_ns = await self._ask(exchange, observe=0 if observe else None)
                answer = await self._answer(first, (asked_ns + heard_ns) // 2)
            if answer.observed and exchange.is_news(first.opt.observe, ordered=self._context is not None):
                self._watch, exchange = exchange, Exchange()
            return answer
        finally:
            exchange.end()

    async def notified(self, wait_s: float) -> Answer | None:
        """The next notification, None where none comes in that time."""
        watch = self._watch
        assert watch is not None
        try:
            async with asyncio.timeout(wait_s):
                notification, mono_ns = await self._news(watch)
        except TimeoutError:
            return None
        except (aiocoap.error.Error, OSError) as error:
            raise self._fault(error) from None
        async with self._bounded():
            return await self._answer(notification, mono_ns)

    async def _news(self, watch: Exchange) -> tuple[Any, int]:
        while True:
            raw, mono_ns = await watch.next()
            try:
                notification = self._opened(raw, watch.request_id)
            except DriverError:  # what a stranger sends is no reason to stop listening
                self.unusable += 1
                continue
            number = notification.opt.observe
            if number is None or watch.is_news(number, ordered=self._context is not None):
                return notification, mono_ns

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.end()
            self._watch = None

    def _bounded(self) -> _Bounded:
        return _Bounded(self._timeout_s, self._url, self._fault)

    async def _ask(self, exchange: Exchange, **options: Any) -> tuple[Any, int]:
        """The first answer to a GET and its arrival, opened where it is protected."""
        opened, mono_ns = await self._send(exchange, options)
        echo = opened.opt.echo
        if self._context is not None and opened.code == Code.UNAUTHORIZED and echo is not None:
            exchange.end()  # the sensor has restarted and wants to see that this is now (RFC 8613, B.1.2)
            opened, mono_ns = await self._send(exchange, {**options, "echo": echo})
        return opened, mono_ns

    async def _send(self, exchange: Exchange, options: dict[str, Any]) -> tuple[Any, int]:
        if self._aiocoap is None:
            self._aiocoap = await _start()
        message = aiocoap.Message(code=aiocoap.GET, uri=self._url, **options)
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
            raise Refused(f"{self._url} does not accept the OSCORE keys: {_told(raw)}")
        try:
            return self._context.unprotect(raw, request_id)[0]
        except (oscore.ProtectionInvalid, aiocoap.error.UnparsableMessage, UnicodeDecodeError, IndexError):
            raise BadFrame(f"{self._url} answers with other OSCORE keys than ours") from None

    async def _answer(self, first: Any, mono_ns: int) -> Answer:
        """The whole body that ``first`` is or begins."""
        if first.code != Code.CONTENT:
            raise Refused(f"{self._url} answers {_told(first)}")
        kind = first.opt.content_format
        if kind is not None and int(kind) not in SENML_FORMATS:
            raise BadFrame(f"{self._url} sends content format {int(kind)}, not SenML in JSON (110) or CBOR (112)")
        body = bytearray(first.payload)
        message = first
        while message.opt.block2 is not None:
            block = message.opt.block2
            if block.size_exponent > BLOCK_EXPONENT_MAX or block.start + len(message.payload) != len(body):
                raise BadFrame(f"{self._url} sends blocks that do not fit together")
            if len(body) > self._body_max:
                raise BadFrame(f"{self._url} sends more than {self._body_max} bytes")
            if not block.more:
                break
            if len(message.payload) != block.size:
                raise BadFrame(f"{self._url} sends a block that is not of its size")
            following = len(body) // block.size
            part = Exchange()
            try:
                message, _ = await self._ask(part, block2=(following, False, block.size_exponent))
            finally:
                part.end()
            if message.code != Code.CONTENT or message.opt.etag != first.opt.etag or message.opt.block2 is None:
                raise BadFrame(f"{self._url} changed while its blocks were read: {_told(message)}")
            body += message.payload
        max_age = first.opt.max_age
        return Answer(
            bytes(body), mono_ns, MAX_AGE_S if max_age is None else float(max_age), first.opt.observe is not None
        )

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


class _Bounded:
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


async def _start() -> Any:
    """aiocoap with nothing but one kind of UDP socket."""
    context = aiocoap.Context(loggername=log.name)
    loop = asyncio.get_running_loop()
    await context._append_tokenmanaged_messagemanaged_transport(
        lambda manager: _Wire.create_client_transport_endpoint(manager, log, loop)
    )
    return context


def _told(message: Any) -> str:
    """The code of an answer with its diagnostic text."""
    text = message.payload[:TEXT_CHARACTERS_MAX].decode(errors="replace") if not message.code.is_successful() else ""
    code = f"{message.code >> 5}.{message.code & 0x1F:02}"
    return f"{code} ({text})" if text and text.isprintable() else code
