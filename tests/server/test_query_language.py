"""q, type expressions, scope queries, geo-queries: their meaning, and what is refused (CIM 009 clause 4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.server.broker.geo_query import parse_geo
from gateway.server.broker.geo_shapes import EARTH_M, great_circle_m, widened
from gateway.server.broker.parse import parse_entity
from gateway.server.broker.projection import parse_projection
from gateway.server.broker.qlang import parse_q
from gateway.server.broker.query import Query, build_query, parse_types
from gateway.server.broker.query_order import parse_order
from gateway.server.broker.scope_query import parse_scope_query
from gateway.server.contexts import Contexts
from gateway.server.errors import BadRequestData, OperationNotSupported
from gateway.server.storage.base import Area, Term

CORE = Contexts().core
QUICK = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
DEFAULT = "https://uri.etsi.org/ngsi-ld/default-context/"


def stored(number: int = 1, **attributes: Any) -> dict[str, Any]:
    return parse_entity({"id": f"urn:ngsi-ld:T:{number}", "type": "T", **attributes}, CORE)


ROOM = stored(
    temperature={"value": 21.5, "unitCode": "CEL", "observedAt": "2026-01-01T10:00:00Z", "accuracy": {"value": 0.5}},
    address={"value": {"city": {"name": "Ulm"}, "streets": [{"name": "A"}, {"name": "B"}], "dotted.key": 7}},
    name={"languageMap": {"en": "bridge", "de": ["Brücke", "Steg"]}},
    kind={"vocab": "Lamp"},
    raw={"json": {"deep": {"er": [1, 2]}, "text": "x"}},
    list={"valueList": [1, "two", 3]},
    isIn={"object": "urn:ngsi-ld:House:1"},
    route={"objectList": ["urn:ngsi-ld:Stop:1", "urn:ngsi-ld:Stop:2"]},
    speed=[{"value": 10, "datasetId": "urn:d:1"}, {"value": 20}],
    day={"value": {"@type": "Date", "@value": "2026-05-01"}},
    at={"value": "12:30:00Z"},
    on={"value": True},
    label={"value": "Main, Street; (old)"},
    sizes={"value": [4, 5]},
)


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("temperature", True),
        ("humidity", False),
        ("!humidity", True),
        ("!temperature", False),
        ("temperature==21.5", True),
        ('temperature=="21.5"', False),
        ('temperature!="21.5"', True),
        ("temperature==20..22", True),
        ("temperature!=20..22", False),
        ("temperature==1,21.5", True),
        ("temperature!=1,2", True),
        ("humidity!=1", False),
        ('humidity!~="x"', False),
        ("temperature.accuracy<=0.5", True),
        ("temperature.accuracy", True),
        ('temperature.unitCode=="CEL"', True),
        ("temperature.observedAt>2026-01-01T09:59:59.5Z", True),
        ("temperature.observedAt==2026-01-01T10:00:00Z..2026-01-01T11:00:00Z", True),
        ('address[city.name]=="Ulm"', True),
        ('address[city.name]~="^U.m$"', True),
        ('address[city.name]!~="^X"', True),
        ("address[city.zip]", False),
        ("!address[city.zip]", True),
        ('address[streets.name]=="B"', True),
        ('address["dotted.key"]==7', True),
        ('name[de]=="Steg"', True),
        ('name[en]=="Steg"', False),
        ('name[*]=="bridge"', True),
        ('name=="Brücke"', True),
        ("name[fr]", False),
        (f'kind=="{DEFAULT}Lamp"', True),
        (f"kind=={DEFAULT}Lamp", True),
        ('kind=="Lamp"', False),
        ("list==3", True),
        ('list=="two"', True),
        ("list!=4", True),
        ("sizes==5", True),
        ("sizes!=5", False),
        ("sizes>3", False),
        ("isIn==urn:ngsi-ld:House:1", True),
        ('isIn=="urn:ngsi-ld:House:1"', True),
        ("isIn!=urn:ngsi-ld:House:2", True),
        ('isIn>"a"', False),
        ('isIn~="House"', False),
        ("route==urn:ngsi-ld:Stop:2", True),
        ("speed==10", True),
        ("speed==20", True),
        ("speed==30", False),
        ("speed.datasetId==urn:d:1", True),
        ("day==2026-05-01", True),
        ("day>2026-04-30", True),
        ("at>12:00:00Z", True),
        ("at<12:00:00Z", False),
        ("on==true", True),
        ("on!=true", False),
        ("on>false", False),
        ('label=="Main, Street; (old)"', True),
        ("temperature>20;on==true", True),
        ("temperature>30|on==true;speed>15", True),
        ("(temperature>30|on==true);speed>50", False),
        ("temp%65rature>20", True),
    ],
)
def test_q(q: str, expected: bool) -> None:
    assert parse_q(q, CORE).matches(ROOM) is expected


def test_values_that_are_terms_are_expanded() -> None:
    for q in ('kind=="Lamp"', "kind==Lamp", 'kind=="Car","Lamp"'):
        assert parse_q(q, CORE, expand=["kind"]).matches(ROOM)
    assert not parse_q('kind=="Car"', CORE, expand=["kind"]).matches(ROOM)


@pytest.mark.parametrize("q", ["raw[deep.er]==2", "raw.deep.er==1", 'raw.text=="x"'])
def test_paths_of_json_are_raw_keys(q: str) -> None:
    assert parse_q(q, CORE, json_keys=["raw"]).matches(ROOM)


HOUSES = {
    "urn:ngsi-ld:House:1": parse_entity(
        {
            "id": "urn:ngsi-ld:House:1",
            "type": "House",
            "floors": {"value": 3},
            "street": {"object": "urn:ngsi-ld:Street:1"},
        },
        CORE,
    ),
    "urn:ngsi-ld:Street:1": parse_entity(
        {"id": "urn:ngsi-ld:Street:1", "type": "Street", "name": {"value": "High"}}, CORE
    ),
    "urn:ngsi-ld:Stop:2": parse_entity({"id": "urn:ngsi-ld:Stop:2", "type": "Stop", "zone": {"value": "B"}}, CORE),
}


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("isIn{floors}==3", True),
        ("isIn{floors==3}", True),
        ("isIn{floors}>3", False),
        ("isIn{House:floors}==3", True),
        ("isIn{House,Barn:floors>2}", True),
        ("isIn{Barn:floors}==3", False),
        ('isIn{street{name}}=="High"', True),
        ('isIn{House:street{Street:name}}=="High"', True),
        ('isIn{street{name=="Low"}}', False),
        ('isIn{floors>2;street{name~="^H"}}', True),
        ('route{zone}=="B"', True),
        ("temperature{floors}==3", False),
        ("!isIn{floors}", False),
        ("!isIn{roof}", True),
    ],
)
def test_q_on_linked_entities(q: str, expected: bool) -> None:
    condition = parse_q(q, CORE)
    assert condition.linked
    assert condition.matches(ROOM, HOUSES.get) is expected


@pytest.mark.parametrize(
    "q",
    ["rel{", "rel{a", "rel{}", "rel{a;b}==1", "rel{a==1}==2", "a[", 'a["x]', "a==1..2,3", "!a==1", "rel{" * 9 + "a"],
)
def test_q_that_is_refused(q: str) -> None:
    with pytest.raises(BadRequestData, match="q, at character"):
        parse_q(q, CORE)


@pytest.mark.parametrize(
    ("q", "hints"),
    [
        ("a==1", [("a", "==", 1.0)]),
        ('a>"x";b<=2', [("a", ">", "x"), ("b", "<=", 2.0)]),
        ("a==1..5", [("a", ">=", 1.0), ("a", "<=", 5.0)]),
        ("a==1|b==2", []),
        ("(a==1|b==2);c==true", [("c", "==", True)]),
        ("a!=1;a.b==1;a[x]==1;!c;a==1,2;createdAt>2026-01-01T00:00:00Z;r{a}==1;t>2026-01-01", []),
    ],
)
def test_hints_for_indexes_are_what_must_hold(q: str, hints: list[tuple[str, Any, Any]]) -> None:
    found = build_query(CORE, types="T", q=q).selection.terms
    assert sorted(found) == sorted(Term(DEFAULT + name, sign, value) for name, sign, value in hints)


@pytest.mark.parametrize(
    ("text", "types", "expected"),
    [
        ("A,B", "B", True),
        ("A|B", "C", False),
        ("(A;B)", "AB", True),
        ("(A;B)", "A", False),
        ("(A;B)|C", "C", True),
        ("(A,C);B", "BC", True),
        ("*", "X", True),
    ],
)
def test_type_selection(text: str, types: str, expected: bool) -> None:
    entity = parse_entity({"id": "urn:x:1", "type": list(types)}, CORE)
    assert build_query(CORE, types=text).matches(entity) is expected


@pytest.mark.parametrize(
    ("text", "scopes", "expected"),
    [
        ("/a/b", ["/a/b"], True),
        ("/a/b", ["/a/b/c"], False),
        ("a/b", ["/a/b"], True),
        ("/a/+/c", ["/a/b/c"], True),
        ("/a/+/c", ["/a/c"], False),
        ("/a/#", ["/a"], True),
        ("/a/#", ["/a/b/c"], True),
        ("/a/#", ["/ab"], False),
        ("/#", ["/x/y"], True),
        ("/#", [], False),
        ("/a;/b", ["/a"], False),
        ("/a;/b", ["/a", "/b"], True),
        ("/a,/b", ["/b"], True),
        ("(/a;/b)|/c", ["/c"], True),
        ("/a/+/#", ["/a/b/c/d"], True),
    ],
)
def test_scope_queries(text: str, scopes: list[str], expected: bool) -> None:
    assert parse_scope_query(text)(scopes) is expected


@pytest.mark.parametrize("text", ["", "/", "//a", "/a/#/b", "/a;", "(/a", "/a)", "/a b", "/a.*", "(" * 50])
def test_scope_queries_that_are_refused(text: str) -> None:
    with pytest.raises(BadRequestData, match="scopeQ"):
        parse_scope_query(text)


# geometry

SQUARE = "[[[0,0],[10,0],[10,10],[0,10],[0,0]]]"
SHAPES: dict[str, Any] = {
    "inside": ("Point", [5, 5]),
    "outside": ("Point", [15, 5]),
    "border": ("Point", [10, 5]),
    "same": ("Polygon", [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]),
    "larger": ("Polygon", [[[-1, -1], [11, -1], [11, 11], [-1, 11], [-1, -1]]]),
    "crossing": ("Polygon", [[[5, 5], [15, 5], [15, 15], [5, 15], [5, 5]]]),
    "line": ("LineString", [[5, 5], [15, 5]]),
    "points": ("MultiPoint", [[1, 1], [2, 2, 30]]),
}


@pytest.mark.parametrize(
    ("georel", "names"),
    [
        ("within", {"inside", "same", "points"}),
        ("contains", {"same", "larger"}),
        ("intersects", {"inside", "border", "same", "larger", "crossing", "line", "points"}),
        ("disjoint", {"outside"}),
        ("equals", {"same"}),
        ("overlaps", {"crossing"}),
    ],
)
def test_geo_relations(georel: str, names: set[str]) -> None:
    query = parse_geo(CORE, georel, "Polygon", SQUARE, None)
    assert query is not None
    found = {
        name
        for name, (kind, coordinates) in SHAPES.items()
        if query.matches(stored(location={"value": {"type": kind, "coordinates": coordinates}}))
    }
    assert found == names
    assert not query.matches(stored())


@pytest.mark.parametrize(
    ("georel", "kind", "coordinates", "expected"),
    [
        ("near;maxDistance==1200", "Point", [8.01, 50], True),
        ("near;maxDistance==700", "Point", [8.01, 50], False),
        ("near;minDistance==700", "Point", [8.01, 50], True),
        ("near;minDistance==1200", "Point", [8.01, 50], False),
        ("near;minDistance==100;maxDistance==1200", "Point", [8.01, 50], True),
        ("near;maxDistance==2", "LineString", [[7, 50], [9, 50]], True),
        ("near;maxDistance==100", "LineString", [[7.99, 50], [8.01, 50]], True),
        ("near;maxDistance==1", "Polygon", [[[7, 49], [9, 49], [9, 51], [7, 51], [7, 49]]], True),
    ],
)
def test_near(georel: str, kind: str, coordinates: Any, expected: bool) -> None:
    query = parse_geo(CORE, georel, "Point", "[8,50]", None)
    assert query is not None
    assert query.matches(stored(location={"value": {"type": kind, "coordinates": coordinates}})) is expected


def test_any_instance_of_another_property_may_lie_there() -> None:
    query = parse_geo(CORE, "near;maxDistance==1", "Point", "[8,50]", "place")
    assert query is not None
    far, near = ({"value": {"type": "Point", "coordinates": [at, 50]}} for at in (1, 8))
    assert query.matches(stored(place=[far, {**near, "datasetId": "urn:d:1"}]))
    assert not query.matches(stored(place=far, location=near))


@pytest.mark.parametrize(
    ("georel", "geometry", "coordinates"),
    [
        ("near", "Point", "[1,2]"),
        ("near;maxDistance==-1", "Point", "[1,2]"),
        ("near;maxDistance=1", "Point", "[1,2]"),
        ("near;maxDistance==1;maxDistance==2", "Point", "[1,2]"),
        ("touches", "Point", "[1,2]"),
        ("within;maxDistance==1", "Point", "[1,2]"),
        ("within", "Circle", "[1,2]"),
        ("within", "Point", "[1"),
        ("within", "Point", "[[1,2]]"),
        ("within", "Point", "[1,200]"),
        ("within", "Polygon", "[[[0,0],[1,0],[1,1],[0,1]]]"),
        ("within", "Point", "[" * 10_000),
        (None, "Point", "[1,2]"),
        ("within", None, "[1,2]"),
        ("within", "Point", None),
    ],
)
def test_geo_queries_that_are_refused(georel: str | None, geometry: str | None, coordinates: str | None) -> None:
    with pytest.raises(BadRequestData):
        parse_geo(CORE, georel, geometry, coordinates, None)


def test_a_degree_of_latitude_in_metres() -> None:
    assert great_circle_m((0, 0), (0, 1)) == pytest.approx(EARTH_M * math.pi / 180)
    assert great_circle_m((179.5, 0), (-179.5, 0)) == pytest.approx(EARTH_M * math.pi / 180)


def test_the_box_of_near_may_cross_the_date_line() -> None:
    query = parse_geo(CORE, "near;maxDistance==200000", "Point", "[179.5,0]", None)
    assert query is not None and isinstance(query.area, Area)
    assert query.area.west > 177 and query.area.east < -178
    assert parse_geo(CORE, "disjoint", "Point", "[1,2]", None).area is None  # type: ignore[union-attr]


@given(st.floats(-180, 180), st.floats(-85, 85), st.floats(1, 3_000_000), st.floats(0, 1), st.floats(0, 2 * math.pi))
@QUICK
def test_no_place_that_is_near_lies_outside_the_box(
    longitude: float, latitude: float, metres: float, share: float, bearing: float
) -> None:
    angle = metres * share / EARTH_M
    south = math.radians(latitude)
    north = math.asin(math.sin(south) * math.cos(angle) + math.cos(south) * math.sin(angle) * math.cos(bearing))
    across = math.atan2(
        math.sin(bearing) * math.sin(angle) * math.cos(south), math.cos(angle) - math.sin(south) * math.sin(north)
    )
    west, low, east, high = widened((longitude, latitude, longitude, latitude), metres)
    assert low <= math.degrees(north) <= high
    assert east - west >= 360 or west <= longitude + math.degrees(across) <= east


# any text gets an answer

PARSERS: list[Callable[[str], object]] = [
    lambda text: parse_q(text, CORE).matches(ROOM, HOUSES.get),
    lambda text: parse_q(f"isIn{{{text}}}", CORE).matches(ROOM, HOUSES.get),
    lambda text: parse_types(text, CORE),
    lambda text: parse_scope_query(text)(["/a/b"]),
    lambda text: parse_projection("pick", text, CORE),
    lambda text: parse_order(CORE, text.split(","), None, None, "[1,2]"),
    lambda text: parse_geo(CORE, text, "Point", "[1,2]", None),
    lambda text: parse_geo(CORE, "within", "Polygon", text, None),
    lambda text: parse_geo(CORE, "within", "Point", "[1,2]", text),
]


@pytest.mark.parametrize("number", range(len(PARSERS)))
@given(text=st.one_of(st.text(max_size=40), st.text(alphabet='ab.;|()[]{}!=<>~"19,:-+#/ T', max_size=40)))
@QUICK
def test_any_text_is_understood_or_refused(number: int, text: str) -> None:
    try:
        PARSERS[number](text)
    except BadRequestData:
        return


@given(text=st.text(max_size=30))
@QUICK
def test_any_collation_is_understood_or_refused(text: str) -> None:
    try:
        parse_order(CORE, ["a"], text, None, None)
    except (BadRequestData, OperationNotSupported):
        return


def test_a_query_without_conditions_means_everything() -> None:
    assert Query().matches(ROOM)
    assert Query().indexed and not Query().narrow
