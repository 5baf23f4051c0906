"""Transient entities and attributes: expiresAt is checked, seen, obeyed; what has expired is removed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.server.broker.model import Change, Stored, time_text
from gateway.server.broker.parse import parse_entity
from gateway.server.broker.service import Broker
from gateway.server.broker.sweeper import Sweeper
from gateway.server.broker.transient import alive, due_us
from gateway.server.contexts import Contexts
from gateway.server.errors import ResourceNotFound, StorageFull
from gateway.server.storage.base import Writer
from gateway.server.storage.sqlite import SqliteStorage
from tests.server.support import ROOT, until

CORE = Contexts().core
ONE = "urn:ngsi-ld:Room:1"
START_US = 4_000_000_000_000_000  # in the year 2096
A = CORE.expand_name("a")


def later(seconds: float) -> str:
    return time_text(int((time.time() + seconds) * 1_000_000))


def at(seconds: float) -> str:
    return time_text(START_US + int(seconds * 1_000_000))


def stored(**members: Any) -> Stored:
    return parse_entity({"id": ONE, "type": "Room", **members}, CORE)


@pytest.mark.parametrize(
    ("members", "seconds", "names"),
    [
        ({"a": 1}, 100, {"a"}),
        ({"a": 1, "expiresAt": at(5)}, 4, {"a"}),
        ({"a": 1, "expiresAt": at(5)}, 5, None),
        ({"a": {"value": 1, "expiresAt": at(5)}, "b": 2}, 6, {"b"}),
        ({"a": {"value": 1, "expiresAt": at(5)}, "b": 2}, 4, {"a", "b"}),
        ({"a": [{"value": 1}, {"value": 2, "datasetId": "urn:x:1", "expiresAt": at(5)}]}, 6, {"a"}),
    ],
)
def test_what_is_alive(members: dict[str, Any], seconds: float, names: set[str] | None) -> None:
    left = alive(stored(**members), START_US + int(seconds * 1_000_000))
    assert (left and {CORE.compact_name(name) for name in left if ":" in name}) == names


def test_an_instance_expires_alone() -> None:
    entity = stored(a=[{"value": 1}, {"value": 2, "datasetId": "urn:x:1", "expiresAt": at(5)}])
    left = alive(entity, START_US + 6_000_000)
    assert left is not None and left[A]["value"] == 1 and len(entity[A]) == 2
    assert due_us(entity, b'"expiresAt"') == START_US + 5_000_000


async def test_sweeping_with_a_clock(tmp_path: Path) -> None:
    storage, now = SqliteStorage(tmp_path), START_US
    await storage.start()
    broker = Broker(storage, lambda: now * 1000)
    seen: list[Change] = []
    broker.observe(seen.extend)
    await broker.create("", stored(a={"value": 1, "expiresAt": at(10)}, b=2, expiresAt=at(20)))
    assert await broker.sweep(10) == 0
    now = START_US + 10_000_000
    assert await broker.sweep(10) == 1 and seen[-1].removed == (A,) and A in seen[-1].previous
    assert await broker.sweep(10) == 0, "done"
    now = START_US + 20_000_000
    with pytest.raises(ResourceNotFound):
        await broker.append("", ONE, stored(a=5))
    assert (await broker.update_batch("", [stored(a=5)])).errors and (await broker.delete_batch("", [ONE])).errors
    assert await broker.sweep(10) == 1 and seen[-1].event == "deleted"
    assert await storage.lookup("", ONE) is None
    await broker.create("", stored(a=1, expiresAt=at(30)))
    now = START_US + 30_000_000
    await broker.create("", stored(a=2))  # what has expired does not stand in the way
    assert seen[-1].event == "created" and await broker.sweep(10) == 0
    await storage.close()


async def test_expiry_over_http(client: httpx.AsyncClient) -> None:
    entity = {"id": ONE, "type": "Room", "a": {"type": "Property", "value": 1, "expiresAt": later(60)}}
    for bad in ("2020-01-01T00:00:00Z", "soon", 5, None):
        for broken in ({**entity, "expiresAt": bad}, {**entity, "a": {"value": 1, "expiresAt": bad}}):
            answer = await client.post(f"{ROOT}/entities", json=broken)
            assert answer.status_code == 400 and "expiresAt" in answer.json()["detail"]
    assert (await client.post(f"{ROOT}/entities", json={**entity, "expiresAt": later(1.5)})).status_code == 201
    url = f"{ROOT}/entities/{ONE}"

    async def gone() -> bool:
        found = await client.get(f"{ROOT}/entities", params={"type": "Room"})
        return (await client.get(url)).status_code == 404 and found.json() == []

    await until(gone)
    assert (await client.post(f"{ROOT}/entities", json=entity)).status_code == 201, "the id is free again"
    prolonged = await client.patch(url, json={"expiresAt": later(60), "a": {"expiresAt": "urn:ngsi-ld:null"}})
    assert prolonged.status_code == 204
    assert (await client.patch(url, json={"expiresAt": "2020-01-01T00:00:00Z"})).status_code == 400
    assert (await client.patch(url, json={"expiresAt": "urn:ngsi-ld:null"})).status_code == 204
    shown = (await client.get(url, params={"options": "sysAttrs"})).json()
    assert "expiresAt" not in shown and "expiresAt" not in shown["a"]


async def test_the_server_sweeps(client: httpx.AsyncClient) -> None:
    """What expires leaves the history of its deletion, though nobody writes or asks."""
    entity = {"id": ONE, "type": "Room", "a": {"type": "Property", "value": 1, "expiresAt": later(1)}, "b": 2}
    assert (await client.post(f"{ROOT}/entities", json=entity)).status_code == 201

    async def deleted() -> bool:
        found = await client.get(
            f"{ROOT}/temporal/entities/{ONE}",
            params={"timeproperty": "deletedAt", "timerel": "after", "timeAt": "2020-01-01T00:00:00Z"},
        )
        return found.status_code == 200 and bool(found.json().get("a"))

    await until(deleted)
    found = (await client.get(f"{ROOT}/entities/{ONE}")).json()
    assert "a" not in found and found["b"]["value"] == 2


async def test_sweeping_goes_on_after_a_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    storage, now = SqliteStorage(tmp_path), START_US
    await storage.start()
    broker = Broker(storage, lambda: now * 1000)
    failures = [StorageFull("no room"), ValueError("a fault of a hook")] * 2

    def hook(writer: Writer, changes: Sequence[Change]) -> None:
        if failures and changes[0].event == "deleted":
            raise failures.pop()

    broker.before_commit(hook)
    await broker.create("", stored(a=1, expiresAt=at(10)))
    now = START_US + 10_000_000

    async def gone() -> bool:
        return await storage.lookup("", ONE) is None

    async with Sweeper(broker, pause_s=0.01).running():
        await until(gone)
    assert not failures and caplog.text.count("what has expired stays for now") == 1, "said once"
    await storage.close()
