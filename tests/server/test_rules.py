"""Pure rules: q, patterns, comparisons, representations, merging."""

from __future__ import annotations

import copy
import re
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.server.broker import merge
from gateway.server.broker.model import time_text, time_us
from gateway.server.broker.parse import parse_entity
from gateway.server.broker.qlang import parse_q
from gateway.server.broker.query import build_query
from gateway.server.broker.regex import Pattern
from gateway.server.broker.represent import View, represent
from gateway.server.contexts import Contexts
from gateway.server.errors import BadRequestData, OperationNotSupported

CORE = Contexts().core
QUICK = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"

# q

NAMES = st.sampled_from(["a", "b", "c"])
NUMBERS = st.integers(-3, 3)
TERMS = st.one_of(
    st.tuples(st.just("has"), NAMES),
    st.tuples(st.just("not"), NAMES),
    st.tuples(st.sampled_from(["==", "!=", ">", ">=", "<", "<="]), NAMES, NUMBERS),
    st.tuples(st.just("in"), NAMES, NUMBERS, NUMBERS),
    st.tuples(st.just("range"), NAMES, NUMBERS, NUMBERS),
)
TREES = st.recursive(
    TERMS, lambda inner: st.tuples(st.sampled_from([";", "|"]), st.lists(inner, min_size=2, max_size=3)), max_leaves=8
)
ENTITIES = st.dictionaries(NAMES, st.one_of(NUMBERS, st.lists(NUMBERS, max_size=3), st.just("text")), max_size=3)


def text_of(tree: Any, inside: str = "") -> str:
    if tree[0] in ";|":
        joined = tree[0].join(text_of(part, tree[0]) for part in tree[1])
        return f"({joined})" if inside else joined
    if tree[0] == "has":
        return str(tree[1])
    if tree[0] == "not":
        return f"!{tree[1]}"
    if tree[0] == "in":
        return f"{tree[1]}=={tree[2]},{tree[3]}"
    if tree[0] == "range":
        return f"{tree[1]}=={tree[2]}..{tree[3]}"
    return f"{tree[1]}{tree[0]}{tree[2]}"


def expected(tree: Any, entity: dict[str, Any]) -> bool:
    if tree[0] in ";|":
        results = [expected(part, entity) for part in tree[1]]
        return all(results) if tree[0] == ";" else any(results)
    there = tree[1] in entity
    if tree[0] in ("has", "not"):
        return there is (tree[0] == "has")
    if not there:
        return False
    value = entity[tree[1]]
    values = value if isinstance(value, list) else [value]
    if tree[0] == "in":
        return any(v in tree[2:] for v in values)
    if tree[0] == "range":
        return any(not isinstance(v, str) and tree[2] <= v <= tree[3] for v in values)
    if tree[0] in ("==", "!="):
        return (tree[2] in values) is (tree[0] == "==")
    if not isinstance(value, int):
        return False
    return bool(eval(f"{value} {tree[0]} {tree[2]}"))


@given(TREES, ENTITIES)
@QUICK
def test_q_means_what_it_says(tree: Any, entity: dict[str, Any]) -> None:
    stored = parse_entity({"id": "urn:x:1", "type": "T", **{n: {"value": v} for n, v in entity.items()}}, CORE)
    assert parse_q(text_of(tree), CORE).matches(stored) is expected(tree, entity)


@given(st.text(alphabet='ab.;|()[]{}!=<>~"19,:-', max_size=30))
@QUICK
def test_any_text_is_a_query_or_refused(text: str) -> None:
    try:
        parse_q(text, CORE)
    except (BadRequestData, OperationNotSupported):
        return


BAD_QUERIES = [
    *("", ";", "a;", "a==", "a==b%c", "(a", "a)", "a>1,2", "a>1..2", "a~=(", "a==1..", "a[", "a[]", "=1", "a==text"),
    *('a=="open', "a.b.", "a==2026-13-01", "a==b c", "(" * 50 + "a" + ")" * 50, ";".join(["a"] * 300)),
]


