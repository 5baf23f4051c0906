"""What operations on current state leave in history."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway.server.broker.model import Change
from gateway.server.broker.record import recorded
from tests.server.support import ROOT

CAR = "urn:ngsi-ld:Vehicle:1"
ATTRS = f"{ROOT}/entities/{CAR}/attrs"
NULL = "urn:ngsi-ld:null"


def prop(value: Any, **more: Any) -> dict[str, Any]:
    return {"type": "Property", "value": value, **more}


async def history(client: httpx.AsyncClient, name: str, **parameters: str) -> list[Any]:
    answer = await client.get(f"{ROOT}/temporal/entities/{CAR}", params={"options": "sysAttrs", **parameters})
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json().get(name, [])
    return found


async def create(client: httpx.AsyncClient, **attributes: Any) -> None:
    assert (await client.post(f"{ROOT}/entities", json={"id": CAR, "type": "Vehicle", **attributes})).status_code == 201


async def test_an_unobserved_attribute_once_for_each_change(client: httpx.AsyncClient) -> None:
    await create(client, brand=prop("Volvo"))
    for brand in ("Volvo", "Skoda", "Skoda", "Volvo"):
        assert (await client.patch(ATTRS, json={"brand": prop(brand)})).status_code == 204
    found = await history(client, "brand")
    assert [i["value"] for i in found] == ["Volvo", "Skoda", "Volvo"]
    assert all("observedAt" not in i and i["createdAt"] for i in found)


async def test_an_observed_attribute_at_its_time_only(client: httpx.AsyncClient) -> None:
    at = "2026-01-01T00:00:00Z"
    await create(client, speed=prop(1, observedAt=at))
    await client.patch(ATTRS, json={"speed": prop(2, observedAt="2026-01-01T00:00:05Z")})
    await client.patch(ATTRS, json={"speed": prop(3, observedAt=at)})  # late
    found = await history(client, "speed")
    assert [(i["value"], i["observedAt"][-4:]) for i in found] == [(3, ":00Z"), (2, ":05Z")]


@pytest.mark.parametrize(
    ("attribute", "gone"),
    [
        (prop(1), prop(NULL)),
        (prop(1, observedAt="2026-01-01T00:00:00Z"), prop(NULL)),
        ({"type": "Relationship", "object": "urn:x:1"}, {"type": "Relationship", "object": NULL}),
        (
            {"type": "LanguageProperty", "languageMap": {"en": "a"}},
            {"type": "LanguageProperty", "languageMap": {"@none": NULL}},
        ),
    ],
    ids=["Property", "observed", "Relationship", "LanguageProperty"],
)
async def test_deletions(client: httpx.AsyncClient, attribute: dict[str, Any], gone: dict[str, Any]) -> None:
    await create(client, thing=attribute, other=prop(1))
    await client.patch(ATTRS, json={"thing": NULL})
    first, last = await history(client, "thing")
    assert {k: last[k] for k in gone} == gone and last["deletedAt"] and "deletedAt" not in first
    (only,) = await history(client, "thing", timerel="after", timeAt="2020-01-01T00:00:00Z", timeproperty="deletedAt")
    assert only["deletedAt"] == last["deletedAt"]
    await client.delete(f"{ROOT}/entities/{CAR}")
    assert [i["value"] for i in await history(client, "other")] == [1, NULL]
    whole = (await client.get(f"{ROOT}/temporal/entities/{CAR}", params={"options": "sysAttrs"})).json()
    assert whole["deletedAt"] == whole["other"][-1]["deletedAt"] >= whole["createdAt"]
    assert len(await history(client, "thing")) == 2


async def test_deleted_instances_of_datasets(client: httpx.AsyncClient) -> None:
    await create(client, speed=[prop(1), prop(2, datasetId="urn:d:1")])
    await client.patch(ATTRS, json={"speed": prop(NULL, datasetId="urn:d:1")})
    found = await history(client, "speed")
    assert [(i["value"], i.get("datasetId")) for i in found if "deletedAt" in i] == [(NULL, "urn:d:1")]


async def test_deleted_after_its_history(client: httpx.AsyncClient) -> None:
    await create(client, speed=prop(1), scope="/a")
    temporal = f"{ROOT}/temporal/entities/{CAR}"
    assert (await client.delete(temporal)).status_code == 204
    assert (await client.delete(f"{ROOT}/entities/{CAR}")).status_code == 204
    assert (await client.get(temporal)).status_code == 404


async def test_scopes(client: httpx.AsyncClient) -> None:
    entity = {"id": CAR, "type": "Vehicle", "speed": prop(1)}
    for scope, speed in (("/a", 1), ("/a", 2), (["/a", "/b"], 3)):
        await client.post(
            f"{ROOT}/entityOperations/upsert",
            params={"options": "update"},
            json=[{**entity, "scope": scope, "speed": prop(speed)}],
        )
    assert [i["value"] for i in await history(client, "scope")] == [["/a"], ["/a", "/b"]]
    await client.delete(f"{ROOT}/entities/{CAR}")
    assert [i["value"] for i in await history(client, "scope")] == [["/a"], ["/a", "/b"], NULL]


def test_the_hot_path_records_nothing_twice() -> None:
    def observed(value: int, second: int) -> dict[str, Any]:
        return {**prop(value), "observedAt": f"2026-01-01T00:00:0{second}Z", "createdAt": "x", "modifiedAt": "y"}

    entity = {"id": CAR, "type": ["urn:t:1"], "urn:a:1": observed(2, 2), "urn:a:2": observed(1, 1)}
    change = Change("", entity, ("urn:a:1", "urn:a:2"), "updated", ("urn:a:2",), (), {"urn:a:1": observed(1, 1)})
    assert recorded(change, 5) == []
    same_time = Change("", entity, ("urn:a:1",), "updated", (), (), {"urn:a:1": observed(1, 2)})
    (sample,) = recorded(same_time, 5)
    assert sample.mark == "observed" and b"2" in sample.instance
