"""GET /entities, GET /entities/{id} and POST /entityOperations/query (CIM 009 clauses 5.7.1, 5.7.2, 6.4, 6.5, 6.23)."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from gateway.server.broker.model import time_text
from tests.server.support import ROOT

ENTITIES = f"{ROOT}/entities"
QUERY = f"{ROOT}/entityOperations/query"
GEO = {"Accept": "application/geo+json"}
LD_OUT = {"Accept": "application/ld+json"}
PREFIX = "urn:ngsi-ld:Room:"


def room(key: str, /, **attributes: Any) -> dict[str, Any]:
    return {"id": f"{PREFIX}{key}", "type": "Room", **attributes}


def point(*position: float) -> dict[str, Any]:
    return {"type": "GeoProperty", "value": {"type": "Point", "coordinates": list(position)}}


ROOMS = [
    room("1", temperature={"type": "Property", "value": 20}, location=point(8, 50), scope="/a/b"),
    room("2", temperature={"type": "Property", "value": 25}, location=point(8.5, 50), scope=["/a/c", "/x"]),
    room("3", humidity={"type": "Property", "value": 0.4}, location=point(9, 50)),
    room(
        "4",
        temperature=[
            {"type": "Property", "value": 1, "datasetId": "urn:d:1"},
            {"type": "Property", "value": 2, "unitCode": "CEL"},
        ],
        name={"type": "LanguageProperty", "languageMap": {"en": "hall", "de": "Saal", "@none": "aula"}},
    ),
    {"id": "urn:ngsi-ld:House:1", "type": ["House", "Shop"], "owner": {"type": "Property", "value": "Ann"}},
]


async def put(client: httpx.AsyncClient, *entities: dict[str, Any], **headers: str) -> None:
    done = await client.post(f"{ROOT}/entityOperations/create", json=list(entities), headers=headers)
    assert done.status_code == 201, done.text


@pytest.fixture
async def rooms(client: httpx.AsyncClient) -> httpx.AsyncClient:
    await put(client, *ROOMS)
    return client


async def names(client: httpx.AsyncClient, **parameters: Any) -> list[str]:
    found = await client.get(ENTITIES, params=parameters)
    assert found.status_code == 200, found.text
    return [entity["id"].removeprefix("urn:ngsi-ld:").removeprefix("Room:") for entity in found.json()]


def refused(answer: httpx.Response, status: int, name: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json()["type"] == f"https://uri.etsi.org/ngsi-ld/errors/{name}"


AREA = {"georel": "near;maxDistance==50000", "geometry": "Point", "coordinates": "[8,50]"}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"type": "Room"}, ["1", "2", "3", "4"]),
        ({"type": "*"}, ["1", "2", "3", "4", "House:1"]),
        ({"local": "true"}, ["1", "2", "3", "4", "House:1"]),
        ({"type": "Room,House"}, ["1", "2", "3", "4", "House:1"]),
        ({"type": "(House;Shop)"}, ["House:1"]),
        ({"type": "Room", "id": f"{PREFIX}2,{PREFIX}9"}, ["2"]),
        ({"type": "Room", "idPattern": ".*[34]$"}, ["3", "4"]),
        ({"type": "Room", "id": f"{PREFIX}2", "idPattern": "nothing"}, ["2"]),
        ({"attrs": "humidity"}, ["3"]),
        ({"attrs": "humidity,owner"}, ["3", "House:1"]),
        ({"pick": "id,humidity", "q": "humidity"}, ["3"]),
        ({"type": "Room", "pick": "id,humidity"}, ["1", "2", "3", "4"]),
        ({"q": "temperature>20"}, ["2"]),
        ({"type": "Room", "q": "temperature==1"}, ["4"]),
        ({"type": "Room", "q": "!temperature"}, ["3"]),
        (AREA, ["1", "2"]),
        ({**AREA, "q": "temperature<25"}, ["1"]),
        ({"type": "Room", "scopeQ": "/a/#"}, ["1", "2"]),
        ({"scopeQ": "/a/+;/x"}, ["2"]),
        ({"type": "Room", "datasetId": "urn:d:1"}, ["4"]),
        ({"type": "Room", "datasetId": "@none", "attrs": "temperature"}, ["1", "2", "4"]),
        ({"type": "Room", "orderBy": "temperature;desc"}, ["2", "1", "4", "3"]),
        ({"type": "Room", "orderBy": "id;desc", "limit": "2", "offset": "1"}, ["3", "2"]),
        ({"type": "Room", "orderBy": "location;dist-desc", "orderFrom": "[8,50]"}, ["3", "2", "1", "4"]),
        ({"type": "Room", "orderBy": "location;dist-asc", "orderFrom": "[8.4,50]"}, ["2", "1", "3", "4"]),
        ({"type": "Room", "limit": "2"}, ["1", "2"]),
        ({"type": "Nothing"}, []),
        ({"type": "Room", "csf": "x==1", "splitEntities": "false", "entityMapLifetime": "PT1H"}, ["1", "2", "3", "4"]),
    ],
)
async def test_which_entities(rooms: httpx.AsyncClient, parameters: dict[str, str], expected: list[str]) -> None:
    assert await names(rooms, **parameters) == expected


@pytest.mark.parametrize(
    ("parameters", "status", "name"),
    [
        ({}, 400, "BadRequestData"),
        ({"id": f"{PREFIX}1"}, 400, "BadRequestData"),
        ({"idPattern": ".*"}, 400, "BadRequestData"),
        ({"q": "createdAt>2020-01-01T00:00:00Z"}, 400, "BadRequestData"),
        ({"local": "yes"}, 400, "BadRequestData"),
        ({"type": "Room", "id": "nouri"}, 400, "BadRequestData"),
        ({"type": "Room", "idPattern": "("}, 400, "BadRequestData"),
        ({"type": "Room", "limit": "0"}, 400, "BadRequestData"),
        ({"type": "Room", "limit": "-1"}, 400, "BadRequestData"),
        ({"type": "Room", "offset": "-1"}, 400, "BadRequestData"),
        ({"type": "Room", "count": "1"}, 400, "BadRequestData"),
        ({"type": "Room", "limit": "100000"}, 403, "TooManyResults"),
        ({"type": "Room", "options": "nonsense"}, 400, "InvalidRequest"),
        ({"type": "Room", "format": "nonsense"}, 400, "InvalidRequest"),
        ({"type": "Room", "options": "noOverwrite"}, 400, "InvalidRequest"),
        ({"type": "Room", "attrs": "a", "pick": "b"}, 400, "BadRequestData"),
        ({"type": "Room", "attrs": "id"}, 400, "BadRequestData"),
        ({"type": "Room", "pick": "a,b", "omit": "b"}, 400, "BadRequestData"),
        ({"type": "Room", "pick": "a{b}"}, 400, "BadRequestData"),
        ({"type": "Room", "pick": "a{b{c}}", "join": "inline"}, 400, "BadRequestData"),
        ({"type": "Room", "pick": ""}, 400, "BadRequestData"),
        ({"type": "Room", "join": "sideways"}, 400, "BadRequestData"),
        ({"type": "Room", "joinLevel": "2"}, 400, "BadRequestData"),
        ({"type": "Room", "join": "flat", "joinLevel": "0"}, 400, "BadRequestData"),
        ({"type": "Room", "join": "flat", "containedBy": ""}, 400, "BadRequestData"),
        ({"type": "Room", "join": "flat", "joinLevel": "99"}, 403, "TooComplexQuery"),
        ({"type": "Room", "geometryProperty": "location"}, 400, "BadRequestData"),
        ({"type": "Room", "datasetId": "x"}, 400, "BadRequestData"),
        ({"type": "Room", "lang": "12345"}, 400, "BadRequestData"),
        ({"type": "Room", "georel": "within"}, 400, "BadRequestData"),
        ({"type": "Room", "scopeQ": "//"}, 400, "BadRequestData"),
        ({"type": "Room", "orderBy": "a;up"}, 400, "BadRequestData"),
        ({"type": "Room", "orderBy": "a;dist-asc"}, 400, "BadRequestData"),
        ({"type": "Room", "orderBy": "a", "collation": "?"}, 400, "BadRequestData"),
        ({"type": "Room", "orderBy": "a", "collation": "de-u-co-phonebk"}, 422, "OperationNotSupported"),
        ({"type": "Room", "details": "x"}, 422, "OperationNotSupported"),
    ],
)
async def test_refused(client: httpx.AsyncClient, parameters: dict[str, str], status: int, name: str) -> None:
    refused(await client.get(ENTITIES, params=parameters), status, name)


async def test_pages(rooms: httpx.AsyncClient) -> None:
    seen: list[str] = []
    target, pages = f"{ENTITIES}?type=Room&limit=2&count=true&q=id%7Ctemperature%7Chumidity", 0
    while target:
        found = await rooms.get(target)
        pages += 1
        seen += [entity["id"][-1] for entity in found.json()]
        assert found.headers["ngsild-results-count"] == "4"
        assert ('rel="prev"' in found.headers["link"]) is (pages > 1)
        following = re.search(r'<([^>]*)>; rel="next"; type="application/json"', found.headers["link"])
        target = following[1] if following else ""
    assert seen == ["1", "2", "3", "4"] and pages == 2
    alone = await rooms.get(ENTITIES, params={"type": "Room", "limit": 0, "count": "true"})
    assert alone.json() == [] and alone.headers["ngsild-results-count"] == "4"
    none = await rooms.get(ENTITIES, params={"type": "None", "count": "true"})
    assert none.json() == [] and none.headers["ngsild-results-count"] == "0" and "next" not in none.headers["link"]


async def one(client: httpx.AsyncClient, number: str, headers: dict[str, str] | None = None, **parameters: Any) -> Any:
    found = await client.get(f"{ENTITIES}/{PREFIX}{number}", params=parameters, headers=headers)
    assert found.status_code == 200, found.text
    return found.json()


HALL = ROOMS[3]["name"]["languageMap"]
SAAL = {"type": "Property", "value": "Saal", "lang": "de"}
ONE, TWO = {"type": "Property", "value": 1, "datasetId": "urn:d:1"}, {"type": "Property", "value": 2, "unitCode": "CEL"}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"attrs": "temperature"}, room("4", temperature=[ONE, TWO])),
        ({"attrs": "temperature", "datasetId": "urn:d:1"}, room("4", temperature=ONE)),
        ({"attrs": "temperature", "datasetId": "@none"}, room("4", temperature=TWO)),
        ({"pick": "id,name", "lang": "de"}, {"id": f"{PREFIX}4", "name": SAAL}),
        ({"pick": "name", "lang": "de-AT"}, {"name": SAAL}),
        ({"pick": "name", "lang": "fr;q=0.9,de;q=0.5"}, {"name": SAAL}),
        ({"pick": "name", "lang": "fr"}, {"name": {"type": "Property", "value": "aula", "lang": "@none"}}),
        ({"pick": "name", "lang": "de", "options": "keyValues"}, {"name": "Saal"}),
        ({"pick": "name", "lang": "de", "format": "concise"}, {"name": {"value": "Saal", "lang": "de"}}),
        ({"pick": "name", "lang": "*", "format": "concise"}, {"name": {"languageMap": HALL}}),
        ({"omit": "temperature,type", "options": "concise"}, {"id": f"{PREFIX}4", "name": {"languageMap": HALL}}),
        (
            {"pick": "type,temperature", "format": "simplified"},
            {"type": "Room", "temperature": {"dataset": {"urn:d:1": 1, "@none": 2}}},
        ),
        ({"pick": "temperature", "datasetId": "@none", "format": "simplified"}, {"temperature": 2}),
        (
            {"pick": "temperature", "options": "keyValues", "format": "concise"},
            {"temperature": [{"value": 1, "datasetId": "urn:d:1"}, {"value": 2, "unitCode": "CEL"}]},
        ),
    ],
)
async def test_views(rooms: httpx.AsyncClient, parameters: dict[str, Any], expected: dict[str, Any]) -> None:
    assert await one(rooms, "4", **parameters) == expected
    query = {"type": "Room", "id": f"{PREFIX}4", **parameters}
    assert (await rooms.get(ENTITIES, params=query)).json() == [expected]


async def test_what_a_projection_leaves_nothing_of_is_no_answer(rooms: httpx.AsyncClient) -> None:
    found = await rooms.get(ENTITIES, params={"pick": "humidity", "options": "keyValues", "count": "true"})
    assert found.json() == [{"humidity": 0.4}] and found.headers["ngsild-results-count"] == "1"


async def test_retrieve_what_is_not_there(rooms: httpx.AsyncClient) -> None:
    at = f"{ENTITIES}/{PREFIX}1"
    for path, parameters in (
        (f"{ENTITIES}/urn:x:none", {}),
        (at, {"type": "House"}),
        (at, {"attrs": "nothing"}),
        (at, {"pick": "nothing"}),
    ):
        refused(await rooms.get(path, params=parameters), 404, "ResourceNotFound")
    refused(await rooms.get(at, headers={"NGSILD-Tenant": "nobody"}), 404, "NonexistentTenant")
    refused(await rooms.get(f"{ENTITIES}/nouri"), 400, "BadRequestData")


async def test_system_attributes(rooms: httpx.AsyncClient) -> None:
    shown = await one(rooms, "1", options="sysAttrs", attrs="temperature")
    assert {"createdAt", "modifiedAt"} <= shown.keys() and {"createdAt", "modifiedAt"} <= shown["temperature"].keys()
    simple = await one(rooms, "1", options="sysAttrs,keyValues", attrs="temperature")
    assert simple.keys() == {"id", "type", "scope", "createdAt", "modifiedAt", "temperature"}
    assert simple["temperature"] == 20
    assert "createdAt" not in await one(rooms, "1")


# GeoJSON

FEATURE = {
    "id": f"{PREFIX}1",
    "type": "Feature",
    "geometry": {"type": "Point", "coordinates": [8, 50]},
    "properties": {
        "type": "Room",
        "scope": "/a/b",
        "temperature": 20,
        "location": {"type": "Point", "coordinates": [8, 50]},
    },
}


async def test_geojson(rooms: httpx.AsyncClient) -> None:
    found = await rooms.get(f"{ENTITIES}/{PREFIX}1", params={"format": "simplified"}, headers=GEO)
    assert found.headers["content-type"] == "application/geo+json"
    assert found.json() == {**FEATURE, "@context": found.json()["@context"]} and "link" not in found.headers
    moved = await rooms.get(
        f"{ENTITIES}/{PREFIX}1", params={"format": "simplified"}, headers={**GEO, "Prefer": "body=json"}
    )
    assert moved.json() == FEATURE and "json-ld#context" in moved.headers["link"]
    many = await rooms.get(ENTITIES, params={"type": "Room", "options": "keyValues", "limit": 2}, headers=GEO)
    body = many.json()
    assert body["type"] == "FeatureCollection" and body["features"][0] == FEATURE and "@context" in body
    assert 'rel="next"; type="application/geo+json"' in many.headers["link"]
    missing = await one(rooms, "4", GEO)
    assert missing["geometry"] is None
    normal = await one(rooms, "1", GEO, geometryProperty="temperature")
    assert normal["geometry"] is None and normal["properties"]["temperature"] == {"type": "Property", "value": 20}
    picked = await one(rooms, "1", GEO, pick="id,temperature")
    assert picked["properties"].keys() == {"temperature"} and picked["geometry"] == FEATURE["geometry"]


async def test_geojson_is_for_entities_only(rooms: httpx.AsyncClient) -> None:
    assert (await rooms.get(f"{ROOT}/types", headers=GEO)).status_code == 406
    both = await rooms.get(ENTITIES, params={"type": "Room"}, headers={"Accept": "application/geo+json, text/html"})
    assert both.json()["type"] == "FeatureCollection"


async def test_where_the_context_is(rooms: httpx.AsyncClient) -> None:
    plain = await rooms.get(ENTITIES, params={"type": "Room"})
    assert "json-ld#context" in plain.headers["link"] and "@context" not in plain.json()[0]
    inside = await rooms.get(ENTITIES, params={"type": "Room"}, headers=LD_OUT)
    assert "link" not in inside.headers and all("@context" in entity for entity in inside.json())


# linked entities

HOUSE: dict[str, Any] = {
    "id": "urn:ngsi-ld:House:7",
    "type": "House",
    "name": {"type": "Property", "value": "Old mill"},
    "street": {"type": "Relationship", "object": "urn:ngsi-ld:Street:1"},
}
STREET: dict[str, Any] = {
    "id": "urn:ngsi-ld:Street:1",
    "type": "Street",
    "name": {"type": "Property", "value": "High"},
    "houses": {"type": "ListRelationship", "objectList": ["urn:ngsi-ld:House:7", "urn:ngsi-ld:House:8"]},
}
FLAT: dict[str, Any] = {
    "id": "urn:ngsi-ld:Flat:1",
    "type": "Flat",
    "isIn": {"type": "Relationship", "object": "urn:ngsi-ld:House:7"},
}
AT_FLAT = f"{ENTITIES}/urn:ngsi-ld:Flat:1"


async def test_join_inline(client: httpx.AsyncClient) -> None:
    await put(client, HOUSE, STREET, FLAT)
    once = (await client.get(AT_FLAT, params={"join": "inline"})).json()
    assert once == {**FLAT, "isIn": {**FLAT["isIn"], "entity": HOUSE}}
    twice = (await client.get(AT_FLAT, params={"join": "inline", "joinLevel": 3})).json()
    house = twice["isIn"]["entity"]
    assert house["street"]["entity"] == STREET  # the house is not expanded again
    plain = (await client.get(AT_FLAT, params={"join": "inline", "joinLevel": 2, "options": "keyValues"})).json()
    assert plain["isIn"]["street"]["name"] == "High"
    stopped = (await client.get(AT_FLAT, params={"join": "inline", "containedBy": "urn:ngsi-ld:House:7"})).json()
    assert stopped == FLAT
    of_list = (await client.get(f"{ENTITIES}/urn:ngsi-ld:Street:1", params={"join": "inline"})).json()
    assert of_list["houses"]["entityList"] == [HOUSE]
    picked = await client.get(AT_FLAT, params={"join": "inline", "joinLevel": 2, "pick": "isIn{id,street{name}}"})
    assert picked.json() == {
        "isIn": {
            **FLAT["isIn"],
            "entity": {
                "id": HOUSE["id"],
                "street": {**HOUSE["street"], "entity": {"name": STREET["name"]}},
            },
        }
    }
    left = (await client.get(AT_FLAT, params={"join": "inline", "omit": "isIn{street,type}"})).json()
    assert left["isIn"]["entity"] == {"id": HOUSE["id"], "name": HOUSE["name"]}


@pytest.mark.parametrize("one", [True, False])
async def test_what_is_wanted_of_an_entity_is_not_asked_of_what_it_leads_to(
    client: httpx.AsyncClient, one: bool
) -> None:
    await put(client, HOUSE, STREET, FLAT)

    async def found(**parameters: str) -> Any:
        if one:
            return (await client.get(AT_FLAT, params=parameters)).json()
        answer = await client.get(ENTITIES, params={"type": "Flat", "q": "isIn", **parameters})
        return answer.json() if parameters["join"] == "flat" else answer.json()[0]

    head = {name: FLAT[name] for name in ("id", "type", "isIn")}
    assert await found(attrs="isIn", join="flat") == [head, HOUSE]
    assert (await found(attrs="isIn", join="inline"))["isIn"]["entity"] == HOUSE
    assert await found(pick="isIn", join="flat") == [{"isIn": FLAT["isIn"]}, HOUSE]
    assert await found(pick="id,isIn{street}", join="flat") == [
        {"id": FLAT["id"], "isIn": FLAT["isIn"]},
        {"street": HOUSE["street"]},
    ]
    geo = {"Accept": "application/geo+json"}
    features = await client.get(AT_FLAT, params={"pick": "isIn{street}", "join": "flat"}, headers=geo)
    assert [feature["id"] for feature in features.json()["features"]] == [FLAT["id"], HOUSE["id"]]


async def test_join_flat(client: httpx.AsyncClient) -> None:
    await put(client, HOUSE, STREET, FLAT)
    assert (await client.get(AT_FLAT, params={"join": "flat"})).json() == [FLAT, HOUSE]
    assert (await client.get(AT_FLAT, params={"join": "flat", "joinLevel": 5})).json() == [FLAT, HOUSE, STREET]
    query: dict[str, str | int] = {"type": "Flat,House", "join": "flat", "count": "true", "limit": 5}
    found = await client.get(ENTITIES, params=query)
    assert found.json() == [HOUSE, FLAT, STREET] and found.headers["ngsild-results-count"] == "2"
    features = (await client.get(AT_FLAT, params={"join": "flat"}, headers=GEO)).json()
    assert features["type"] == "FeatureCollection" and len(features["features"]) == 2
    linked = await client.get(ENTITIES, params={"type": "Flat", "q": 'isIn{street{name}}=="High"'})
    assert linked.json() == [FLAT]


# older versions


async def test_older_versions(client: httpx.AsyncClient) -> None:
    await put(
        client,
        {
            "id": "urn:ngsi-ld:T:1",
            "type": ["T", "U"],
            "scope": "/s",
            "a": {"type": "VocabProperty", "vocab": "Lamp"},
            "b": {"type": "LanguageProperty", "languageMap": {"en": "x"}},
            "c": {"type": "ListRelationship", "objectList": ["urn:x:1"], "objectType": "X"},
            "d": {"type": "JsonProperty", "json": {"k": None}},
            "e": {"type": "Property", "value": 1, "unitCode": "C62", "observedAt": "2026-01-01T00:00:00Z"},
        },
    )
    at = f"{ENTITIES}/urn:ngsi-ld:T:1"
    seven = await client.get(at, headers={"Prefer": "ngsi-ld=1.7"})
    assert seven.status_code == 203 and seven.headers["preference-applied"] == "ngsi-ld=1.7"
    assert seven.json()["a"] == {"type": "Property", "value": "Lamp"}
    assert seven.json()["c"] == {"type": "Relationship", "object": ["urn:x:1"]}
    assert seven.json()["d"] == {"type": "Property", "value": {"k": None}}
    assert seven.json()["b"]["type"] == "LanguageProperty" and seven.json()["scope"] == "/s"
    three = (await client.get(at, headers={"Prefer": "ngsi-ld=1.3"})).json()
    assert three["b"] == {"type": "Property", "value": {"en": "x"}} and "scope" not in three
    two = await client.get(ENTITIES, params={"type": "T"}, headers={"Prefer": "ngsi-ld=1.2"})
    assert two.status_code == 203 and two.json()[0]["e"] == {"type": "Property", "value": 1}
    assert two.json()[0]["type"] == "T"
    for prefer in ("ngsi-ld=1.9", "ngsi-ld=x", "body=json"):
        now = await client.get(at, headers={"Prefer": prefer})
        assert now.status_code == 200 and "preference-applied" not in now.headers
    same = await client.get(at, params={"pick": "e"}, headers={"Prefer": "ngsi-ld=1.3"})
    assert same.status_code == 200


# query by body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"entities": [{"type": "Room"}]}, ["1", "2", "3", "4"]),
        ({"entities": [{"type": "Room", "id": f"{PREFIX}1"}, {"type": "House"}]}, ["1", "House:1"]),
        ({"entities": [{"type": "Room", "id": [f"{PREFIX}1", f"{PREFIX}3"]}]}, ["1", "3"]),
        ({"entities": [{"type": "Room", "idPattern": ".*2"}, {"type": "Room", "idPattern": ".*3"}]}, ["2", "3"]),
        ({"entities": [{"type": "*"}]}, ["1", "2", "3", "4", "House:1"]),
        ({"attrs": ["humidity", "owner"]}, ["3", "House:1"]),
        ({"q": "temperature>20"}, ["2"]),
        ({"geoQ": {**AREA, "coordinates": [8, 50]}}, ["1", "2"]),
        ({"geoQ": {**AREA, "geoproperty": "place"}}, []),
        ({"entities": [{"type": "Room"}], "scopeQ": "/a/b"}, ["1"]),
        ({"entities": [{"type": "Room"}], "ordering": {"orderBy": ["temperature;desc"]}}, ["2", "1", "4", "3"]),
        ({"entities": [{"type": "Room"}], "pick": ["id"], "temporalQ": {}}, ["1", "2", "3", "4"]),
        ({"entities": [{"type": "Room"}], "datasetId": ["urn:d:1"]}, ["4"]),
    ],
)
async def test_query_by_body(rooms: httpx.AsyncClient, body: dict[str, Any], expected: list[str]) -> None:
    found = await rooms.post(QUERY, json={"type": "Query", **body}, params={"count": "true"})
    assert found.status_code == 200, found.text
    assert [entity["id"].removeprefix("urn:ngsi-ld:").removeprefix("Room:") for entity in found.json()] == expected
    assert found.headers["ngsild-results-count"] == str(len(expected))


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"type": "Other", "q": "a"},
        {"type": "Query"},
        {"type": "Query", "entities": []},
        {"type": "Query", "entities": [{"id": "urn:x:1"}]},
        {"type": "Query", "entities": [{"type": "T", "id": "nouri"}]},
        {"type": "Query", "entities": [{"type": "T", "idPattern": "("}]},
        {"type": "Query", "entities": [{"type": "T", "more": 1}]},
        {"type": "Query", "entities": {"type": "T"}},
        {"type": "Query", "q": 5},
        {"type": "Query", "q": None},
        {"type": "Query", "attrs": []},
        {"type": "Query", "attrs": [1]},
        {"type": "Query", "q": "a", "joinLevel": "x"},
        {"type": "Query", "geoQ": {"georel": "within"}},
        {"type": "Query", "geoQ": {**AREA, "coordinates": {}}},
        {"type": "Query", "geoQ": [1]},
        {"type": "Query", "q": "a", "nonsense": 1},
        {"type": "Query", "q": "a==="},
    ],
)
async def test_bodies_that_are_refused(client: httpx.AsyncClient, body: Any) -> None:
    refused(await client.post(QUERY, json=body), 400, "BadRequestData")


async def test_a_body_that_is_no_json(client: httpx.AsyncClient) -> None:
    json = {"Content-Type": "application/json"}
    refused(await client.post(QUERY, content=b"{", headers=json), 400, "InvalidRequest")
    assert (await client.post(QUERY, content=b"{}", headers={"Content-Type": "text/csv"})).status_code == 415


# what has expired


async def test_what_has_expired_is_not_there(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    late = "2040-01-01T00:00:00Z"
    await put(client, {**room("1", a={"type": "Property", "value": 1}), "expiresAt": late}, room("2"))
    await put(
        client, room("3", a={"type": "Property", "value": 1, "expiresAt": late}, b={"type": "Property", "value": 2})
    )
    assert await names(client, type="Room") == ["1", "2", "3"]
    assert (await one(client, "3", options="sysAttrs"))["a"]["expiresAt"] == late
    monkeypatch.setattr("time.time_ns", lambda: 2_300_000_000_000_000_000)
    assert time_text(2_300_000_000_000_000) > late
    found = await client.get(ENTITIES, params={"type": "Room", "count": "true", "options": "keyValues"})
    assert found.json() == [room("2"), room("3", b=2)] and found.headers["ngsild-results-count"] == "2"
    assert await names(client, type="Room") == ["2", "3"]
    assert await names(client, q="a") == []
    refused(await client.get(f"{ENTITIES}/{PREFIX}1"), 404, "ResourceNotFound")


async def test_the_answer_follows_every_write(client: httpx.AsyncClient) -> None:
    await put(client, room("1", a={"type": "Property", "value": 0}))
    for value in (1, 2, 1):
        done = await client.patch(f"{ENTITIES}/{PREFIX}1/attrs", json={"a": {"type": "Property", "value": value}})
        assert done.status_code == 204
        for _ in range(2):
            assert (await one(client, "1"))["a"]["value"] == value
            assert (await client.get(ENTITIES, params={"type": "Room"})).json()[0]["a"]["value"] == value


async def test_purge_by_the_same_conditions(rooms: httpx.AsyncClient) -> None:
    for parameters in (AREA, {"scopeQ": "/#"}, {"q": "isIn{name}"}):
        assert (await rooms.delete(ENTITIES, params=parameters)).status_code == 204
    assert await names(rooms, local="true") == ["3", "4", "House:1"]
    refused(await rooms.delete(ENTITIES, params={"id": f"{PREFIX}4"}), 400, "BadRequestData")
