"""History that is older than wanted goes; what is newer, and the current state, stay."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from gateway.server.storage.base import Sample, Span, Writer
from gateway.server.storage.sqlite import SqliteStorage
from gateway.server.temporal.retention import DAY_US, Retention
from tests.server.support import ROOT, history, meter, serving, until, upsert

NOW_US = 1_800_000_000_000_000
EVERY_US = DAY_US // 24
NAME = ("", "urn:x:1")


def hours(count: int, attribute: str = "urn:a:1") -> list[Sample]:
    """One sample an hour up to now."""
    return [Sample(attribute, "", NOW_US - n * EVERY_US, b'{"type":"Property","value":%d}' % n) for n in range(count)]


async def test_old_chunks_go_and_the_one_at_the_edge_is_cut(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)
    await storage.start()

    def fill(writer: Writer) -> None:
        writer.put_entity(*NAME, ["urn:t"], b"{}")
        writer.put_history(*NAME, hours(5_000), NOW_US)
        writer.put_subject("", "urn:x:past", ["urn:t"])
        writer.put_history("", "urn:x:past", hours(5_000)[1_000:], NOW_US)
        writer.put_subject("", "urn:x:new", ["urn:t"])
        writer.put_history("", "urn:x:new", hours(3), NOW_US)

    await storage.write(fill)
    await storage.close()
    storage = SqliteStorage(tmp_path)
    await storage.start()
    retention = Retention(storage, days=30, clock_ns=lambda: NOW_US * 1000)
    assert await retention.sweep() == 2
    everything = Span(limit=10**6, time_property="any")
    for _ in range(2):
        left = await storage.read(lambda r: r.history(*NAME, everything))
        assert [NOW_US - one.at_us for one in left] == [n * EVERY_US for n in range(720, -1, -1)]
        assert await storage.read(lambda r: r.entity(*NAME)) == b"{}"
        assert await storage.read(lambda r: r.subject("", "urn:x:past")) is None
        assert len(await storage.read(lambda r: r.history("", "urn:x:new", everything))) == 3
        await storage.close()
        storage = SqliteStorage(tmp_path)
        await storage.start()
    assert await Retention(storage, days=30, clock_ns=lambda: NOW_US * 1000).sweep() == 0, "nothing is left to do"
    await storage.close()
    with sqlite3.connect(tmp_path / "server.db") as file:
        assert file.execute("SELECT sum(size) FROM chunk").fetchone() == (721,)
        assert file.execute("SELECT count(*) FROM recent").fetchone() == (1,)
        assert file.execute("PRAGMA freelist_count").fetchone()[0] > 5, "the room is free for what comes"


async def test_a_clock_that_is_not_set_deletes_nothing(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)
    await storage.start()
    await storage.write(lambda w: w.put_subject(*NAME, ["urn:t"]))
    await storage.write(lambda w: w.put_history(*NAME, [Sample("urn:a", "", -(10**15), b"{}")], 1))
    assert await Retention(storage, days=1, clock_ns=lambda: 86_400 * 10**9).sweep() == 0
    await storage.close()


async def test_a_server_with_history_days(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await upsert(client, meter(1, 1, "2020-01-01T00:00:00Z"))
        await upsert(client, meter(1, 2, "2026-01-01T00:00:00Z"))
    async with serving(tmp_path, history_days=1000) as client:

        async def gone() -> bool:
            return len(await history(client)) == 1

        async def counted() -> bool:
            return "lamppost_server_history_trimmed_total 1" in (await client.get("/metrics")).text

        await until(gone)
        await until(counted)
        one = f"{ROOT}/entities/urn:ngsi-ld:ACMeasurement:test:1"
        assert (await client.get(one)).status_code == 200
