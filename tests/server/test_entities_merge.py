"""Merge Entity (CIM 009 clauses 5.5.12, 5.6.17): each type of attribute, null markers, parameters."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.server.test_entities_rules import AT, DS, LATER, NULL, POINT, ROOM, lang, prop, rel, send, start, there

Json = dict[str, Any]
GEO = {"type": "GeoProperty", "value": POINT}
# was there; parameters; fragment; is there then (None: refused, as before)
MERGES: dict[str, tuple[Json, Json, Any, Json | None]] = {
    "empty": ({"a": prop(1)}, {}, {}, {"a": prop(1)}),
    "adds": ({"a": prop(1)}, {}, {"b": prop(2)}, {"a": prop(1), "b": prop(2)}),
    "adds a type": ({}, {}, {"type": "Hall"}, {"type": ["Room", "Hall"]}),
    "value": ({"a": prop(1, unitCode="CEL")}, {}, {"a": {"value": 2}}, {"a": prop(2, unitCode="CEL")}),
    "bare value": ({"a": prop(1, unitCode="CEL")}, {}, {"a": 2}, {"a": prop(2, unitCode="CEL")}),
    "member": ({"a": prop(1)}, {}, {"a": {"unitCode": "CEL"}}, {"a": prop(1, unitCode="CEL")}),
    "objects merge deep": (
        {"a": prop({"x": {"p": 1, "q": 2}, "y": [1, 2]})},
        {},
        {"a": prop({"x": {"p": 3, "r": NULL}, "y": [4]})},
        {"a": prop({"x": {"p": 3, "q": 2}, "y": [4]})},
    ),
    "objects merge deep, bare": ({"a": prop({"x": 1, "y": 2})}, {}, {"a": {"x": NULL}}, {"a": prop({"y": 2})}),
    "an object in place of a number": ({"a": prop(1)}, {}, {"a": prop({"x": 1, "y": NULL})}, {"a": prop({"x": 1})}),
    "no null in lists": ({"a": prop(1)}, {}, {"a": prop([NULL, 1])}, None),
    "sub-attribute added": ({"a": prop(1)}, {}, {"a": {"x": prop(2)}}, {"a": prop(1, x=prop(2))}),
    "sub-attribute merged": (
        {"a": prop(1, x=prop(2, unitCode="CEL"))},
        {},
        {"a": {"type": "Property", "x": {"value": 3}}},
        {"a": prop(1, x=prop(3, unitCode="CEL"))},
    ),
    "sub-attribute deleted": ({"a": prop(1, x=prop(2))}, {}, {"a": {"type": "Property", "x": NULL}}, {"a": prop(1)}),
    "sub-attribute deleted by value": ({"a": prop(1, x=prop(2))}, {}, {"a": {"x": prop(NULL)}}, {"a": prop(1)}),
    "member deleted": ({"a": prop(1, observedAt=AT)}, {}, {"a": prop(1, observedAt=NULL)}, {"a": prop(1)}),
    "attribute deleted": ({"a": prop(1)}, {}, {"a": NULL}, {}),
    "absent attribute deleted": ({"a": prop(1)}, {}, {"b": NULL}, {"a": prop(1)}),
    "attribute deleted by value": ({"a": prop(1)}, {}, {"a": prop(NULL)}, {}),
    "attribute deleted by object": ({"a": rel("urn:x:1")}, {}, {"a": {"object": NULL}}, {}),
    "attribute deleted by list": (
        {"a": {"type": "ListProperty", "valueList": [1]}},
        {},
        {"a": {"valueList": [NULL]}},
        {},
    ),
    "attribute deleted by json": ({"a": {"type": "JsonProperty", "json": {}}}, {}, {"a": {"json": NULL}}, {}),
    "attribute deleted by vocab": ({"a": {"type": "VocabProperty", "vocab": "x"}}, {}, {"a": {"vocab": NULL}}, {}),
    "instance added": ({"a": prop(1)}, {}, {"a": prop(2, datasetId=DS)}, {"a": [prop(1), prop(2, datasetId=DS)]}),
    "instances": (
        {"a": [prop(1, unitCode="CEL"), prop(2, datasetId=DS)]},
        {},
        {"a": [prop(5), prop(NULL, datasetId=DS)]},
        {"a": prop(5, unitCode="CEL")},
    ),
    "two fragments of one instance": ({"a": prop(1)}, {}, {"a": [prop(1), prop(2)]}, None),
    "languages merge": (
        {"a": lang(en="x", fr="y")},
        {},
        {"a": lang(en="z", de="q")},
        {"a": lang(en="z", fr="y", de="q")},
    ),
    "language deleted": ({"a": lang(en="x", fr="y")}, {}, {"a": lang(fr=NULL)}, {"a": lang(en="x")}),
    "last language deleted": ({"a": lang(fr="y")}, {}, {"a": lang(fr=NULL)}, {}),
    "languages deleted": ({"a": lang(fr="y", en="x")}, {}, {"a": lang(**{"@none": NULL})}, {}),
    "lang": ({"a": lang(en="x")}, {"lang": "fr"}, {"a": "y"}, {"a": lang(en="x", fr="y")}),
    "lang, normalized": ({"a": lang(en="x")}, {"lang": "fr"}, {"a": prop("y")}, {"a": lang(en="x", fr="y")}),
    "lang, simplified": (
        {"a": lang(en="x")},
        {"lang": "fr", "format": "simplified"},
        {"a": ["y"]},
        {"a": lang(en="x", fr=["y"])},
    ),
    "lang, not a language": ({"a": prop("x")}, {"lang": "fr"}, {"a": "y"}, {"a": prop("y")}),
    "bad lang": ({"a": prop("x")}, {"lang": "f r"}, {"a": "y"}, None),
    "relationship": (
        {"a": rel("urn:x:1", x=prop(1))},
        {},
        {"a": {"object": "urn:x:2"}},
        {"a": rel("urn:x:2", x=prop(1))},
    ),
    "relationship, bare": ({"a": rel("urn:x:1")}, {}, {"a": "urn:x:2"}, {"a": rel("urn:x:2")}),
    "relationship, no URI": ({"a": rel("urn:x:1")}, {}, {"a": "nothing"}, None),
    "geometry": (
        {"location": GEO},
        {},
        {"location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [1, 2]}}},
        {"location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [1, 2]}}},
    ),
    "geometry of another shape": (
        {"location": GEO},
        {},
        {"location": {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}},
        {"location": {"type": "GeoProperty", "value": {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}}},
    ),
    "no geometry": ({"location": GEO}, {}, {"location": {"value": 7}}, None),
    "a new location must be one": ({}, {}, {"location": 7}, None),
    "json is replaced": (
        {"a": {"type": "JsonProperty", "json": {"x": 1, "y": 2}}},
        {},
        {"a": {"json": {"x": 3}}},
        {"a": {"type": "JsonProperty", "json": {"x": 3}}},
    ),
    "vocab": (
        {"a": {"type": "VocabProperty", "vocab": "hot"}},
        {},
        {"a": {"vocab": ["cold", "dry"]}},
        {"a": {"type": "VocabProperty", "vocab": ["cold", "dry"]}},
    ),
    "list": (
        {"a": {"type": "ListProperty", "valueList": [1, 2]}},
        {},
        {"a": {"type": "ListProperty", "valueList": [3]}},
        {"a": {"type": "ListProperty", "valueList": [3]}},
    ),
    "type cannot change": ({"a": prop(1)}, {}, {"a": rel("urn:x:1")}, None),
    "type of a sub-attribute cannot change": ({"a": prop(1, x=prop(1))}, {}, {"a": {"x": rel("urn:x:1")}}, None),
    "a new attribute needs a value": ({}, {}, {"a": {"type": "Property", "unitCode": "CEL"}}, None),
    "null is no value": ({"a": prop(1)}, {}, {"a": None}, None),
    "bad type": ({"a": prop(1)}, {}, {"a": {"type": "Proprety", "value": 2}}, None),
    "bad name": ({}, {}, {"a b": prop(1)}, None),
    "scope replaced": ({"scope": "/a"}, {}, {"scope": "/b"}, {"scope": "/b"}),
    "scope deleted": ({"scope": "/a"}, {}, {"scope": NULL}, {}),
    "another id": ({"a": prop(1)}, {}, {"id": "urn:x:2", "a": 2}, None),
    "its id": ({"a": prop(1)}, {}, {"id": "urn:ngsi-ld:Room:1", "a": 2}, {"a": prop(2)}),
    "observedAt": (
        {"a": prop(1, observedAt=AT), "b": prop(1), "c": prop(1, observedAt=AT)},
        {"observedAt": LATER},
        {"a": 2, "b": 2},
        {"a": prop(2, observedAt=LATER), "b": prop(2), "c": prop(1, observedAt=AT)},
    ),
    "observedAt said": (
        {"a": prop(1, observedAt=AT)},
        {"observedAt": LATER},
        {"a": prop(2, observedAt="2026-01-03T00:00:00Z")},
        {"a": prop(2, observedAt="2026-01-03T00:00:00Z")},
    ),
    "bad observedAt": ({"a": prop(1)}, {"observedAt": "soon"}, {"a": 2}, None),
    "an older date replaces": (
        {"a": prop(1, observedAt=LATER)},
        {},
        {"a": prop(2, observedAt=AT)},
        {"a": prop(2, observedAt=AT)},
    ),
    "simplified keeps types": (
        {
            "a": prop(1, unitCode="CEL"),
            "r": rel("urn:x:1"),
            "l": {"type": "ListProperty", "valueList": [1]},
            "location": GEO,
        },
        {"options": "keyValues"},
        {"a": 2, "r": "urn:x:2", "l": [2, 3], "location": {"type": "Point", "coordinates": [1, 2]}, "n": {"x": 1}},
        {
            "a": prop(2, unitCode="CEL"),
            "r": rel("urn:x:2"),
            "l": {"type": "ListProperty", "valueList": [2, 3]},
            "location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [1, 2]}},
            "n": prop({"x": 1}),
        },
    ),
    "simplified wrappers": (
        {"a": lang(en="x"), "v": {"type": "VocabProperty", "vocab": "hot"}},
        {"format": "simplified"},
        {"a": {"languageMap": {"fr": "y"}}, "v": {"vocab": "cold"}, "j": {"json": {"x": 1}}},
        {
            "a": lang(en="x", fr="y"),
            "v": {"type": "VocabProperty", "vocab": "cold"},
            "j": {"type": "JsonProperty", "json": {"x": 1}},
        },
    ),
    "simplified datasets": (
        {"a": [prop(1), prop(2, datasetId=DS)]},
        {"format": "keyValues"},
        {"a": {"dataset": {"@none": 5, DS: NULL}}},
        {"a": prop(5)},
    ),
    "simplified deletes": ({"a": prop(1), "b": prop(1)}, {"options": "keyValues"}, {"a": NULL}, {"b": prop(1)}),
    "type fits": ({"a": prop(1)}, {"type": "Room|Hall"}, {"a": 2}, {"a": prop(2)}),
    "bad options": ({"a": prop(1)}, {"options": "noOverwrite"}, {"a": 2}, None),
    "bad format": ({"a": prop(1)}, {"format": "short"}, {"a": 2}, None),
    "not an object": ({"a": prop(1)}, {}, [], None),
}


@pytest.mark.parametrize("name", MERGES)
async def test_merge(client: httpx.AsyncClient, name: str) -> None:
    before, parameters, fragment, after = MERGES[name]
    await start(client, before)
    first = await there(client)
    answer = await send(client, "PATCH ", parameters, fragment)
    assert answer.status_code == (400 if after is None else 204), answer.text
    assert await there(client) == (first if after is None else {**ROOM, **after})


async def test_a_refused_merge_changes_nothing(client: httpx.AsyncClient) -> None:
    await start(client, {"a": prop(1), "b": prop(1)})
    answer = await send(
        client, "PATCH ", {}, {"a": 2, "type": "Hall", "b": {"type": "Property", "x": {"unitCode": "CEL"}}}
    )
    assert answer.status_code == 400 and answer.json()["detail"].startswith("/b/x: "), answer.text
    assert await there(client) == {**ROOM, "a": prop(1), "b": prop(1)}


async def test_merge_of_what_does_not_fit_the_type(client: httpx.AsyncClient) -> None:
    await start(client, {"a": prop(1)})
    assert (await send(client, "PATCH ", {"type": "Hall"}, {"a": 2})).status_code == 404
