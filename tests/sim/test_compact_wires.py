"""The compact protocol over every wire, between the gateway's transport and a real server."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.compact.message import MESSAGE_BYTES_MAX
from gateway.model import Batch, Priority, Range
from gateway.uplink.compact import Compact
from gateway.uplink.compact_coap import CompactCoap
from gateway.uplink.compact_mqtt import CompactMqtt
from gateway.uplink.transport import Receipt, TransportError, UnreachableError
from tests.server.compact_kit import STREAM, reading
from tests.sim.compact_wire import WIRES, Wire, batch, running, stored

T = TypeVar("T")


@pytest.fixture(params=WIRES)
async def wire(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Wire]:
    async with WIRES[request.param](tmp_path) as made:
        yield made


async def test_first_profiles_then_every_reading_once(wire: Wire, tmp_path: Path) -> None:
    async with running(wire, tmp_path / "data") as client:
        box = wire.transport(client, timeout_s=3.0)
        assert await again(box.held) == {}
        receipt = await box.send(batch(range(1, 101)))
        assert receipt.ack.stream == STREAM and receipt.ack.ranges == (Range(1, 100),) and not receipt.refused
        await box.send(batch(range(50, 151)))
        await box.send(batch(range(0, 20), Priority.HISTORY))
        assert await stored(client) == list(range(151))
        assert await box.held() == {STREAM: (Range(0, 150),)}
        assert box.bytes_sent > 300 and box.bytes_received > 50 and box.orders_history
        await box.close()
        await box.close()


async def test_what_is_refused_is_told(wire: Wire, tmp_path: Path) -> None:
    async with running(wire, tmp_path / "data") as client:
        box = wire.transport(client, timeout_s=3.0)
        receipt = await delivery(box, batch([reading(1), reading(2, device="not a name"), reading(3)]))
        assert receipt.refused == 1 and "not a name" in receipt.problems[0]
        assert receipt.ack.ranges == (Range(1, 3),) and await stored(client) == [1, 3]
        await box.close()


async def test_what_is_too_long_for_a_message_goes_in_parts(wire: Wire, tmp_path: Path) -> None:
    chance = random.Random(1)
    async with running(wire, tmp_path / "data") as client:
        first = wire.transport(client, 3.0)
        await delivery(first, batch(range(2000, 2001)))  # from now on it listens on this wire
        await first.close()
        box = wire.transport(client, 60)
        big = [reading(n, chance.randbytes(400).hex()) for n in range(1500)]
        assert sum(len(str(one.value)) // 2 for one in big) > MESSAGE_BYTES_MAX / 2
        receipt = await box.send(batch(big))
        assert receipt.ack.ranges == (Range(0, 1499),) and receipt.refused == 0
        thinned = batch(range(2000, 4400 if wire.url else 11_000, 2))
        assert len(thinned.ranges) > 1000
        await box.send(thinned)
        held = await box.held()
        assert held is not None and Range(0, 1499) in held[STREAM]
        await box.close()
    assert len(held[STREAM]) == 1000, "a bound of the server: the rest would come again"


async def again(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again and again, as the uplink does: a server may be there before it listens on this wire."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await ask()
            except TransportError:
                await asyncio.sleep(0.1)


async def delivery(box: Compact, what: Batch) -> Receipt:
    return await again(lambda: box.send(what))


async def delivered(box: Compact, last: int) -> None:
    await delivery(box, batch(range(last - 10, last)))


async def test_the_server_goes_and_comes_back(wire: Wire, tmp_path: Path) -> None:
    async with running(wire, tmp_path / "data") as client:
        box = wire.transport(client, timeout_s=2.0)
        await delivered(box, 10)
        port = client.base_url.port
    with pytest.raises(UnreachableError):
        await box.send(batch(range(10, 20)))
    async with running(wire, tmp_path / "data", **({} if wire.url else {"port": port})) as client:
        await delivered(box, 20)
        assert await stored(client) == list(range(20))
        await box.close()


@pytest.mark.parametrize("wire", ["mqtt", "coap"], indirect=True)
async def test_a_server_from_a_backup_is_noticed(wire: Wire, tmp_path: Path) -> None:
    """Behind a broker, or a socket of UDP, it looks the same: but it does not know what it acknowledged."""
    async with running(wire, tmp_path / "data") as client:
        box = wire.transport(client, timeout_s=2.0)
        assert isinstance(box, CompactMqtt | CompactCoap)
        await delivered(box, 10)
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    async with running(wire, tmp_path / "data"):
        await delivered(box, 20)
        before = box.connections
    async with running(wire, tmp_path / "backup") as client:
        await delivered(box, 30)
        assert box.connections > before
        assert await box.held() == {STREAM: (Range(0, 9), Range(20, 29))}
        await delivered(box, 20)
        assert await stored(client) == list(range(30))
        noticed = box.connections
        await delivered(box, 40)
        await delivered(box, 50)
        assert box.connections == noticed
        await box.close()


async def test_cancelled_anywhere_nothing_is_doubled(wire: Wire, tmp_path: Path) -> None:
    chance = random.Random(7)
    async with running(wire, tmp_path / "data") as client:
        box = wire.transport(client, timeout_s=3.0)
        await again(box.held)
        for at in range(0, 120, 10):
            task = asyncio.ensure_future(box.send(batch(range(at, at + 10))))
            await asyncio.sleep(chance.uniform(0, 0.02))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await delivery(box, batch(range(at, at + 10)))
        assert await stored(client) == list(range(120))
        await box.close()
