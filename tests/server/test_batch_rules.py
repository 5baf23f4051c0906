"""Batches, rule by rule: several of one id, what is there already, bad elements, bodies of 201, 204 and 207."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from tests.server.support import LD, ROOT

NULL = "urn:ngsi-ld:null"
ERRORS = "https://uri.etsi.org/ngsi-ld/errors/"
DS = "urn:ngsi-ld:dataset:1"
CORE = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.8.jsonld"
Json = dict[str, Any]


def element(number: int, **more: Any) -> Json:
    return {"id": f"urn:x:{number}", "type": "A", **more}


async def send(client: httpx.AsyncClient, operation: str, body: Any, **parameters: str) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    url = f"{ROOT}/entityOperations/{operation}"
    return await client.post(url, content=orjson.dumps(body), params=parameters, headers=headers)


async def state(client: httpx.AsyncClient) -> dict[int, Json]:
    found = (await client.get(f"{ROOT}/entities", params={"local": "true", "format": "concise"})).json()
    return {int(e.pop("id")[-1]): {key: value for key, value in e.items() if key != "type"} for e in found}


def errors(answer: httpx.Response) -> dict[str, str]:
    body = answer.json()
    assert set(body) == {"success", "errors"} and answer.headers["content-type"] == "application/json"
    return {entry["entityId"]: entry["error"]["type"].removeprefix(ERRORS) for entry in body["errors"]}


EXISTS, UNKNOWN, BAD = "AlreadyExists", "ResourceNotFound", "BadRequestData"
START = [element(1, a=1, b={"value": 1, "unitCode": "CEL", "observedAt": "2026-01-02T00:00:00Z"})]
B1 = {"value": 1, "unitCode": "CEL", "observedAt": "2026-01-02T00:00:00Z"}
EARLIER = {"value": 0, "observedAt": "2026-01-01T00:00:00Z"}
# operation; parameters; body; status; success (201: the ids); errors by id; what is there then
BATCHES: dict[str, tuple[str, Json, Any, int, list[str], dict[str, str], dict[int, Json]]] = {
    "create": (
        "create",
        {},
        [element(2, a=2), element(3)],
        201,
        ["urn:x:2", "urn:x:3"],
        {},
        {1: {"a": 1, "b": B1}, 2: {"a": 2}, 3: {}},
    ),
    "create: some are there": (
        "create",
        {},
        [element(1, a=9), element(2)],
        207,
        ["urn:x:2"],
        {"urn:x:1": EXISTS},
        {1: {"a": 1, "b": B1}, 2: {}},
    ),
    "create: twice": (
        "create",
        {},
        [element(2, a=1), element(2, a=2)],
        207,
        ["urn:x:2"],
        {"urn:x:2": EXISTS},
        {1: {"a": 1, "b": B1}, 2: {"a": 1}},
    ),
    "create: none": ("create", {}, [element(1)], 207, [], {"urn:x:1": EXISTS}, {1: {"a": 1, "b": B1}}),
    "create: bad ones": (
        "create",
        {},
        [element(2, a=None), {"type": "A"}, {"id": "urn:x:3"}, 5, element(4, a=NULL), element(5)],
        207,
        ["urn:x:5"],
        {"urn:x:2": BAD, "urn:lamppost:element:1": BAD, "urn:x:3": BAD, "urn:lamppost:element:3": BAD, "urn:x:4": BAD},
        {1: {"a": 1, "b": B1}, 5: {}},
    ),
    "upsert replaces": ("upsert", {}, [element(1, a=2)], 204, [], {}, {1: {"a": 2}}),
    "upsert creates": (
        "upsert",
        {"options": "replace"},
        [element(1, a=2), element(2)],
        201,
        ["urn:x:2"],
        {},
        {1: {"a": 2}, 2: {}},
    ),
    "upsert: twice": ("upsert", {}, [element(1, a=2), element(1, c=3)], 204, [], {}, {1: {"a": 2, "c": 3}}),
    "upsert: new, twice": (
        "upsert",
        {},
        [element(2, a=2), element(2, c=3)],
        201,
        ["urn:x:2"],
        {},
        {1: {"a": 1, "b": B1}, 2: {"a": 2, "c": 3}},
    ),
    "upsert: bad one": (
        "upsert",
        {},
        [element(1, a=2), element(2, a=None)],
        207,
        ["urn:x:1"],
        {"urn:x:2": BAD},
        {1: {"a": 2}},
    ),
    "upsert updates": (
        "upsert",
        {"options": "update"},
        [element(1, a=2), element(2, a=1)],
        201,
        ["urn:x:2"],
        {},
        {1: {"a": 2, "b": B1}, 2: {"a": 1}},
    ),
    "upsert: what is late does not replace": (
        "upsert",
        {"options": "update"},
        [element(1, b=EARLIER)],
        204,
        [],
        {},
        {1: {"a": 1, "b": B1}},
    ),
    "upsert: a replacement may be older": ("upsert", {}, [element(1, b=EARLIER)], 204, [], {}, {1: {"b": EARLIER}}),
    "upsert: no null": (
        "upsert",
        {"options": "update"},
        [element(1, a=NULL)],
        207,
        [],
        {"urn:x:1": BAD},
        {1: {"a": 1, "b": B1}},
    ),
    "upsert: both": ("upsert", {"options": "update,replace"}, [element(1)], 400, [], {}, {1: {"a": 1, "b": B1}}),
    "update": ("update", {}, [{"id": "urn:x:1", "a": 2, "c": 3}], 204, [], {}, {1: {"a": 2, "b": B1, "c": 3}}),
    "update: replace": ("update", {"options": "replace"}, [element(1, b=2)], 204, [], {}, {1: {"a": 1, "b": 2}}),
    "update: older": ("update", {}, [element(1, b=EARLIER)], 204, [], {}, {1: {"a": 1, "b": EARLIER}}),
    "update: deletes": ("update", {}, [element(1, a=NULL)], 204, [], {}, {1: {"b": B1}}),
    "update: noOverwrite": (
        "update",
        {"options": "noOverwrite"},
        [element(1, a=2, c=3)],
        204,
        [],
        {},
        {1: {"a": 1, "b": B1, "c": 3}},
    ),
    "update: noOverwrite takes no null": (
        "update",
        {"options": "noOverwrite"},
        [element(1, a=NULL)],
        207,
        [],
        {"urn:x:1": BAD},
        {1: {"a": 1, "b": B1}},
    ),
    "update: absent": (
        "update",
        {},
        [element(2), element(1, a=2)],
        207,
        ["urn:x:1"],
        {"urn:x:2": UNKNOWN},
        {1: {"a": 2, "b": B1}},
    ),
    "update: in order": ("update", {}, [element(1, a=2), element(1, a=3)], 204, [], {}, {1: {"a": 3, "b": B1}}),
    "update: without id": (
        "update",
        {},
        [{"a": 5}, element(1, a=2)],
        207,
        ["urn:x:1"],
        {"urn:lamppost:element:0": BAD},
        {1: {"a": 2, "b": B1}},
    ),
    "merge": (
        "merge",
        {},
        [{"id": "urn:x:1", "b": {"value": 2}, "a": NULL}],
        204,
        [],
        {},
        {1: {"b": {**B1, "value": 2}}},
    ),
    "merge: simplified": (
        "merge",
        {"options": "keyValues"},
        [element(1, b=3)],
        204,
        [],
        {},
        {1: {"a": 1, "b": {**B1, "value": 3}}},
    ),
    "merge: observedAt": (
        "merge",
        {"observedAt": "2026-01-05T00:00:00Z"},
        [element(1, b=3, a=4)],
        204,
        [],
        {},
        {1: {"a": 4, "b": {**B1, "value": 3, "observedAt": "2026-01-05T00:00:00Z"}}},
    ),
    "merge: in order": (
        "merge",
        {},
        [element(1, a={"x": 1}), element(1, a={"y": 2})],
        204,
        [],
        {},
        {1: {"a": {"x": 1, "y": 2}, "b": B1}},
    ),
    "merge: absent": (
        "merge",
        {},
        [element(2, a=1), element(1, a=2)],
        207,
        ["urn:x:1"],
        {"urn:x:2": UNKNOWN},
        {1: {"a": 2, "b": B1}},
    ),
    "merge: one is refused": (
        "merge",
        {},
        [element(1, a=2), element(1, a=3, b={"object": "urn:x:1"}), element(1, c=1)],
        207,
        ["urn:x:1"],
        {"urn:x:1": BAD},
        {1: {"a": 2, "b": B1, "c": 1}},
    ),
    "merge: without id": ("merge", {}, [{"a": 5}], 207, [], {"urn:lamppost:element:0": BAD}, {1: {"a": 1, "b": B1}}),
    "delete": ("delete", {}, ["urn:x:1"], 204, [], {}, {}),
    "delete: twice": ("delete", {}, ["urn:x:1", "urn:x:1"], 207, ["urn:x:1"], {"urn:x:1": UNKNOWN}, {}),
    "delete: absent": ("delete", {}, ["urn:x:2", "urn:x:1"], 207, ["urn:x:1"], {"urn:x:2": UNKNOWN}, {}),
    "delete: no ids": (
        "delete",
        {},
        ["nope", 5, {}, "urn:x:1"],
        207,
        ["urn:x:1"],
        {f"urn:lamppost:element:{n}": BAD for n in range(3)},
        {},
    ),
    **{
        f"{operation}: {body}": (operation, {}, body, 400, [], {}, {1: {"a": 1, "b": B1}})
        for operation in ("create", "upsert", "update", "merge", "delete")
        for body in ([], {}, "text", None, 5)
    },
}


@pytest.mark.parametrize("name", BATCHES)
async def test_batch(client: httpx.AsyncClient, name: str) -> None:
    operation, parameters, body, status, success, failed, after = BATCHES[name]
    assert (await send(client, "create", START)).status_code == 201
    answer = await send(client, operation, body, **parameters)
    assert answer.status_code == status, answer.text
    if status == 201:
        assert answer.json() == success
    elif status == 204:
        assert not answer.content
    elif status == 207:
        assert (answer.json()["success"], errors(answer)) == (success, failed)
        assert all(e["error"]["title"] and e["error"]["detail"] for e in answer.json()["errors"])
    assert await state(client) == after


async def test_contexts_of_batches(client: httpx.AsyncClient) -> None:
    """What is wrong with the context of one element is its problem; where it is of all, the request's."""
    url = f"{ROOT}/entityOperations/create"
    mixed = [{**element(1), "@context": CORE}, element(2)]
    some = await client.post(url, json=mixed, headers=LD)
    assert some.status_code == 207 and errors(some) == {"urn:x:2": BAD} and some.json()["success"] == ["urn:x:1"]
    assert (await client.post(url, json=[element(3), element(4)], headers=LD)).status_code == 400
    assert (await client.post(url, json=mixed)).status_code == 400, "no @context in application/json"
    link = {**LD, "Link": f'<{CORE}>; rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'}
    assert (await client.post(url, json=[{**element(5), "@context": CORE}], headers=link)).status_code == 400
    assert set(await state(client)) == {1}


async def test_late_values_are_in_history(client: httpx.AsyncClient) -> None:
    await send(client, "create", START)
    assert (await send(client, "upsert", [element(1, b=EARLIER)], options="update")).status_code == 204
    found = await client.get(f"{ROOT}/temporal/entities/urn:x:1", params={"options": "temporalValues"})
    assert [value for value, _ in found.json()["b"]["values"]] == [0, 1]
