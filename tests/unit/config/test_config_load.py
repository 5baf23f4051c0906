"""A wrong file: every mistake once, at its place, with what was meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.config.load import load, load_bytes, require
from gateway.config.problem import PROBLEMS_MAX, RULES, ConfigError, Problem

TEN = """\
site:
  id: Main School
  location: {latitude: 95.0, longitude: 12.5}
  time_zone: Europe/Kopenhagen
uplink:
  url: https://platform.example.net
  intervall: 10s
buses:
  rs485:
    type: modbus-rtuu
    port: /dev/serial/by-id/usb-one
  p1:
    type: serial
    port: /dev/serial/by-id/usb-two
    baud: fast
devices:
  main-meter:
    template: eastron-sdm63
    bus: rs485
    adress: 1
  grid:
    template: dsmr-p1-v5
    bus: p2
  boiler:
    bus: rs485
    address: 2
"""
TEN_FOUND = [
    (2, 7, "config.name"),
    (3, 24, "config.range"),
    (4, 14, "config.time-zone"),
    (7, 3, "config.unknown-key"),
    (10, 11, "config.value"),
    (15, 11, "config.value"),
    (18, 15, "config.unknown-template"),
    (20, 5, "config.unknown-key"),
    (23, 10, "config.unknown-bus"),
    (24, 3, "config.missing-key"),
]
GOOD = """\
site: {id: box, location: {latitude: 52.0, longitude: 5.0}}
uplink: {url: "http://127.0.0.1:9090"}
buses:
  line: {type: modbus-rtu, port: /dev/serial/by-id/usb-one}
devices:
  meter: {template: eastron-sdm630, bus: line, address: 1}
