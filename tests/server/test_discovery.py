"""Types and attributes discovery (CIM 009 clauses 5.7.5 to 5.7.10)."""

from __future__ import annotations

import httpx
import pytest

from tests.server.support import ROOT

CORE_NAMES = "https://uri.etsi.org/ngsi-ld/default-context/"
ENTITIES = [
    {"id": "urn:x:1", "type": "Room", "size": {"type": "Property", "value": 1}},
    {
        "id": "urn:x:2",
        "type": ["Room", "Hall"],
        "size": {"type": "ListProperty", "valueList": [1]},
        "isIn": {"type": "Relationship", "object": "urn:x:3"},
    },
    {"id": "urn:x:3", "type": "House"},
]


@pytest.fixture
async def city(client: httpx.AsyncClient) -> httpx.AsyncClient:
    assert (await client.post(f"{ROOT}/entityOperations/create", json=ENTITIES)).status_code == 201
    return client


async def test_lists(city: httpx.AsyncClient) -> None:
    types = (await city.get(f"{ROOT}/types")).json()
    assert (types["type"], types["typeList"]) == ("EntityTypeList", ["Hall", "House", "Room"])
    attributes = (await city.get(f"{ROOT}/attributes", params={"local": "true"})).json()
    assert (attributes["type"], attributes["attributeList"]) == ("AttributeList", ["isIn", "size"])
    part = await city.get(f"{ROOT}/types", params={"limit": 2, "count": "true"})
    assert part.json()["typeList"] == ["Hall", "House"] and 'rel="next"' in part.headers["link"]
    assert part.headers["ngsild-results-count"] == "3"


async def test_details(city: httpx.AsyncClient) -> None:
    types = (await city.get(f"{ROOT}/types", params={"details": "true"})).json()
    assert types == [
        {"id": f"{CORE_NAMES}{name}", "type": "EntityType", "typeName": name, "attributeNames": attributes}
        for name, attributes in (("Hall", ["isIn", "size"]), ("House", []), ("Room", ["isIn", "size"]))
    ]
    attributes = await city.get(
        f"{ROOT}/attributes", params={"details": "true"}, headers={"Accept": "application/ld+json"}
    )
    assert [element.pop("@context") for element in attributes.json()]
    assert [(e["id"], e["attributeName"], e["typeNames"]) for e in attributes.json()] == [
        (f"{CORE_NAMES}isIn", "isIn", ["Hall", "Room"]),
        (f"{CORE_NAMES}size", "size", ["Hall", "Room"]),
    ]


@pytest.mark.parametrize("name", ["Room", f"{CORE_NAMES}Room".replace("/", "%2F")])
async def test_one_type(city: httpx.AsyncClient, name: str) -> None:
    assert (await city.get(f"{ROOT}/types/{name}")).json() == {
        "id": f"{CORE_NAMES}Room",
        "type": "EntityTypeInfo",
        "typeName": "Room",
        "entityCount": 2,
        "attributeDetails": [
            {
                "id": f"{CORE_NAMES}isIn",
                "type": "Attribute",
                "attributeName": "isIn",
                "attributeTypes": ["Relationship"],
            },
            {
                "id": f"{CORE_NAMES}size",
                "type": "Attribute",
                "attributeName": "size",
                "attributeTypes": ["ListProperty", "Property"],
            },
        ],
    }


async def test_one_attribute(city: httpx.AsyncClient) -> None:
    assert (await city.get(f"{ROOT}/attributes/size")).json() == {
        "id": f"{CORE_NAMES}size",
        "type": "Attribute",
        "attributeName": "size",
        "attributeCount": 2,
        "attributeTypes": ["ListProperty", "Property"],
        "typeNames": ["Hall", "Room"],
    }


async def test_what_is_not_there(client: httpx.AsyncClient) -> None:
    for path, member in (("types", "typeList"), ("attributes", "attributeList")):
        empty = await client.get(f"{ROOT}/{path}")
        assert empty.status_code == 200 and empty.json()[member] == []
        assert (await client.get(f"{ROOT}/{path}", params={"details": "true"})).json() == []
        assert (await client.get(f"{ROOT}/{path}/Nothing")).status_code == 404
        assert (await client.get(f"{ROOT}/{path}", params={"details": "yes"})).status_code == 400
        assert (await client.get(f"{ROOT}/{path}/%22")).status_code == 400
