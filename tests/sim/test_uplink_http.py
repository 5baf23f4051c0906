"""Outbox and uplink against a real HTTP server that behaves badly."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from gateway.errors import UplinkError
from gateway.uplink.client import Access
from gateway.uplink.ngsild import UPSERT, NgsiLdHttp
from tests.sim.scripted_server import Answer, Request, ScriptedServer, until
from tests.sim.uplink_kit import RealPace, box, entities, lamppost, received, upserts
from tests.unit.outbox.outbox_kit import SECOND, UTC_2026


async def test_the_way_of_a_batch(tmp_path: Path) -> None:
    async with ScriptedServer() as server, box(tmp_path, server, token="s3cret") as b:
        for n in range(5):
            b.make(n)
        await until(lambda: b.outbox.stats().depth == 0)
        request = upserts(server)[0]
        assert request.path == UPSERT
        assert request.headers["content-type"] == "application/ld+json"
        assert request.headers["authorization"] == "Bearer s3cret"
        assert received(server) == [0, 1, 2, 3, 4]
        state = b.uplink.state()
        assert state.up and state.rtt_s is not None and state.bytes_sent > 500 and state.error == ""


async def test_first_at_once_then_by_interval_and_urgent_at_once(tmp_path: Path) -> None:
    async with ScriptedServer() as server, box(tmp_path, server, interval_s=60) as b:
        b.make(1)
        await until(lambda: received(server) == [1])
        b.make(2)
        await asyncio.sleep(0.3)
        assert received(server) == [1]
        b.make(3, alarm=True)
        await until(lambda: received(server) == [1, 3, 2])


async def test_a_backlog_goes_on_at_once(tmp_path: Path) -> None:
    async with ScriptedServer() as server, box(tmp_path, server, interval_s=60, batch_max=10) as b:
        for n in range(100):
            b.make(n)
        await until(lambda: len(received(server)) == 100)
        assert received(server) == list(range(100)) and server.connections == 1


async def test_push_back_is_obeyed(tmp_path: Path) -> None:
    async with ScriptedServer() as server:
        server.script = [Answer(503, headers={"Retry-After": "1"}), Answer(429, headers={"Retry-After": "1"})]
        async with box(tmp_path, server) as b:
            b.make(1)
            await until(lambda: b.outbox.stats().depth == 0)
            at = [request.at for request in upserts(server)]
            assert len(at) == 3 and at[1] - at[0] >= 1.0 and at[2] - at[1] >= 1.0
            assert len({request.body for request in upserts(server)}) == 1


async def test_a_lost_acknowledgement_is_sent_again_byte_for_byte(tmp_path: Path) -> None:
    async with ScriptedServer() as server:
        server.script = [Answer(reset_before=True), Answer(200, b"x" * 100, reset_within=True), Answer(stall_s=30)]
        async with box(tmp_path, server, timeout_s=0.5) as b:
            b.make(1)
            await until(lambda: len(upserts(server)) >= 1)
            b.make(2)
            await until(lambda: b.outbox.stats().depth == 0)
            bodies = [request.body for request in upserts(server)]
            assert len(bodies) == 5 and len(set(bodies[:4])) == 1 and bodies[4] != bodies[0]
            assert b.outbox.stats().dropped == {}


async def test_down_and_up_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lamppost.uplink")
    async with ScriptedServer() as server, box(tmp_path, server) as b:
        b.make(0)
        await until(lambda: b.outbox.stats().depth == 0)
        await server.stop()
        for n in range(1, 30):
            b.make(n)
            await asyncio.sleep(0.05)
        await until(lambda: not b.uplink.state().up)
        assert "refused" in b.uplink.state().error
        await server.start()
        back = asyncio.get_running_loop().time()
        await until(lambda: len(received(server)) == 30)
        assert asyncio.get_running_loop().time() - back < 8
        assert received(server) == list(range(30))
    said = [record.getMessage().split(":")[0] for record in caplog.records]
    assert said == ["link lan is up", "link lan is down", "link lan is up again"]


async def test_bad_entities_of_a_207_are_set_aside(tmp_path: Path) -> None:
    def handler(request: Request) -> Answer:
        bad = [e["id"] for e in request.json() if e["id"] == "urn:x:bad"]
        errors = [{"entityId": name, "error": {"title": "No such thing", "status": 400}} for name in bad]
        return Answer.of(207, {"success": ["urn:x:meter"], "errors": errors}) if bad else Answer()

    async with ScriptedServer(lamppost(handler)) as server, box(tmp_path, server) as b:
        b.make(1)
        b.make(2, "bad")
        b.make(3)
        await until(lambda: b.outbox.stats().depth == 0)
        b.make(4)
        await until(lambda: 4 in received(server))
        await until(lambda: b.outbox.stats().dropped == {"refused-by-server": 2})
        assert list(b.uplink.problems) == ["urn:x:bad: No such thing"]


async def test_a_207_with_a_server_error_is_tried_again(tmp_path: Path) -> None:
    wrong = {"success": [], "errors": [{"entityId": "urn:x:meter", "error": {"title": "disk", "status": 500}}]}
    async with ScriptedServer() as server:
        server.script = [Answer.of(207, wrong), Answer(207, b"rubbish")]
        async with box(tmp_path, server) as b:
            b.make(1)
            await until(lambda: b.outbox.stats().depth == 0)
            assert len(upserts(server)) == 3 and b.outbox.stats().dropped == {}


async def test_a_400_is_split_down_to_the_bad_one(tmp_path: Path) -> None:
    taken: list[float] = []

    def handler(request: Request) -> Answer:
        if any(e["id"] == "urn:x:bad" for e in request.json()):
            return Answer.of(400, {"title": "BadRequestData", "detail": "no"})
        taken.extend(e["q0"]["value"] for e in request.json())
        return Answer()

    async with ScriptedServer(lamppost(handler)) as server, box(tmp_path, server) as b:
        for n in range(16):
            b.make(n, "bad" if n == 11 else "meter")
        await until(lambda: b.outbox.stats().depth == 0)
        assert taken == [n for n in range(16) if n != 11], "order is kept"
        assert b.outbox.stats().dropped == {"refused-by-server": 2}


async def test_too_large_is_split(tmp_path: Path) -> None:
    async with (
        ScriptedServer(lambda r: Answer(413 if len(r.plain) > 400 else 204)) as server,
        box(tmp_path, server) as b,
    ):
        for n in range(32):
            b.make(n)
        await until(lambda: b.outbox.stats().depth == 0)
        good = [e["q0"]["value"] for r in upserts(server) if len(r.plain) <= 400 for e in r.json()]
        assert good == list(range(32)) and b.outbox.stats().dropped == {}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
async def test_nothing_is_thrown_away_when_the_server_takes_nothing(tmp_path: Path, status: int) -> None:
    async with (
        ScriptedServer(lambda r: Answer.of(status, {"title": "no"})) as server,
        box(tmp_path, server, token="s3cret") as b,
    ):
        for n in range(10):
            b.make(n, "meter" if n % 2 else "air")
        await until(lambda: b.uplink.state().error != "")
        await asyncio.sleep(0.2)
        assert b.outbox.stats().depth == 20 and b.outbox.stats().dropped == {}
        assert "s3cret" not in b.uplink.state().error


async def test_a_device_that_left_the_configuration_does_not_block(tmp_path: Path) -> None:
    async with ScriptedServer() as server, box(tmp_path, server) as b:
        b.make(1)
        b.make(2, "gone")
        b.make(3)
        await until(lambda: b.outbox.stats().depth == 0)
        await until(lambda: b.outbox.stats().dropped == {"unmapped": 2})
        assert received(server) == [1, 3]


async def test_a_stalled_server_does_not_hang_and_cancel_is_quick(tmp_path: Path) -> None:
    stall = lamppost(lambda r: Answer(stall_s=60))
    async with ScriptedServer(stall) as server, box(tmp_path, server, timeout_s=0.3) as b:
        b.make(1)
        await until(lambda: len(upserts(server)) >= 2)
        assert "in time" in b.uplink.state().error
        start = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - start < 2


async def test_time_from_the_server_dates_what_waited(tmp_path: Path) -> None:
    def handler(request: Request) -> Answer:
        if request.path == "/api/time":
            return Answer.of(200, {"now_ns": UTC_2026 + 1000 * SECOND})
        return Answer()

    async with ScriptedServer(handler) as server:
        clock = RealPace(offset_ns=None)
        async with box(tmp_path, server, clock=clock) as b:
            b.make(7)
            await until(lambda: received(server) == [7])
            observed = upserts(server)[0].json()[0]["at"]
            assert abs(observed - UTC_2026 - 1000 * SECOND) < 30 * SECOND
        assert server.requests[0].path == "/api/time"


async def test_no_time_no_data(tmp_path: Path) -> None:
    async with (
        ScriptedServer(lambda r: Answer(404 if r.method == "GET" else 204)) as server,
        box(tmp_path, server, clock=RealPace(offset_ns=None)) as b,
    ):
        b.make(7)
        await asyncio.sleep(0.3)
        assert upserts(server) == [] and b.outbox.stats().depth == 2
        b.clock.offset_ns = UTC_2026
        await until(lambda: received(server) == [7])


async def test_the_time_of_a_stranger_is_not_asked() -> None:
    assert await NgsiLdHttp(Access("http://198.51.100.1:80", timeout_s=1), entities).server_time() is None


@pytest.mark.parametrize("url", ["server:9090", "ftp://x", "http://user:pw@x"])
def test_bad_addresses(url: str) -> None:
    with pytest.raises(UplinkError) as caught:
        NgsiLdHttp(Access(url, timeout_s=1), entities)
    assert caught.value.code == "uplink.bad-url"


def test_bad_ca(tmp_path: Path) -> None:
    with pytest.raises(UplinkError) as caught:
        NgsiLdHttp(Access("https://x", ca_file=tmp_path / "none.pem", timeout_s=1), entities)
    assert caught.value.code == "uplink.bad-ca"
