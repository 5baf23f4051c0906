"""A database of every earlier version opens, keeps what it has, and takes what is new. Each version stays as a file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gateway.model import Range
from gateway.server.storage import schema
from gateway.server.storage.base import Selection
from gateway.server.storage.sqlite import SqliteStorage
from tests.server.support import history, meter, serving, upsert

DATABASES = Path(__file__).with_name("databases")
OLD = sorted(DATABASES.glob("*.sql"))


def old_database(dump: Path, folder: Path) -> None:
    with sqlite3.connect(folder / "server.db") as file:
        file.executescript(dump.read_text(encoding="utf-8"))


def test_every_earlier_version_is_kept() -> None:
    assert [int(path.stem) for path in OLD] == sorted(schema.versions())[:-1]


@pytest.mark.parametrize("dump", OLD, ids=lambda path: path.stem)
async def test_an_old_database_migrates(tmp_path: Path, dump: Path) -> None:
    old_database(dump, tmp_path)
    async with serving(tmp_path) as client:
        assert [value for value, _ in await history(client, 0)] == [0, 1, 2, 3, 4]
        assert (await upsert(client, meter(0, 9.0, "2026-01-01T00:00:09Z"))).status_code == 204
        assert len(await history(client, 0)) == 6
        kept = (await client.get("/ngsi-ld/v1/subscriptions")).json()
        assert [subscription["id"] for subscription in kept] == ["urn:ngsi-ld:Subscription:old"]
    with sqlite3.connect(tmp_path / "server.db") as file:
        assert file.execute("PRAGMA user_version").fetchone() == (max(schema.versions()),)
        migrated = set(file.execute("SELECT type, name, sql FROM sqlite_schema"))
    fresh = sqlite3.connect(":memory:")
    for step in schema.versions().values():
        fresh.executescript(step)
    made = {name for _, name, _ in fresh.execute("SELECT type, name, sql FROM sqlite_schema")}
    fresh.close()
    assert {name for _, name, _ in migrated} == made


async def test_ranges_and_profiles_are_kept_within_their_bounds(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)
    await storage.start()
    for number in range(5):
        ranges = [Range(1, number + 1), Range(100, 2**62)]
        await storage.write(lambda w, n=number, r=ranges: w.put_received("box", f"s{n}", r, n, 3))
        await storage.write(lambda w, n=number: w.put_profiles("box", f"h{n}", b"p%d" % n, n, 2))
    await storage.write(lambda w: w.put_received("box", "s2", [Range(1, 9)], 7, 3))
    await storage.write(lambda w: w.put_received("other", "s0", [Range(5, 5)], 0, 3))
    await storage.write(lambda w: w.put_received("box", "late", [Range(5, 5)], 0, 3))
    await storage.close()
    again = SqliteStorage(tmp_path)
    await again.start()
    assert dict(await again.read(lambda r: r.streams("box"))) == {
        "s4": [Range(1, 5), Range(100, 2**62)],
        "s2": [Range(1, 9)],
        "late": [Range(5, 5)],
    }, "the one just written stays, whatever the clock says"
    assert await again.read(lambda r: r.received("other", "s0")) == [Range(5, 5)]
    assert await again.read(lambda r: r.received("box", "s0")) == []
    assert [await again.read(lambda r, n=n: r.profiles("box", f"h{n}")) for n in (2, 3, 4)] == [None, b"p3", b"p4"]
    assert await again.read(lambda r: r.count("", Selection())) == 0
    await again.close()
