"""Entity maps: a result held still over its pages, here alone and with other sources; of history, too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.server.distributed import maps
from tests.server.federation import ROOT, Server, brokers, register, room
from tests.server.support import until


def ids(answer: httpx.Response) -> list[int]:
    return [int(entity["id"].rpartition(":")[2]) for entity in answer.json()]


async def turned(server: Server, name: str, offset: int = 0, path: str = "/entities", **more: str) -> httpx.Response:
    parameters = {"type": "Room", "limit": "2", "offset": str(offset), **more}
    return await server.client.get(ROOT + path, params=parameters, headers={"NGSILD-EntityMap": name})


async def test_pages_of_a_map_stay_what_they_are(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a") as (a,):
        for number in (1, 2, 3, 4, 5):
            await a.post("/entities", room(number, t=number))
        first = await a.get("/entities", type="Room", q="t<9", limit="2", entityMap="true", count="true")
        assert first.status_code == 201 and ids(first) == [1, 2]
        assert first.headers["NGSILD-Results-Count"] == "5" and 'rel="next"' in first.headers["link"]
        name = first.headers["NGSILD-EntityMap"]
        await a.post("/entities", room(6, t=6))
        await a.client.delete(f"{ROOT}/entities/urn:ngsi-ld:Room:1")
        await a.patch("/entities/urn:ngsi-ld:Room:4/attrs", {"t": 10})
        second = await turned(a, name, 2, q="t<9")
        assert second.status_code == 200 and ids(second) == [3] and second.headers["NGSILD-EntityMap"] == name
        third = await turned(a, name, 4, q="t<9")
        assert ids(third) == [5] and 'rel="next"' not in third.headers["link"]
        assert ids(await turned(a, name, 0, q="t<9")) == [2]
        shown = (await a.get(f"/entityMaps/{name}")).json()
        assert shown["type"] == "EntityMap" and shown["id"] == name and shown["linkedMaps"] == {}
        assert shown["entityMap"] == {f"urn:ngsi-ld:Room:{n}": ["@none"] for n in (2, 3, 5)}


async def test_a_map_says_who_has_what(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a", "b") as (a, b):
        await a.post("/entities", room(1, t=1))
        await b.post("/entities", room(1, h=1))
        await b.post("/entities", room(2, h=2))
        name = await register(a, b.url)
        made = await a.get("/entityMaps", type="Room")
        assert made.status_code == 201 and made.headers["location"] == f"{ROOT}/entityMaps/{made.json()['id']}"
        assert made.json()["entityMap"] == {"urn:ngsi-ld:Room:1": ["@none", name], "urn:ngsi-ld:Room:2": [name]}
        local = await a.get("/entityMaps", type="Room", local="true")
        assert local.json()["entityMap"] == {"urn:ngsi-ld:Room:1": ["@none"]}
        await b.post("/entities", room(3, h=3))
        found = await turned(a, made.json()["id"], options="keyValues")
        assert ids(found) == [1, 2] and found.json()[0] == {**room(1), "t": 1, "h": 1}
        body = {"type": "Query", "entities": [{"type": "Room", "idPattern": ":[23]$"}]}
        posted = await a.post("/entityMaps", body)
        assert posted.status_code == 201 and [*posted.json()["entityMap"]] == [f"urn:ngsi-ld:Room:{n}" for n in (2, 3)]
        headers = {"NGSILD-EntityMap": posted.json()["id"]}
        again = await a.client.post(f"{ROOT}/entityOperations/query", json=body, headers=headers)
        assert ids(again) == [2, 3] and again.status_code == 200


async def test_lives_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with brokers(tmp_path, "a") as (a,):
        await a.post("/entities", room(1, t=1))
        made = (await a.get("/entityMaps", type="Room", entityMapLifetime="PT1H")).json()
        left = datetime.fromisoformat(made["expiresAt"]) - datetime.now(UTC)
        assert timedelta(minutes=59) < left <= timedelta(hours=1)
        at = f"/entityMaps/{made['id']}"
        until = (datetime.now(UTC) + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
        changed = await a.patch(at, {"expiresAt": until, "entityMap": {"urn:x:1": []}})
        assert changed.status_code == 204
        after = (await a.get(at)).json()
        assert after["expiresAt"] == until and after["entityMap"] == made["entityMap"]
        for bad in ({}, {"expiresAt": "2020-01-01T00:00:00Z"}, {"expiresAt": 5}, {"expiresAt": until, "x": 1}, []):
            assert (await a.patch(at, bad)).status_code == 400, bad
        assert (await a.get("/entityMaps/nothing")).status_code == 400
        assert (await a.get("/entityMaps/urn:ngsi-ld:EntityMap:9")).status_code == 404
        assert (await a.client.get(ROOT + at, headers={"NGSILD-Tenant": "other"})).status_code == 404
        moment = maps.now_us()
        monkeypatch.setattr(maps, "now_us", lambda: moment + 3 * 3600 * 1_000_000)
        assert (await a.get(at)).status_code == 404
        renewed = await turned(a, made["id"])
        assert renewed.status_code == 201 and renewed.headers["NGSILD-EntityMap"] != made["id"]
        newer = f"{ROOT}/entityMaps/{renewed.headers['NGSILD-EntityMap']}"
        assert [(await a.client.delete(newer)).status_code for _ in range(2)] == [204, 404]


async def test_what_is_refused(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a") as (a,):
        await a.post("/entities", room(1, t=1))
        for bad in ({}, {"id": "urn:x:1"}, {"type": "Room", "entityMapLifetime": "soon"}, {"type": "Room", "q": "("}):
            assert (await a.get("/entityMaps", **bad)).status_code == 400, bad
        made = await a.get("/entities", type="Room", entityMap="true")
        other = {"@context": {"x": "urn:x:x"}, "type": "Query", "entities": [{"type": "Room"}]}
        headers = {"NGSILD-EntityMap": made.headers["NGSILD-EntityMap"], "Content-Type": "application/ld+json"}
        answer = await a.client.post(f"{ROOT}/entityOperations/query", json=other, headers=headers)
        assert answer.status_code == 400 and "context" in answer.json()["detail"]


async def test_maps_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "MAPS_MAX", 3)
    async with brokers(tmp_path, "a") as (a,):
        await a.post("/entities", room(1, t=1))
        made = [(await a.get("/entityMaps", type="Room")).json()["id"] for _ in range(5)]
        kept = [(await a.get(f"/entityMaps/{name}")).status_code for name in made]
        assert kept == [404, 404, 200, 200, 200]


async def test_maps_of_history(tmp_path: Path) -> None:
    def seen(number: int) -> dict[str, Any]:
        return {"type": "Property", "value": number, "observedAt": f"2026-01-01T0{number}:00:00Z"}

    async with brokers(tmp_path, "a", "b") as (a, b):
        for number in (1, 2, 3):
            await a.post("/entities", {**room(number), "p": seen(number)})
        await b.post("/entities", {**room(4), "p": seen(4)})
        name = await register(a, b.url, operations=["queryTemporal"])
        interval = {"timerel": "after", "timeAt": "2026-01-01T00:00:00Z", "options": "temporalValues"}
        made = await a.get("/temporal/entityMaps", type="Room", **interval)
        assert made.status_code == 201
        where = {f"urn:ngsi-ld:Room:{n}": ["@none"] for n in (1, 2, 3)} | {"urn:ngsi-ld:Room:4": [name]}
        assert made.json()["entityMap"] == where
        await a.post("/entities", {**room(5), "p": seen(5)})
        pages = [await turned(a, made.json()["id"], at, "/temporal/entities", **interval) for at in (0, 2)]
        assert [ids(page) for page in pages] == [[1, 2], [3, 4]]
        assert pages[1].json()[1]["p"]["values"][0][0] == 4
        fresh = await a.get("/temporal/entities", type="Room", entityMap="true", limit="1", **interval)
        assert fresh.status_code == 201 and fresh.headers["NGSILD-EntityMap"] != made.json()["id"]
        of_now = await turned(a, made.json()["id"])  # a map of history is none of current state
        assert of_now.status_code == 201
        assert (await a.get("/temporal/entityMaps", type="Room")).status_code == 400
        times = {"timerel": "after", "timeAt": "2026-01-01T00:00:00Z"}
        body = {"type": "Query", "entities": [{"type": "Room", "idPattern": ":[14]$"}], "temporalQ": times}
        posted = await a.post("/temporal/entityMaps", body)
        assert posted.status_code == 201
        assert posted.json()["entityMap"] == {key: where[key] for key in where if key[-1] in "14"}


async def test_a_restart_ends_no_map(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a") as (a,):
        for number in (1, 2, 3):
            await a.post("/entities", room(number, t=number))
        first = await a.get("/entities", type="Room", limit="2", entityMap="true")
        short = await a.get("/entityMaps", type="Room", entityMapLifetime="PT1S")
        gone = await a.get("/entityMaps", type="Room")
        assert (await a.client.delete(ROOT + f"/entityMaps/{gone.json()['id']}")).status_code == 204
        name, later = first.headers["NGSILD-EntityMap"], datetime.now(UTC) + timedelta(hours=2)
        expires = later.strftime("%Y-%m-%dT%H:%M:%SZ")
        assert (await a.patch(f"/entityMaps/{name}", {"expiresAt": expires})).status_code == 204
    async with brokers(tmp_path, "a") as (a,):
        await a.post("/entities", room(4, t=4))
        second = await turned(a, name, 2)
        assert second.status_code == 200 and ids(second) == [3] and second.headers["NGSILD-EntityMap"] == name
        assert (await a.get(f"/entityMaps/{name}")).json()["expiresAt"] == expires
        assert (await a.get(f"/entityMaps/{gone.json()['id']}")).status_code == 404

        async def ended() -> bool:
            return (await a.get(f"/entityMaps/{short.json()['id']}")).status_code == 404

        await until(ended)
