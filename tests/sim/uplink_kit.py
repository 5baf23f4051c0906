"""A box without devices: the real outbox and uplink towards a server of the test, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gateway.model import Link, Priority, Reading
from gateway.outbox.store import Outbox
from gateway.uplink.client import Access
from gateway.uplink.link_pace import Pace
from gateway.uplink.ngsild import TIME, UPSERT, NgsiLdHttp
from gateway.uplink.sender import Uplink
from gateway.uplink.transport import Transport
from tests.sim.scripted_server import Answer, Handler, Request, ScriptedServer, until
from tests.unit.outbox.outbox_kit import SECOND, UTC_2026, FakeClock, observe, running


def entities(readings: Sequence[Reading], *, history: bool = False) -> list[dict[str, object]]:
    """One object a device and instant, as the mapper makes them."""
    made: dict[tuple[str, int], dict[str, object]] = {}
    for r in readings:
        if r.device == "gone":
            raise KeyError(r.device)
        entity = made.setdefault((r.device, r.observed_ns), {"id": f"urn:x:{r.device}", "at": r.observed_ns})
        entity[r.quantity] = {"value": r.value, "observedAt": r.observed_ns}
    return list(made.values())


class RealPace(FakeClock):
    """Moves with the real monotonic clock."""

    def __init__(self, offset_ns: int | None = UTC_2026) -> None:
        super().__init__(offset_ns=offset_ns)
        self._start = asyncio.get_running_loop().time()

    def mono_ns(self) -> int:
        return self.now_ns + int((asyncio.get_running_loop().time() - self._start) * SECOND)


class OneLink:
    """One way out that is always there."""

    def __init__(self, link: Link, pace: Pace) -> None:
        self.link: Link | None = link
        self.carries = set(Priority)
        self.told: list[str] = []
        self.asleep = False
        self._pace = pace
        self._changed = asyncio.Event()

    def use(self, link: Link | None) -> None:
        self.link = link
        self._changed.set()
        self._changed = asyncio.Event()

    def slow_down(self, *, holds: bool, thin: int) -> None:
        self._pace = replace(self._pace, holds=holds, thin=thin)

    def current(self) -> Link | None:
        return self.link

    def allows(self, priority: Priority) -> bool:
        return priority in self.carries

    def pace(self) -> Pace:
        return self._pace

    async def changed(self, since: Link | None) -> Link | None:
        while self.link == since:
            await self._changed.wait()
        return self.link

    async def ready(self, link: Link) -> bool:
        slept, self.asleep = self.asleep, False
        return slept

    def began(self, link: Link) -> None:
        self.told.append("began")

    def worked(self, link: Link, rtt_s: float | None = None) -> None:
        self.told.append("worked")

    def answered(self, link: Link) -> None:
        self.told.append("answered")

    def heard(self, link: Link) -> None:
        self.told.append("heard")

    def portal(self, link: Link, cause: str) -> None:
        self.told.append(f"portal: {cause}")

    def failed(self, link: Link, cause: str) -> None:
        self.told.append(f"failed: {cause}")


@dataclass
class Box:
    outbox: Outbox
    uplink: Uplink
    clock: FakeClock
    links: OneLink
    task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self.task = asyncio.ensure_future(self.uplink.run())

    def make(self, value: float, device: str = "meter", alarm: bool = False) -> None:
        self.clock.pass_s(0.001)
        priority = Priority.ALARM if alarm else Priority.LIVE
        self.outbox.append(observe(self.clock, [value, value], device), priority=priority)

    @property
    def empty(self) -> bool:
        return self.outbox.stats().depth == 0


@asynccontextmanager
async def box(
    tmp_path: Path,
    server: ScriptedServer | None = None,
    *,
    transport: Callable[[Link], Transport] | None = None,
    clock: FakeClock | None = None,
    interval_s: float = 0.05,
    batch_max: int = 2000,
    timeout_s: float = 5.0,
    token: str | None = None,
    metered: bool = False,
    share: float = 1.0,
    begin: bool = True,
    before: Callable[[Outbox, FakeClock], None] | None = None,
) -> AsyncIterator[Box]:
    """``before``: what the outbox holds before the uplink starts."""
    clock = clock or RealPace()
    if transport is None:
        assert server is not None
        one = NgsiLdHttp(Access(server.url, token=token, timeout_s=timeout_s), entities, sparing=metered)
        transport = lambda link: one  # noqa: E731
    link = Link("lan", None, metered)
    async with running(tmp_path / "outbox.sqlite", clock) as outbox:
        if before is not None:
            fresh_s, outbox.fresh_s = outbox.fresh_s, 0.1
            before(outbox, clock)
            await until(lambda: outbox._pending.depth_in_memory == 0)
            await asyncio.sleep(0.1)  # it is not new any more
            assert await outbox.live(1) is None
            outbox.fresh_s = fresh_s
        links = OneLink(link, Pace(interval_s, batch_max, share))
        uplink = Uplink(outbox, links, transport, clock=clock, backlog_share=share)
        made = Box(outbox, uplink, clock, links)
        if begin:
            made.begin()
        try:
            yield made
        finally:
            assert made.task is not None
            made.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await made.task


def fill(observations: int, size: int = 10, device: str = "meter") -> Callable[[Outbox, FakeClock], None]:
    """Old observations of ``size`` values each, a second apart; value 0 counts them."""

    def before(outbox: Outbox, clock: FakeClock) -> None:
        for n in range(observations):
            clock.pass_s(1)
            outbox.append(observe(clock, [float(n)] + [0.0] * (size - 1), device))

    return before


def lamppost(handler: Handler | None = None, accepts: str = "zstd, gzip") -> Handler:
    """Answers as a Lamppost server; ``handler`` what is not a question for the time."""

    def answer(request: Request) -> Answer:
        if request.path == TIME:
            return Answer.of(200, {"now_ns": UTC_2026 + 1000 * SECOND}, **{"Accept-Encoding": accepts})
        return handler(request) if handler else Answer()

    return answer


def upserts(server: ScriptedServer) -> list[Request]:
    return [request for request in server.posts() if request.path == UPSERT]


def values(requests: Sequence[Request]) -> list[Any]:
    """The first value of each entity, in order."""
    return [entity["q0"]["value"] for request in requests for entity in request.json()]


def received(server: ScriptedServer) -> list[Any]:
    """Values of upserts, in order."""
    return values(upserts(server))
