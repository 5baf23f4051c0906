"""What may come in: all types of attributes in normalized and concise form; what is refused, and where."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest

from gateway.server.broker.model import NULL
from gateway.server.broker.parse import parse_entity
from gateway.server.contexts import Contexts
from gateway.server.errors import BadRequestData

CORE = Contexts().core
ID = {"id": "urn:x:1", "type": "T"}
POINT = {"type": "Point", "coordinates": [1, 2]}
VOCAB = "https://uri.etsi.org/ngsi-ld/default-context/"
Json = dict[str, Any]
PROOF = {"type": "Property", "value": {"proofValue": "z3"}, "entityIdSealed": "urn:x:1", "entityTypeSealed": "T"}

# given; stored
GOOD: list[tuple[Any, Any]] = [
    (5, {"type": "Property", "value": 5}),
    ("text", {"type": "Property", "value": "text"}),
    (False, {"type": "Property", "value": False}),
    ([], {"type": "Property", "value": []}),
    ([1, "a", {"b": 2}], {"type": "Property", "value": [1, "a", {"b": 2}]}),
    ({"x": {"y": 1}}, {"type": "Property", "value": {"x": {"y": 1}}}),
    ({"value": 5}, {"type": "Property", "value": 5}),
    ({"type": "Property", "value": 5, "valueType": "Int", "unitCode": "X"},) * 2,
    ({"type": "Property", "value": {"@type": "@json", "@value": None}},) * 2,
    (
        {"@type": "DateTime", "@value": "2026-01-01T00:00:00Z"},
        {"type": "Property", "value": {"@type": "DateTime", "@value": "2026-01-01T00:00:00Z"}},
    ),
    ({"type": "Property", "value": {"@type": "Date", "@value": "2026-01-31"}},) * 2,
    ({"type": "Property", "value": {"@type": "Time", "@value": "10:00:00Z"}},) * 2,
    (POINT, {"type": "GeoProperty", "value": POINT}),
    ({"value": POINT}, {"type": "GeoProperty", "value": POINT}),
    ({"type": "Property", "value": POINT}, {"type": "Property", "value": POINT}),
    ({"object": "urn:x:2"}, {"type": "Relationship", "object": "urn:x:2"}),
    (
        {"type": "Relationship", "object": ["urn:x:2", "urn:x:3"], "objectType": "A"},
        {"type": "Relationship", "object": ["urn:x:2", "urn:x:3"], "objectType": f"{VOCAB}A"},
    ),
    (
        {"languageMap": {"en": "a", "@none": ["b"]}},
        {"type": "LanguageProperty", "languageMap": {"en": "a", "@none": ["b"]}},
    ),
    ({"vocab": ["a", "urn:x:b"]}, {"type": "VocabProperty", "vocab": [f"{VOCAB}a", "urn:x:b"]}),
    ({"valueList": [1, [2]]}, {"type": "ListProperty", "valueList": [1, [2]]}),
    (
        {"objectList": ["urn:x:2", {"object": "urn:x:3"}]},
        {"type": "ListRelationship", "objectList": ["urn:x:2", "urn:x:3"]},
    ),
    ({"json": {"value": None, "@id": 1}}, {"type": "JsonProperty", "json": {"value": None, "@id": 1}}),
    ({"json": None}, {"type": "JsonProperty", "json": None}),
    (
        {"value": 5, "observedAt": "2026-01-01T00:00:00.123456Z"},
        {"type": "Property", "value": 5, "observedAt": "2026-01-01T00:00:00.123456Z"},
    ),
    ({"value": 5, "datasetId": "@none"}, {"type": "Property", "value": 5}),
    (
        [{"value": 5}, {"value": 6, "datasetId": "urn:d"}],
        [{"type": "Property", "value": 5}, {"type": "Property", "value": 6, "datasetId": "urn:d"}],
    ),
    ([{"value": 5}], {"type": "Property", "value": 5}),
    (
        {"value": 5, "x": 6, "y": {"object": "urn:x:2"}},
        {
            "type": "Property",
            "value": 5,
            f"{VOCAB}x": {"type": "Property", "value": 6},
            f"{VOCAB}y": {"type": "Relationship", "object": "urn:x:2"},
        },
    ),
    (
        {"value": 5, "createdAt": "x", "modifiedAt": 5, "instanceId": "a", "previousValue": 4, "entity": {}},
        {"type": "Property", "value": 5},
    ),
    ({"value": 5, "ngsildproof": PROOF}, {"type": "Property", "value": 5, "ngsildproof": PROOF}),
]
# given as the attribute "a"; the place of the fault
BAD: list[tuple[Any, str]] = [
    (None, "/a"),
    ({"value": None}, "/a/value"),
    ({"type": "Property"}, "/a"),
    ({"type": "Property", "object": "urn:x:1"}, "/a"),
    ({"type": "Property", "value": 5, "object": "urn:x:1"}, "/a/object"),
    ({"value": 5, "object": "urn:x:1"}, "/a"),
    ({"type": "Proprety", "value": 5}, "/a/type"),
    ({"type": 7, "value": 5}, "/a/type"),
    ({"type": "Relationship", "object": "x"}, "/a/object"),
    ({"type": "Relationship", "object": []}, "/a/object"),
    ({"type": "Relationship", "object": 5}, "/a/object"),
    ({"type": "GeoProperty", "value": 5}, "/a/value"),
    ({"type": "GeoProperty", "value": {"type": "GeometryCollection", "geometries": []}}, "/a/value"),
    ({"type": "Point", "coordinates": [200, 0]}, "/a"),
    (
        {"type": "GeoProperty", "value": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}},
        "/a/value",
    ),
    ({"languageMap": {}}, "/a/languageMap"),
    ({"languageMap": {"en": 5}}, "/a/languageMap/en"),
    ({"languageMap": {"en": NULL, "fr": "x"}}, "/a/languageMap/en"),
    ({"vocab": 5}, "/a/vocab"),
    ({"valueList": 5}, "/a/valueList"),
    ({"objectList": ["x"]}, "/a/objectList"),
    ({"value": 5, "observedAt": "2026-01-01"}, "/a/observedAt"),
    ({"value": 5, "observedAt": 5}, "/a/observedAt"),
    ({"type": "Property", "value": 5, "observedAt": None}, "/a/observedAt"),
    ({"type": "Property", "value": 5, "unitCode": 5}, "/a/unitCode"),
    ({"type": "Property", "value": 5, "unitCode": NULL}, "/a/unitCode"),
    ({"value": 5, "datasetId": "x"}, "/a/datasetId"),
    ({"value": 5, "datasetId": NULL}, "/a/datasetId"),
    ([{"value": 5}, {"value": 6}], "/a/1"),
    ([{"value": 5}, {"type": "Relationship", "object": "x", "datasetId": "urn:d"}], "/a/1/object"),
    ({"value": 5, "x y": 6}, "/a/x y"),
    ({"value": 5, "@id": "urn:x:2"}, "/a/@id"),
    ({"value": 5, "x": {"type": "Relationship", "object": "x"}}, "/a/x/object"),
    ({"value": {"x": [1, NULL]}}, "/a/value"),
    ({"value": {"@type": "DateTime", "@value": "soon"}}, "/a/value"),
    ({"value": {"@type": "Date", "@value": "2026-13-01"}}, "/a/value/@value"),
    ({"value": {"@type": "Time", "@value": "25:00:00Z"}}, "/a/value/@value"),
    ({"value": 5, "ngsildproof": 5}, "/a/ngsildproof"),
    *(
        (null, "/a")
        for null in (
            NULL,
            {"value": NULL},
            {"object": NULL},
            {"languageMap": {"@none": NULL}},
            {"json": NULL},
            {"valueList": [NULL]},
            {"objectList": [{"object": NULL}]},
        )
    ),
]
BAD_ENTITIES: list[tuple[Any, str]] = [
    ([], "/"),
    ("text", "/"),
    ({"id": "urn:x:1"}, "/"),
    ({"type": "T"}, "/"),
    ({**ID, "id": "x"}, "/id"),
    ({**ID, "id": 5}, "/id"),
    ({**ID, "type": []}, "/type"),
    ({**ID, "type": NULL}, "/type"),
    ({**ID, "id": NULL}, "/id"),
    ({**ID, NULL: 5}, f"/{NULL}"),
    ({**ID, "a": {"vocab": ["x", NULL]}}, "/a/vocab"),
    ({**ID, "a": {"object": ["urn:x:1", NULL]}}, "/a/object"),
    ({**ID, "a": {"object": "urn:x:1", "objectType": ["x", NULL]}}, "/a/objectType"),
    ({**ID, "a": {"languageMap": {"en": ["x", NULL]}}}, "/a/languageMap/en"),
    ({**ID, "type": 5}, "/type"),
    ({**ID, "type": "a b"}, "/type"),
    ({**ID, "scope": "a b"}, "/scope"),
    ({**ID, "scope": []}, "/scope"),
    ({**ID, "scope": NULL}, "/scope"),
    ({**ID, "expiresAt": NULL}, "/expiresAt"),
    ({**ID, "location": 5}, "/location"),
    ({**ID, "location": {"type": "Property", "value": POINT}}, "/location"),
    ({**ID, "observedAt": "2026-01-01T00:00:00Z"}, "/observedAt"),
    ({**ID, "unitCode": "CEL"}, "/unitCode"),
    ({**ID, "@graph": []}, "/@graph"),
    ({**ID, "a": 1, f"{VOCAB}a": 1}, f"/{VOCAB.replace('/', '~1')}a"),
    ({**ID, **{f"a{n}": n for n in range(1001)}}, "/"),
    ({**ID, "a": [{"value": n, "datasetId": f"urn:d:{n}"} for n in range(1001)]}, "/a"),
]


@pytest.mark.parametrize(("given", "stored"), GOOD)
def test_attributes(given: Any, stored: Any) -> None:
    before = copy.deepcopy(given)
    assert parse_entity({**ID, "a": given}, CORE)[f"{VOCAB}a"] == stored
    assert given == before, "what is given in is left alone"


@pytest.mark.parametrize(("given", "place"), BAD)
def test_bad_attributes(given: Any, place: str) -> None:
    with pytest.raises(BadRequestData) as caught:
        parse_entity({**ID, "a": given}, CORE)
    assert caught.value.cause.startswith(f"{place}: ")


@pytest.mark.parametrize(("given", "place"), BAD_ENTITIES)
def test_bad_entities(given: Any, place: str) -> None:
    with pytest.raises(BadRequestData) as caught:
        parse_entity(given, CORE)
    assert caught.value.cause.startswith(f"{place}: ")


def test_headers() -> None:
    raw = {"@id": "urn:x:1", "@type": ["A", "B", "A"], "scope": ["a/b", "/a/b", "/c"], "createdAt": "x", "deletedAt": 5}
    assert parse_entity(raw, CORE) == {
        "id": "urn:x:1",
        "type": [f"{VOCAB}A", f"{VOCAB}B"],
        "scope": ["/a/b", "/c"],
    }


def test_depth_is_bounded() -> None:
    def nested(times: int, inner: Any) -> Any:
        for _ in range(times):
            inner = {"x": inner}
        return inner

    assert parse_entity({**ID, "a": nested(60, 1)}, CORE)
    for name in ("value", "json"):
        with pytest.raises(BadRequestData):
            parse_entity({**ID, "a": {name: nested(70, 1)}}, CORE)
    deep: Any = 1
    for _ in range(70):
        deep = {"value": 1, "x": deep}
    with pytest.raises(BadRequestData):
        parse_entity({**ID, "a": deep}, CORE)


NULLS = [
    NULL,
    {"type": "Property", "value": NULL},
    {"object": NULL},
    {"languageMap": NULL},
    {"languageMap": {"@none": NULL}},
    {"vocab": NULL},
    {"json": NULL},
    {"valueList": NULL},
    {"valueList": [NULL]},
    {"objectList": [NULL]},
    {"objectList": [{"object": NULL}]},
    {"type": "GeoProperty", "value": NULL},
]


@pytest.mark.parametrize("null", NULLS)
def test_forms_of_the_null_marker(null: Any) -> None:
    found = parse_entity({"a": null}, CORE, fragment=True, nulls=True)
    assert found == {f"{VOCAB}a": {"type": NULL}}
    if isinstance(null, dict):
        found = parse_entity({"a": {**null, "datasetId": "urn:d"}}, CORE, fragment=True, nulls=True)
        assert found == {f"{VOCAB}a": {"type": NULL, "datasetId": "urn:d"}}


def test_the_short_way_is_the_long_way() -> None:
    """What takes the short way of plain properties is refused and read as by the long one."""
    for value in (5, 5.5, "x", True):
        plain = {"type": "Property", "value": value, "unitCode": "CEL", "observedAt": "2026-01-01T00:00:00Z"}
        for extra in ({}, {"datasetId": "urn:d"}, {"x": 5}):
            found = parse_entity({**ID, "a": {**plain, **extra}}, CORE)[f"{VOCAB}a"]
            assert orjson.loads(orjson.dumps(found)).items() >= plain.items()
    for member, bad in (("observedAt", "x"), ("unitCode", ""), ("unitCode", NULL), ("value", NULL)):
        with pytest.raises(BadRequestData) as caught:
            parse_entity({**ID, "a": {"type": "Property", "value": 1, member: bad}}, CORE)
        assert caught.value.cause.startswith("/a")
