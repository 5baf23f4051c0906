"""Whatever the bytes: problems with places, never an exception."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.config.load import load_bytes
from gateway.config.tree import parse, resolve, shown

WORDS = ["site", "buses", "devices", "type: modbus-rtu", "template: eastron-sdm630", "bus: line", "é", "1", "x"]
SIGNS = "{ } [ ] , : : &a *a !!str !x > | ' \" # ? << ~ null 0x1f 1e9 .inf".split(" ")  # noqa: SIM905 - easier to read
SPACES = [
    ": ",
    "- ",
    "\n",
    "\n  ",
    "\n    ",
    "\t",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "\u2028",
    "\x85",
    "|\n",
    "&a ",
    "? ",
]
PIECES = st.sampled_from(WORDS) | st.sampled_from(SIGNS) | st.sampled_from(SPACES)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=6), below, max_size=3),
    max_leaves=12,
)
PARTS = [
    "site",
    "server",
    "uplink",
    "links",
    "buses",
    "devices",
    "disaggregation",
    "privacy",
    "clock",
    "storage",
    "local",
]
KEYS = ["id", "location", "listen", "host", "port", "tls", "url", "template", "bus", "address", "type", "name", "meter"]
FILES = st.dictionaries(st.sampled_from(PARTS), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5) | VALUES)


def check(data: bytes) -> None:
    loaded = load_bytes(data, Path("/nowhere/x.yaml"))
    assert (loaded.config is None) == any(problem.severity == "error" for problem in loaded.problems)
    for problem in loaded.problems:
        assert problem.place.line >= 1
        assert problem.place.column >= 1
        assert problem.message.isprintable()
        assert problem.place.text.isprintable()
        assert problem.hint.isprintable()


@given(st.lists(PIECES, max_size=30).map("".join))
@settings(max_examples=400, deadline=None)
@example("*a : b")
@example("&a [*a]")
@example("&a {x: *a}")
@example("? {a: b}\n: c")
@example("? *a\n: c")
@example("a: &a b\n*a : c")
def test_yaml_like_garbage(text: str) -> None:
    check(text.encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_binary_garbage(data: bytes) -> None:
    check(data)


@given(FILES)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_well_formed_nonsense(whole: dict[str, object]) -> None:
    check(yaml.safe_dump(whole, allow_unicode=True).encode("utf-8", "replace"))


@given(
    st.dictionaries(st.text("abcdef", min_size=1), st.integers() | st.text("xyz \u00e9", min_size=1) | st.booleans())
)
def test_places_are_those_of_the_values(values: dict[str, object]) -> None:
    text = "".join(
        f"{key}:   {value!r}\n" if isinstance(value, str) else f"{key}:   {value}\n" for key, value in values.items()
    )
    root, problems = parse(text, "x")
    if not values:
        assert root is None
        return
    assert root is not None
    assert problems == []
    for row, (key, value) in enumerate(values.items()):
        node = root.get(key)
        assert node is not None
        assert node.data == value
        assert (node.line, node.column) == (row, len(key) + 4)
        assert root.keys[key] == (row, 0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("010", 10),
        ("0x10", 16),
        ("0o17", 15),
        ("0xzz", "0xzz"),
        ("1_000", "1_000"),
        ("12:34:56", "12:34:56"),
        ("2024-01-01", "2024-01-01"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-7", -7),
        ("+", "+"),
        (".", "."),
    ],
)
def test_plain_scalars(text: str, value: object) -> None:
    got = resolve(text)
    assert got == value
    assert type(got) is type(value)


def test_shown_text_steers_no_terminal() -> None:
    assert shown("a\x1b[31m\u202eb") == "'a\ufffd[31m\ufffdb'"
    assert len(shown("x" * 1000)) < 70
