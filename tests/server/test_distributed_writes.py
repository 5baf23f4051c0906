"""Writes with other sources: split by attributes, forwarded, put together into one answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.server.federation import DEFAULT, Server, brokers, odd, register, room

ID = "urn:ngsi-ld:Room:1"
ONE = f"/entities/{ID}"
HUMIDITY = [{"entities": [{"type": "Room", "id": ID}], "propertyNames": ["humidity"]}]


async def shown(server: Server) -> dict[str, Any] | None:
    answer = await server.get(ONE, options="keyValues", local="true")
    return {k: v for k, v in answer.json().items() if k not in ("id", "type")} if answer.status_code == 200 else None


async def test_a_creation_is_split_between_an_exclusive_source_and_here(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a", "b") as (a, b):
        await register(a, b.url, mode="exclusive", information=HUMIDITY)
        answer = await a.post("/entities", room(1, temperature=20, humidity=50))
        assert answer.status_code == 201 and answer.headers["location"].endswith(ID)
        assert (await shown(a), await shown(b)) == ({"temperature": 20}, {"humidity": 50})
        assert (await a.get(ONE, options="keyValues")).json()["humidity"] == 50


async def test_a_redirected_creation_leaves_nothing_here(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a", "b", "c") as (a, b, c):
        await register(a, b.url, mode="redirect")
        await register(a, c.url, mode="redirect")
        assert (await a.post("/entities", room(1, humidity=50))).status_code == 201
        assert (await shown(a), await shown(b), await shown(c)) == (None, {"humidity": 50}, {"humidity": 50})


async def test_an_inclusive_source_gets_it_too_and_its_failure_is_told(tmp_path: Path) -> None:
    async with odd(POST=(500, {})) as source, brokers(tmp_path, "a", "b", sources=[source]) as (a, b):
        await register(a, b.url)
        assert (await a.post("/entities", room(1, humidity=50))).status_code == 201
        assert await shown(a) == await shown(b) == {"humidity": 50}
        name = await register(a, source.url)
        answer = await a.post("/entities", room(2, humidity=50))
        assert answer.status_code == 207 and answer.headers["location"].endswith("Room:2")
        body = answer.json()
        assert body["success"] == ["urn:ngsi-ld:Room:2"]
        (error,) = body["errors"]
        assert (error["entityId"], error["registrationId"]) == ("urn:ngsi-ld:Room:2", name)
        assert error["error"]["status"] == 502


async def test_a_bad_body_is_refused_before_anybody_gets_a_part(tmp_path: Path) -> None:
    async with odd(POST=(201, None)) as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        await register(a, source.url)
        bad = {**room(1, humidity=1), "x": {"type": "Property"}}
        assert (await a.post("/entities", bad)).status_code == 400
        assert (await a.post(f"{ONE}/attrs", {"x": {"type": "Property"}})).status_code == 400
        assert (await a.client.put(f"/ngsi-ld/v1{ONE}/attrs/x", json={"type": "Property"})).status_code == 400
        assert not source.seen


async def test_what_the_only_source_does_not_offer_is_a_conflict(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a", "b") as (a, b):
        name = await register(a, b.url, mode="exclusive", information=HUMIDITY, operations=["retrieveOps"])
        whole = await a.post("/entities", room(1, humidity=50))
        assert whole.status_code == 409 and whole.json()["type"].endswith("/Conflict")
        part = await a.post("/entities", room(1, humidity=50, temperature=20))
        assert part.status_code == 207 and part.json()["errors"][0]["registrationId"] == name
        assert await shown(a) == {"temperature": 20}
        updated = await a.patch(f"{ONE}/attrs", {"humidity": 51, "temperature": 21})
        assert updated.status_code == 207
        assert updated.json()["updated"] == [DEFAULT + "temperature"]
        (detail,) = updated.json()["notUpdated"]
        assert (detail["attributeName"], detail["registrationId"]) == (DEFAULT + "humidity", name)


async def test_updates_merges_and_replacements_go_where_the_attributes_are(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a", "b") as (a, b):
        await register(a, b.url, mode="exclusive", information=HUMIDITY)
        await a.post("/entities", room(1, temperature=20, humidity=50))
        assert (await a.patch(f"{ONE}/attrs", {"temperature": 21, "humidity": 51})).status_code == 204
        assert (await shown(a), await shown(b)) == ({"temperature": 21}, {"humidity": 51})
        assert (await a.patch(ONE, {"temperature": 22, "humidity": 52, "light": 1})).status_code == 204
        assert (await shown(a), await shown(b)) == ({"temperature": 22, "light": 1}, {"humidity": 52})
        assert (await a.patch(f"{ONE}/attrs/humidity", {"value": 53})).status_code == 204
        assert (await a.post(f"{ONE}/attrs", {"humidity": 54, "noise": 1})).status_code == 204
        assert (await shown(a), await shown(b)) == ({"temperature": 22, "light": 1, "noise": 1}, {"humidity": 54})
        replaced = await a.client.put(f"/ngsi-ld/v1{ONE}", json=room(1, temperature=1, humidity=2))
        assert replaced.status_code == 204
        assert (await shown(a), await shown(b)) == ({"temperature": 1}, {"humidity": 2})
        one = {"type": "Property", "value": 3}
        assert (await a.client.put(f"/ngsi-ld/v1{ONE}/attrs/humidity", json=one)).status_code == 204
        assert (await a.client.delete(f"/ngsi-ld/v1{ONE}/attrs/temperature")).status_code == 204
        assert (await shown(a), await shown(b)) == ({}, {"humidity": 3})
        assert (await a.client.delete(f"/ngsi-ld/v1{ONE}/attrs/humidity")).status_code == 204
        assert await shown(b) == {}
        assert (await a.client.delete(f"/ngsi-ld/v1{ONE}/attrs/humidity")).status_code == 404
        assert (await a.client.delete(f"/ngsi-ld/v1{ONE}")).status_code == 204
        assert (await shown(a), await shown(b)) == (None, None)
        assert (await a.client.delete(f"/ngsi-ld/v1{ONE}")).status_code == 404


@pytest.mark.parametrize(("status", "expected"), [(404, 404), (500, 502), (400, 502), (409, 409), (508, 508)])
async def test_what_a_write_to_a_single_owner_fails_with(tmp_path: Path, status: int, expected: int) -> None:
    async with odd(PATCH=(status, {"detail": "no"})) as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        await register(a, source.url, mode="redirect")
        answer = await a.patch(f"{ONE}/attrs", {"humidity": 1})
        assert answer.status_code == expected and source.seen


async def test_local_writes_stay_here(tmp_path: Path) -> None:
    async with odd(POST=(201, None)) as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        await register(a, source.url)
        assert (await a.post("/entities", room(1, humidity=1), local="true")).status_code == 201
        assert not source.seen


async def test_an_inclusive_source_that_does_not_know_the_entity_is_no_failure(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a", "b") as (a, b):
        await a.post("/entities", room(1, humidity=1))
        await register(a, b.url)
        assert (await a.patch(f"{ONE}/attrs", {"humidity": 2})).status_code == 204
        await b.post("/entities", room(2, humidity=1))
        assert (await a.client.delete("/ngsi-ld/v1/entities/urn:ngsi-ld:Room:2")).status_code == 204
        assert (await b.get("/entities/urn:ngsi-ld:Room:2")).status_code == 404
        assert (await a.patch("/entities/urn:ngsi-ld:Room:3/attrs", {"humidity": 2})).status_code == 404


BATCHES = ["createBatch", "upsertBatch", "updateBatch", "mergeBatch", "deleteBatch"]


@pytest.mark.parametrize("operations", [BATCHES, ["redirectionOps"]])
async def test_batches_are_split_too(tmp_path: Path, operations: list[str]) -> None:
    async with brokers(tmp_path, "a", "b") as (a, b):
        await register(a, b.url, mode="exclusive", information=HUMIDITY, operations=operations)
        both = [room(1, temperature=20, humidity=50), room(2, temperature=30)]
        created = await a.post("/entityOperations/create", both)
        assert created.status_code == 201 and created.json() == [ID, "urn:ngsi-ld:Room:2"]
        assert (await shown(a), await shown(b)) == ({"temperature": 20}, {"humidity": 50})
        again = await a.post("/entityOperations/create", both)
        assert again.status_code == 207 and again.json()["success"] == [] and len(again.json()["errors"]) == 3
        upserted = await a.post("/entityOperations/upsert", [room(1, humidity=51), room(3, light=1)], options="update")
        assert upserted.status_code == 201 and upserted.json() == ["urn:ngsi-ld:Room:3"]
        assert (await shown(a), await shown(b)) == ({"temperature": 20}, {"humidity": 51})
        updated = await a.post("/entityOperations/update", [room(1, temperature=21, humidity=52)])
        assert updated.status_code == 204
        assert (await shown(a), await shown(b)) == ({"temperature": 21}, {"humidity": 52})
        merged = await a.post("/entityOperations/merge", [room(1, humidity=53), {"id": "urn:ngsi-ld:Room:9", "x": 1}])
        assert merged.status_code == 207 and merged.json()["success"] == [ID]
        assert [error["entityId"] for error in merged.json()["errors"]] == ["urn:ngsi-ld:Room:9"]
        assert (await a.post("/entityOperations/delete", [ID, "urn:ngsi-ld:Room:2"])).status_code == 204
        assert (await shown(a), await shown(b)) == (None, None)


async def test_a_batch_reports_a_source_that_fails(tmp_path: Path) -> None:
    async with odd() as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        source.answers["POST"] = (503, {})
        name = await register(a, source.url, operations=["createBatch"])
        answer = await a.post("/entityOperations/create", [room(1, humidity=1), {"id": "no uri", "type": "Room"}])
        assert answer.status_code == 207
        assert answer.json()["success"] == [ID]
        assert [error.get("registrationId") for error in answer.json()["errors"]] == [name, None]
        assert len(source.seen) == 1 and [e["id"] for e in source.seen[0].body] == [ID]


async def test_purge_goes_to_who_offers_it(tmp_path: Path) -> None:
    async with brokers(tmp_path, "a", "b") as (a, b):
        await a.post("/entities", room(1, humidity=1))
        await b.post("/entities", room(2, humidity=1))
        await b.post("/entities", {**room(3, humidity=1), "type": "Hall"})
        await register(a, b.url)
        assert (await a.client.delete("/ngsi-ld/v1/entities", params={"type": "Room"})).status_code == 204
        left = [len((await server.get("/entities", local="true")).json()) for server in (a, b)]
        assert left == [0, 1]


async def test_history_is_written_where_it_belongs(tmp_path: Path) -> None:
    def seen(hour: int) -> list[dict[str, Any]]:
        return [{"type": "Property", "value": hour, "observedAt": f"2026-01-01T0{hour}:00:00Z"}]

    async def values(server: Server) -> dict[str, list[int]]:
        answer = await server.get("/temporal" + ONE, local="true")
        if answer.status_code == 404:
            return {}
        return {k: [i["value"] for i in v] for k, v in answer.json().items() if isinstance(v, list)}

    offered = ["upsertTemporal", "appendAttrsTemporal", "deleteAttrsTemporal", "deleteTemporal"]
    async with brokers(tmp_path, "a", "b") as (a, b):
        await register(a, b.url, mode="exclusive", information=HUMIDITY, operations=offered)
        entity = {"id": ID, "type": "Room", "temperature": seen(1), "humidity": seen(2)}
        first = await a.post("/temporal/entities", entity)
        assert first.status_code == 201 and first.headers["location"] == f"/ngsi-ld/v1/temporal{ONE}"
        assert (await values(a), await values(b)) == ({"temperature": [1]}, {"humidity": [2]})
        again = {**entity, "temperature": seen(3), "humidity": seen(4)}
        assert (await a.post("/temporal/entities", again)).status_code == 204
        assert (await a.post(f"/temporal{ONE}/attrs", {"temperature": seen(5), "humidity": seen(6)})).status_code == 204
        assert (await values(a), await values(b)) == ({"temperature": [1, 3, 5]}, {"humidity": [2, 4, 6]})
        assert (await a.post(f"/temporal{ONE}/attrs", {"humidity": [{"type": "Property"}]})).status_code == 400
        at = f"/ngsi-ld/v1/temporal{ONE}"
        assert (await a.client.delete(f"{at}/attrs/humidity", params={"deleteAll": "true"})).status_code == 204
        assert (await values(b)).get("humidity", []) == [] and (await values(a))["temperature"] == [1, 3, 5]
        assert (await a.client.delete(at)).status_code == 204
        assert (await values(a), await values(b)) == ({}, {})


async def test_an_instance_of_history_is_changed_and_deleted_where_it_is(tmp_path: Path) -> None:
    offered = ["updateAttrInstanceTemporal", "deleteAttrInstanceTemporal"]
    instance = {"type": "Property", "value": 1, "observedAt": "2026-01-01T01:00:00Z"}
    async with brokers(tmp_path, "a", "b") as (a, b):
        entity = {"id": ID, "type": "Room", "humidity": [instance]}
        assert (await b.post("/temporal/entities", entity)).status_code == 201
        (kept,) = (await b.get("/temporal" + ONE)).json()["humidity"]
        await register(a, b.url, mode="exclusive", information=HUMIDITY, operations=offered)
        at = f"/temporal{ONE}/attrs/humidity/{kept['instanceId']}"
        assert (await a.patch(at, {"value": 2})).status_code == 204
        assert (await a.patch(f"/temporal{ONE}/attrs/humidity/none", {"value": 2})).status_code == 400
        (changed,) = (await b.get("/temporal" + ONE)).json()["humidity"]
        assert changed["value"] == 2
        assert (await a.patch(at, {"humidity": [{"value": 3}]})).status_code == 204
        assert (await b.get("/temporal" + ONE)).json()["humidity"][0]["value"] == 3
        assert (await a.client.delete(f"/ngsi-ld/v1{at}")).status_code == 204
        assert (await a.client.delete(f"/ngsi-ld/v1{at}")).status_code == 404


async def test_a_source_of_an_older_version_gets_what_it_knows(tmp_path: Path) -> None:
    entity = {
        **room(1, humidity=5),
        "scope": "/a",
        "kind": {"type": "VocabProperty", "vocab": "Office", "observedAt": "2026-01-01T00:00:00Z"},
        "name": {"type": "LanguageProperty", "languageMap": {"en": "one"}},
        "list": {"type": "ListProperty", "valueList": [1, 2]},
    }
    async with odd(POST=(201, None), PATCH=(204, None)) as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        await register(a, source.url, mode="redirect", contextSourceInfo=[{"key": "ngsildConformance", "value": "1.7"}])
        assert (await a.post("/entities", entity)).status_code == 201
        got = source.seen[0].body
        assert got["kind"] == {"type": "Property", "value": "Office", "observedAt": "2026-01-01T00:00:00Z"}
        assert got["list"] == {"type": "Property", "value": [1, 2]}
        assert got["name"] == entity["name"] and got["scope"] == "/a"
        assert (await a.patch(f"{ONE}/attrs/kind", {"type": "VocabProperty", "vocab": "Hall"})).status_code == 204
        assert source.seen[-1].body == {"type": "Property", "value": "Hall"}


async def test_media_type_and_context_can_be_those_of_the_request(tmp_path: Path) -> None:
    info = [{"key": key, "value": "urn:ngsi-ld:request"} for key in ("jsonldContext", "contentType", "accept")]
    async with odd(POST=(201, None)) as source, brokers(tmp_path, "a", sources=[source]) as (a,):
        await register(a, source.url, mode="redirect", contextSourceInfo=info)
        assert (await a.post("/entities", room(1, humidity=5))).status_code == 201
        core = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context.jsonld"
        headers = {"Content-Type": "application/ld+json"}
        body = {**room(1, humidity=5), "@context": core}
        assert (await a.client.post("/ngsi-ld/v1/entities", json=body, headers=headers)).status_code == 201
        assert [seen.headers["content-type"] for seen in source.seen] == ["application/json", "application/ld+json"]
        assert source.seen[1].body["@context"] == core