@pytest.mark.parametrize("q", BAD_QUERIES)
def test_bad_queries(q: str) -> None:
    with pytest.raises(BadRequestData, match="q, at character"):
        parse_q(q, CORE)


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("t>2026-01-01T00:00:00Z", True),
        ("t>2026-01-01T00:00:00.6Z", False),
        ('t=="2026-01-01T00:00:00.5Z"', True),
        ("d==2026-01-01", True),
        ("text==urn:ngsi-ld:A:1", True),
        ('text=="URN:ngsi-ld:A:1"', False),
        ("flag==true", True),
        ("flag==1", False),
        ("n==true", False),
        ('n=="5"', False),
        ("n!=7", True),
        ('n!="x"', True),
        ("ghost!=7", False),
        ("name[de]~=Br", True),
        ('name=="bridge"', True),
        ("name[fr]", False),
        ("n.accuracy>0", True),
        ("n.accuracy.method", False),
        ("o[a.b]==3", True),
        ("o[a.c]", False),
        ('v=="https://uri.etsi.org/ngsi-ld/default-context/hot"', True),
        ("text!~=^urn", False),
        ("createdAt>2020-01-01T00:00:00Z", True),
        ("n==4..6", True),
        ("ngsi-ld%3Ax", False),
    ],
)
def test_targets_and_types(q: str, found: bool) -> None:
    entity = parse_entity(
        {
            "id": "urn:x:1",
            "type": "T",
            "t": "2026-01-01T00:00:00.5Z",
            "d": "2026-01-01",
            "text": "urn:ngsi-ld:A:1",
            "flag": True,
            "n": {"value": 5, "accuracy": 0.5},
            "o": {"a": {"b": 3}},
            "name": {"languageMap": {"en": "bridge", "de": "Brücke"}},
            "v": {"vocab": "hot"},
        },
        CORE,
    )
    merge.create(entity, NOW)
    assert parse_q(q, CORE).matches(entity) is found


# patterns

PIECES = st.sampled_from(["a", "b", "c", ".", "[ab]", "[^a]", "[a-b]"])
PATTERNS = st.recursive(
    PIECES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda p: f"({p[0]}|{p[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}", "{0}"])).map(
            lambda p: f"({p[0]}){p[1]}"
        ),
    ),
    max_leaves=6,
)


@given(PATTERNS, st.text(alphabet="abcd", max_size=8), st.booleans(), st.booleans())
@QUICK
def test_patterns_agree_with_the_standard_library(text: str, subject: str, start: bool, end: bool) -> None:
    text = f"{'^' if start else ''}({text}){'$' if end else ''}"
    assert Pattern(text).search(subject) is bool(re.search(text, subject))


def test_patterns_cannot_stop_the_server() -> None:
    assert Pattern("(a|aa)+$").search("a" * 50_000 + "b") is False
    for bad in (
        "(",
        ")",
        "[a",
        "a{5",
        "a{300}",
        "*",
        "a**",
        "\\",
        "[[:nope:]]",
        "(" * 100,
        "a" * 600,
        "((a{200}){200})",
    ):
        with pytest.raises(ValueError):
            Pattern(bad)
    assert Pattern("^[[:alpha:]_]+:[[:digit:]]{2}$").search("meter_:17")
    assert Pattern("a\\.b").search("a.b") and not Pattern("a\\.b").search("axb")


# representations

SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["x", "type", "value", "object", "coordinates", "json"]), inner, max_size=3),
    ),
    max_leaves=5,
)
POINTS = st.tuples(st.integers(-180, 180), st.integers(-90, 90)).map(
    lambda p: {"type": "Point", "coordinates": list(p)}
)
URNS = st.sampled_from(["urn:x:1", "urn:x:2", "https://example.org/a"])
CORES = st.one_of(
    VALUES.map(lambda v: {"type": "Property", "value": v}),
    POINTS.map(lambda v: {"type": "GeoProperty", "value": v}),
    POINTS.map(lambda v: {"type": "Property", "value": v}),
    st.one_of(URNS, st.lists(URNS, min_size=1, max_size=3)).map(lambda v: {"type": "Relationship", "object": v}),
    st.just({"type": "LanguageProperty", "languageMap": {"en": "a", "@none": "b"}}),
    st.sampled_from(["hot", ["hot", "cold"]]).map(lambda v: {"type": "VocabProperty", "vocab": v}),
    st.lists(SCALARS, max_size=3).map(lambda v: {"type": "ListProperty", "valueList": v}),
    st.lists(URNS, max_size=3).map(lambda v: {"type": "ListRelationship", "objectList": v}),
    VALUES.map(lambda v: {"type": "JsonProperty", "json": v}),
)
MEMBERS = st.fixed_dictionaries({}, optional={"unitCode": st.just("CEL"), "observedAt": st.just(NOW)})
PLAIN = st.tuples(CORES, MEMBERS).map(lambda p: {**p[0], **p[1]})
ATTRIBUTES = st.tuples(PLAIN, st.dictionaries(st.sampled_from(["accuracy", "quality"]), PLAIN, max_size=2)).map(
    lambda p: {**p[0], **p[1]}
)


