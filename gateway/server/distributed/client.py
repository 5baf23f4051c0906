"""Requests to registered sources of context: kept connections, bounded in number, size and time.

Endpoints obey the same rule as the targets of notifications: public addresses only, but for listed prefixes.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from drivers import http1
from gateway.server.egress import Egress
from gateway.server.sources.model import Registration

AT_ONCE, AT_ONCE_PER_ORIGIN = 64, 16
ORIGINS_MAX = 1_000  # of which the semaphores are remembered
IDLE_MAX, IDLE_S_MAX = 64, 4.0  # a kept connection older than that may be closing at the other end
ANSWER_BYTES_MAX = 16 * 2**20
TIMEOUT_S, TIMEOUT_S_MAX = 5.0, 25.0
RESTS_MAX = 10_000

Failure = Literal["", "loop", "timeout", "broken"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a source answered. ``failure``: why there is nothing to use; then ``why`` says it in words.

    ``content`` is the decoded body, None where it has none. ``status`` 0: there was no answer at all.
    """

    status: int
    content: Any = None
    headers: Mapping[str, str] | None = None
    failure: Failure = ""
    why: str = ""

    @property
    def good(self) -> bool:
        """Whether the source did what it was asked for."""
        return not self.failure and 200 <= self.status < 300


class Client:
    """For one event loop. ``close`` drops what is kept."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._all = asyncio.Semaphore(AT_ONCE)
        self._origins: OrderedDict[str, asyncio.Semaphore] = OrderedDict()
        self._idle: defaultdict[str, list[tuple[float, http1.Connection]]] = defaultdict(list)
        self._kept = 0
        self._rests: OrderedDict[str, float] = OrderedDict()

    async def send(
        self, registration: Registration, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        """One request to a source; ``path`` (with its query) goes behind the endpoint. Failures are replies, too."""
        now = time.monotonic()
        if self._rests.get(registration.id, 0.0) > now:
            return Reply(0, failure="timeout", why="it failed a moment ago and is given a rest")
        timeout_s = min(registration.timeout_s or TIMEOUT_S, TIMEOUT_S_MAX)
        tried = False
        try:
            async with asyncio.timeout(timeout_s), self._turn(registration.endpoint), self._all:
                tried = True
                url = registration.endpoint.rstrip("/") + path
                reply = await self._request(url, method, headers, body, timeout_s)
        except TimeoutError:
            why = f"no answer within {timeout_s:g} s" if tried else "too many requests to sources are under way"
            reply = Reply(0, failure="timeout", why=why)
        except (OSError, http1.HttpError) as error:
            reply = Reply(0, failure="broken", why=str(error) or type(error).__name__)
        if tried and reply.failure in ("timeout", "broken") and registration.cooldown_s:
            self._rest(registration.id, time.monotonic() + registration.cooldown_s)
        return reply

    async def close(self) -> None:
        """Drop all kept connections."""
        for kept in self._idle.values():
            for _, connection in kept:
                await connection.close()
        self._idle.clear()
        self._kept = 0

    def _rest(self, registration_id: str, until: float) -> None:
        self._rests[registration_id] = until
        self._rests.move_to_end(registration_id)
        while len(self._rests) > RESTS_MAX:
            self._rests.popitem(last=False)

    def _turn(self, endpoint: str) -> asyncio.Semaphore:
        origin = "/".join(endpoint.split("/", 3)[:3])
        turn = self._origins.get(origin)
        if turn is None:
            turn = self._origins[origin] = asyncio.Semaphore(AT_ONCE_PER_ORIGIN)
            if len(self._origins) > ORIGINS_MAX:
                self._origins.popitem(last=False)
        return turn

    async def _request(self, url: str, method: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> Reply:
        target = http1.parse_url(url)
        address = await self._egress.address(url)
        key = f"{target.secure} {target.authority} {address}"
        connection, fresh = await self._connection(key, target, address)
        try:
            answer = await connection.request(method, target.path, headers, body, timeout_s=timeout_s)
        except ConnectionError:
            if fresh or connection.heard or method != "GET":
                raise
            connection = self._fresh(target, address)
            answer = await connection.request(method, target.path, headers, body, timeout_s=timeout_s)
        await self._keep(key, connection)
        return _reply(answer)

    async def _connection(self, key: str, target: http1.Target, address: str) -> tuple[http1.Connection, bool]:
        oldest = time.monotonic() - IDLE_S_MAX
        kept = self._idle[key]
        while kept:
            since, connection = kept.pop()
            self._kept -= 1
            if since > oldest:
                return connection, False
            await connection.close()
        del self._idle[key]
        return self._fresh(target, address), True

    def _fresh(self, target: http1.Target, address: str) -> http1.Connection:
        context = self._egress.tls() if target.secure else None
        return http1.Connection(target, context=context, address=address, body_max=ANSWER_BYTES_MAX)

    async def _keep(self, key: str, connection: http1.Connection) -> None:
        if connection.exchanges and self._kept < IDLE_MAX:
            self._idle[key].append((time.monotonic(), connection))
            self._kept += 1
            return
        await connection.close()
        if self._kept >= IDLE_MAX:
            await self._sweep()

    async def _sweep(self) -> None:
        """Close what was kept too long for ever being used again."""
        oldest = time.monotonic() - IDLE_S_MAX
        for key in list(self._idle):
            old = [connection for since, connection in self._idle[key] if since <= oldest]
            self._idle[key] = [pair for pair in self._idle[key] if pair[0] > oldest]
            self._kept -= len(old)
            for connection in old:
                await connection.close()
            if not self._idle[key]:
                del self._idle[key]


def _reply(answer: http1.Response) -> Reply:
    """The body decoded; one that should be JSON and is not makes the answer useless."""
    if answer.status == 508:
        return Reply(508, failure="loop", why="the request came back to where it had been")
    content: Any = None
    if answer.body and answer.status != 204:
        try:
            content = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            if answer.status < 300:
                return Reply(answer.status, failure="broken", why="its answer is not JSON")
    if answer.status >= 500 or 300 <= answer.status < 400:
        kind: Failure = "timeout" if answer.status == 504 else "broken"
        return Reply(answer.status, content, answer.headers, kind, f"it answers {answer.status}")
    return Reply(answer.status, content, answer.headers)
