"""Kept connections to those whom the server calls by itself: bounded in number and in the time that they lie idle."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping

from drivers import http1
from gateway.server.egress import Egress

IDLE_MAX = 256
IDLE_S_MAX = 4.0  # one that was kept for longer may be closing at the other end
SWEEP_S = 1.0


class Pool:
    """For one event loop; addresses are vetted by ``egress`` for each request. ``close`` drops what is kept."""

    def __init__(self, egress: Egress, *, body_max: int) -> None:
        self._egress = egress
        self._body_max = body_max
        self._idle: defaultdict[str, list[tuple[float, http1.Connection]]] = defaultdict(list)
        self._kept = 0
        self._swept_s = time.monotonic()

    async def request(
        self, url: str, method: str, headers: Mapping[str, str], body: bytes = b"", *, timeout_s: float
    ) -> http1.Response:
        """One request that may be sent twice: a kept connection may have ended before a byte of the answer came.

        Raises OSError (also EgressRefused, TimeoutError), HttpError.
        """
        async with asyncio.timeout(timeout_s):
            target = self._egress.check(url)
            address = await self._egress.address(url)
            key = f"{target.secure} {target.authority} {address}"
            connection = await self._reused(key)
            if connection is not None:
                try:
                    answer = await connection.request(method, target.path, headers, body, timeout_s=timeout_s)
                    await self._keep(key, connection)
                    return answer
                except ConnectionError:
                    if connection.heard:
                        raise
            connection = self._fresh(target, address)
            answer = await connection.request(method, target.path, headers, body, timeout_s=timeout_s)
            await self._keep(key, connection)
            return answer

    async def close(self) -> None:
        """Drop all kept connections."""
        kept = [connection for pairs in self._idle.values() for _, connection in pairs]
        self._idle.clear()
        self._kept = 0
        for connection in kept:
            await connection.close()

    async def _reused(self, key: str) -> http1.Connection | None:
        oldest = time.monotonic() - IDLE_S_MAX
        kept = self._idle.get(key, [])
        while kept:
            since, connection = kept.pop()
            self._kept -= 1
            if since > oldest:
                return connection
            await connection.close()
        self._idle.pop(key, None)
        return None

    def _fresh(self, target: http1.Target, address: str) -> http1.Connection:
        context = self._egress.tls() if target.secure else None
        return http1.Connection(target, context=context, address=address, body_max=self._body_max)

    async def _keep(self, key: str, connection: http1.Connection) -> None:
        now = time.monotonic()
        if now - self._swept_s >= SWEEP_S:
            self._swept_s = now
            await self._sweep(now - IDLE_S_MAX)
        if connection.exchanges and self._kept < IDLE_MAX:
            self._idle[key].append((now, connection))
            self._kept += 1
        else:
            await connection.close()

    async def _sweep(self, oldest: float) -> None:
        """Close what was kept too long for ever being used again."""
        for key in list(self._idle):
            old = [connection for since, connection in self._idle[key] if since <= oldest]
            self._idle[key] = [pair for pair in self._idle[key] if pair[0] > oldest]
            if not self._idle[key]:
                del self._idle[key]
            self._kept -= len(old)
            for connection in old:
                await connection.close()
