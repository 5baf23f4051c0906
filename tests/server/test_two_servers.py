"""Two servers over one PostgreSQL: what one does the other knows, and when one dies nothing of its work is lost."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.server.federation import odd, room
from tests.server.postgres_server import Databases, postgres
from tests.server.support import LD, LINK, ROOT, meter, serving, until, upsert
from tests.server.test_kill import PROGRAM
from tests.server.test_subscriptions import URL, Receiver, receiving, subscription

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
J = {"Content-Type": "application/json"}
READINGS = 60


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    with postgres() as url:
        yield Databases(url)


@asynccontextmanager
async def pair(databases: Databases, folder: Path, **settings: Any) -> AsyncIterator[tuple[Any, Any]]:
    """Two in this process, over one database."""
    async with AsyncExitStack() as stack:
        database = databases.url(folder)
        clients = [
            await stack.enter_async_context(serving(folder / name, database=database, **settings)) for name in "ab"
        ]
        yield clients[0], clients[1]


async def test_what_one_changes_the_other_knows(databases: Databases, tmp_path: Path) -> None:
    async with receiving() as receiver, pair(databases, tmp_path, notify_prefixes=(receiver.url,)) as (a, b):
        await upsert(a, meter(1, 10))
        assert (await b.get(f"{ROOT}/entities/urn:ngsi-ld:ACMeasurement:test:1")).status_code == 200
        one = f"{URL}/urn:ngsi-ld:Subscription:1"
        assert (await a.post(URL, json=subscription(receiver.url), headers=LD)).status_code == 201
        await until(lambda: found(b, one, 200))
        assert (await b.post(URL, json=subscription(receiver.url), headers=LD)).status_code == 409
        await upsert(b, meter(1, 11, "2026-01-01T00:00:01Z"))
        await until(lambda: len(receiver.got) == 1)
        assert (await b.patch(one, json={"isActive": False}, headers=J)).status_code == 204
        await until(lambda: says(a, one, "status", "paused"))
        await upsert(a, meter(1, 12, "2026-01-01T00:00:02Z"))
        assert (await a.delete(one)).status_code == 204
        await until(lambda: found(b, one, 404))
        await upsert(b, meter(1, 13, "2026-01-01T00:00:03Z"))
        hosted = await a.post(f"{ROOT}/jsonldContexts", json={"@context": {"x": "https://example.org/x"}}, headers=J)
        await until(lambda: found(b, hosted.headers["location"], 200))
        source = {
            "id": "urn:ngsi-ld:ContextSourceRegistration:1",
            "type": "ContextSourceRegistration",
            "information": [{"entities": [{"type": "Far"}]}],
            "endpoint": "http://example.org",
        }
        assert (await b.post(f"{ROOT}/csourceRegistrations", json=source, headers=J)).status_code == 201
        await until(lambda: found(a, f"{ROOT}/csourceRegistrations/{source['id']}", 200))
        await asyncio.sleep(1)
        assert receiver.values() == [11], "once, by one of them"


async def found(client: httpx.AsyncClient, path: str, status: int) -> bool:
    return (await client.get(path)).status_code == status


async def says(client: httpx.AsyncClient, path: str, name: str, value: object) -> bool:
    return bool((await client.get(path)).json().get(name) == value)


async def test_only_one_keeps_the_time(databases: Databases, tmp_path: Path) -> None:
    async with receiving() as receiver, pair(databases, tmp_path, notify_prefixes=(receiver.url,)) as (a, b):
        await upsert(a, meter(1, 10))
        assert (await b.post(URL, json=subscription(receiver.url, timeInterval=1), headers=LD)).status_code == 201
        await until(lambda: len(receiver.got) >= 3, 20)
        times = [note["notifiedAt"] for note in receiver.got]
        assert len({time[:19] for time in times}) >= len(times) - 1, "a period, a notification"


async def test_writes_of_both_are_one_after_the_other(databases: Databases, tmp_path: Path) -> None:
    """Each appends its own attributes to the same entity at the same time: none of them is lost."""
    path = f"{ROOT}/entities/urn:ngsi-ld:Both:1"
    async with pair(databases, tmp_path) as both:
        created = await both[0].post(f"{ROOT}/entities", json={"id": "urn:ngsi-ld:Both:1", "type": "Both"}, headers=J)
        assert created.status_code == 201

        async def append(client: httpx.AsyncClient, name: str) -> None:
            for n in range(30):
                answer = await client.post(f"{path}/attrs", json={f"{name}{n}": n}, headers=J)
                assert answer.status_code == 204, answer.text

        await asyncio.gather(*(append(client, name) for client, name in zip(both, "ab", strict=True)))
        assert len((await both[0].get(path)).json()) == 62
        again = [
            client.post(f"{ROOT}/entities", json={"id": "urn:ngsi-ld:Both:2", "type": "Both"}, headers=J)
            for client in both
        ]
        assert sorted(answer.status_code for answer in await asyncio.gather(*again)) == [201, 409]


def start(data: Path, database: str, prefix: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, PROGRAM, data, "0", prefix],
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROGRAM.parents[2],
        env={**os.environ, "LAMPPOST_SERVER_DATABASE": database},
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


async def test_when_one_is_killed_nothing_that_was_acknowledged_is_lost(databases: Databases, tmp_path: Path) -> None:
    chance = random.Random(5)
    async with receiving() as receiver:
        receiver.delay_s = 0.1  # so that notifications wait where a server dies
        database = databases.url(tmp_path)
        nodes = [start(tmp_path / f"node-{n}", database, receiver.url) for n in range(2)]
        try:
            acknowledged = await load(nodes, receiver, lambda: tmp_path / f"node-{chance.random()}", database)
            await until(lambda: acknowledged <= set(receiver.values()), 60)
        finally:
            for process, _ in nodes:
                process.kill()
                process.wait()
    by_id: dict[str, set[Any]] = {}
    for note in receiver.got:
        by_id.setdefault(note["id"], set()).add(note["data"][0]["totalActivePower"]["value"])
    assert all(len(values) == 1 for values in by_id.values()), "what comes again has the same id"
    assert len(acknowledged) > READINGS / 2


async def load(
    nodes: list[tuple[subprocess.Popen[str], str]], receiver: Receiver, folder: Any, database: str
) -> set[int]:
    """Readings to whichever node answers; every now and then one of them is killed, and another one started."""
    acknowledged: set[int] = set()
    async with httpx.AsyncClient(timeout=20) as client:
        address = nodes[0][1]
        made = await client.post(f"{address}{URL}", json=subscription(receiver.url), headers=LD)
        assert made.status_code == 201, made.text
        await until(lambda: found(client, f"{nodes[1][1]}{URL}/urn:ngsi-ld:Subscription:1", 200))
        for n in range(READINGS):
            if n % 20 == 10:
                victim = n // 20 % 2
                nodes[victim][0].kill()
                nodes[victim][0].wait()
                nodes[victim] = start(folder(), database, receiver.url)
                await until(lambda at=nodes[victim][1]: found(client, f"{at}{URL}/urn:ngsi-ld:Subscription:1", 200))
            body = [meter(1, n, f"2026-01-01T00:{n // 60:02}:{n % 60:02}Z")]
            answer = await client.post(
                f"{nodes[n % 2][1]}{ROOT}/entityOperations/upsert?options=update", json=body, headers=LD
            )
            if answer.status_code in (201, 204):
                acknowledged.add(n)
    return acknowledged


async def test_quality_counts_what_came_to_any_of_them(databases: Databases, tmp_path: Path) -> None:
    async with pair(databases, tmp_path) as servers:
        for n in range(1, 11):
            await upsert(servers[n % 2], meter(1, n, f"2026-01-01T00:00:{n:02}Z"))
        both = await asyncio.gather(*(upsert(one, meter(1, 0, "2026-01-01T00:00:00Z")) for one in servers))
        assert [answer.status_code for answer in both] == [204, 204]
        for one in servers:
            answer = await one.get("/api/quality", params={"type": "ACMeasurement"}, headers=LINK)
            (report,) = answer.json()
            (track,) = report["attributes"].values()
            assert (track["samples"], track["late"], track["repeated"]) == (11, 1, 1)


async def test_throttling_holds_for_both_together(databases: Databases, tmp_path: Path) -> None:
    async with receiving() as receiver, pair(databases, tmp_path, notify_prefixes=(receiver.url,)) as (a, b):
        one = subscription(receiver.url) | {"throttling": 3600}
        last = subscription(receiver.url) | {"id": "urn:ngsi-ld:Subscription:all"}
        for each in (one, last):
            assert (await a.post(URL, json=each, headers=LD)).status_code == 201
        for n in range(1, 7):
            await upsert((a, b)[n % 2], meter(1, n, f"2026-01-01T00:00:{n:02}Z"))
        await until(lambda: len(receiver.got) == 7)
        await asyncio.sleep(1)
        assert sorted(receiver.values()) == [1, 1, 2, 3, 4, 5, 6]


async def test_a_write_meets_a_subscription_that_another_one_has_just_acknowledged(
    databases: Databases, tmp_path: Path
) -> None:
    async with receiving() as receiver, pair(databases, tmp_path, notify_prefixes=(receiver.url,)) as (a, b):
        for n in range(1, 21):
            one = subscription(receiver.url) | {"id": f"urn:ngsi-ld:Subscription:{n}"}
            assert (await a.post(URL, json=one, headers=LD)).status_code == 201
            await upsert(b, meter(1, n, f"2026-01-01T00:00:{n:02}Z"))
            await until(lambda n=n: n in receiver.values())  # type: ignore[misc]
            assert (await a.delete(f"{URL}/{one['id']}")).status_code == 204


async def test_what_one_has_forwarded_the_other_passes_on_and_ends(databases: Databases, tmp_path: Path) -> None:
    async with odd(POST=(201, None), DELETE=(204, None)) as source:

        def asked(method: str, path: str) -> list[Any]:
            return [seen.body for seen in source.seen if seen.method == method and seen.path.startswith(path)]

        async with pair(databases, tmp_path, notify_prefixes=(source.url,)) as (one, other):
            registered = {
                "type": "ContextSourceRegistration",
                "endpoint": source.url,
                "information": [{"entities": [{"type": "Room"}]}],
            }
            assert (await one.post(f"{ROOT}/csourceRegistrations", json=registered)).status_code == 201
            mine = {
                "id": "urn:ngsi-ld:Subscription:forwarded",
                "type": "Subscription",
                "entities": [{"type": "Room"}],
                "notification": {"endpoint": {"uri": f"{source.url}/notify"}},
            }
            assert (await one.post(f"{ROOT}/subscriptions", json=mine)).status_code == 201
            (there,) = asked("POST", "/subscriptions")
            path = urlsplit(there["notification"]["endpoint"]["uri"]).path
            note = {"type": "Notification", "subscriptionId": there["id"], "data": [room(1, humidity=5)]}

            async def taken() -> bool:
                return bool((await other.post(path, json=note)).status_code == 204)

            await until(taken)
            await until(lambda: bool(asked("POST", "/notify")))
            assert (await other.delete(f"{ROOT}/subscriptions/{mine['id']}")).status_code == 204
            await until(lambda: len(asked("DELETE", f"/subscriptions/{there['id']}")) == 1)
