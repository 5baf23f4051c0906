"""The uplink: empties the outbox into a transport, one batch in flight, and forgets only what was acknowledged."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from typing import Protocol

from gateway.clock import Clock
from gateway.errors import OutboxError
from gateway.model import Batch, Link, LinkState
from gateway.outbox.store import Outbox
from gateway.uplink import backoff
from gateway.uplink.links import LinkMeter
from gateway.uplink.transport import Receipt, RejectedError, Transport, TransportError

LOG = logging.getLogger("lamppost.uplink")
SECOND = 1_000_000_000
UNDATED_LOOK_S = 1.0  # how often to look whether the clock is trusted now
ASK_TIME_S = 5.0  # while there is no trusted time ...
ASK_TIME_AGAIN_S = 3600.0  # ... and while there is none but the server's or a GNSS receiver's
PROBLEMS_KEPT = 20
FULL_SHARE = 0.9  # of batch_max: a batch cut at a whole observation is a little short


class UplinkClock(Clock, Protocol):
    """A clock that takes the server's word; ``gateway.clock.SystemClock`` is one."""

    def refresh(self) -> None:
        """Look at the other sources again."""

    def learn(self, server_ns: int, sent_mono_ns: int, received_mono_ns: int) -> bool:
        """Take the server's time; whether it was used."""


class Uplink:
    """Sends what is there each ``interval_s``, at once when something urgent is committed, and on while more waits.

    A batch that was not acknowledged is kept as it is and sent again, byte for byte, so the server may take it twice.
    ``problems`` holds the server's last reasons for refusing entities.
    """

    def __init__(
        self,
        outbox: Outbox,
        transport: Transport,
        *,
        interval_s: float,
        batch_max: int,
        link: Link,
        clock: UplinkClock,
    ) -> None:
        self.problems: deque[str] = deque(maxlen=PROBLEMS_KEPT)
        self._outbox = outbox
        self._transport = transport
        self._interval_s = interval_s
        self._batch_max = batch_max
        self._link = link
        self._clock = clock
        self._meter = LinkMeter(link, clock.mono_ns())
        self._failures = 0
        self._ask_time_at_ns = 0

    def state(self) -> LinkState:
        """The link as measured."""
        self._meter.moved(self._transport.bytes_sent, self._transport.bytes_received)
        return self._meter.state()

    async def run(self) -> None:
        """Send for ever; when cancelled the connection is dropped at once and what is in flight stays in the outbox."""
        try:
            while True:
                started_ns = self._clock.mono_ns()
                await self._keep_time()
                batch = await self._peek()
                if batch is not None:
                    smooth = await self._deliver(batch)
                    if not smooth or len(batch.readings) >= FULL_SHARE * self._batch_max:
                        continue
                pause_s = self._interval_s - (self._clock.mono_ns() - started_ns) / SECOND
                if batch is None and self._outbox.stats().depth:
                    pause_s = min(pause_s, UNDATED_LOOK_S)
                await self._outbox.wait(max(0.0, pause_s))
        finally:
            await self._transport.close()

    async def _deliver(self, batch: Batch) -> bool:
        """Send until it is acknowledged, then forget it. Returns whether the first try went well."""
        smooth = True
        while True:
            started_ns = self._clock.mono_ns()
            try:
                receipt = await self._transport.send(batch)
            except TransportError as error:
                smooth = False
                await self._back_off(error, started_ns)
                continue
            self._worked(started_ns)
            self._count(receipt)
            await self._ack(receipt)
            return smooth

    async def _ack(self, receipt: Receipt) -> None:
        while True:
            try:
                await self._outbox.ack(receipt.ack)
            except OutboxError as error:
                LOG.error("%s", error.cause, extra={"code": error.code, "fix": error.fix})
                await asyncio.sleep(self._interval_s)
            else:
                return

    async def _peek(self) -> Batch | None:
        try:
            return await self._outbox.peek(self._batch_max)
        except OutboxError as error:
            LOG.error("%s", error.cause, extra={"code": error.code, "fix": error.fix})
            return None

    async def _keep_time(self) -> None:
        """Ask the server for the time where the box has no better source."""
        self._clock.refresh()
        now_ns = self._clock.mono_ns()
        if self._clock.source in ("configured", "kernel") or now_ns < self._ask_time_at_ns:
            return
        try:
            await self._learn_time()
        except TransportError as error:
            await self._back_off(error, now_ns)
            return
        wait_s = ASK_TIME_S if self._clock.source == "none" else ASK_TIME_AGAIN_S
        self._ask_time_at_ns = self._clock.mono_ns() + int(wait_s * SECOND)

    async def _learn_time(self) -> None:
        for _ in range(2):  # the first exchange may include connecting, which says less about the time
            sent_ns = self._clock.mono_ns()
            server_ns = await self._transport.server_time()
            if server_ns is None:
                return
            received_ns = self._clock.mono_ns()
            self._worked(sent_ns)
            learned = self._clock.learn(server_ns, sent_ns, received_ns)
        if learned:
            LOG.info("the server's time is used", extra={"link": self._link.name})

    async def _back_off(self, error: TransportError, started_ns: int) -> None:
        self._failures += 1
        now_ns = self._clock.mono_ns()
        self._meter.failed(error, now_ns)
        human = isinstance(error, RejectedError)
        delay_s = backoff.delay_s(self._failures, metered=self._link.metered, human=human, jitter=random.random())
        await asyncio.sleep(backoff.pause_s(delay_s, (now_ns - started_ns) / SECOND, error.retry_after_s))

    def _worked(self, started_ns: int) -> None:
        self._failures = 0
        now_ns = self._clock.mono_ns()
        self._meter.worked((now_ns - started_ns) / SECOND, now_ns)

    def _count(self, receipt: Receipt) -> None:
        self._outbox.count_dropped(receipt.refused, "refused-by-server")
        self._outbox.count_dropped(receipt.unmapped, "unmapped")
        for problem in receipt.problems:
            if problem not in self.problems:
                LOG.warning("the server refuses %s", problem, extra={"code": "uplink.refused"})
                self.problems.append(problem)
