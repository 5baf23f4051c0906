"""Queries from a hot standby: what must be seen is seen, however far the standby is behind or gone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.server.postgres_server import Postgres, cluster
from tests.server.support import LINK, ROOT, meter, serving, until, upsert

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
SEEN_S = 8  # what another server wrote: some beats of the connection that listens


@pytest.fixture(scope="module")
def primary() -> Iterator[Postgres]:
    with cluster() as found:
        yield found


@pytest.fixture(scope="module")
def standby(primary: Postgres) -> Iterator[Postgres]:
    with cluster(primary) as found:
        yield found


@asynccontextmanager
async def servers(primary: Postgres, standby: Postgres, folder: Path) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two in this process; the second one reads from the standby."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(serving(folder / name, database=primary.url, database_replica=replica))
            for name, replica in (("a", None), ("b", standby.url))
        ]


async def ask(database: Postgres, sql: str) -> object:
    connection = await asyncpg.connect(database.url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def value(client: httpx.AsyncClient, number: int) -> float | None:
    """As a query has it."""
    wanted = f"urn:ngsi-ld:ACMeasurement:test:{number}"
    answer = await client.get(f"{ROOT}/entities?type=ACMeasurement&id={wanted}&format=simplified", headers=LINK)
    assert answer.status_code == 200, answer.text
    return next((entity["totalActivePower"] for entity in answer.json()), None)


async def queried(standby: Postgres) -> bool:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lamppost' AND query = 'ROLLBACK'"
    return bool(await ask(standby, sql))


def at(second: int) -> str:
    return f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z"


async def test_reads_its_own_writes(primary: Postgres, standby: Postgres, tmp_path: Path) -> None:
    async with servers(primary, standby, tmp_path) as (_, b):
        for count in range(100):
            await upsert(b, meter(1, count, at(count)))
            assert await value(b, 1) == count
        await asyncio.sleep(1)
        assert await value(b, 1) == 99
        assert await queried(standby), "what is at rest is read from the standby"


async def test_standby_that_is_behind_is_passed_over(primary: Postgres, standby: Postgres, tmp_path: Path) -> None:
    async with servers(primary, standby, tmp_path) as (a, b):
        await upsert(a, meter(2, 1, at(1)))
        await until(lambda: says(b, 2, 1))
        await ask(standby, "SELECT pg_wal_replay_pause()")
        try:
            await upsert(b, meter(2, 2, at(2)))
            assert await value(b, 2) == 2, "its own"
            await upsert(a, meter(2, 3, at(3)))
            await until(lambda: says(b, 2, 3), SEEN_S)
        finally:
            await ask(standby, "SELECT pg_wal_replay_resume()")


async def says(client: httpx.AsyncClient, number: int, wanted: float) -> bool:
    return await value(client, number) == wanted


async def test_standby_that_dies_is_done_without(primary: Postgres, standby: Postgres, tmp_path: Path) -> None:
    async with servers(primary, standby, tmp_path) as (_, b):
        await upsert(b, meter(3, 1, at(1)))
        await asyncio.sleep(1)
        assert await value(b, 3) == 1
        standby.stop(signal.SIGKILL)
        for count in range(2, 20):
            assert await value(b, 3) == count - 1
            await upsert(b, meter(3, count, at(count)))
        standby.start()
        await until(lambda: asked_again(b, standby), 30)


async def asked_again(client: httpx.AsyncClient, standby: Postgres) -> bool:
    assert await value(client, 3) == 19
    return await queried(standby)
