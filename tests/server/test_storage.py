"""Storage: group commit, isolation of failures, overload, damage, locks, what was acknowledged."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from pathlib import Path

import httpx
import pytest

from gateway.server.errors import Overloaded, ServerError, StorageFull
from gateway.server.http import App
from gateway.server.platform import Platform
from gateway.server.settings import ServerSettings
from gateway.server.storage.base import Sample, Selection, Writer
from gateway.server.storage.sqlite import SqliteStorage
from gateway.server.storage.state import State, Version
from tests.server.support import LD, ROOT, meter


async def test_a_failing_write_undoes_only_itself(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)
    await storage.start()

    def bad(writer: Writer) -> None:
        writer.put_entity("lost", "urn:x:bad", ["urn:t:1"], b"{}")
        writer.put_history("lost", "urn:x:bad", [Sample("urn:a:1", "", 1, b"1")], 1)
        raise ZeroDivisionError

    gate = threading.Event()
    first = asyncio.ensure_future(storage.write(lambda _: gate.wait()))
    await asyncio.sleep(0.05)
    others = [
        asyncio.ensure_future(storage.write(lambda w, n=n: w.put_entity("", f"urn:x:{n}", ["urn:t:1"], b"{}")))
        for n in range(5)
    ]
    failing = asyncio.ensure_future(storage.write(bad))
    more = asyncio.ensure_future(storage.write(lambda w: w.put_entity("", "urn:x:bad", ["urn:t:1"], b"{}")))
    gate.set()
    await asyncio.gather(first, *others, more)
    with pytest.raises(ZeroDivisionError):
        await failing
    assert await storage.read(lambda r: r.count("", Selection())) == 6
    assert await storage.read(lambda r: r.tenants()) == [""]
    assert storage.stats().commits == 2, "what waited went into one commit"
    await storage.close()


async def test_what_was_answered_is_in_the_file(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)
    await storage.start()
    await storage.write(lambda w: w.put_entity("", "urn:x:1", ["urn:t:1"], b"{}"))
    with sqlite3.connect(tmp_path / "server.db") as other:
        assert other.execute("SELECT count(*) FROM log").fetchone() == (1,)
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    await storage.close()


async def test_types_follow_the_entity(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)
    await storage.start()
    for types in (["urn:t:1", "urn:t:2"], ["urn:t:2"], ["urn:t:3"]):
        await storage.write(lambda w, types=types: w.put_entity("", "urn:x:1", types, b"{}"))
        assert await storage.read(lambda r: r.types("")) == types
    assert await storage.write(lambda w: w.delete_entity("", "urn:x:1"))
    assert await storage.read(lambda r: r.types("")) == []
    await storage.write(lambda w: w.put_entity("", "urn:x:1", ["urn:t:3"], b"{}"))
    assert await storage.read(lambda r: r.count("", Selection(types=("urn:t:3",)))) == 1
    await storage.close()


async def test_overload_is_503_with_retry_after(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path, waiting_max=3)
    app = App(Platform(ServerSettings(data=tmp_path), storage))
    gate = threading.Event()
    async with (
        app.running(),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
    ):
        blocker = asyncio.ensure_future(storage.write(lambda _: gate.wait()))
        await asyncio.sleep(0.05)
        waiting = [asyncio.ensure_future(client.post(f"{ROOT}/entities", json=meter(n), headers=LD)) for n in range(6)]
        done, pending = await asyncio.wait(waiting, timeout=1)
        gate.set()
        refused = [task.result() for task in done]
        assert {answer.status_code for answer in refused} == {503} and len(refused) == 4
        assert refused[0].headers["retry-after"] == "1"
        assert {(await task).status_code for task in pending} == {201}
        await blocker
        assert (await client.post(f"{ROOT}/entities", json=meter(9), headers=LD)).status_code == 201
        assert "lamppost_server_refused_total 4" in (await client.get("/metrics")).text


async def test_a_batch_larger_than_the_queue_is_taken_when_nothing_waits(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path, waiting_max=2)
    await storage.start()
    assert await storage.write(lambda _: 5, weight=10) == 5
    with pytest.raises(Overloaded):
        await asyncio.gather(storage.write(lambda _: 1, weight=2), storage.write(lambda _: 1, weight=2))
    await storage.close()


async def test_a_full_storage_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path, bytes_max=64 * 4096)
    await storage.start()
    await storage.write(lambda w: w.put_entity("", "urn:x:kept", ["urn:t:1"], b"{}"))
    with pytest.raises(StorageFull):
        await storage.write(lambda w: w.put_entity("", "urn:x:big", ["urn:t:1"], os.urandom(1_000_000)))
    assert await storage.read(lambda r: r.entity("", "urn:x:kept")) == b"{}"
    assert await storage.read(lambda r: r.entity("", "urn:x:big")) is None
    await storage.write(lambda w: w.put_entity("", "urn:x:small", ["urn:t:1"], b"{}"))
    await storage.close()


async def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)
    await storage.start()
    for number in range(200):
        await storage.write(lambda w, n=number: w.put_entity("", f"urn:x:{n}", ["urn:t:1"], b"x" * 500))
    await storage.close()
    path = tmp_path / "server.db"
    content = bytearray(path.read_bytes())
    content[5 * 4096 : 9 * 4096] = b"\xff" * (4 * 4096)
    path.write_bytes(content)
    with pytest.raises(ServerError) as caught:
        await SqliteStorage(tmp_path).start()
    assert caught.value.code == "server.storage-damaged"
    assert ".recover" in caught.value.fix
    assert path.read_bytes() == content
    path.write_bytes(b"not a database at all" * 500)
    with pytest.raises(ServerError) as caught:
        await SqliteStorage(tmp_path).start()
    assert caught.value.code == "server.storage-damaged"


async def test_one_server_per_folder(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)
    await storage.start()
    with pytest.raises(ServerError) as caught:
        await SqliteStorage(tmp_path).start()
    assert caught.value.code == "server.data-in-use"
    await storage.close()
    again = SqliteStorage(tmp_path)
    await again.start()
    await again.close()


async def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)
    await storage.start()
    await storage.close()
    with sqlite3.connect(tmp_path / "server.db") as other:
        other.execute("PRAGMA user_version = 999")
    with pytest.raises(ServerError) as caught:
        await SqliteStorage(tmp_path).start()
    assert caught.value.code == "server.storage-newer"


async def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerError) as caught:
        await SqliteStorage(tmp_path / "file").start()
    assert caught.value.code == "server.data-unusable"


def test_a_version_that_is_kept_twice_is_counted_and_taken_off_twice() -> None:
    state = State(cache_bytes=10)
    version = Version(1, ["urn:t:1"], live=True, document=b"x" * 8, expires_us=None)
    state.cache(1, version)
    state.cache(2, version)
    state.shrink(floor=2)
    assert version.document is None
    other = Version(3, ["urn:t:1"], live=True, document=b"x" * 8, expires_us=None)
    state.cache(3, other)
    state.shrink(floor=3)
    assert other.document is not None, "it alone is within the bound"
