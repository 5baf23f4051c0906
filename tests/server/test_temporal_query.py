"""Temporal consumption (CIM 009 clauses 5.7.3, 5.7.4, 4.5.6 to 4.5.8, 6.3.10)."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.server.broker.model import time_text
from gateway.server.temporal.columns import texts
from tests.server.support import ROOT

URL = f"{ROOT}/temporal/entities"
CARS = [f"urn:ngsi-ld:Vehicle:{name}" for name in ("a", "b", "c")]
AFTER = {"timerel": "after", "timeAt": "2020-09-01T00:00:00Z"}


NEAR = {"georel": "near;maxDistance==1000", "geometry": "Point"}


def at(minute: float) -> str:
    return f"2020-09-01T12:{int(minute):02d}:{int(minute * 60) % 60:02d}Z"


def observed(value: Any, minute: float, **more: Any) -> dict[str, Any]:
    return {"type": "Property", "value": value, "observedAt": at(minute), **more}


async def fill(client: httpx.AsyncClient) -> None:
    """Three vehicles: a has speed 10, 11, 12 at 0, 1, 2 minutes, b 20, 21, 22, c is a Truck with fuel only."""
    for number, car in enumerate(CARS[:2], 1):
        speeds = [observed(10 * number + minute, minute) for minute in range(3)]
        place = {
            "type": "GeoProperty",
            "value": {"type": "Point", "coordinates": [number, number]},
            "observedAt": at(1),
        }
        entity = {"id": car, "type": "Vehicle", "speed": speeds, "brand": [observed(car[-1], 1)], "location": [place]}
        scope = [{"type": "Property", "value": [f"/fleet/{car[-1]}"], "observedAt": at(1)}]
        assert (await client.post(URL, json={**entity, "scope": scope})).status_code == 201
    truck = {"id": CARS[2], "type": "Truck", "fuel": [observed(5, 30)]}
    assert (await client.post(URL, json=truck)).status_code == 201


async def ids(client: httpx.AsyncClient, **parameters: str) -> list[str]:
    answer = await client.get(URL, params={**AFTER, **parameters})
    assert answer.status_code == 200, answer.text
    return [entity["id"][-1] for entity in answer.json()]


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"type": "Vehicle"}, "ab"),
        ({"type": "Truck,Vehicle"}, "abc"),
        ({"type": "*"}, "abc"),
        ({"local": "true"}, "abc"),
        ({"type": "Vehicle", "id": f"{CARS[0]},{CARS[2]}"}, "a"),
        ({"type": "Vehicle", "idPattern": ".*:b$"}, "b"),
        ({"attrs": "fuel"}, "c"),
        ({"type": "Truck", "attrs": "speed"}, ""),
        ({"type": "Vehicle", "q": "speed>20"}, "b"),
        ({"type": "Vehicle", "q": "speed==11|speed==22"}, "ab"),
        ({"type": "Vehicle", "q": "speed==10;speed==12"}, "a"),
        ({"q": 'brand=="b"'}, "b"),
        ({"type": "Vehicle", "q": "speed>20", "attrs": "brand"}, "b"),
        ({"type": "Vehicle", "timerel": "before", "timeAt": at(0)}, ""),
        ({"type": "*", "timerel": "after", "timeAt": at(30)}, "c"),
        ({"type": "*", "timerel": "between", "timeAt": at(2), "endTimeAt": at(30)}, "ab"),
        ({"type": "Vehicle", "q": "speed==10", "timerel": "after", "timeAt": at(1)}, ""),
        ({"type": "Vehicle", "pick": "id,brand"}, "ab"),
        ({"type": "*", "omit": "fuel"}, "ab"),
        ({"type": "Vehicle", "limit": "1"}, "a"),
        ({"type": "Vehicle", "limit": "1", "offset": "1"}, "b"),
        ({"type": "Vehicle", "timeproperty": "deletedAt"}, ""),
        ({"type": "Vehicle", "timeproperty": "createdAt"}, "ab"),
        ({"type": "Vehicle", "timeproperty": "modifiedAt", "timerel": "before", "timeAt": at(0)}, ""),
        ({"type": "Vehicle", "csf": "x==1"}, "ab"),
        ({**NEAR, "coordinates": "[1,1]"}, "a"),
        ({**NEAR, "coordinates": "[1,1]", "timerel": "after", "timeAt": at(2)}, ""),
        ({**NEAR, "coordinates": "[1,1]", "geoproperty": "place"}, ""),
        ({"georel": "within", "geometry": "Polygon", "coordinates": "[[[0,0],[3,0],[3,3],[0,3],[0,0]]]"}, "ab"),
        ({"scopeQ": "/fleet/b"}, "b"),
        ({"scopeQ": "/fleet/#"}, "ab"),
        ({"scopeQ": "/fleet/+;/fleet/a"}, "a"),
        ({"scopeQ": "/fleet/#", "timerel": "after", "timeAt": at(2)}, ""),
        ({"type": "*", "orderBy": "id;desc"}, "cba"),
        ({"type": "*", "orderBy": "id;desc", "limit": "1", "offset": "1"}, "b"),
        ({"type": "Vehicle", "splitEntities": "false", "join": "@none"}, "ab"),
    ],
    ids=str,
)
async def test_which_entities(client: httpx.AsyncClient, parameters: dict[str, str], found: str) -> None:
    await fill(client)
    assert await ids(client, **parameters) == list(found)


@pytest.mark.parametrize(
    ("parameters", "status", "name"),
    [
        ({"type": "Vehicle"}, 400, "BadRequestData"),
        ({**AFTER}, 400, "BadRequestData"),
        ({**AFTER, "id": CARS[0]}, 400, "BadRequestData"),
        ({**AFTER, "q": "createdAt>2020-01-01T00:00:00Z"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "id": "nouri"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "timerel": "during"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "timerel": "between"}, 400, "BadRequestData"),
        (
            {**AFTER, "type": "Vehicle", "timerel": "between", "endTimeAt": "2020-01-01T00:00:00Z"},
            400,
            "BadRequestData",
        ),
        ({**AFTER, "type": "Vehicle", "timeAt": "2020-09-01"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "timeproperty": "birthday"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "timeproperty": "any"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "lastN": "-1"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "lastN": "x"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "limit": "0"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "q": "speed>"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "attrs": "speed", "pick": "speed"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "pick": "speed", "omit": "speed"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "pick": "owner{name}"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "datasetId": "x"}, 400, "BadRequestData"),
        ({**AFTER, **NEAR}, 400, "BadRequestData"),
        ({**AFTER, **NEAR, "coordinates": "[1]"}, 400, "BadRequestData"),
        ({**AFTER, "scopeQ": "a b"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "lang": "!"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "join": "inline"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "orderBy": "speed"}, 400, "BadRequestData"),
        ({**AFTER, "type": "Vehicle", "options": "sometimes"}, 400, "InvalidRequest"),
        ({**AFTER, "type": "Vehicle", "format": "sometimes"}, 400, "InvalidRequest"),
        ({**AFTER, "type": "Vehicle", "local": "yes"}, 400, "BadRequestData"),
    ],
    ids=str,
)
async def test_refusals(client: httpx.AsyncClient, parameters: dict[str, str], status: int, name: str) -> None:
    answer = await client.get(URL, params=parameters)
    assert (answer.status_code, answer.json()["type"]) == (status, f"https://uri.etsi.org/ngsi-ld/errors/{name}")


async def test_count_and_links(client: httpx.AsyncClient) -> None:
    await fill(client)
    answer = await client.get(URL, params={**AFTER, "type": "*", "limit": "1", "offset": "1", "count": "true"})
    assert answer.headers["ngsild-results-count"] == "3"
    links = answer.headers["link"]
    assert 'rel="next"' in links and 'rel="prev"' in links and "timerel=after" in links
    alone = await client.get(URL, params={**AFTER, "type": "*", "limit": "0", "count": "true"})
    assert alone.headers["ngsild-results-count"] == "3" and alone.json() == []
    nothing = await client.get(URL, params={**AFTER, "type": "None", "count": "true"})
    assert nothing.headers["ngsild-results-count"] == "0" and nothing.json() == []
    assert (await client.get(URL, params={**AFTER, "type": "x"}, headers={"NGSILD-Tenant": "none"})).status_code == 404
    assert (await client.get(URL, params={**AFTER, "type": "x"}, headers={"Accept": "text/csv"})).status_code == 406


async def test_the_form_of_a_query(client: httpx.AsyncClient) -> None:
    await fill(client)
    answer = await client.get(URL, params={**AFTER, "type": "Vehicle", "pick": "id,type,speed", "lastN": "2"})
    first, second = answer.json()
    assert set(first) == {"id", "type", "speed"} and first["type"] == "Vehicle"
    assert [(i["value"], i["observedAt"]) for i in first["speed"]] == [(12, at(2)), (11, at(1))]
    assert all(i["type"] == "Property" and i["instanceId"].startswith("urn:") for i in second["speed"])
    assert all("createdAt" not in i for i in second["speed"])
    simple = await client.get(URL, params={**AFTER, "type": "Vehicle", "attrs": "speed", "options": "temporalValues"})
    assert simple.json()[1] == {
        "id": CARS[1],
        "type": "Vehicle",
        "speed": {"type": "Property", "values": [[20, at(0)], [21, at(1)], [22, at(2)]]},
    }
    linked = await client.get(URL, params={**AFTER, "type": "Vehicle"}, headers={"Accept": "application/ld+json"})
    assert all("@context" in entity for entity in linked.json()) and "link" not in linked.headers


async def test_system_attributes(client: httpx.AsyncClient) -> None:
    await fill(client)
    (first, _) = (await client.get(URL, params={**AFTER, "type": "Vehicle", "options": "sysAttrs"})).json()
    assert first["createdAt"] == first["modifiedAt"]
    assert all(i["createdAt"] == i["modifiedAt"] == first["createdAt"] for i in first["speed"])
    by_date = await client.get(f"{URL}/{CARS[0]}", params={"timeproperty": "createdAt", **AFTER})
    assert all("createdAt" in i and "modifiedAt" not in i for i in by_date.json()["speed"])
    simple = await client.get(
        f"{URL}/{CARS[0]}", params={"timeproperty": "createdAt", **AFTER, "format": "temporalValues"}
    )
    assert [t for _, t in simple.json()["speed"]["values"]] == [first["createdAt"]] * 3


@pytest.mark.parametrize(
    ("attribute", "simple"),
    [
        ({"type": "Relationship", "object": "urn:x:1"}, {"type": "Relationship", "objects": [["urn:x:1", at(1)]]}),
        (
            {"type": "LanguageProperty", "languageMap": {"en": "a"}},
            {"type": "LanguageProperty", "languageMaps": [[{"languageMap": {"en": "a"}}, at(1)]]},
        ),
        (
            {"type": "VocabProperty", "vocab": "fast"},
            {"type": "VocabProperty", "vocabs": [[{"vocab": "fast"}, at(1)]]},
        ),
        ({"type": "JsonProperty", "json": [None]}, {"type": "JsonProperty", "jsons": [[{"json": [None]}, at(1)]]}),
        ({"type": "ListProperty", "valueList": [1, 1]}, {"type": "ListProperty", "valueLists": [[[1, 1], at(1)]]}),
        (
            {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [1, 2]}},
            {"type": "GeoProperty", "values": [[{"type": "Point", "coordinates": [1, 2]}, at(1)]]},
        ),
    ],
    ids=lambda part: part["type"],
)
async def test_temporal_values_of_every_type(
    client: httpx.AsyncClient, attribute: dict[str, Any], simple: dict[str, Any]
) -> None:
    entity = {"id": CARS[0], "type": "Vehicle", "thing": [{**attribute, "observedAt": at(1)}]}
    await client.post(URL, json=entity)
    found = (await client.get(f"{URL}/{CARS[0]}", params={"options": "temporalValues"})).json()
    assert found["thing"] == simple


async def test_datasets(client: httpx.AsyncClient) -> None:
    several = [observed(1, 1), observed(2, 1, datasetId="urn:d:1"), observed(3, 2, datasetId="urn:d:1")]
    await client.post(URL, json={"id": CARS[0], "type": "Vehicle", "speed": several, "fuel": [observed(9, 1)]})
    one = f"{URL}/{CARS[0]}"
    simple = (await client.get(one, params={"options": "temporalValues"})).json()["speed"]
    assert simple == [
        {"type": "Property", "values": [[1, at(1)]]},
        {"type": "Property", "values": [[2, at(1)], [3, at(2)]], "datasetId": "urn:d:1"},
    ]
    chosen = (await client.get(one, params={"datasetId": "urn:d:1"})).json()
    assert [i["value"] for i in chosen["speed"]] == [2, 3] and "fuel" not in chosen
    default = (await client.get(one, params={"datasetId": "@none", "lastN": "1"})).json()
    assert [i["value"] for i in default["speed"]] == [1]
    newest = (await client.get(one, params={"lastN": "1", "attrs": "speed"})).json()["speed"]
    assert sorted(i["value"] for i in newest) == [1, 3], "the newest of each dataset"


async def test_retrieve(client: httpx.AsyncClient) -> None:
    await fill(client)
    one = f"{URL}/{CARS[0]}"
    whole = (await client.get(one)).json()
    assert set(whole) == {"id", "type", "speed", "brand", "location", "scope"}
    assert whole["location"][0]["value"] == {"type": "Point", "coordinates": [1, 1]}
    between = (await client.get(one, params={"timerel": "between", "timeAt": at(1), "endTimeAt": at(2)})).json()
    assert [i["value"] for i in between["speed"]] == [11]
    outside = (await client.get(one, params={"timerel": "before", "timeAt": at(0)})).json()
    assert outside == {"id": CARS[0], "type": "Vehicle", "speed": [], "brand": [], "location": [], "scope": []}
    concise = (await client.get(one, params={"attrs": "speed", "lastN": "1", "format": "concise"})).json()["speed"]
    assert concise == [{"value": 12, "observedAt": at(2), "instanceId": whole["speed"][2]["instanceId"]}]
    assert (await client.get(one, params={"attrs": "height"})).status_code == 404
    assert (await client.get(one, params={"type": "Truck"})).status_code == 404
    assert (await client.get(one, params={"type": "Vehicle"})).status_code == 200
    assert (await client.get(f"{URL}/nouri")).status_code == 400
    assert (await client.get(one, params={"q": "speed>1"})).status_code == 400


async def long_series(client: httpx.AsyncClient, names: list[str], count: int) -> None:
    for name in names:
        for start in range(0, count, 10_000):
            instances = [
                {"value": n, "observedAt": f"2020-01-01T{n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}Z"}
                for n in range(start, min(start + 10_000, count))
            ]
            entity = {"id": f"urn:ngsi-ld:Long:{name}", "type": "Long", "level": instances}
            assert (await client.post(URL, json=entity)).status_code in (201, 204)


async def test_a_long_query_comes_in_parts_of_time(client: httpx.AsyncClient) -> None:
    await long_series(client, ["x", "y"], 15_000)
    seen: dict[str, list[int]] = {}
    since, parts = "2019-01-01T00:00:00Z", 0
    while True:
        parameters = {"type": "Long", "timerel": "after", "timeAt": since, "options": "temporalValues"}
        answer = await client.get(URL, params=parameters)
        for entity in answer.json():
            known = seen.setdefault(entity["id"], [])
            known += [value for value, _ in entity["level"]["values"] if not known or value > known[-1]]
        parts += 1
        if answer.status_code == 200:
            break
        unit, _, extent = answer.headers["content-range"].partition(" ")
        interval, _, size = extent.rpartition("/")
        assert answer.status_code == 206 and unit == "date-time" and size == "*"
        assert interval.startswith(since)
        assert sum(len(entity["level"]["values"]) for entity in answer.json()) <= 20_000
        since = interval[len(since) + 1 :]
    assert parts == 2 and {key: len(value) for key, value in seen.items()} == {
        "urn:ngsi-ld:Long:x": 15_000,
        "urn:ngsi-ld:Long:y": 15_000,
    }


async def test_the_newest_of_much_comes_first(client: httpx.AsyncClient) -> None:
    await long_series(client, ["x", "y"], 12_000)
    parameters = {"type": "Long", **AFTER, "timeAt": "2020-01-01T00:00:00Z", "options": "temporalValues"}
    answer = await client.get(URL, params={**parameters, "lastN": "12000"})
    assert answer.status_code == 206
    values = [[value for value, _ in entity["level"]["values"]] for entity in answer.json()]
    assert values == [list(range(11_999, 1_999, -1))] * 2, "both are cut at one time"
    newest, oldest = "2020-01-01T03:19:59Z", "2020-01-01T00:33:20Z"
    assert answer.headers["content-range"] == f"date-time {newest}-{oldest}/12000"
    few = await client.get(URL, params={**parameters, "lastN": "3"})
    assert few.status_code == 200
    assert [[value for value, _ in entity["level"]["values"]] for entity in few.json()] == [
        [11_999, 11_998, 11_997]
    ] * 2
    one = await client.get(f"{URL}/urn:ngsi-ld:Long:x", params={"lastN": "12000", "options": "temporalValues"})
    assert one.status_code == 200 and len(one.json()["level"]["values"]) == 12_000


POST = f"{ROOT}/temporal/entityOperations/query"
TEMPORAL_Q = {"timerel": "after", "timeAt": "2020-09-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"entities": [{"type": "Vehicle"}]}, "ab"),
        ({"entities": [{"type": "Truck"}, {"type": "Vehicle", "id": CARS[1]}]}, "bc"),
        ({"entities": [{"type": "Vehicle", "id": CARS}]}, "ab"),
        ({"entities": [{"type": "*", "idPattern": ".*:[bc]$"}]}, "bc"),
        ({"attrs": ["fuel", "brand"]}, "abc"),
        ({"entities": [{"type": "Vehicle"}], "q": "speed>20"}, "b"),
        ({"q": "speed>20"}, "b"),
        ({"geoQ": {**NEAR, "coordinates": [2, 2]}}, "b"),
        ({"geoQ": {**NEAR, "coordinates": "[2, 2]"}, "scopeQ": "/fleet/a"}, ""),
        ({"entities": [{"type": "Vehicle"}], "ordering": {"orderBy": ["id;desc"]}, "splitEntities": False}, "ba"),
        ({"entities": [{"type": "Vehicle"}], "temporalQ": {"timerel": "before", "timeAt": at(0)}}, ""),
        ({"entities": [{"type": "Vehicle"}], "temporalQ": {**TEMPORAL_Q, "lastN": 1}}, "ab"),
        ({"entities": [{"type": "Vehicle"}], "pick": ["brand"]}, "  "),
    ],
    ids=str,
)
async def test_query_by_body(client: httpx.AsyncClient, body: dict[str, Any], found: str) -> None:
    await fill(client)
    answer = await client.post(POST, json={"type": "Query", "temporalQ": TEMPORAL_Q, **body})
    assert answer.status_code == 200, answer.text
    assert [entity.get("id", " ")[-1] for entity in answer.json()] == list(found)


async def test_pages_and_forms_of_a_query_by_body(client: httpx.AsyncClient) -> None:
    await fill(client)
    body = {
        "type": "Query",
        "entities": [{"type": "Vehicle"}],
        "attrs": ["speed"],
        "temporalQ": {"timerel": "between", "timeAt": at(0), "endTimeAt": at(4)},
        "aggrParams": {"aggrMethods": ["max", "min"], "aggrPeriodDuration": "PT2M"},
    }
    parameters = {"limit": "1", "count": "true", "options": "aggregatedValues"}
    answer = await client.post(POST, params=parameters, json=body)
    assert answer.headers["ngsild-results-count"] == "2" and 'rel="next"' in answer.headers["link"]
    assert answer.json()[0]["speed"] == {
        "type": "Property",
        "min": [[10, at(0), at(2)], [12, at(2), at(4)]],
        "max": [[11, at(0), at(2)], [12, at(2), at(4)]],
    }
    text = {**body, "temporalQ": {**body["temporalQ"], "aggrMethods": "max"}, "aggrParams": {}}  # type: ignore[dict-item]
    assert (await client.post(POST, params=parameters, json=text)).json()[0]["speed"]["max"] == [[12, at(0), at(4)]]


@pytest.mark.parametrize(
    "change",
    [
        {"type": "Question"},
        {"type": None},
        {"temporalQ": None},
        {"temporalQ": {}},
        {"temporalQ": []},
        {"temporalQ": {"timerel": "after"}},
        {"temporalQ": {**TEMPORAL_Q, "timeAt": 5}},
        {"temporalQ": {**TEMPORAL_Q, "lastN": 0}},
        {"temporalQ": {**TEMPORAL_Q, "lastN": True}},
        {"entities": []},
        {"entities": {}},
        {"entities": [{}]},
        {"entities": [{"type": 5}]},
        {"entities": [{"id": CARS[0]}]},
        {"entities": None},
        {"attrs": []},
        {"attrs": [5]},
        {"q": 5},
        {"q": "speed>"},
        {"join": "inline"},
        {"geoQ": {"georel": "within"}},
        {"geoQ": {**NEAR, "coordinates": 5}},
        {"local": "perhaps"},
    ],
    ids=str,
)
async def test_bad_bodies(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    body = {"type": "Query", "entities": [{"type": "Vehicle"}], "temporalQ": TEMPORAL_Q, **change}
    answer = await client.post(POST, json={key: value for key, value in body.items() if value is not None})
    assert answer.status_code == 400, answer.text
    assert answer.json()["type"].startswith("https://uri.etsi.org/ngsi-ld/errors/")


TIMES = st.lists(st.integers(-(10**15), 10**16) | st.integers(0, 10**9).map(lambda s: s * 10**6), max_size=20)


@given(TIMES)
def test_times_by_columns_are_those_one_by_one(times: list[int]) -> None:
    assert texts(np.array(times, np.int64)) == [time_text(at_us) for at_us in times]


@pytest.mark.parametrize("values", [[1, 2, 3], [1.5, 2, -0.25], [1, "text", 2], [True, 1, 2]], ids=str)
async def test_numbers_by_columns_are_those_one_by_one(client: httpx.AsyncClient, values: list[Any]) -> None:
    """In a closed interval numbers go the short way; with an open end they do not."""
    several = [observed(value, minute) for minute, value in enumerate(values)]
    several += [observed(9, 1, datasetId="urn:d:1")]
    await client.post(URL, json={"id": CARS[0], "type": "Vehicle", "speed": several, "fuel": [observed(0.5, 1.5)]})
    plain = {"type": "Vehicle", "options": "temporalValues"}
    short = {**plain, "timerel": "between", "timeAt": at(0), "endTimeAt": at(50)}
    answers = [await client.get(URL, params=question) for question in (short, {**plain, **AFTER})]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()[0]["speed"][0]["values"] == [[value, at(minute)] for minute, value in enumerate(values)]


async def test_languages(client: httpx.AsyncClient) -> None:
    name = {"type": "LanguageProperty", "languageMap": {"en": "bridge", "nl": "brug"}, "observedAt": at(1)}
    await client.post(URL, json={"id": CARS[0], "type": "Vehicle", "name": [name]})
    one = f"{URL}/{CARS[0]}"
    (found,) = (await client.get(one, params={"lang": "nl"})).json()["name"]
    assert {k: found[k] for k in ("type", "value", "lang")} == {"type": "Property", "value": "brug", "lang": "nl"}
    simple = (await client.get(one, params={"lang": "nl", "options": "temporalValues"})).json()["name"]
    assert simple == {"type": "Property", "values": [["brug", at(1)]]}
    both = {"type": "Vehicle", "q": 'name[en]=="bridge"', "lang": "nl", **AFTER}
    assert [entity["name"][0]["value"] for entity in (await client.get(URL, params=both)).json()] == ["brug"]
