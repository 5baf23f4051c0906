"""The uplink over links that come and go: one connection at a time, and only what the link carries."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.model import Link, Priority
from gateway.uplink.client import Access
from gateway.uplink.ngsild import NgsiLdHttp
from tests.sim.scripted_server import Answer, ScriptedServer, until
from tests.sim.uplink_kit import box, entities, fill, lamppost, received, upserts

LAN, GSM = Link("lan"), Link("gsm", None, metered=True)


async def test_a_change_of_link_goes_on_at_once_over_the_new_one(tmp_path: Path) -> None:
    stall = lamppost(lambda r: Answer(stall_s=60))
    async with ScriptedServer(stall) as dead, ScriptedServer(lamppost()) as well:
        servers = {"lan": dead, "gsm": well}

        def transport(link: Link) -> NgsiLdHttp:
            return NgsiLdHttp(Access(servers[link.name].url, timeout_s=60), entities, sparing=link.metered)

        async with box(tmp_path, transport=transport) as b:
            b.make(1)
            await until(lambda: len(upserts(dead)) == 1)
            b.make(2)
            b.links.use(GSM)
            await until(lambda: b.empty)
            assert sorted(set(received(well))) == [1, 2] and b.uplink.state().link == GSM
            b.links.use(None)
            await until(lambda: not b.uplink.state().up)
            assert b.uplink.state().error == "no link can be used"
            b.make(3)
            await asyncio.sleep(0.2)
            assert not b.empty
            dead.handler = lamppost()
            b.links.use(LAN)
            await until(lambda: b.empty and 3 in received(dead))
            assert b.outbox.stats().dropped == {}


async def test_only_what_the_link_carries(tmp_path: Path) -> None:
    async with ScriptedServer(lamppost()) as server, box(tmp_path, server, before=fill(100), begin=False) as b:
        b.links.carries = {Priority.ALARM}
        b.begin()
        b.make(-1)
        b.make(-9, "door", alarm=True)
        await until(lambda: received(server) == [-9])
        await asyncio.sleep(0.3)
        assert received(server) == [-9]
        b.links.carries = {Priority.ALARM, Priority.LIVE}
        await until(lambda: received(server) == [-9, -1])
        await asyncio.sleep(0.3)
        assert received(server) == [-9, -1]
        b.links.carries = set(Priority)
        await until(lambda: b.empty)
        assert received(server) == [-9, -1, *range(100)]


async def test_the_links_are_told(tmp_path: Path) -> None:
    async with ScriptedServer(lamppost()) as server, box(tmp_path, server) as b:
        b.make(1)
        await until(lambda: b.empty)
        assert b.links.told[:4] == ["began", "heard", "began", "worked"]
        server.handler = lamppost(lambda r: Answer(503))
        b.links.told.clear()
        b.make(2)
        await until(lambda: b.links.told[-1:] == ["answered"])
        server.handler = lambda r: Answer(302, headers={"Location": "http://portal.example/"})
        await until(lambda: any(told.startswith("portal: ") for told in b.links.told))
        await server.stop()
        await until(lambda: any(told.startswith("failed: ") for told in b.links.told))
        server.handler = lamppost()
        await server.start()
        await until(lambda: b.empty and b.links.told[-1] == "worked")


async def test_an_alarm_does_not_wait_for_the_next_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.uplink.sender.ALARM_S", 0.1)
    monkeypatch.setattr("gateway.uplink.backoff.CAP_METERED_S", 300.0)
    monkeypatch.setattr("gateway.uplink.backoff.FIRST_S", 300.0)
    async with ScriptedServer(lamppost()) as server:
        server.script = [Answer(500)]
        async with box(tmp_path, server, metered=True) as b:
            b.make(1)
            await until(lambda: b.uplink.state().error != "")
            await asyncio.sleep(0.3)
            assert len(upserts(server)) == 1
            b.make(-9, "door", alarm=True)
            await until(lambda: b.empty)
            assert received(server) == [1, 1, -9], "what was on its way again, then the alarm"


async def test_what_a_budget_thins_waits_for_a_free_link(tmp_path: Path) -> None:
    async with ScriptedServer(lamppost()) as server, box(tmp_path, server, metered=True, begin=False) as b:
        b.outbox.fresh_s = 0.2
        b.links.slow_down(holds=True, thin=4)
        for n in range(10):
            b.make(n)
            b.make(100 + n, "other")
        b.begin()
        await until(lambda: len(received(server)) == 6)
        await asyncio.sleep(0.3)
        assert received(server) == [1, 101, 5, 105, 9, 109], "each fourth of each, the newest among them"
        assert b.outbox.stats().deferred == 28 == b.outbox.stats().depth
        assert (b.uplink.stats().thin, b.uplink.stats().holds) == (4, True)
        b.make(-9, "door", alarm=True)
        await until(lambda: received(server)[6:] == [-9])
        b.links.slow_down(holds=False, thin=1)
        await until(lambda: b.empty)
        assert sorted(received(server)) == sorted([*range(10), *range(100, 110), -9])
        assert b.outbox.stats().dropped == {}


async def test_nothing_is_thinned_where_all_goes_in_order(tmp_path: Path) -> None:
    """A broker without temporal API: what came later would set the present back."""
    plain = lambda request: Answer(404) if "/temporal/" in request.path or request.method == "GET" else Answer()  # noqa: E731
    async with ScriptedServer(plain) as server, box(tmp_path, server, metered=True, before=fill(3), begin=False) as b:
        b.links.slow_down(holds=True, thin=4)
        for n in range(3, 13):
            b.make(n)
        b.begin()
        await until(lambda: b.empty)
        assert received(server) == list(range(13))
        assert b.outbox.stats().deferred == 0
        assert not b.uplink.stats().holds


async def test_a_link_that_slept_is_sent_over_anew(tmp_path: Path) -> None:
    """What was connected before it was down is not used again."""
    async with ScriptedServer(lamppost()) as server, box(tmp_path, server) as b:
        b.make(1)
        await until(lambda: b.empty)
        connections = server.connections
        b.make(2)
        await until(lambda: b.empty)
        assert server.connections == connections
        b.links.asleep = True
        b.make(3)
        await until(lambda: b.empty)
        assert server.connections == connections + 1
        assert received(server) == [1, 2, 3]
