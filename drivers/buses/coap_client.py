"""Asking a CoAP sensor: GET, observe (RFC 7641), SenML in blocks; the requests themselves are in coap_request."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiocoap.error

from drivers.buses.coap_message import BLOCK_EXPONENT_MAX, SENML_FORMATS, Code
from drivers.buses.coap_request import Exchange, Requester, told
from drivers.errors import BadFrame, DriverError, Refused

if TYPE_CHECKING:
    from drivers.buses.coap_oscore import Context

MAX_AGE_S = 60  # where the sensor states none (RFC 7252, 5.10.5)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole body. ``max_age_s``: how long it is fresh; ``observed``: notifications will follow."""

    body: bytes
    mono_ns: int
    max_age_s: float
    observed: bool


class Conversation(Requester):
    """With the resource at ``url``; ``context``: None without OSCORE. Methods raise DriverError and nothing else."""

    def __init__(self, url: str, context: Context | None, timeout_s: float, body_max: int) -> None:
        super().__init__(url, context, timeout_s, body_max)
        self.unusable = 0  # notifications that the keys do not open
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
        await super().close()

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

    async def _answer(self, first: Any, mono_ns: int) -> Answer:
        """The whole body that ``first`` is or begins."""
        if first.code != Code.CONTENT:
            raise Refused(f"{self._url} answers {told(first)}")
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
                raise BadFrame(f"{self._url} changed while its blocks were read: {told(message)}")
            body += message.payload
        max_age = first.opt.max_age
        return Answer(
            bytes(body), mono_ns, MAX_AGE_S if max_age is None else float(max_age), first.opt.observe is not None
        )
