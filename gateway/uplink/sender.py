"""The uplink: empties the outbox over the current link, one exchange in flight, the newest values first."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from gateway.clock import Clock
from gateway.errors import OutboxError, UplinkError
from gateway.model import Link, LinkState, Priority
from gateway.outbox.store import Outbox
from gateway.uplink import backoff, pace
from gateway.uplink.link_pace import Pace
from gateway.uplink.links import LinkMeter
from gateway.uplink.transport import (
    BusyError,
    PortalError,
    Receipt,
    RejectedError,
    Transport,
    TransportError,
    UnreachableError,
)
from gateway.uplink.turns import LOOK_S, Turns, UplinkStats

LOG = logging.getLogger("lamppost.uplink")
SECOND = 1_000_000_000
ASK_TIME_S = 5.0  # while there is no trusted time ...
ASK_TIME_AGAIN_S = 3600.0  # ... and while there is none but the server's or a GNSS receiver's
MEET_AGAIN_S = 60.0  # at most so often is a server asked what it has, where its connections never last
MEET_AGAIN_METERED_S = 3600.0  # the answer may be some kilobytes
PROBLEMS_KEPT = 20
REMAKE_S = 5.0
ALARM_S = 10.0  # so soon after a failure an alarm makes it try again, where it would wait longer
NO_LINK = Link("none")


class UplinkClock(Clock, Protocol):
    """A clock that takes the server's word; ``gateway.clock.SystemClock`` is one."""

    def refresh(self) -> None:
        """Look at the other sources again."""

    def learn(self, server_ns: int, sent_mono_ns: int, received_mono_ns: int) -> bool:
        """Take the server's time; whether it was used."""


class Ways(Protocol):
    """What the uplink asks the links, and tells them; ``gateway.uplink.link_manager.Links`` is one."""

    def current(self) -> Link | None:
        """The link to use now, None where there is none."""

    def allows(self, priority: Priority) -> bool:
        """Whether readings of a priority may travel now."""

    def pace(self) -> Pace:
        """What to keep to on the current link."""

    async def changed(self, since: Link | None) -> Link | None:
        """Wait until another link than ``since`` is to be used, and return it."""

    async def ready(self, link: Link) -> bool:
        """Wait until the link can be used for an exchange; whether it was down meanwhile."""

    def began(self, link: Link) -> None:
        """An exchange begins."""

    def worked(self, link: Link, rtt_s: float | None = None) -> None:
        """An exchange was acknowledged."""

    def answered(self, link: Link) -> None:
        """A batch got no acknowledgement, but an answer."""

    def heard(self, link: Link) -> None:
        """A small question was answered."""

    def portal(self, link: Link, cause: str) -> None:
        """Somebody else answers in the server's place."""

    def failed(self, link: Link, cause: str) -> None:
        """No answer came."""


