"""The mirror of D-Bus objects: signals applied to them."""

from __future__ import annotations

from dbus_fast import Variant
from hypothesis import given
from hypothesis import strategies as st

from gateway.uplink.system_bus import OBJECTS_MAX, Objects, apply

KEEP = {"a.A": "xyz", "b.B": "xy"}
PATHS, NAMES = st.sampled_from(["/1", "/2", "/3"]), st.sampled_from(["a.A", "b.B", "c.C"])
PROPERTIES = st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3).map(lambda n: Variant("i", n)), max_size=3)


def test_objects_come_change_and_go() -> None:
    objects: Objects = {}
    assert apply(objects, KEEP, "InterfacesAdded", "/", ["/1", {"a.A": {"x": Variant("i", 1)}, "c.C": {}}])
    assert objects == {"/1": {"a.A": {"x": 1}}}
    assert apply(objects, KEEP, "PropertiesChanged", "/1", ["a.A", {"x": Variant("av", [Variant("i", 2)])}, []])
    assert objects["/1"]["a.A"] == {"x": [2]}
    assert not apply(objects, KEEP, "PropertiesChanged", "/1", ["a.A", {"x": Variant("av", [Variant("i", 2)])}, []])
    assert apply(objects, KEEP, "PropertiesChanged", "/1", ["a.A", {}, ["x"]])
    assert not apply(objects, KEEP, "PropertiesChanged", "/1", ["a.A", {"LastSeen": Variant("i", 1)}, []])
    assert not apply(objects, KEEP, "PropertiesChanged", "/9", ["a.A", {"x": Variant("i", 1)}, []])
    assert apply(objects, KEEP, "InterfacesRemoved", "/", ["/1", ["a.A", "c.C"]])
    assert objects == {}


def test_what_is_not_as_it_should_be_changes_nothing() -> None:
    objects: Objects = {"/1": {"a.A": {"x": 1}}}
    for member in ("InterfacesAdded", "InterfacesRemoved", "PropertiesChanged", "Other"):
        for body in ([], [1], ["/1"], ["/1", 3], ["/1", {}, 3], [None, None, None]):
            assert not apply(objects, KEEP, member, "/1", body)
    assert objects == {"/1": {"a.A": {"x": 1}}}


def test_it_is_bounded() -> None:
    objects: Objects = {}
    for number in range(OBJECTS_MAX + 10):
        apply(objects, KEEP, "InterfacesAdded", "/", [f"/{number}", {"a.A": {}}])
    assert len(objects) == OBJECTS_MAX


@given(st.lists(st.tuples(PATHS, st.booleans(), st.dictionaries(NAMES, PROPERTIES, max_size=3)), max_size=30))
def test_it_holds_what_was_added_last_and_not_removed(
    course: list[tuple[str, bool, dict[str, dict[str, Variant]]]],
) -> None:
    objects: Objects = {}
    expected: dict[tuple[str, str], dict[str, int]] = {}
    for path, adds, interfaces in course:
        if adds:
            apply(objects, KEEP, "InterfacesAdded", "/", [path, interfaces])
            for name in interfaces.keys() & set(KEEP):
                expected[path, name] = {key: one.value for key, one in interfaces[name].items() if key in KEEP[name]}
        else:
            apply(objects, KEEP, "InterfacesRemoved", "/", [path, list(interfaces)])
            for name in interfaces:
                expected.pop((path, name), None)
    assert {(path, name): held for path, rows in objects.items() for name, held in rows.items()} == expected
