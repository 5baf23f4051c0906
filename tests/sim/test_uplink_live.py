"""What goes first: alarms, the newest values, then what waited; and what a server that lacks something gets again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.model import Ack, Batch, Range
from gateway.uplink.ngsild import TEMPORAL
from gateway.uplink.transport import Receipt
from tests.sim.scripted_server import Answer, Request, ScriptedServer, until
from tests.sim.uplink_kit import RealPace, box, fill, lamppost, received, upserts
from tests.unit.outbox.outbox_kit import SECOND, UTC_2026

OLD = 1000  # observations that wait, ten values each


async def test_after_an_outage_the_newest_values_go_first(tmp_path: Path) -> None:
    async with ScriptedServer(lamppost()) as server:
        await server.stop()
        async with box(tmp_path, server, before=fill(OLD)) as b:
            b.make(-1)
            await until(lambda: b.uplink.state().error != "")
            await asyncio.sleep(0.5)
            b.make(-2)
            back = asyncio.get_running_loop().time()
            await server.start()
            await until(lambda: -2 in received(server))
            assert asyncio.get_running_loop().time() - back < 8
            seen = received(server)
            assert seen[: seen.index(-2) + 1] == [-1, -2], "new values, and nothing else, first"
            await until(lambda: b.empty)
            assert [v for v in received(server) if v >= 0] == list(range(OLD)), "the backlog in order, each once"
            assert sum(received(server).count(v) for v in (-1, -2)) == 2


async def test_new_values_do_not_wait_for_the_backlog(tmp_path: Path) -> None:
    """While the backlog drains through a slow server, what is new is on its way within an exchange or two."""
    slow = lamppost(lambda r: Answer(stall_s=0.05))
    async with ScriptedServer(slow) as server, box(tmp_path, server, before=fill(OLD), batch_max=200, share=0.5) as b:
        waited: list[float] = []
        for n in range(1, 8):
            made = asyncio.get_running_loop().time()
            b.make(-n)
            await until(lambda n=n: -n in received(server))  # type: ignore[misc]
            waited.append(asyncio.get_running_loop().time() - made)
        assert not b.empty, "the backlog still drains"
        assert sorted(waited)[3] < 1.0
        state = b.uplink.stats()
        assert state.live_age_s is not None and state.live_age_s < 5 and state.drain_per_s > 0 and state.backlog


@pytest.mark.parametrize("share", [0.25, 1.0])
async def test_the_backlog_has_its_share(tmp_path: Path, share: float) -> None:
    took_s = 0.05
    slow = lamppost(lambda r: Answer(stall_s=took_s))
    async with (
        ScriptedServer(slow) as server,
        box(tmp_path, server, before=fill(120), batch_max=100, share=share, interval_s=60) as b,
    ):
        await until(lambda: b.empty, 30)
        at = [request.at for request in upserts(server)]
        assert len(at) >= 10
        busy = took_s * (len(at) - 1) / (at[-1] - at[0])
        assert busy <= share * 1.05
        assert share < 1.0 or busy > 0.3, "where it may have all of the time it does not rest"


async def test_an_alarm_goes_before_all_else(tmp_path: Path) -> None:
    slow = lamppost(lambda r: Answer(stall_s=0.05))
    async with (
        ScriptedServer(slow) as server,
        box(tmp_path, server, before=fill(OLD), batch_max=200, interval_s=60) as b,
    ):
        await until(lambda: len(upserts(server)) > 2)
        b.make(-1)
        b.make(-9, "door", alarm=True)
        await until(lambda: -9 in received(server))
        seen = received(server)
        assert not b.empty
        await until(lambda: -1 in received(server))
        assert seen[-1] == -9, "alone, at the next exchange"


async def test_no_history_of_the_present(tmp_path: Path) -> None:
    """A broker without history gets all in order: its values never go back."""
    async with ScriptedServer() as server, box(tmp_path, server, before=fill(OLD), batch_max=500) as b:
        b.make(OLD)
        b.make(OLD + 1)
        await until(lambda: b.empty)
        assert received(server) == list(range(OLD + 2))


class Temporal:
    """A broker with the temporal API: what is placed in history, and what its present values are."""

    def __init__(self) -> None:
        self.placed: list[float] = []
        self.present: dict[str, tuple[int, float]] = {}
        self.back = 0

    def __call__(self, request: Request) -> Answer:
        if request.method == "GET":
            return Answer.of(404, {"title": "no"})
        body = request.json()
        if request.path == TEMPORAL:
            if "id" not in body:
                return Answer.of(400, {"type": "https://uri.etsi.org/ngsi-ld/errors/BadRequestData", "title": "no id"})
            self.placed += [instance["value"] for instance in body["q0"]]
            return Answer(204 if len(self.placed) > len(body["q0"]) else 201)
        for entity in body:
            before, _ = self.present.get(entity["id"], (0, 0))
            self.back += entity["at"] < before
            self.present[entity["id"]] = entity["at"], entity["q0"]["value"]
        return Answer()


async def test_what_is_old_goes_to_the_temporal_api(tmp_path: Path) -> None:
    broker = Temporal()
    async with ScriptedServer(broker) as server, box(tmp_path, server, before=fill(OLD), batch_max=500) as b:
        b.make(-1)
        await until(lambda: "urn:x:meter" in broker.present)
        b.make(-2)
        await until(lambda: b.empty)
        assert broker.placed == list(range(OLD)) and broker.back == 0
        assert broker.present["urn:x:meter"][1] == -2
        history = [request for request in server.posts() if request.path == TEMPORAL][1:]
        assert all(set(r.json()) == {"id", *(f"q{n}" for n in range(10))} for r in history)
        assert max(len(r.json()["q0"]) for r in history) >= 25, "arrays of instances"


async def test_an_overtaken_value_goes_to_the_temporal_api(tmp_path: Path) -> None:
    """An alarm overtakes a value of its own series: an upsert of that one would set the present back."""
    broker = Temporal()
    async with ScriptedServer(broker) as server, box(tmp_path, server, interval_s=60) as b:
        b.make(1)
        await until(lambda: "urn:x:meter" in broker.present)
        b.make(2)
        b.make(3, alarm=True)
        await until(lambda: b.empty)
        assert broker.placed == [2] and broker.back == 0 and broker.present["urn:x:meter"][1] == 3


async def test_a_temporal_api_that_goes(tmp_path: Path) -> None:
    """It is there at first and then answers 404: all goes in order by upsert."""
    broker = Temporal()
    gone = False

    def answer(request: Request) -> Answer:
        nonlocal gone
        gone = gone or (request.path == TEMPORAL and b"urn" in request.plain)
        return Answer.of(404, {"title": "no"}) if gone and request.path == TEMPORAL else broker(request)

    async with ScriptedServer(answer) as server, box(tmp_path, server, before=fill(50)) as b:
        await until(lambda: b.empty)
        assert received(server) == list(range(50)) and broker.back == 0


async def test_what_a_bad_instance_leaves(tmp_path: Path) -> None:
    broker = Temporal()

    def answer(request: Request) -> Answer:
        if request.path == TEMPORAL and any(i["value"] == 33 for i in request.json().get("q0", ())):
            return Answer.of(400, {"title": "33 is too much"})
        return broker(request)

    async with ScriptedServer(answer) as server, box(tmp_path, server, before=fill(100)) as b:
        await until(lambda: b.empty)
        assert broker.placed == [n for n in range(100) if n != 33]
        await until(lambda: b.outbox.stats().dropped == {"refused-by-server": 10})


class Restored:
    """A transport in a language that can tell what the server has; the server was restored from an older backup."""

    orders_history = True
    bytes_sent = bytes_received = 0

    def __init__(self) -> None:
        self.connections = 1
        self.has: dict[str, list[Range]] = {}
        self.values: list[object] = []
        self.asked = 0

    async def held(self) -> dict[str, tuple[Range, ...]] | None:
        self.asked += 1
        return {stream: tuple(ranges) for stream, ranges in self.has.items()}

    async def send(self, batch: Batch) -> Receipt:
        self.values += [r.value for r in batch.readings if r.quantity == "q0"]
        self.has.setdefault(batch.stream, []).extend(batch.ranges)
        return Receipt(Ack(batch.stream, batch.ranges))

    async def server_time(self) -> int | None:
        return None

    async def close(self) -> None:
        pass


async def test_a_restored_server_gets_again_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.uplink.sender.MEET_AGAIN_S", 0.0)
    server = Restored()
    async with box(tmp_path, transport=lambda link: server, before=fill(100)) as b:
        await until(lambda: b.empty and len(server.values) == 100)
        (stream,) = server.has
        server.values.clear()
        server.has = {stream: [Range(1, 600)]}
        server.connections += 1
        await until(lambda: len(server.values) >= 40)
        await until(lambda: b.empty)
        assert server.values == [float(n) for n in range(60, 100)] and server.asked >= 2


async def test_a_box_without_time_sends_nothing_old_or_new(tmp_path: Path) -> None:
    clock = RealPace(offset_ns=None)
    async with ScriptedServer(lambda r: Answer(404)) as server, box(tmp_path, server, clock=clock) as b:
        b.make(1)
        await asyncio.sleep(0.3)
        assert upserts(server) == []
        b.clock.offset_ns = UTC_2026 + SECOND
        await until(lambda: received(server) == [1])
