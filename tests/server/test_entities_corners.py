"""Corners of writing and reading entities: bodies and parameters that are easily taken for something else."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.server.support import ROOT

ONE = "urn:ngsi-ld:Room:1"
PATH = f"{ROOT}/entities/{ONE}"
DS = "urn:ngsi-ld:dataset:1"
Json = dict[str, Any]


async def start(client: httpx.AsyncClient, **attributes: Any) -> Json:
    entity = {"id": ONE, "type": "Room", **attributes}
    answer = await client.post(f"{ROOT}/entities", json=entity)
    assert answer.status_code == 201, answer.text
    return entity


async def there(client: httpx.AsyncClient) -> Json:
    found: Json = (await client.get(PATH)).json()
    return found


async def test_a_partial_update_takes_one_instance(client: httpx.AsyncClient) -> None:
    """A list of instances must not be taken for a list as the value."""
    first = await start(client, a={"type": "Property", "value": 1})
    answer = await client.patch(f"{PATH}/attrs/a", json=[{"value": 2}, {"value": 3, "datasetId": DS}])
    assert answer.status_code == 400 and answer.json()["type"].endswith("/BadRequestData")
    assert await there(client) == first
    assert (await client.patch(f"{PATH}/attrs/a", json=[2, 3])).status_code == 204  # that is a value
    assert (await there(client))["a"] == {"type": "Property", "value": [2, 3]}


@pytest.mark.parametrize("request_", ["POST /attrs", "PATCH /attrs", "PATCH ", "PATCH /attrs/a", "PUT /attrs/a"])
async def test_an_attribute_has_no_id(client: httpx.AsyncClient, request_: str) -> None:
    """``id`` is a name of JSON-LD's @id, and never one of a sub-attribute."""
    first = await start(client, a={"type": "Property", "value": 1})
    method, _, path = request_.partition(" ")
    attribute = {"type": "Property", "value": 2, "id": "urn:x:1"}
    body = attribute if path.endswith("/a") else {"a": attribute}
    answer = await client.request(method, PATH + path, json=body)
    assert answer.status_code == 400 and answer.json()["detail"].endswith("/id: is not allowed here"), answer.text
    assert await there(client) == first


POINT = {"type": "Point", "coordinates": [8, 40]}
SEVERAL: Json = {
    "a": [{"type": "Property", "value": 1}, {"type": "Property", "value": 2, "datasetId": DS}],
    "g": [{"type": "GeoProperty", "value": POINT}, {"type": "GeoProperty", "value": POINT, "datasetId": DS}],
    "list": {"type": "Property", "value": [1, {"value": 2}]},
}


@pytest.mark.parametrize("request_", ["POST ", "PUT ", "PATCH ", "PATCH /attrs", "POST /attrs"])
async def test_what_is_shown_concise_can_be_sent_back(client: httpx.AsyncClient, request_: str) -> None:
    """There the default instance beside others is a bare value: no reason to take the list for a value."""
    first = await start(client, **SEVERAL)
    concise = (await client.get(PATH, params={"options": "concise"})).json()
    assert concise["a"] == [1, {"value": 2, "datasetId": DS}]
    method, _, path = request_.partition(" ")
    if method == "POST" and not path:
        await client.delete(PATH)
        answer = await client.post(f"{ROOT}/entities", json=concise)
    else:
        await client.patch(f"{PATH}/attrs", json={"a": [3, {"value": 4, "datasetId": DS}]})
        answer = await client.request(method, PATH + path, json=concise)
    assert answer.status_code in (201, 204), answer.text
    assert await there(client) == first
