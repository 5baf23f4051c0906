"""Writes of one entity, rule by rule: what was there, what was sent, what is answered and what is there then."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.server.support import ROOT

ONE = "urn:ngsi-ld:Room:1"
PATH = f"{ROOT}/entities/{ONE}"
NULL = "urn:ngsi-ld:null"
DS = "urn:ngsi-ld:dataset:1"
OTHER = "urn:ngsi-ld:dataset:2"
POINT = {"type": "Point", "coordinates": [8, 40]}
AT, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
BASE = "https://uri.etsi.org/ngsi-ld/default-context/"
Json = dict[str, Any]


def prop(value: Any, **more: Any) -> Json:
    return {"type": "Property", "value": value, **more}


def lang(**tags: Any) -> Json:
    return {"type": "LanguageProperty", "languageMap": tags}


def rel(target: Any, **more: Any) -> Json:
    return {"type": "Relationship", "object": target, **more}


async def start(client: httpx.AsyncClient, attributes: Json) -> None:
    answer = await client.post(f"{ROOT}/entities", json={"id": ONE, "type": "Room", **attributes})
    assert answer.status_code == 201, answer.text


async def there(client: httpx.AsyncClient, **parameters: str) -> Json:
    answer = await client.get(PATH, params=parameters)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    assert found.pop("id") == ONE
    return found


ROOM: Json = {"type": "Room"}
# was there; method and path; parameters; body; status; is there then (None: as before)
RULES: dict[str, tuple[Json, str, Json, Any, int, Json | None]] = {
    # append
    "append adds": ({"a": prop(1)}, "POST /attrs", {}, {"b": prop(2)}, 204, {"a": prop(1), "b": prop(2)}),
    "append replaces whole": (
        {"a": prop(1, unitCode="CEL", x=prop(2))},
        "POST /attrs",
        {},
        {"a": prop(3)},
        204,
        {"a": prop(3)},
    ),
    "append changes the type": ({"a": prop(1)}, "POST /attrs", {}, {"a": rel("urn:x:1")}, 204, {"a": rel("urn:x:1")}),
    "append an instance": (
        {"a": prop(1)},
        "POST /attrs",
        {},
        {"a": prop(2, datasetId=DS)},
        204,
        {"a": [prop(1), prop(2, datasetId=DS)]},
    ),
    "append replaces its instance": (
        {"a": [prop(1), prop(2, datasetId=DS)]},
        "POST /attrs",
        {},
        {"a": [prop(3, datasetId=DS), prop(4, datasetId=OTHER)]},
        204,
        {"a": [prop(1), prop(3, datasetId=DS), prop(4, datasetId=OTHER)]},
    ),
    "append with an older date replaces": (
        {"a": prop(1, observedAt=LATER)},
        "POST /attrs",
        {},
        {"a": prop(2, observedAt=AT)},
        204,
        {"a": prop(2, observedAt=AT)},
    ),
    "append adds types": (
        {},
        "POST /attrs",
        {},
        {"type": ["B", "Room"], "a": prop(1)},
        204,
        {"type": ["Room", "B"], "a": prop(1)},
    ),
    "append replaces the scope": (
        {"scope": "/a"},
        "POST /attrs",
        {},
        {"scope": ["/b", "c/d"]},
        204,
        {"scope": ["/b", "/c/d"]},
    ),
    "noOverwrite adds scopes": (
        {"scope": "/a"},
        "POST /attrs",
        {"options": "noOverwrite"},
        {"scope": "/b"},
        204,
        {"scope": ["/a", "/b"]},
    ),
    "append takes no null": ({"a": prop(1)}, "POST /attrs", {}, {"a": NULL}, 400, None),
    "append of nothing": ({"a": prop(1)}, "POST /attrs", {}, {}, 400, None),
    "append with another id": ({}, "POST /attrs", {}, {"id": "urn:x:2", "a": 1}, 400, None),
    "append with its id": ({}, "POST /attrs", {}, {"id": ONE, "a": 1}, 204, {"a": prop(1)}),
    "append: type fits": ({}, "POST /attrs", {"type": "A,Room"}, {"a": 1}, 204, {"a": prop(1)}),
    "append: type does not fit": ({}, "POST /attrs", {"type": "A"}, {"a": 1}, 404, None),
    "append: concise": (
        {},
        "POST /attrs",
        {},
        {"a": 1, "b": {"object": "urn:x:1"}, "c": {"value": 2, "unitCode": "CEL", "d": 5}, "location": POINT},
        204,
        {
            "a": prop(1),
            "b": rel("urn:x:1"),
            "c": prop(2, unitCode="CEL", d=prop(5)),
            "location": {"type": "GeoProperty", "value": POINT},
        },
    ),
    # update
    "update replaces whole": ({"a": prop(1, x=prop(2))}, "PATCH /attrs", {}, {"a": prop(3)}, 204, {"a": prop(3)}),
    "update adds an instance": (
        {"a": prop(1)},
        "PATCH /attrs",
        {},
        {"a": prop(2, datasetId=DS)},
        204,
        {"a": [prop(1), prop(2, datasetId=DS)]},
    ),
    "update deletes": ({"a": prop(1), "b": prop(2)}, "PATCH /attrs", {}, {"a": NULL}, 204, {"b": prop(2)}),
    "update deletes by value": (
        {"a": prop(1), "b": prop(2)},
        "PATCH /attrs",
        {},
        {"a": prop(NULL)},
        204,
        {"b": prop(2)},
    ),
    "update deletes by object": ({"a": rel("urn:x:1")}, "PATCH /attrs", {}, {"a": rel(NULL)}, 204, {}),
    "update deletes by language": ({"a": lang(en="x")}, "PATCH /attrs", {}, {"a": lang(**{"@none": NULL})}, 204, {}),
    "update deletes an instance": (
        {"a": [prop(1), prop(2, datasetId=DS)]},
        "PATCH /attrs",
        {},
        {"a": prop(NULL, datasetId=DS)},
        204,
        {"a": prop(1)},
    ),
    "update leaves out null members": (
        {"a": prop(1, unitCode="CEL")},
        "PATCH /attrs",
        {},
        {"a": prop(2, unitCode=NULL, x=NULL)},
        204,
        {"a": prop(2)},
    ),
    "update deletes the scope": ({"scope": "/a"}, "PATCH /attrs", {}, {"scope": NULL}, 204, {}),
    "update with merge-patch": ({"a": prop(1)}, "PATCH /attrs", {}, {"a": prop(2)}, 204, {"a": prop(2)}),
    # partial update of an attribute
    "partial: value": (
        {"a": prop(1, unitCode="CEL", x=prop(2))},
        "PATCH /attrs/a",
        {},
        {"value": 3},
        204,
        {"a": prop(3, unitCode="CEL", x=prop(2))},
    ),
    "partial: member": (
        {"a": prop(1, observedAt=AT)},
        "PATCH /attrs/a",
        {},
        {"unitCode": "CEL"},
        204,
        {"a": prop(1, observedAt=AT, unitCode="CEL")},
    ),
    "partial: type said": ({"a": prop(1)}, "PATCH /attrs/a", {}, prop(3), 204, {"a": prop(3)}),
    "partial: IRI": (
        {"a": prop(1)},
        f"PATCH /attrs/{(BASE + 'a').replace('/', '%2F')}",
        {},
        prop(3),
        204,
        {"a": prop(3)},
    ),
    "partial: another type": ({"a": prop(1)}, "PATCH /attrs/a", {}, rel("urn:x:1"), 400, None),
    "partial: sub-attribute": (
        {"a": prop(1, x=prop(2))},
        "PATCH /attrs/a",
        {},
        {"y": prop(5)},
        204,
        {"a": prop(1, x=prop(2), y=prop(5))},
    ),
    "partial: sub-attribute goes": ({"a": prop(1, x=prop(2))}, "PATCH /attrs/a", {}, {"x": NULL}, 204, {"a": prop(1)}),
    "partial: member goes": (
        {"a": prop(1, unitCode="CEL")},
        "PATCH /attrs/a",
        {},
        {"unitCode": NULL},
        204,
        {"a": prop(1)},
    ),
    "partial: objects are replaced": (
        {"a": prop({"x": 1, "y": 2})},
        "PATCH /attrs/a",
        {},
        {"value": {"x": 3}},
        204,
        {"a": prop({"x": 3})},
    ),
    "partial: instance": (
        {"a": [prop(1), prop(2, datasetId=DS)]},
        "PATCH /attrs/a",
        {},
        {"value": 3, "datasetId": DS},
        204,
        {"a": [prop(1), prop(3, datasetId=DS)]},
    ),
    "partial: no such instance": ({"a": prop(1)}, "PATCH /attrs/a", {}, {"value": 3, "datasetId": DS}, 404, None),
    "partial: no such attribute": ({"a": prop(1)}, "PATCH /attrs/b", {}, {"value": 3}, 404, None),
    "partial: cannot delete": ({"a": prop(1)}, "PATCH /attrs/a", {}, {"value": NULL}, 400, None),
    "partial: datasetId stays": ({"a": prop(1)}, "PATCH /attrs/a", {}, {"value": 1, "datasetId": NULL}, 400, None),
    "partial: not the scope": ({"scope": "/a"}, "PATCH /attrs/scope", {}, {"value": "/b"}, 400, None),
    "partial: not the type": ({}, "PATCH /attrs/type", {}, {"value": "B"}, 400, None),
    "partial: type does not fit": ({"a": prop(1)}, "PATCH /attrs/a", {"type": "B"}, {"value": 3}, 404, None),
    "partial: geometry": (
        {"location": {"type": "GeoProperty", "value": POINT}},
        "PATCH /attrs/location",
        {},
        {"value": {"type": "Point", "coordinates": [9, 41]}},
        204,
        {"location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [9, 41]}}},
    ),
    "partial: no geometry": (
        {"location": {"type": "GeoProperty", "value": POINT}},
        "PATCH /attrs/location",
        {},
        {"value": 5},
        400,
        None,
    ),
    # replace an attribute
    "replace attribute": ({"a": prop(1, unitCode="CEL", x=prop(2))}, "PUT /attrs/a", {}, prop(3), 204, {"a": prop(3)}),
    "replace attribute: concise": ({"a": prop(1)}, "PUT /attrs/a", {}, {"value": 3}, 204, {"a": prop(3)}),
    "replace attribute: type": ({"a": prop(1)}, "PUT /attrs/a", {}, rel("urn:x:1"), 204, {"a": rel("urn:x:1")}),
    "replace attribute: instance": (
        {"a": [prop(1), prop(2, datasetId=DS)]},
        "PUT /attrs/a",
        {},
        prop(3, datasetId=DS),
        204,
        {"a": [prop(1), prop(3, datasetId=DS)]},
    ),
    "replace attribute: absent": ({"a": prop(1)}, "PUT /attrs/b", {}, prop(3), 404, None),
    "replace attribute: absent instance": ({"a": prop(1)}, "PUT /attrs/a", {}, prop(3, datasetId=DS), 404, None),
    "replace attribute: null": ({"a": prop(1)}, "PUT /attrs/a", {}, prop(NULL), 400, None),
    # delete an attribute
    "delete attribute": ({"a": prop(1), "b": prop(2)}, "DELETE /attrs/a", {}, None, 204, {"b": prop(2)}),
    "delete the default instance": (
        {"a": [prop(1), prop(2, datasetId=DS)]},
        "DELETE /attrs/a",
        {},
        None,
        204,
        {"a": prop(2, datasetId=DS)},
    ),
    "delete an instance": (
        {"a": [prop(1), prop(2, datasetId=DS)]},
        "DELETE /attrs/a",
        {"datasetId": DS},
        None,
        204,
        {"a": prop(1)},
    ),
    "delete @none": (
        {"a": [prop(1), prop(2, datasetId=DS)]},
        "DELETE /attrs/a",
        {"datasetId": "@none"},
        None,
        204,
        {"a": prop(2, datasetId=DS)},
    ),
    "delete all instances": (
        {"a": [prop(1), prop(2, datasetId=DS)]},
        "DELETE /attrs/a",
        {"deleteAll": "true"},
        None,
        204,
        {},
    ),
    "delete: no default instance": ({"a": prop(2, datasetId=DS)}, "DELETE /attrs/a", {}, None, 404, None),
    "delete: no such instance": ({"a": prop(2)}, "DELETE /attrs/a", {"datasetId": DS}, None, 404, None),
    "delete: no such attribute": ({"a": prop(2)}, "DELETE /attrs/b", {}, None, 404, None),
    "delete: bad datasetId": ({"a": prop(2)}, "DELETE /attrs/a", {"datasetId": "x"}, None, 400, None),
    "delete: bad deleteAll": ({"a": prop(2)}, "DELETE /attrs/a", {"deleteAll": "yes"}, None, 400, None),
    "delete: bad name": ({"a": prop(2)}, "DELETE /attrs/9(", {}, None, 400, None),
    "delete: the scope": ({"scope": "/a"}, "DELETE /attrs/scope", {}, None, 204, {}),
    "delete: type does not fit": ({"a": prop(2)}, "DELETE /attrs/a", {"type": "B"}, None, 404, None),
    # replace the entity
    "replace": (
        {"a": prop(1), "b": prop(2), "scope": "/a"},
        "PUT ",
        {},
        {"type": "Room", "b": prop(3)},
        204,
        {"b": prop(3)},
    ),
    "replace: other type": (
        {"a": prop(1)},
        "PUT ",
        {},
        {"id": ONE, "type": "Hall", "a": prop(1)},
        204,
        {"type": "Hall", "a": prop(1)},
    ),
    "replace: without type": ({"a": prop(1)}, "PUT ", {}, {"a": prop(1)}, 400, None),
    "replace: null": ({"a": prop(1)}, "PUT ", {}, {"type": "Room", "a": NULL}, 400, None),
    "replace: another id": ({"a": prop(1)}, "PUT ", {}, {"id": "urn:x:2", "type": "Room"}, 400, None),
    "replace: type does not fit": ({"a": prop(1)}, "PUT ", {"type": "B"}, {"type": "Room"}, 404, None),
    "replace: simplified": (
        {"a": prop(1), "r": rel("urn:x:1")},
        "PUT ",
        {"options": "keyValues"},
        {"type": "Room", "a": 2, "r": "urn:x:2", "location": POINT},
        204,
        {"a": prop(2), "r": rel("urn:x:2"), "location": {"type": "GeoProperty", "value": POINT}},
    ),
    # delete the entity
    "delete: type is not its": ({}, "DELETE ", {"type": "B"}, None, 404, None),
}


async def send(
    client: httpx.AsyncClient, request: str, parameters: Json, body: Any, media: str = "json"
) -> httpx.Response:
    method, _, path = request.partition(" ")
    content = {} if body is None else {"json": body, "headers": {"Content-Type": f"application/{media}"}}
    return await client.request(method, PATH + path, params=parameters, **content)


@pytest.mark.parametrize("name", RULES)
async def test_rule(client: httpx.AsyncClient, name: str) -> None:
    before, request, parameters, body, status, after = RULES[name]
    await start(client, before)
    first = await there(client)
    answer = await send(client, request, parameters, body)
    assert answer.status_code == status, answer.text
    assert not answer.content if status == 204 else answer.json()["detail"]
    assert await there(client) == (first if after is None else {**ROOM, **after})


async def test_update_results_say_what_was_not_done(client: httpx.AsyncClient) -> None:
    await start(client, {"a": prop(1)})
    kept = await send(client, "POST /attrs", {"options": "noOverwrite"}, {"a": prop(2), "b": prop(2)})
    assert kept.status_code == 207 and kept.headers["content-type"] == "application/json"
    assert kept.json()["updated"] == [f"{BASE}b"]
    assert [entry["attributeName"] for entry in kept.json()["notUpdated"]] == [f"{BASE}a"]
    assert kept.json()["notUpdated"][0]["reason"]
    update = await send(client, "PATCH /attrs", {}, {"a": prop(3), "c": prop(4), "d": NULL})
    assert update.status_code == 207 and update.json()["updated"] == [f"{BASE}a"]
    assert [entry["attributeName"] for entry in update.json()["notUpdated"]] == [f"{BASE}c", f"{BASE}d"]
    assert await there(client) == {**ROOM, "a": prop(3), "b": prop(2)}


async def test_nothing_can_be_done_to_what_is_not_there(client: httpx.AsyncClient) -> None:
    for request in (
        "POST /attrs",
        "PATCH /attrs",
        "PATCH /attrs/a",
        "PUT /attrs/a",
        "PUT ",
        "PATCH ",
        "DELETE ",
        "DELETE /attrs/a",
    ):
        body = None if request.startswith("DELETE") else {"type": "Room", "a": 1} if request == "PUT " else {"a": 1}
        answer = await send(client, request, {}, prop(1) if request.endswith("/a") and body else body)
        assert answer.status_code == 404 and answer.json()["type"].endswith("/ResourceNotFound"), request
        answer = await client.request(
            request.split()[0],
            f"{ROOT}/entities/nope{request.partition(' ')[2]}",
            **({} if body is None else {"json": body}),
        )
        assert answer.status_code == 400 and answer.json()["type"].endswith("/BadRequestData"), request


async def test_dates_of_the_system(client: httpx.AsyncClient) -> None:
    """createdAt survives a replacement; modifiedAt moves; what a client says of them is not taken."""
    await start(client, {"a": prop(1, createdAt=AT), "createdAt": AT, "modifiedAt": AT})
    first = await there(client, options="sysAttrs")
    assert first["createdAt"] == first["a"]["createdAt"] == first["a"]["modifiedAt"] > AT
    assert (await send(client, "PUT ", {}, {"type": "Room", "a": prop(2), "b": prop(1)})).status_code == 204
    second = await there(client, options="sysAttrs")
    assert second["createdAt"] == first["createdAt"] == second["a"]["createdAt"]
    assert second["modifiedAt"] == second["a"]["modifiedAt"] == second["b"]["createdAt"] > first["modifiedAt"]
    assert (await send(client, "PATCH /attrs/a", {}, {"unitCode": "CEL"})).status_code == 204
    third = await there(client, options="sysAttrs")
    assert third["a"]["createdAt"] == first["createdAt"] and third["a"]["modifiedAt"] > second["a"]["modifiedAt"]
    assert third["b"] == second["b"] and third["modifiedAt"] == third["a"]["modifiedAt"]


async def test_patches_take_the_media_type_of_merge_patches(client: httpx.AsyncClient) -> None:
    await start(client, {"a": prop(1)})
    for request, body in (("PATCH /attrs", {"a": 2}), ("PATCH ", {"a": 2}), ("PATCH /attrs/a", {"value": 2})):
        assert (await send(client, request, {}, body, "merge-patch+json")).status_code == 204
    assert (await send(client, "POST /attrs", {}, {"a": 2}, "merge-patch+json")).status_code == 415
