"""``lamppost template list`` and ``show``: what is known of which device, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

from drivers import template
from tests.unit.cli.command import Run

OWN = """\
vendor: Own
model: M
protocol: modbus
data_model: Device
evidence: one source
caveats: ["\\u001b[31mred: at 0x10 or 0x20."]
disputed: [voltage_l1]
modbus: {function: 3, word_order: low-first}
points:
  - {quantity: voltage_l1, address: 0x10, type: u32, scale: 0.1, nan: [0xFFFFFFFF], every: 60}
  - {quantity: serial_number, address: 0x20, type: ascii, words: 4}
identify: {voltage_l1: [80, 300]}
"""


def test_list_has_them_all(run: Run) -> None:
    done = run("template", "list", "--json")
    assert done.returncode == 0
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert sorted(rows) == template.names()
    sdm = rows["eastron-sdm630"]
    assert (sdm["evidence"], sdm["grade"], sdm["bus"]) == ("captured", "platinum", ["modbus-rtu"])
    assert sdm["values"] == len(template.load("eastron-sdm630").points)
    assert rows["sma-sunny-tripower"]["bus"] == ["modbus-tcp"]
    assert rows["shelly-pro-3em"]["bus"] == ["mqtt"]


def test_list_of_a_kind(run: Run) -> None:
    text = run("template", "list", "--kind", "pulse_counter").stdout.splitlines()
    assert text[0].split() == ["template", "kind", "vendor", "model", "bus", "evidence", "grade"]
    assert {line.split()[1] for line in text[1:]} == {"pulse_counter"}
    wrong = run("template", "list", "--kind", "pulse")
    assert wrong.returncode == 2
    assert "pulse_counter" in wrong.stderr


def test_a_wrong_file_of_the_box_does_not_hide_the_others(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    (tmp_path / "broken.yaml").write_text("vendor: [")
    done = run("template", "list", "--kind", "local", LAMPPOST_TEMPLATES=str(tmp_path))
    assert done.returncode == 1
    assert "broken.yaml:" in done.stderr
    assert "own" in done.stdout


def test_show_says_what_is_uncertain(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    shown = run("template", "show", "own", LAMPPOST_TEMPLATES=str(tmp_path)).stdout
    assert "evidence: one source; grade: bronze" in shown
    assert "no source states the line" in shown
    assert "for the next grade: name the sources; state the serial line or the TCP port" in shown
    rows = [line.split() for line in shown.splitlines()]
    assert [
        "voltage_l1",
        "(disputed)",
        "V",
        "0x0010",
        "3",
        "u32",
        "low",
        "word",
        "first",
        "0.1",
        "0xffffffff",
        "60",
        "s",
    ] in rows
    assert ["serial_number", "0x0020", "3", "ascii[4]", "1"] in rows, "the order of words is none of text"
    assert "\x1b" not in shown


def test_show_as_json_is_whole(run: Run) -> None:
    whole = json.loads(run("template", "show", "peacefair-pzem-004t-v3", "--json").stdout)
    known = template.load("peacefair-pzem-004t-v3")
    assert [point["quantity"] for point in whole["points"]] == [point.quantity for point in known.points]
    assert whole["frames"][0]["answer"] == known.frames[0].answer.hex()
    assert (whole["grade"], whole["missing"], whole["caveats"]) == ("platinum", [], list(known.caveats))


def test_an_unknown_name_says_what_was_meant(run: Run) -> None:
    done = run("template", "show", "eastron-sdm63")
    assert done.returncode == 1
    assert "did you mean 'eastron-sdm630'" in done.stderr