"""


def problems(text: str, folder: Path = Path("/nowhere")) -> list[Problem]:
    return list(load_bytes(text.encode(), folder / "box.yaml").problems)


def found(text: str) -> list[tuple[int, int, str]]:
    return [(p.place.line, p.place.column, p.code) for p in problems(text)]


def test_ten_mistakes_give_ten_located_problems() -> None:
    assert found(TEN) == TEN_FOUND


def test_what_was_meant() -> None:
    hints = [problem.hint for problem in problems(TEN)]
    assert hints[0] == "perhaps 'main-school'"
    assert hints[2] == "did you mean 'Europe/Copenhagen'?"
    assert hints[3] == "did you mean 'interval'?"
    assert hints[4] == "did you mean 'modbus-rtu'?"
    assert hints[6] == "did you mean 'eastron-sdm630'?"
    assert hints[7] == "did you mean 'address'?"


def test_every_place_shows_its_line() -> None:
    lines = TEN.splitlines()
    assert [problem.place.text for problem in problems(TEN)] == [lines[line - 1] for line, _, _ in TEN_FOUND]


def test_a_good_file_has_no_problems(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text(GOOD)
    loaded = load(path)
    assert loaded.problems == ()
    assert loaded.config is not None
    assert loaded.config.devices["meter"].address == 1
    assert require(path) == loaded.config


def test_require_carries_all_problems(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text(TEN)
    with pytest.raises(ConfigError) as caught:
        require(path)
    assert len(caught.value.problems) == 10
    assert f"lamppost check {path}" in caught.value.fix


def test_file_names_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(0o640)
    path = tmp_path / "box.yaml"
    path.write_text(GOOD.replace('9090"}', '9090", token_file: token}') + "storage: {path: data}\n")
    config = require(path)
    assert config.uplink is not None
    assert config.uplink.token_file == tmp_path / "token"
    assert config.storage.path == tmp_path / "data"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (1, 1, "config.document")),
        ("- a\n", (1, 1, "config.document")),
        ("site: {}\n---\nsite: {}\n", (2, 1, "config.document")),
        ("site:\n\tid: a\n", (2, 1, "config.tab")),
        ("site: {id: a\n", (1, 7, "config.syntax")),
        ("site: 'a\n", (1, 7, "config.syntax")),
        ("site: a: b\n", (1, 8, "config.syntax")),
        ("site:\n  id: a\n b: c\n", (3, 2, "config.syntax")),
        ("? [a]\n: b\n", (1, 3, "config.syntax")),
        ("site: \x07\n", (1, 7, "config.encoding")),
        ("{" * 200, (1, 33, "config.too-large")),
    ],
)
def test_files_that_are_no_yaml(text: str, expected: tuple[int, int, str]) -> None:
    assert found(text) == [expected]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("buses:", "uplink: {}\nbuses:"), (3, 1, "config.duplicate-key")),
        (("{id: box", "{id: !thing box"), (1, 12, "config.tag")),
        (("{id: box", "{id: *box"), (1, 12, "config.alias")),
        (("address: 1", "address: [1]"), (6, 57, "config.type")),
        (("address: 1", "period: soon, address: 1"), (6, 56, "config.value")),
        (("address: 1", "period: .inf, address: 1"), (6, 56, "config.range")),
        (("address: 1", "period: -3, address: 1"), (6, 56, "config.range")),
        (("address: 1", "place: 12, address: 1"), (6, 55, "config.type")),
        (("uplink: {url:", "uplink: {uri:"), (2, 10, "config.unknown-key")),
        (("buses:", "storage: {outbox_max: many}\nbuses:"), (3, 23, "config.value")),
        (("buses:", "links: [{name: a, interface: b}, {interface: c}]\nbuses:"), (3, 34, "config.missing-key")),
        (("buses:", "links: [{name: a, interface: b}, {name: A b, interface: c}]\nbuses:"), (3, 41, "config.name")),
        (("buses:", "server: {token: geheim}\nbuses:"), (3, 10, "config.secret")),
        (("  meter:", "  Meter 1:"), (6, 3, "config.name")),
        (("type: modbus-rtu, ", ""), (4, 3, "config.missing-key")),
        (("buses:", "server: {tls: {certificate: a}}\nbuses:"), (3, 10, "config.missing-key")),
    ],
)
def test_one_mistake_is_one_problem(change: tuple[str, str], expected: tuple[int, int, str]) -> None:
    text = GOOD.replace(*change, 1)
    assert text != GOOD
    errors = [(p.place.line, p.place.column, p.code) for p in problems(text) if p.severity == "error"]
    assert errors[:1] == [expected]
    assert len(errors) == 1 + (expected[2] == "config.alias")  # an alias to nothing leaves the id without a value


def test_no_secret_is_shown() -> None:
    text = GOOD.replace("buses:", "server: {token: geheim123}\nbuses:").replace("http://", "https://me:geheim123@")
    for problem in problems(text):
        assert "geheim123" not in str(problem.as_json())


def test_bytes_that_are_not_utf8() -> None:
    (problem,) = load_bytes(b"site:\n  id: caf\xe9\n", Path("x.yaml")).problems
    assert (problem.place.line, problem.place.column, problem.code) == (2, 10, "config.encoding")


def test_columns_count_characters_not_bytes() -> None:
    text = GOOD.replace("site: {id: box,", 'site: {name: "Überlandwerk Größe", idd: box,')
    assert (1, 36, "config.unknown-key") in found(text)


def test_a_bom_does_not_move_columns() -> None:
    loaded = load_bytes(b"\xef\xbb\xbf" + GOOD.replace("site:", "sit:").encode(), Path("x.yaml"))
    assert [(p.place.line, p.place.column, p.hint) for p in loaded.problems] == [(1, 1, "did you mean 'site'?")]


def test_alias_bombs_are_refused_quickly() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]
    assert [code for _, _, code in found("\n".join(rows))] == ["config.too-large"]


def test_aliases_are_allowed_where_they_help() -> None:
    device = "{template: eastron-sdm630, bus: line, address: "
    text = GOOD + f"  other: {device}2, location: &here {{latitude: 1.0, longitude: 2.0}}}}\n"
    text += f"  third: {device}3, location: *here}}\n"
    loaded = load_bytes(text.encode(), Path("x.yaml"))
    assert loaded.config is not None
    assert loaded.config.devices["third"].location == loaded.config.devices["other"].location


def test_plain_values_follow_yaml_1_2() -> None:
    text = GOOD.replace("port: /dev/serial/by-id/usb-one", "port: /dev/x, parity: no")
    (problem,) = problems(text)
    assert problem.code == "config.value"
    assert "'no'" in problem.message


def test_too_many_problems_are_cut() -> None:
    rows = "".join(f"key{n}: 1\n" for n in range(1000))
    cut = problems(GOOD + rows)
    assert len(cut) == PROBLEMS_MAX + 1
    assert cut[-1].code == "config.more"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    large = tmp_path / "large"
    large.write_bytes(b"#" * (2**20 + 1))
    for path in (tmp_path, tmp_path / "missing", pipe, Path("/dev/zero"), large / "below", Path("a\0b")):
        (problem,) = load(path).problems
        assert problem.code == "config.unreadable"
    (problem,) = load(large).problems
    assert problem.code == "config.too-large"


def test_every_problem_has_a_rule() -> None:
    for problem in problems(TEN):
        assert RULES[problem.code].fix
        assert problem.as_json()["fix"]