class Uplink:
    """Sends what is new each interval, alarms at once, the backlog beside it in its share of the time.

    Interval, size and share are those of the link (``Ways.pace``); on one that costs nothing the backlog's share is
    ``backlog_share``. Where the server cannot put old values into history, all goes oldest first instead, and nothing
    is left for later.
    ``transport`` makes the one of a link. ``problems`` holds the server's last reasons for refusing entities.
    """

    def __init__(
        self,
        outbox: Outbox,
        links: Ways,
        transport: Callable[[Link], Transport],
        *,
        clock: UplinkClock,
        backlog_share: float = pace.BACKLOG_SHARE,
    ) -> None:
        self.problems: deque[str] = deque(maxlen=PROBLEMS_KEPT)
        self._outbox = outbox
        self._links = links
        self._make = transport
        self._clock = clock
        self._share = backlog_share
        self._turns = Turns(outbox, clock)
        self._transports: dict[str, tuple[Link, Transport]] = {}
        self._meter = LinkMeter(NO_LINK, clock.mono_ns())
        self._failures = 0
        self._ask_time_at_ns = self._meet_at_ns = 0
        self._stale, self._met = True, 0

    def state(self) -> LinkState:
        """The link in use, as measured; one that is down where there is none."""
        state = self._meter.state()
        moved = self._transports.get(state.link.name)
        if moved is None:
            return replace(state, error=state.error or "no link can be used")
        return replace(state, bytes_sent=moved[1].bytes_sent, bytes_received=moved[1].bytes_received)

    def stats(self) -> UplinkStats:
        """How live it is and how fast the backlog goes."""
        return self._turns.stats()

    async def run(self) -> None:
        """Send for ever; when cancelled the connection is dropped at once and what is in flight stays in the outbox."""
        while True:
            link = self._links.current()
            if link is None:
                self._meter = LinkMeter(NO_LINK, self._clock.mono_ns())
                await self._links.changed(None)
                continue
            try:
                transport = self._transport(link)
            except UplinkError as error:  # a file that was there at the start
                LOG.error("%s", error.cause, extra={"code": error.code, "fix": error.fix})
                await asyncio.sleep(REMAKE_S)
                continue
            try:
                async with asyncio.TaskGroup() as group:
                    sending = group.create_task(self._send_over(link, transport))
                    await self._links.changed(link)
                    sending.cancel()
            finally:
                await transport.close()

    def _transport(self, link: Link) -> Transport:
        """The transport of a link: one for each, made anew where its interface is another."""
        known = self._transports.get(link.name)
        if known is None or known[0] != link:
            known = self._transports[link.name] = link, self._make(link)
        return known[1]

    async def _send_over(self, link: Link, transport: Transport) -> None:
        """Send over one link until cancelled."""
        self._meter = LinkMeter(link, self._clock.mono_ns())
        self._stale, self._failures = True, 0
        self._keep_to(link, transport)
        self._turns.begin()
        while True:
            started_ns = self._clock.mono_ns()
            try:
                await self._turn(link, transport)
            except TransportError as error:
                await self._back_off(link, transport, error, started_ns)
            except OutboxError as error:
                LOG.error("%s", error.cause, extra={"code": error.code, "fix": error.fix})
                await asyncio.sleep(LOOK_S)

    async def _turn(self, link: Link, transport: Transport) -> None:
        """At most one batch, or a pause. Raises TransportError, OutboxError."""
        await self._keep_time(link, transport)
        await self._meet(link, transport)
        self._keep_to(link, transport)
        batch = await self._turns.next(in_order=not transport.orders_history)
        if batch is None:
            await self._turns.wait()
            return
        await self._begin(link, transport)
        started_ns = self._clock.mono_ns()
        receipt = await transport.send(batch)
        spent_s = (self._clock.mono_ns() - started_ns) / SECOND
        self._links.worked(link, spent_s if len(batch.readings) <= pace.SIZE_MIN else None)
        self._worked(started_ns)
        await self._outbox.ack(receipt.ack)
        self._turns.done(batch, spent_s)
        self._count(receipt)

    async def _begin(self, link: Link, transport: Transport) -> None:
        """Before each exchange: a connection from before the link was down is dead."""
        if await self._links.ready(link):
            await transport.close()
        self._links.began(link)

    def _keep_to(self, link: Link, transport: Transport) -> None:
        """The pace of the link, and what may travel on it."""
        way = self._links.pace()
        share = min(self._share, way.backlog_share) if link.metered else self._share
        if not transport.orders_history:  # what is left for later would set the present back when it comes
            way = replace(way, holds=False, thin=1)
        self._turns.over(replace(way, backlog_share=share))
        allowed = frozenset(priority for priority in Priority if self._links.allows(priority))
        self._turns.carries = allowed - {Priority.HISTORY} if way.holds else allowed

    async def _meet(self, link: Link, transport: Transport) -> None:
        """On a new connection: ask the server what it is and what it has."""
        known = transport.connections == self._met or self._clock.mono_ns() < self._meet_at_ns
        if known and not self._stale:
            return
        await self._begin(link, transport)
        held = await transport.held()
        self._links.heard(link)
        if held is not None:
            self._turns.release()
            if again := await self._outbox.held(held):
                LOG.warning("the server lacks %d readings that it had: they are sent again", again)
        again_s = MEET_AGAIN_METERED_S if link.metered else MEET_AGAIN_S
        self._stale, self._met, self._meet_at_ns = False, transport.connections, self._in(again_s)

    async def _keep_time(self, link: Link, transport: Transport) -> None:
        """Ask the server for the time where the box has no better source. Raises UnreachableError, BusyError."""
        self._clock.refresh()
        if self._clock.source in ("configured", "kernel") or self._clock.mono_ns() < self._ask_time_at_ns:
            return
        await self._begin(link, transport)
        try:
            await self._learn_time(link, transport)
        except RejectedError as error:  # it may take data all the same
            self._meter.failed(error, self._clock.mono_ns())
        self._links.heard(link)
        self._ask_time_at_ns = self._in(ASK_TIME_S if self._clock.source == "none" else ASK_TIME_AGAIN_S)

    async def _learn_time(self, link: Link, transport: Transport) -> None:
        for _ in range(2):  # the first exchange may include connecting, which says less about the time
            sent_ns = self._clock.mono_ns()
            server_ns = await transport.server_time()
            if server_ns is None:
                return
            received_ns = self._clock.mono_ns()
            self._worked(sent_ns)
            learned = self._clock.learn(server_ns, sent_ns, received_ns)
        if learned:
            LOG.info("the server's time is used", extra={"link": link.name})

    async def _back_off(self, link: Link, transport: Transport, error: TransportError, started_ns: int) -> None:
        self._failures += 1
        self._turns.failed(error)  # the newest values are the first that go when it works again
        now_ns = self._clock.mono_ns()
        self._meter.failed(error, now_ns)
        if isinstance(error, PortalError):
            self._links.portal(link, error.cause)
        elif isinstance(error, UnreachableError):
            self._links.failed(link, error.cause)
        else:
            self._links.answered(link)
        self._stale = self._stale or not isinstance(error, BusyError)
        if isinstance(error, UnreachableError):
            await transport.close()
        human = isinstance(error, RejectedError)
        delay_s = backoff.delay_s(self._failures, metered=link.metered, human=human, jitter=random.random())
        pause_s = backoff.pause_s(delay_s, (now_ns - started_ns) / SECOND, error.retry_after_s)
        await asyncio.sleep(min(pause_s, ALARM_S) if error.retry_after_s is None else pause_s)
        if error.retry_after_s is None and pause_s > ALARM_S:
            await self._outbox.wait(pause_s - ALARM_S)

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

    def _in(self, seconds: float) -> int:
        return self._clock.mono_ns() + int(seconds * SECOND)
