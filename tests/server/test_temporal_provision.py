"""Temporal provision (CIM 009 clauses 5.6.11 to 5.6.16): what clients write into history, change and delete there."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.server.broker.parse import Fault
from gateway.server.contexts import Contexts
from gateway.server.errors import Problem
from gateway.server.temporal.parse import parse_change, parse_evolution
from gateway.uplink.ngsild import evolution
from tests.server.support import LD, ROOT, history, meter

URL = f"{ROOT}/temporal/entities"
CAR = "urn:ngsi-ld:Vehicle:B9211"
CORE = Contexts().core


def at(minute: int) -> str:
    return f"2020-09-01T12:{minute:02d}:00Z"


def speed(value: Any, minute: int | None, **more: Any) -> dict[str, Any]:
    return {"type": "Property", "value": value, **({} if minute is None else {"observedAt": at(minute)}), **more}


def vehicle(**attributes: Any) -> dict[str, Any]:
    return {"id": CAR, "type": "Vehicle", **attributes}


async def read(client: httpx.AsyncClient, **parameters: str) -> Any:
    answer = await client.get(f"{URL}/{CAR}", params=parameters)
    return answer.json() if answer.status_code == 200 else answer.status_code


async def values(client: httpx.AsyncClient, name: str = "speed", **parameters: str) -> list[Any]:
    found = (await read(client, **parameters))[name]
    return [instance["value"] for instance in found]


async def test_created_then_added_to(client: httpx.AsyncClient) -> None:
    first = await client.post(URL, json=vehicle(speed=[speed(120, 3), speed(80, 5)]))
    assert first.status_code == 201 and first.headers["location"] == f"/ngsi-ld/v1/temporal/entities/{CAR}"
    assert first.content == b""
    second = await client.post(f"{URL}/", json=vehicle(speed=[speed(100, 7)], fuelLevel=[speed(67, 3)]))
    assert second.status_code == 204 and second.content == b""
    found = await read(client)
    assert (found["id"], found["type"]) == (CAR, "Vehicle")
    assert [(i["value"], i["observedAt"]) for i in found["speed"]] == [(120, at(3)), (80, at(5)), (100, at(7))]
    assert [i["value"] for i in found["fuelLevel"]] == [67]
    assert (await client.get(f"{ROOT}/entities/{CAR}")).status_code == 404, "history makes no current state"


async def test_sent_twice_is_once(client: httpx.AsyncClient) -> None:
    body = vehicle(speed=[speed(120, 3), speed(7, 3, datasetId="urn:d:1")])
    for _ in range(3):
        await client.post(URL, json=body)
    found = (await read(client))["speed"]
    assert sorted((i["value"], i.get("datasetId", "")) for i in found) == [(7, "urn:d:1"), (120, "")]


async def test_what_a_gateway_sends_again_is_once(client: httpx.AsyncClient) -> None:
    """The way of what is old towards a broker that is not known to be a Lamppost server."""
    old = [meter(1, number, f"2026-01-01T00:00:{number:02d}Z") for number in range(10)]
    for part in (old, old[3:], old):
        answer = await client.post(f"{URL}/", json=evolution(part), headers=LD)
        assert answer.status_code in (201, 204), answer.text
    assert await history(client) == [[number, f"2026-01-01T00:00:{number:02d}Z"] for number in range(10)]


async def test_types_add_up(client: httpx.AsyncClient) -> None:
    await client.post(URL, json=vehicle(speed=[speed(1, 1)]))
    await client.post(URL, json={**vehicle(speed=[speed(2, 2)]), "type": ["Car", "Vehicle"]})
    assert (await read(client))["type"] == ["Vehicle", "Car"]


@pytest.mark.parametrize(
    "attribute",
    [
        {"type": "Property", "value": {"a": [1, {"b": None}]}, "unitCode": "KMH"},
        {"type": "Property", "value": {"@type": "DateTime", "@value": "2020-01-01T00:00:00Z"}},
        {"type": "Property", "value": 1, "source": {"type": "Property", "value": "x"}},
        {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [8, 44]}},
        {"type": "Relationship", "object": "urn:ngsi-ld:Person:1"},
        {"type": "LanguageProperty", "languageMap": {"en": "a", "it": "b"}},
        {"type": "VocabProperty", "vocab": "fast"},
        {"type": "ListProperty", "valueList": [1, 2, 2]},
        {"type": "ListRelationship", "objectList": ["urn:x:1", "urn:x:2"]},
        {"type": "JsonProperty", "json": {"x": None}},
    ],
    ids=lambda attribute: attribute["type"],
)
async def test_every_type_of_attribute(client: httpx.AsyncClient, attribute: dict[str, Any]) -> None:
    sent = {**attribute, "observedAt": at(1)}
    assert (await client.post(URL, json=vehicle(thing=[sent]))).status_code == 201
    (found,) = (await read(client))["thing"]
    assert found.pop("instanceId").startswith("urn:ngsi-ld:")
    objects = found.get("objectList")
    if objects is not None:
        found["objectList"] = [o["object"] if isinstance(o, dict) else o for o in objects]
    assert found == sent


async def test_concise_and_single_instances(client: httpx.AsyncClient) -> None:
    body = vehicle(speed={"value": 5, "observedAt": at(1)}, place=[{"object": "urn:x:1", "observedAt": at(1)}])
    assert (await client.post(URL, json=body)).status_code == 201
    found = await read(client)
    assert found["speed"][0]["type"] == "Property" and found["place"][0]["type"] == "Relationship"


async def test_instances_without_a_date_are_there_from_the_write_on(client: httpx.AsyncClient) -> None:
    await client.post(URL, json=vehicle(brand=[speed("Volvo", None), speed("Skoda", None)]))
    found = (await read(client, options="sysAttrs"))["brand"]
    assert [i["value"] for i in found] == ["Volvo", "Skoda"]
    assert all("observedAt" not in i and i["createdAt"] == i["modifiedAt"] for i in found)
    assert await values(client, "brand", timerel="after", timeAt=at(0), timeproperty="modifiedAt") == ["Volvo", "Skoda"]
    assert (await read(client, timerel="after", timeAt=at(0)))["brand"] == [], "it was never observed"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"id": None}, 400),
        ({"id": "no uri"}, 400),
        ({"type": None}, 400),
        ({"type": []}, 400),
        ({"speed": [None]}, 400),
        ({"speed": [[1]]}, 400),
        ({"speed": [{"type": "Property"}]}, 400),
        ({"speed": [{"type": "Property", "value": None}]}, 400),
        ({"speed": [{"type": "Property", "value": "urn:ngsi-ld:null"}]}, 400),
        ({"speed": ["urn:ngsi-ld:null"]}, 400),
        ({"speed": [{"type": "Propertea", "value": 1}]}, 400),
        ({"speed": [{"type": "Property", "value": 1, "observedAt": "yesterday"}]}, 400),
        ({"speed": [{"type": "Property", "value": 1, "datasetId": "x"}]}, 400),
        ({"location": [{"type": "Property", "value": 1}]}, 400),
        ({"@context": ["https://example.org/x.jsonld"]}, 400),
        ({"scope": [{"type": "Property", "value": "a b"}]}, 400),
        ({"9lives": [{"type": "Property", "value": 1}]}, 400),
    ],
    ids=str,
)
async def test_refused_as_a_whole(client: httpx.AsyncClient, change: dict[str, Any], status: int) -> None:
    raw = {k: v for k, v in (vehicle(fuelLevel=[speed(1, 1)]) | change).items() if v is not None}
    answer = await client.post(URL, json=raw)
    assert answer.status_code == status, answer.text
    assert answer.json()["type"].startswith("https://uri.etsi.org/ngsi-ld/errors/")
    assert await read(client) == 404


async def test_bodies_that_are_no_entity(client: httpx.AsyncClient) -> None:
    for body in (b"", b"{", b"[]", b"{}", b"7"):
        answer = await client.post(URL, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, body
    assert (await client.post(URL, content=b"{}", headers={"Content-Type": "text/plain"})).status_code == 415


async def test_append(client: httpx.AsyncClient) -> None:
    attrs = f"{URL}/{CAR}/attrs"
    assert (await client.post(attrs, json={"speed": [speed(1, 1)]})).status_code == 404
    await client.post(URL, json=vehicle(speed=[speed(1, 1)]))
    assert (await client.post(attrs, json={"speed": [speed(2, 2)], "fuelLevel": [speed(9, 2)]})).status_code == 204
    assert await values(client) == [1, 2] and await values(client, "fuelLevel") == [9]
    assert (await client.post(attrs, json={})).status_code == 400
    assert (await client.post(attrs, json={"id": "urn:x:other", "speed": [speed(2, 2)]})).status_code == 400
    assert (await client.post(f"{URL}/nouri/attrs", json={"speed": [speed(2, 2)]})).status_code == 400


async def test_delete_of_attributes(client: httpx.AsyncClient) -> None:
    url = f"{URL}/{CAR}/attrs/speed"
    several = [speed(1, 1), speed(2, 1, datasetId="urn:d:1"), speed(3, 1, datasetId="urn:d:2")]
    await client.post(URL, json=vehicle(speed=several, fuelLevel=[speed(9, 1)]))
    assert (await client.delete(url, params={"datasetId": "urn:d:1"})).status_code == 204
    assert (await client.delete(url, params={"datasetId": "urn:d:1"})).status_code == 404
    assert await values(client) == [1, 3]
    assert (await client.delete(url)).status_code == 204
    assert await values(client) == [3], "the default instances went"
    assert (await client.delete(url, params={"deleteAll": "true"})).status_code == 204
    assert (await client.delete(url, params={"deleteAll": "true"})).status_code == 404
    assert "speed" not in await read(client)
    assert (await client.delete(url, params={"deleteAll": "maybe"})).status_code == 400
    assert (await client.delete(f"{URL}/urn:x:none/attrs/speed")).status_code == 404
    assert (await client.delete(f"{URL}/{CAR}")).status_code == 204
    assert (await client.delete(f"{URL}/{CAR}")).status_code == 404
    assert (await client.delete(f"{URL}/nouri")).status_code == 400
    assert await read(client) == 404


@pytest.mark.parametrize("shape", ["members", "wrapped", "list"])
async def test_change_of_an_instance(client: httpx.AsyncClient, shape: str) -> None:
    await client.post(URL, json=vehicle(speed=[speed(1, 1, unitCode="KMH"), speed(2, 2)]))
    before = (await read(client, options="sysAttrs"))["speed"][0]
    part = {"type": "Property", "value": 77}
    body: Any = {"members": part, "wrapped": {"speed": part}, "list": {"speed": [part]}}[shape]
    url = f"{URL}/{CAR}/attrs/speed/{before['instanceId']}"
    assert (await client.patch(url, json=body)).status_code == 204
    after = (await read(client, options="sysAttrs"))["speed"][0]
    assert after["value"] == 77 and after["unitCode"] == "KMH"
    assert after["instanceId"] == before["instanceId"] and after["createdAt"] == before["createdAt"]
    assert after["modifiedAt"] >= before["modifiedAt"] and after["observedAt"] == at(1)
    assert (await client.patch(url, json={"observedAt": at(9)})).status_code == 204
    assert await values(client) == [2, 77], "it moved in time"
    for bad in ({}, [], {"type": "Relationship", "object": "urn:x:1"}, {"value": None}, {"datasetId": "urn:d:1"}):
        assert (await client.patch(url, json=bad)).status_code == 400, bad
    assert await values(client) == [2, 77]


async def test_an_evolution_stays_without_its_last_attribute(client: httpx.AsyncClient) -> None:
    for path in ("attrs/speed", "attrs/speed/{instance}"):
        assert (await client.post(URL, json=vehicle(speed=[speed(1, 1)]))).status_code == 201
        instance = (await read(client))["speed"][0]["instanceId"]
        assert (await client.delete(f"{URL}/{CAR}/{path.format(instance=instance)}")).status_code == 204
        assert await read(client) == {"id": CAR, "type": "Vehicle"}
        assert (await client.post(f"{URL}/{CAR}/attrs", json={"speed": [speed(2, 2)]})).status_code == 204
        assert await values(client) == [2]
        assert (await client.delete(f"{URL}/{CAR}")).status_code == 204
        assert await read(client) == 404


async def test_delete_of_an_instance(client: httpx.AsyncClient) -> None:
    await client.post(URL, json=vehicle(speed=[speed(1, 1), speed(2, 2)]))
    first = (await read(client))["speed"][0]["instanceId"]
    url = f"{URL}/{CAR}/attrs/speed"
    assert (await client.delete(f"{URL}/{CAR}/attrs/fuelLevel/{first}")).status_code == 404
    assert (await client.delete(f"{url}/{first}")).status_code == 204
    assert (await client.delete(f"{url}/{first}")).status_code == 404
    assert (await client.patch(f"{url}/{first}", json={"value": 1})).status_code == 404
    assert (await client.delete(f"{url}/urn:ngsi-ld:Instance:x")).status_code == 404
    assert (await client.delete(f"{url}/nouri")).status_code == 400
    assert await values(client) == [2]


async def test_scopes_in_time(client: httpx.AsyncClient) -> None:
    scopes = [{"type": "Property", "value": ["/a", "b/c"], "observedAt": at(1)}]
    await client.post(URL, json=vehicle(scope=scopes, speed=[speed(1, 1)]))
    (found,) = (await read(client))["scope"]
    assert found["value"] == ["/a", "/b/c"] and found["observedAt"] == at(1)
    assert (await client.delete(f"{URL}/{CAR}/attrs/scope")).status_code == 204
    assert "scope" not in await read(client)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["id", "type", "value", "object", "observedAt", "speed", "languageMap", "vocab", "scope", "datasetId"]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(JSON)
def test_any_json_is_parsed_or_refused(raw: Any) -> None:
    there = {"type": "Property", "value": 1, "observedAt": at(1)}
    for part in (raw, {"id": CAR, "type": "Vehicle", "speed": raw, "scope": raw}, {"speed": raw}):
        for fragment in (True, False):
            try:
                parse_evolution(part, CORE, fragment=fragment)
            except Problem as problem:
                assert problem.status in (400, 422)
        try:
            parse_change(part, CORE.expand_name("speed"), there, CORE)
        except Problem as problem:
            assert problem.status in (400, 422)


def test_a_fault_never_leaves_the_parser() -> None:
    assert not issubclass(Fault, Problem)
    with pytest.raises(Problem):
        parse_evolution({"id": CAR, "type": "Vehicle", "speed": [{}, 1]}, CORE)
