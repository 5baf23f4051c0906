"""Values out of JSON by path: what a path means, which values count, and nothing but BadFrame on garbage."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Measurement
from drivers.codecs import json_paths
from drivers.errors import BadFrame
from drivers.template import Field

DOCUMENT: Any = {
    "a": {"b": [{"c": 1}, {"c": "2.50"}], "odd.key": {'q"': 3}},
    "em:0": {"total power": -4.5},
    "null": None,
    "yes": True,
    "text": "warm",
    "empty": "",
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b[0].c", 1),
        ("a.b[1].c", "2.50"),
        ("a.b[2].c", None),
        ("a.b.c", None),
        ("a[0]", None),
        ('a["odd.key"]["q\\""]', 3),
        ("em:0.total power", -4.5),
        ('["em:0"]["total power"]', -4.5),
        ("null", None),
        ("null.deeper", None),
        ("text.deeper", None),
        ("yes", True),
    ],
)
def test_a_path_names_one_place(path: str, value: object) -> None:
    assert json_paths.get(DOCUMENT, path) == value


def test_a_document_may_be_a_list() -> None:
    assert json_paths.get([[5, 6], 7], "[0][1]") == 6


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".a",
        "a.",
        "a..b",
        "a.[0]",
        "[a]",
        "[-1]",
        '["a]',
        'a"b',
        "a[0]b",
        "[0]a",
        "a]",
        "a#b",
        "x" * 257,
        "a.a" * 16,
    ],
)
def test_what_is_no_path_is_told(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        json_paths.get(DOCUMENT, path)


@given(st.lists(st.one_of(st.integers(0, 99_999), st.text(min_size=1, max_size=8)), min_size=1, max_size=16))
def test_any_key_can_be_written(keys: list[str | int]) -> None:
    def written(key: str | int) -> str:
        if isinstance(key, int):
            return f"[{key}]"
        escaped = key.replace("\\", "\\\\").replace('"', '\\"')
        return f'["{escaped}"]'

    assert json_paths.steps("".join(map(written, keys))) == tuple(keys)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (1, 1),
        (-0.5, -0.5),
        ("12.5", 12.5),
        (" 7 ", 7),
        ("-3", -3),
        ("+1e3", 1000.0),
        (".5", 0.5),
        (True, None),
        (None, None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("1_000", None),
        ("0x10", None),
        ("1,5", None),
        ("\u0663", None),
        ("9" * 33, None),
        ([1], None),
        ({}, None),
        (float("nan"), None),
    ],
)
def test_which_values_are_numbers(raw: object, value: float | None) -> None:
    found = json_paths.number(raw)
    assert (found, type(found)) == (value, type(value))


def test_fields_become_measurements_and_what_is_missing_is_left_out() -> None:
    fields = [
        Field("energy_import_total", "a.b[1].c", scale=0.001),
        Field("temperature", "a.b[0].c", scale=2, offset=-40),
        Field("temperature", "a.b[1].c"),
        Field("co2", "yes"),
        Field("pm25", "null"),
        Field("pm10", "nowhere"),
        Field("pressure", "text"),
        Field("relay_state", "yes", map={"true": "on", "false": "off"}),
        Field("ev_state", "text", map={"hot": "x"}),
        Field("status", "text"),
        Field("tariff", "a.b[0].c"),
        Field("motion", "yes"),
        Field("opening", "yes", map={"true": "false", "false": "true"}),
        Field("smoke", "empty"),
        Field("battery_level", "text", map={"warm": "80", "cold": "20"}),
    ]
    assert json_paths.measurements(DOCUMENT, fields) == (
        Measurement("energy_import_total", 0.0025),
        Measurement("temperature", -38),
        Measurement("relay_state", "on"),
        Measurement("status", "warm"),
        Measurement("tariff", "1"),
        Measurement("motion", True),
        Measurement("opening", False),
        Measurement("battery_level", 80),
    )


def test_a_number_that_overflows_is_no_value() -> None:
    assert json_paths.measurements({"a": 1e308}, [Field("co2", "a", scale=1000)]) == ()


@pytest.mark.parametrize("data", [b"", b"{", b"nan", b"[" * 5000, b" " * 70_000, b'{"a":1e999}', b"\xff"])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        json_paths.parse(data)


FIELDS = [Field(quantity, path) for quantity in ("co2", "status") for path in ("a", "a.b", "a[0]", "[1]", "b.a[0].a")]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
)


@given(JSON)
def test_any_document_gives_sound_values(document: Any) -> None:
    for one in json_paths.measurements(document, FIELDS):
        assert type(one.value) in ((str, bool) if one.quantity == "status" else (int, float))


@given(st.binary(max_size=60) | JSON.map(orjson.dumps))
def test_any_bytes_give_a_document_or_bad_frame(data: bytes) -> None:
    with contextlib.suppress(BadFrame):
        json_paths.measurements(json_paths.parse(data), FIELDS)
