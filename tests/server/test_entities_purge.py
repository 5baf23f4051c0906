"""Purge: DELETE /entities by a query, whole or some attributes (CIM 009 version 1.9)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.server.support import ROOT

PURGES: list[tuple[dict[str, str], int, dict[int, set[str]]]] = [
    ({"type": "A"}, 204, {3: {"a"}}),
    ({"type": "B"}, 204, {1: {"a", "b"}, 2: {"b"}}),
    ({"type": "A", "q": "a>5"}, 204, {2: {"b"}, 3: {"a"}}),
    ({"type": "*", "id": "urn:x:1,urn:x:3"}, 204, {2: {"b"}}),
    ({"local": "true", "idPattern": "[12]$"}, 204, {3: {"a"}}),
    ({"type": "A", "drop": "a"}, 204, {1: {"b"}, 2: {"b"}, 3: {"a"}}),
    ({"type": "A", "keep": "a"}, 204, {1: {"a"}, 2: set(), 3: {"a"}}),
    ({"q": "b", "drop": "a,b"}, 204, {1: set(), 2: set(), 3: {"a"}}),
    ({"type": "C"}, 204, {1: {"a", "b"}, 2: {"b"}, 3: {"a"}}),
    ({}, 400, {1: {"a", "b"}, 2: {"b"}, 3: {"a"}}),
    ({"id": "urn:x:1"}, 400, {1: {"a", "b"}, 2: {"b"}, 3: {"a"}}),
    ({"type": "A", "keep": "a", "drop": "b"}, 400, {1: {"a", "b"}, 2: {"b"}, 3: {"a"}}),
    ({"type": "A", "drop": "9a"}, 400, {1: {"a", "b"}, 2: {"b"}, 3: {"a"}}),
    ({"type": "A", "q": "a=="}, 400, {1: {"a", "b"}, 2: {"b"}, 3: {"a"}}),
]


@pytest.mark.parametrize(("parameters", "status", "left"), PURGES)
async def test_purge(
    client: httpx.AsyncClient, parameters: dict[str, str], status: int, left: dict[int, set[str]]
) -> None:
    entities: list[dict[str, Any]] = [
        {"id": "urn:x:1", "type": "A", "a": 10, "b": 1},
        {"id": "urn:x:2", "type": "A", "b": 2},
        {"id": "urn:x:3", "type": "B", "a": 1},
    ]
    assert (await client.post(f"{ROOT}/entityOperations/create", json=entities)).status_code == 201
    answer = await client.delete(f"{ROOT}/entities", params=parameters)
    assert answer.status_code == status, answer.text
    found = (await client.get(f"{ROOT}/entities", params={"local": "true"})).json()
    assert {int(entity["id"][-1]): set(entity) - {"id", "type"} for entity in found} == left


async def test_purge_by_place_scope_and_link(client: httpx.AsyncClient) -> None:
    entities: list[dict[str, Any]] = [
        {"id": "urn:x:1", "type": "A", "location": {"type": "Point", "coordinates": [1, 1]}},
        {"id": "urn:x:2", "type": "A", "location": {"type": "Point", "coordinates": [50, 1]}, "scope": "/a/b"},
        {"id": "urn:x:3", "type": "A", "r": {"object": "urn:x:2"}},
    ]
    assert (await client.post(f"{ROOT}/entityOperations/create", json=entities)).status_code == 201

    async def purge(**parameters: str) -> set[str]:
        answer = await client.delete(f"{ROOT}/entities", params=parameters)
        assert answer.status_code == 204, answer.text
        found = (await client.get(f"{ROOT}/entities", params={"local": "true"})).json()
        return {entity["id"] for entity in found}

    assert await purge(q="r{scope};r{ghost==1}", local="true") == {"urn:x:1", "urn:x:2", "urn:x:3"}
    near = {"georel": "near;maxDistance==1000", "geometry": "Point", "coordinates": "[1,1]"}
    assert await purge(**near) == {"urn:x:2", "urn:x:3"}
    assert await purge(q="r{location}") == {"urn:x:2"}
    assert await purge(scopeQ="/a/#") == set()


async def test_purge_of_many_and_of_a_tenant(client: httpx.AsyncClient) -> None:
    tenant = {"NGSILD-Tenant": "t"}
    assert (await client.delete(f"{ROOT}/entities", params={"type": "A"}, headers=tenant)).status_code == 404
    many = [{"id": f"urn:x:{number}", "type": "A"} for number in range(1200)]
    for headers in ({}, tenant):
        created = await client.post(f"{ROOT}/entityOperations/create", json=many, headers=headers)
        assert created.status_code == 201
    assert (await client.delete(f"{ROOT}/entities", params={"type": "A"}, headers=tenant)).status_code == 204
    for headers, count in (({}, "1200"), (tenant, "0")):
        counted = await client.get(f"{ROOT}/entities", params={"type": "A", "count": "true"}, headers=headers)
        assert counted.headers["NGSILD-Results-Count"] == count
