"""Templates: the shipped ones load, and every mistake is named with its place."""

from __future__ import annotations

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
    assert loaded.frames, "a template without a frame proves nothing"
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
        ("frames: []", "frames: [{expect: {co3: 1}, answer: 00}]", "10:25", "co2"),
        ("frames: []", "frames: [{expect: {co2: 1}, answer: zz}]", "10:37", "hexadecimal"),
        ("frames: []", "frames: 3", "10:9", "expected a list"),
        ("evidence: manual", "evidence: ~", "5:11", "expected a word"),
        ("evidence: manual", "evidence: manual\nevidence: manual", "6:1", "twice"),
        ("evidence: manual", "evidence: manual\nsilence_s: -1", "6:12", "positive"),
        ("evidence: manual", "evidence: manual\nidentify: {co2: [2, 1]}", "6:17", "[lowest, highest]"),
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
