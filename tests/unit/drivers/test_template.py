"""Templates: the shipped ones load, and every mistake is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers import template
from drivers.quantities import QUANTITIES

GOOD = """\
vendor: V
model: M
protocol: modbus
data_model: ACMeasurement
evidence: manual
modbus: {function: 3, word_order: low-first}
points:
  - {quantity: voltage_l1, address: 0x10, type: u16, scale: 0.1}
  - {quantity: frequency, address: 18, type: u32, function: 4, nan: [0xFFFFFFFF]}
frames: []
"""


def parse(text: str) -> template.Template:
    return template.parse(text, name="a-b", kind="air", file="a.yaml")


@pytest.mark.parametrize("name", template.names())
def test_shipped_template_loads_and_brings_its_own_frames(name: str) -> None:
    loaded = template.load(name)
    assert loaded.frames or loaded.protocol == "modbus", "only a map can be read without a frame that proves it"
    assert {q for frame in loaded.frames for q in frame.expect} <= set(QUANTITIES)
    assert loaded.data_model
    assert loaded.name == name


def test_all_the_templates_of_the_first_site_are_there() -> None:
    wanted = {"eastron-sdm630", "peacefair-pzem-004t-v3", "senseair-s8", "dsmr-p1-v5", "plantower-pms5003"}
    assert wanted | {"shelly-pro-3em"} <= set(template.names())


def test_points_inherit_and_override() -> None:
    first, second = parse(GOOD).points
    assert (first.function, first.word_order, first.scale, first.address) == (3, "low-first", 0.1, 16)
    assert (second.function, second.count, second.nan) == (4, 2, (0xFFFFFFFF,))


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("vendor: V", "vendr: V", "1:1", "did you mean 'vendor'"),
        ("vendor: V\n", "", "1:1", "missing: vendor"),
        ("protocol: modbus", "protocol: modbuss", "3:11", "did you mean 'modbus'"),
        ("voltage_l1", "voltage_l11", "8:16", "did you mean 'voltage_l1'"),
        ("type: u16", "type: u17", "8:49", "did you mean 'u16'"),
        ("0x10", "0x1FFFF", "8:37", "not within"),
        ("address: 18, type: u32", "address: 0xFFFF, type: u32", "9:36", "beyond 0xFFFF"),
        ("scale: 0.1", "scale: x", "8:61", "expected a number"),
        ("scale: 0.1", "scale: 0", "8:61", "scale of 0"),
        ("scale: 0.1", "scale: .nan", "8:61", "expected a number"),
        ("frequency", "voltage_l1", "9:5", "twice"),
        ("frames: []", "frames: [{expect: {co2: 1}}]", "10:10", "one of"),
        ("frames: []", "frames: [{expect: {presure: 1}, answer: 00}]", "10:29", "pressure"),
        ("frames: []", "frames: [{expect: {co2: 1}, answer: zz}]", "10:37", "hexadecimal"),
        ("frames: []", "frames: 3", "10:9", "expected a list"),
        ("evidence: manual", "evidence: ~", "5:11", "expected a word"),
        ("evidence: manual", "evidence: manual\nevidence: manual", "6:1", "twice"),
        ("evidence: manual", "evidence: manual\nsilence_s: -1", "6:12", "positive"),
        ("evidence: manual", "evidence: manual\nidentify: {frequency: [2, 1]}", "6:23", "[lowest, highest]"),
        ("evidence: manual", "evidence: manual\nidentify: {co2: [1, 2]}", "6:17", "none of the points"),
        ("evidence: manual", "evidence: manual\ndisputed: [frequency, co2]", "6:23", "none of the points"),
        ("function: 3", "function: 3, transports: [rtu, udp]", "6:41", "unknown value 'udp'"),
        ("evidence: manual", "evidence: manual\ncodec: x", "1:1", "codec"),
        ("modbus: {", "modbus: [", "6:", ""),
    ],
)
def test_mistake_is_located(old: str, new: str, place: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(template.TemplateError) as caught:
        parse(GOOD.replace(old, new, 1))
    assert str(caught.value).startswith(f"a.yaml:{place}"), str(caught.value)
    assert words in caught.value.cause


def test_unknown_name_says_what_was_meant() -> None:
    with pytest.raises(template.TemplateError, match="did you mean 'eastron-sdm630'"):
        template.load("eastron-sdm63")


@pytest.mark.parametrize("text", ["", "just text", "- 1", "a: &a [*a]", "a: !!python/object:os.system x", "\x00"])
def test_rubbish_is_a_template_error(text: str) -> None:
    with pytest.raises(template.TemplateError):
        parse(text)


def test_a_file_of_the_box_wins_over_the_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(template.FOLDER_VARIABLE, str(tmp_path))
    assert template.load("eastron-sdm630").shipped
    (tmp_path / "eastron-sdm630.yaml").write_text(GOOD)
    (tmp_path / "air").mkdir()
    (tmp_path / "air" / "of-this-box.yaml").write_text(GOOD)
    assert (template.load("eastron-sdm630").vendor, template.load("eastron-sdm630").shipped) == ("V", False)
    assert template.load("of-this-box").kind == "air"
    assert "of-this-box" in template.names()
    (tmp_path / "eastron-sdm630.yaml").write_text(GOOD.replace("vendor: V", "vendor: W1234"))
    assert template.load("eastron-sdm630").vendor == "W1234"
    (tmp_path / "eastron-sdm630.yaml").write_text("vendor: [")
    with pytest.raises(template.TemplateError, match=str(tmp_path)):
        template.load("eastron-sdm630")


def test_counters_know_where_they_start_again() -> None:
    point = template.Point("energy_import_total", 0, 3, "u32", scale=0.01)
    assert point.modulus == pytest.approx(2**32 / 100)
    assert template.Point("energy_import_total", 0, 3, "u32", wrap=1_000_000).modulus == 1_000_000
    assert template.Point("energy_import_total", 0, 3, "f32").modulus is None
    assert template.Point("voltage_l1", 0, 3, "u16").modulus is None


def test_all_that_a_point_can_say() -> None:
    text = GOOD.replace(
        "  - {quantity: voltage_l1, address: 0x10, type: u16, scale: 0.1}\n",
        "  - {quantity: serial_number, address: 1, type: ascii, words: 4, every: 3600}\n"
        "  - {quantity: ev_state, address: 9, type: u16, map: {0: idle, 0x01: charging}, byte_order: low-first}\n"
        "  - {quantity: voltage_l1, address: 0x10, type: i16, scale_register: 20, offset: -1, range: [80, 300]}\n"
        "  - {quantity: bicycle_count, address: 0x30, type: u32, wrap: 1000000, max_rate: 10}\n",
    )
    serial, state, volt, count = parse(text).points[:4]
    assert (serial.count, serial.every) == (4, 3600)
    assert (state.map, state.byte_order) == ({0: "idle", 1: "charging"}, "low-first")
    assert (volt.scale_register, volt.offset, volt.low, volt.high) == (20, -1, 80, 300)
    assert (count.modulus, count.max_rate) == (1_000_000, 10)
