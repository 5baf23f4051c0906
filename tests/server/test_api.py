"""The NGSI-LD API over a real socket: entities, queries, batches, media types, problems."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.support import ENERGY, LD, LINK, ROOT, history, meter, serving, upsert

ONE = "urn:ngsi-ld:ACMeasurement:test:1"
ERRORS = "https://uri.etsi.org/ngsi-ld/errors/"


def problem(answer: httpx.Response, status: int, name: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["type"].endswith(name) and body["fix"] and body["code"].startswith("server.")
    return str(body["detail"])


async def test_create_retrieve_delete(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{ROOT}/entities", json=meter(), headers=LD)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{ROOT}/entities/{ONE}"
    found = await client.get(answer.headers["location"], headers=LINK)
    assert found.headers["content-type"] == "application/json"
    assert ENERGY in found.headers["link"]
    expected = {key: value for key, value in meter().items() if key != "@context"}
    assert found.json() == expected
    problem(await client.post(f"{ROOT}/entities", json=meter(), headers=LD), 409, "AlreadyExists")
    assert (await client.delete(f"{ROOT}/entities/{ONE}")).status_code == 204
    problem(await client.get(f"{ROOT}/entities/{ONE}"), 404, "ResourceNotFound")
    problem(await client.delete(f"{ROOT}/entities/{ONE}"), 404, "ResourceNotFound")
    assert await history(client) == [[10.0, "2026-01-01T00:00:00Z"]], "history outlives the entity"


async def test_names_without_their_context_are_iris(client: httpx.AsyncClient) -> None:
    await upsert(client, meter())
    found = (await client.get(f"{ROOT}/entities/{ONE}")).json()
    assert found["type"] == "https://smartdatamodels.org/dataModel.Energy/ACMeasurement"
    assert "https://smartdatamodels.org/dataModel.Energy/totalActivePower" in found


async def test_ld_json_answers_carry_the_context(client: httpx.AsyncClient) -> None:
    await upsert(client, meter())
    found = await client.get(f"{ROOT}/entities/{ONE}", headers={**LINK, "Accept": "application/ld+json"})
    assert found.headers["content-type"] == "application/ld+json"
    assert found.json()["@context"] == ENERGY
    assert "link" not in found.headers


@pytest.mark.parametrize(
    ("q", "numbers"),
    [
        ("totalActivePower>15", [2, 3]),
        ("totalActivePower>=20;totalActivePower<30", [2]),
        ("totalActivePower==10|totalActivePower==30", [1, 3]),
        ('name~="^meter [12]$"', [1, 2]),
        ('(name=="meter 1"|name=="meter 3");totalActivePower!=10', [3]),
        ("totalActivePower==10..20", [1, 2]),
        ("totalActivePower==10,30", [1, 3]),
        ("phase", [3]),
        ("!phase", [1, 2]),
        ("phase[L1]>2", [3]),
        ("totalActivePower.observedAt>2026-01-01T00:00:01Z", [2, 3]),
        ('totalActivePower.unitCode=="WTT"', [1, 2, 3]),
        ("nothing==1", []),
        ("refDevice==urn:ngsi-ld:Device:9", [2]),
    ],
)
async def test_query_language(client: httpx.AsyncClient, q: str, numbers: list[int]) -> None:
    def prop(value: Any) -> dict[str, Any]:
        return {"type": "Property", "value": value}

    device = {"type": "Relationship", "object": "urn:ngsi-ld:Device:9"}
    await upsert(
        client,
        meter(1, 10, name=prop("meter 1")),
        meter(2, 20, "2026-01-01T00:00:02Z", name=prop("meter 2"), refDevice=device),
        meter(3, 30, "2026-01-01T00:00:03Z", name=prop("meter 3"), phase=prop({"L1": 3})),
    )
    found = await client.get(f"{ROOT}/entities", params={"q": q}, headers=LINK)
    assert found.status_code == 200, found.text
    assert [int(entity["id"][-1]) for entity in found.json()] == numbers


async def test_pages_and_count(client: httpx.AsyncClient) -> None:
    await upsert(client, *(meter(number) for number in range(25)))
    parameters = {"type": "ACMeasurement", "limit": "10", "count": "true"}
    seen: list[str] = []
    url: str | None = f"{ROOT}/entities"
    answer = await client.get(url, params=parameters, headers=LINK)
    while True:
        assert answer.headers["ngsild-results-count"] == "25"
        seen += [entity["id"] for entity in answer.json()]
        link = next((part for part in answer.headers["link"].split(", ") if 'rel="next"' in part), None)
        if link is None:
            break
        url = link[1 : link.index(">")]
        answer = await client.get(url, headers=LINK)
    assert len(seen) == len(set(seen)) == 25
    assert 'rel="prev"' in answer.headers["link"]
    only = await client.get(f"{ROOT}/entities", params={**parameters, "limit": "0"}, headers=LINK)
    assert only.json() == [] and only.headers["ngsild-results-count"] == "25"
    scanned = await client.get(f"{ROOT}/entities", params={**parameters, "q": "totalActivePower>0"}, headers=LINK)
    assert len(scanned.json()) == 10 and scanned.headers["ngsild-results-count"] == "25"


async def test_selection_by_type_id_pattern_attrs(client: httpx.AsyncClient) -> None:
    other = {"@context": ENERGY, "id": "urn:ngsi-ld:Other:1", "type": ["Other", "Thing"], "level": 3}
    await upsert(client, meter(1), meter(2), other)

    async def ids(**parameters: str) -> list[str]:
        answer = await client.get(f"{ROOT}/entities", params=parameters, headers=LINK)
        assert answer.status_code == 200, answer.text
        return [entity["id"][12:] for entity in answer.json()]

    assert await ids(type="ACMeasurement,Other") == ["ACMeasurement:test:1", "ACMeasurement:test:2", "Other:1"]
    assert await ids(type="(Other;Thing)|Nothing") == ["Other:1"]
    assert await ids(type="(Other;ACMeasurement)") == []
    assert await ids(type="*", idPattern="test:[2-9]$") == ["ACMeasurement:test:2"]
    assert await ids(type="ACMeasurement", id=f"{ONE},urn:ngsi-ld:Other:1") == ["ACMeasurement:test:1"]
    assert await ids(attrs="level") == ["Other:1"]
    assert await ids(local="true", id="urn:ngsi-ld:Other:1") == ["Other:1"]
    projected = await client.get(f"{ROOT}/entities", params={"attrs": "level", "options": "keyValues"}, headers=LINK)
    assert projected.json() == [{"id": "urn:ngsi-ld:Other:1", "type": ["Other", "Thing"], "level": 3}]


async def test_upsert_update_keeps_and_replace_removes_attributes(client: httpx.AsyncClient) -> None:
    await upsert(client, meter(name={"type": "Property", "value": "a"}))
    assert (await upsert(client, meter(watts=11, at="2026-01-01T00:00:01Z"))).status_code == 204
    found = (await client.get(f"{ROOT}/entities/{ONE}", params={"options": "keyValues"}, headers=LINK)).json()
    assert (found["name"], found["totalActivePower"]) == ("a", 11)
    assert (await upsert(client, meter(watts=12), options="replace")).status_code == 204
    found = (await client.get(f"{ROOT}/entities/{ONE}", params={"options": "keyValues"}, headers=LINK)).json()
    assert "name" not in found and found["totalActivePower"] == 12


async def test_system_attributes_survive_replace(client: httpx.AsyncClient) -> None:
    await upsert(client, meter())
    first = (await client.get(f"{ROOT}/entities/{ONE}", params={"options": "sysAttrs"}, headers=LINK)).json()
    await upsert(client, meter(watts=12), options="replace")
    second = (await client.get(f"{ROOT}/entities/{ONE}", params={"options": "sysAttrs"}, headers=LINK)).json()
    assert second["createdAt"] == first["createdAt"] < second["modifiedAt"]
    assert second["totalActivePower"]["createdAt"] == first["totalActivePower"]["createdAt"]


async def test_batch_with_bad_elements(client: httpx.AsyncClient) -> None:
    bad = meter(2)
    bad["totalActivePower"]["observedAt"] = "yesterday"
    answer = await upsert(client, meter(1), bad, {"no": "id"}, meter(3, at="2026-01-01T00:00:00+01:00"))
    assert answer.status_code == 207
    body = answer.json()
    assert body["success"] == [ONE]
    assert [error["entityId"][-6:] for error in body["errors"]] == ["test:2", "ment:2", "test:3"]
    assert body["errors"][0]["error"]["detail"].startswith("/totalActivePower/observedAt: 'yesterday'")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"id": "no uri"}, "/id"),
        ({"type": "9bad"}, "/type"),
        ({"type": []}, "/type"),
        ({"temperature": None}, "/temperature"),
        ({"temperature": {"type": "Property"}}, "/temperature"),
        ({"temperature": {"type": "Propperty", "value": 1}}, "/temperature/type"),
        ({"temperature": {"type": ["Property"], "value": 1}}, "/temperature/type"),
        ({"temperature": {"type": "Property", "value": 1, "object": "urn:x:y"}}, "/temperature/object"),
        ({"temperature": {"type": "Property", "value": "urn:ngsi-ld:null"}}, "/temperature"),
        ({"a/b~c": 1}, "/a~1b~0c"),
        ({"unitCode": "CEL"}, "/unitCode"),
        ({"location": 5}, "/location"),
        ({"location": {"type": "Point", "coordinates": [200, 0]}}, "/location"),
        ({"place": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}}, "/place"),
        ({"owner": {"type": "Relationship", "object": "me"}}, "/owner/object"),
        ({"a": [{"value": 1}, {"value": 2}]}, "/a/1"),
        ({"a": {"value": 1, "accuracy": {"type": "Relationship", "object": 5}}}, "/a/accuracy/object"),
        ({"scope": "a b"}, "/scope"),
        ({"a": {"type": "LanguageProperty", "languageMap": {"en": 5}}}, "/a/languageMap/en"),
    ],
)
async def test_refusals_say_where(client: httpx.AsyncClient, change: dict[str, Any], place: str) -> None:
    answer = await client.post(f"{ROOT}/entities", json={**meter(), **change}, headers=LD)
    assert problem(answer, 400, "BadRequestData").startswith(f"{place}: ")


async def test_what_is_not_offered_is_refused_not_ignored(client: httpx.AsyncClient) -> None:
    problem(await client.get(f"{ROOT}/temporal/nothing"), 422, "OperationNotSupported")
    problem(await client.get(f"{ROOT}/entities", params={"type": "A", "nonsense": "1"}), 400, "InvalidRequest")
    problem(await client.get(f"{ROOT}/nothing"), 404, "ResourceNotFound")


async def test_protocol_preconditions(client: httpx.AsyncClient) -> None:
    entities = f"{ROOT}/entities"
    problem(await client.post(entities, content=b"{}", headers={"Content-Type": "text/plain"}), 415, "MediaType")
    problem(await client.post(entities, content=b"{nope", headers=LD), 400, "InvalidRequest")
    problem(await client.post(entities, json=meter(), headers={"Content-Type": "application/json"}), 400, "RequestData")
    no_context = {key: value for key, value in meter().items() if key != "@context"}
    problem(await client.post(entities, json=no_context, headers=LD), 400, "BadRequestData")
    problem(await client.post(entities, json=meter(), headers={**LD, **LINK}), 400, "BadRequestData")
    linked = {**LINK, "Content-Type": "application/json"}
    assert (await client.post(entities, json=no_context, headers=linked)).status_code == 201
    problem(await client.get(f"{entities}/{ONE}", headers={"Accept": "text/turtle"}), 406, "NotAcceptable")
    refused = await client.put(entities, content=b"{}")
    problem(refused, 405, "MethodNotAllowed")
    assert {"POST", "GET"} <= set(refused.headers["allow"].split(", "))
    problem(await client.get(entities), 400, "BadRequestData")
    problem(await client.get(entities, params={"q": "createdAt>2020-01-01T00:00:00Z"}), 400, "BadRequestData")
    problem(await client.get(entities, params={"id": ONE}), 400, "BadRequestData")
    problem(await client.get(entities, params={"type": "A", "limit": "-1"}), 400, "BadRequestData")
    problem(await client.get(entities, params={"type": "A", "limit": "100000"}), 403, "TooManyResults")
    twice = {"Link": f"{LINK['Link']}, {LINK['Link']}"}
    problem(await client.get(f"{entities}/{ONE}", headers=twice), 400, "BadRequestData")
    assert (await client.head(f"{entities}/{ONE}")).status_code == 200
    assert (await client.get(f"{entities}/{ONE}/")).status_code == 200


async def test_missing_length_is_411(client: httpx.AsyncClient) -> None:
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    writer.write(b"POST /ngsi-ld/v1/entities HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 411")
    writer.close()


async def test_attributes_append_update_delete(client: httpx.AsyncClient) -> None:
    await upsert(client, meter())
    attrs = f"{ROOT}/entities/{ONE}/attrs"
    linked = {**LINK, "Content-Type": "application/json"}
    assert (await client.post(attrs, json={"name": "a", "note": "b"}, headers=linked)).status_code == 204
    kept = await client.post(attrs, params={"options": "noOverwrite"}, json={"name": "c", "more": 1}, headers=linked)
    assert kept.status_code == 207
    assert [entry["attributeName"][-4:] for entry in kept.json()["notUpdated"]] == ["name"]
    gone = await client.patch(attrs, json={"note": "urn:ngsi-ld:null", "name": "d"}, headers=linked)
    assert gone.status_code == 204
    found = (await client.get(f"{ROOT}/entities/{ONE}", params={"options": "keyValues"}, headers=LINK)).json()
    assert (found["name"], found["more"], "note" in found) == ("d", 1, False)
    problem(await client.patch(f"{ROOT}/entities/urn:x:y/attrs", json={"a": 1}, headers=linked), 404, "NotFound")


async def test_instances_by_dataset(client: httpx.AsyncClient) -> None:
    two = [{"type": "Property", "value": 1}, {"type": "Property", "value": 2, "datasetId": "urn:d:2"}]
    await upsert(client, meter(speed=two))
    await upsert(client, meter(speed={"type": "Property", "value": 3, "datasetId": "urn:d:2"}))
    found = (await client.get(f"{ROOT}/entities/{ONE}", headers=LINK)).json()["speed"]
    assert found == [two[0], {"type": "Property", "value": 3, "datasetId": "urn:d:2"}]
    simple = (await client.get(f"{ROOT}/entities/{ONE}", params={"format": "simplified"}, headers=LINK)).json()
    assert simple["speed"] == {"dataset": {"@none": 1, "urn:d:2": 3}}


async def test_tenants_are_separate_and_made_on_first_use(client: httpx.AsyncClient) -> None:
    missing = await client.get(f"{ROOT}/entities/{ONE}", headers={"NGSILD-Tenant": "oslo"})
    problem(missing, 404, "NonexistentTenant")
    answers = await asyncio.gather(
        *(upsert(client, meter(n), **{"NGSILD-Tenant": f"t{n % 5}"}) for n in range(40)),
    )
    assert {answer.status_code for answer in answers} == {201}
    assert answers[3].headers["ngsild-tenant"] == "t3"
    for tenant in range(5):
        found = await client.get(
            f"{ROOT}/entities", params={"type": "ACMeasurement"}, headers={**LINK, "NGSILD-Tenant": f"t{tenant}"}
        )
        assert {int(e["id"].split(":")[-1]) % 5 for e in found.json()} == {tenant} and len(found.json()) == 8
    default = await client.get(f"{ROOT}/entities", params={"type": "ACMeasurement"}, headers=LINK)
    assert default.json() == []
    problem(await client.get(f"{ROOT}/entities/{ONE}", headers={"NGSILD-Tenant": "a b"}), 400, "BadRequestData")


async def test_batch_delete_and_types(client: httpx.AsyncClient) -> None:
    await upsert(client, meter(1), meter(2))
    assert (await client.get(f"{ROOT}/types", headers=LINK)).json()["typeList"] == ["ACMeasurement"]
    ids = [ONE, "urn:ngsi-ld:ACMeasurement:test:9"]
    answer = await client.post(f"{ROOT}/entityOperations/delete", json=ids)
    assert answer.status_code == 207
    assert answer.json()["success"] == [ONE]
    assert [error["entityId"] for error in answer.json()["errors"]] == ids[1:]
    assert (await client.post(f"{ROOT}/entityOperations/delete", json=[meter(2)["id"]])).status_code == 204
    assert (await client.get(f"{ROOT}/types", headers=LINK)).json()["typeList"] == []


async def test_restart_keeps_everything(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await upsert(client, meter())
        before = (await client.get(f"{ROOT}/entities/{ONE}", params={"options": "sysAttrs"}, headers=LINK)).json()
    async with serving(tmp_path) as client:
        after = (await client.get(f"{ROOT}/entities/{ONE}", params={"options": "sysAttrs"}, headers=LINK)).json()
        assert after == before
        assert await history(client) == [[10.0, "2026-01-01T00:00:00Z"]]


async def test_own_endpoints(client: httpx.AsyncClient) -> None:
    await upsert(client, meter())
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/api/time")).json()["now_ns"] > 1_700_000_000_000_000_000
    metrics = (await client.get("/metrics")).text
    assert 'lamppost_server_requests_total{method="POST",status="201"} 1' in metrics
    assert "lamppost_server_history_written_total 1" in metrics
    assert "<!doctype html>" in (await client.get("/")).text
