from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.output import ago, number, plain, table
from gateway.cli.status import KEYS, undocumented


@pytest.mark.parametrize(
    ("value", "shown"),
    [(21.30, "21.3"), (5.0, "5"), (0.00001, "0"), (1e12, "1e+12"), (True, "yes"), (None, "-"), (7, "7"), ("on", "on")],
)
def test_number(value: object, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.5, "0.5 s"), (12, "12 s"), (119, "119 s"), (121, "2 min"), (7300, "2 h"), (2e5, "2 d"), (None, "-")],
)
def test_ago(seconds: object, shown: str) -> None:
    assert ago(seconds) == shown


@given(st.lists(st.tuples(st.text(), st.floats(), st.integers())))
def test_tables_are_straight(rows: list[tuple[object, ...]]) -> None:
    lines = table(("one", "two", "three"), rows).split("\n")
    assert len(lines) == len(rows) + 1
    assert all(line == plain(line) for line in lines)


def test_undocumented_keys_are_found() -> None:
    good = {
        "role": "edge",
        "devices": {"a": {"state": "up", "error": None}, "b": {"error": {"code": "x"}}},
        "outbox": {"made": {"a": 1}, "dropped": {}},
        "link": None,
        "server": None,
    }
    assert undocumented(good) == []
    assert undocumented({"rolle": 1, "devices": {"a": {"colour": "red"}}}) == ["devices.*.colour", "rolle"]
    assert all(KEYS.values())
