"""PostgreSQL goes away under load and comes back: nothing acknowledged is lost, all others are told to come again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter, defaultdict
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.server.postgres_server import Postgres, cluster
from tests.server.support import LINK, ROOT, history, meter, serving, until, upsert

CLIENTS = 4
AWAY = {"server.storage-away", "server.overloaded"}


class Load:
    """Clients that write to an entity each, one value after the other, and read it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.acknowledged: dict[int, list[int]] = defaultdict(list)
        self.refused: Counter[str] = Counter()
        self.stop = asyncio.Event()

    @property
    def count(self) -> int:
        return sum(map(len, self.acknowledged.values()))

    async def write(self, number: int) -> None:
        value = 0
        while not self.stop.is_set():
            value += 1
            at = f"2026-01-01T{value // 3600:02}:{value // 60 % 60:02}:{value % 60:02}Z"
            answer = await upsert(self._client, meter(number, value, at))
            if answer.status_code in (201, 204):
                self.acknowledged[number].append(value)
            else:
                self._told(answer)
                await asyncio.sleep(0.05)

    async def read(self) -> None:
        while not self.stop.is_set():
            for path in ("entities/urn:ngsi-ld:ACMeasurement:test:0", "entities?type=ACMeasurement"):
                answer = await self._client.get(f"{ROOT}/{path}", headers=LINK)
                if answer.status_code not in (200, 404):
                    self._told(answer)
            await asyncio.sleep(0.02)

    def _told(self, answer: httpx.Response) -> None:
        assert answer.status_code == 503, answer.text
        assert answer.json()["code"] in AWAY, answer.text
        assert "retry-after" in answer.headers
        self.refused[answer.json()["code"]] += 1

    async def goes_on(self) -> None:
        before = self.count
        await until(lambda: self.count > before + 20, 30)


async def kill_a_backend(url: str) -> None:
    """As a crash does: PostgreSQL throws out everybody and recovers."""
    connection = await asyncpg.connect(url)
    sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'lamppost' AND query NOT LIKE 'LISTEN%' LIMIT 1"
    os.kill(await connection.fetchval(sql), signal.SIGKILL)
    connection.terminate()


async def stop(database: Postgres, how: signal.Signals) -> None:
    await asyncio.to_thread(database.stop, how)


@pytest.mark.slow
async def test_a_database_that_goes_away_costs_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with cluster() as database:
        async with serving(tmp_path, database=database.url) as client:
            load = Load(client)
            async with asyncio.TaskGroup() as group:
                for number in range(CLIENTS):
                    group.create_task(load.write(number))
                group.create_task(load.read())
                await load.goes_on()
                for how in (signal.SIGQUIT, signal.SIGKILL):
                    refused = load.refused.total()
                    await stop(database, how)
                    await until(lambda before=refused: load.refused.total() > before, 30)  # type: ignore[misc]
                    assert (await client.get("/healthz")).status_code == 503
                    await asyncio.to_thread(database.start)
                    await load.goes_on()
                await kill_a_backend(database.url)
                await load.goes_on()
                load.stop.set()
            await everything_is_there(client, load)


async def everything_is_there(client: httpx.AsyncClient, load: Load) -> None:
    for number, values in load.acknowledged.items():
        kept = [value for value, _ in await history(client, number)]
        assert set(values) <= set(kept), f"lost: {sorted(set(values) - set(kept))}"
        answer = await client.get(f"{ROOT}/entities/urn:ngsi-ld:ACMeasurement:test:{number}", headers=LINK)
        assert answer.json()["totalActivePower"]["value"] >= values[-1]
    assert load.refused["server.storage-away"], "nobody has noticed"