def is_null(attribute: dict[str, Any]) -> bool:
    return "urn:ngsi-ld:null" in orjson.dumps(attribute).decode()


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), ATTRIBUTES, max_size=3))
@QUICK
def test_normalized_and_concise_are_read_back(attributes: dict[str, Any]) -> None:
    raw = {"id": "urn:x:1", "type": "T", **attributes}
    stored = parse_entity(copy.deepcopy(raw), CORE)
    assert represent(stored, View(CORE)) == raw
    assert CORE.compact(stored) == raw
    concise = represent(stored, View(CORE, format="concise"))
    assert parse_entity(orjson.loads(orjson.dumps(concise)), CORE) == stored, concise


def test_concise_is_as_short_as_can_be() -> None:
    raw = {
        "id": "urn:x:1",
        "type": "T",
        "a": {"type": "Property", "value": 5},
        "b": {"type": "Relationship", "object": "urn:x:2"},
    }
    point = {"type": "Point", "coordinates": [1, 2]}
    stored = parse_entity({**raw, "location": {"type": "GeoProperty", "value": point}}, CORE)
    shown = represent(stored, View(CORE, format="concise"))
    assert (shown["a"], shown["b"], shown["location"]) == (5, {"object": "urn:x:2"}, point)
    simple = represent(stored, View(CORE, format="simplified"))
    assert (simple["a"], simple["b"], simple["location"]) == (5, "urn:x:2", point)


# time


@given(st.integers(-(10**15), 4 * 10**15))
@QUICK
def test_times_are_read_back(us: int) -> None:
    assert time_us(time_text(us)) == us


BAD_TIMES = [
    *("", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00.1234567Z"),
    *("2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01 00:00:00Z", "2026-1-01T00:00:00Z", "x" * 24 + "Z"),
    *("2026-01-01T00:00:00.Z5Z", "2026-W01-1T00:00:00Z", "2026-01-01T00:00:0٣Z"),
]


@pytest.mark.parametrize("text", BAD_TIMES)
def test_bad_times(text: str) -> None:
    with pytest.raises(ValueError):
        time_us(text)


# merging


def stored(**attributes: Any) -> dict[str, Any]:
    return parse_entity({"id": "urn:x:1", "type": "T", **attributes}, CORE, nulls=True)


def test_an_equal_rewrite_is_no_change() -> None:
    there = merge.create(stored(a=1, b=2), NOW).entity
    again = merge.update(there, stored(a=1), LATER)
    assert again.changed == [] and again.entity[CORE.expand_name("a")]["modifiedAt"] == LATER
    other = merge.update(again.entity, stored(a=2, c=3, b="urn:ngsi-ld:null"), LATER)
    names = [CORE.compact_name(n) for n in other.changed]
    assert sorted(names) == ["a", "b", "c"]
    assert [CORE.compact_name(n) for n in other.added] == ["c"]
    assert [CORE.compact_name(n) for n in other.removed] == ["b"]


def test_replace_reports_what_went() -> None:
    there = merge.create(stored(a=1, b=2), NOW).entity
    result = merge.replace(there, stored(a=1, c=3), LATER)
    assert sorted(CORE.compact_name(n) for n in result.changed) == ["b", "c"]
    assert [CORE.compact_name(n) for n in result.removed] == ["b"]
    assert result.entity["createdAt"] == NOW


def test_types_add_up() -> None:
    there = merge.create(stored(a=1), NOW).entity
    more = parse_entity({"id": "urn:x:1", "type": ["T", "U"]}, CORE)
    assert [CORE.compact_name(t) for t in merge.update(there, more, LATER).entity["type"]] == ["T", "U"]


@pytest.mark.parametrize(
    "text", ["", "A,", "(A", "A)", "A;", "(A;B", ",".join(["A"] * 300), "9a", "(" * 30 + "A" + ")" * 30]
)
def test_bad_type_selections(text: str) -> None:
    with pytest.raises(BadRequestData):
        build_query(CORE, types=text)
