"""The index of registrations finds what asking each of them finds, in the same order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.server.broker.query import TypeSelection
from gateway.server.broker.regex import Pattern
from gateway.server.sources.model import EntityInfo, Information, Registration
from gateway.server.sources.registry import Registry, Wanted, part_of

names = st.frozensets(st.sampled_from("abcd"), min_size=1, max_size=2)
entities = st.builds(
    EntityInfo,
    names,
    st.none() | st.sampled_from(["urn:x:1", "urn:x:2"]),
    st.none() | st.just(Pattern("1$")),
)
information = st.builds(
    Information,
    st.lists(entities, max_size=2).map(tuple),
    st.none() | st.frozensets(st.sampled_from("pq"), min_size=1),
    st.none() | st.frozensets(st.sampled_from("rs"), min_size=1),
)
registrations = st.builds(
    Registration,
    st.integers(0, 6).map(str),
    st.just("http://source"),
    st.lists(information, min_size=1, max_size=2).map(tuple),
)


def selection(chosen: frozenset[str]) -> TypeSelection:
    return TypeSelection(",".join(chosen), lambda types: bool(types & chosen), tuple(chosen))


wishes = st.builds(
    Wanted,
    st.lists(st.sampled_from(["urn:x:1", "urn:x:2", "urn:x:3"]), unique=True, max_size=2).map(tuple),
    st.none() | st.just("2$"),
    st.none() | names.map(selection),
    st.none() | st.frozensets(st.sampled_from("pqrs"), min_size=1),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(registrations, max_size=12), st.lists(st.integers(0, 6), max_size=3), wishes)
def test_it_finds_what_asking_each_finds(given_: list[Registration], gone: list[int], wanted: Wanted) -> None:
    registry, plain = Registry(), dict[str, Registration]()
    for registration in given_:
        registry.put("", registration)
        plain[registration.id] = registration
    for number in gone:
        registry.remove("", str(number))
        plain.pop(str(number), None)
    expected = [match for one in plain.values() if (match := part_of(one, wanted)) is not None]
    assert registry.matching("", None, wanted) == expected
    assert registry.any("") == bool(plain)
