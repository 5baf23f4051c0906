"""One test over all templates that ship: what the schema cannot say, and what is claimed of evidence."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

import pytest

from drivers import planner, template
from drivers.quantities import QUANTITIES
from drivers.template import WIDTHS, Template
from drivers.template_quality import Grade, grade
from gateway.mapping.tables import MODELS

ALL = [template.load(name) for name in template.names()]
MODBUS = [one for one in ALL if one.protocol == "modbus"]
TEXT_MAX = 160
# how a caveat may speak of a quantity without its name
WORDS = {
    "voltage": "volt",
    "current": "amper",
    "frequency": "hertz",
    "active_power": "powers",
    "reactive_power": "powers",
    "reactive_energy": "reactive energ",
}
each = pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
each_modbus = pytest.mark.parametrize("one", MODBUS, ids=lambda one: one.name)


def plain(text: str) -> str:
    """Small letters and digits only."""
    german = text.lower().replace("ü", "ue").replace("ö", "oe").replace("ä", "ae")
    return re.sub("[^a-z0-9]", "", unicodedata.normalize("NFKD", german))


def test_at_least_a_hundred_modbus_models_ship() -> None:
    assert len(MODBUS) >= 100
    assert len({(one.vendor, one.model) for one in MODBUS}) == len(MODBUS)


@each
def test_texts(one: Template) -> None:
    assert one.data_model in MODELS
    assert one.vendor
    assert one.model
    assert one.model not in one.variants
    assert len(set(one.variants)) == len(one.variants)
    for text in (*one.sources, *one.caveats, *one.variants):
        assert 2 <= len(text) <= TEXT_MAX, text
    assert all(caveat.endswith(".") for caveat in one.caveats)
    assert len(set(one.caveats)) == len(one.caveats)


@each_modbus
def test_name_begins_with_the_vendor(one: Template) -> None:
    assert plain(one.name).startswith(plain(one.vendor.split()[0]))


@each_modbus
def test_points_lie_apart(one: Template) -> None:
    for function in (3, 4):
        points = sorted((p for p in one.points if p.function == function), key=lambda point: point.address)
        for before, after in pairwise(points):
            assert before.address + before.count <= after.address, f"{before.quantity} and {after.quantity}"


@each_modbus
def test_raw_numbers_fit_their_types(one: Template) -> None:
    for point in one.points:
        if point.type == "ascii" or point.type[0] == "f":
            assert not point.nan
            continue
        bits = 16 * WIDTHS[point.type]
        low, high = (0, 2**bits - 1) if point.type[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        assert all(low <= raw <= high for raw in (*point.nan, *point.map))


@each_modbus
def test_states_are_words_and_numbers_are_numbers(one: Template) -> None:
    for point in one.points:
        if QUANTITIES[point.quantity].kind == "state":
            assert point.type[0] in "ua", f"{point.quantity} is a word"
            assert (point.scale, point.offset, point.scale_register) == (1, 0, None)
        else:
            assert point.type != "ascii", f"{point.quantity} is a number"
            assert not point.map


@each_modbus
@pytest.mark.parametrize("baud", [9600, 115_200])
def test_blocks_serve_every_point_once(one: Template, baud: int) -> None:
    blocks = planner.plan(one.points, char_s=10 / baud, registers_max=one.registers_max, gap_max=one.gap_max)
    assert sorted(p.quantity for block in blocks for p in block.points) == sorted(p.quantity for p in one.points)
    assert all(1 <= block.count <= one.registers_max for block in blocks)
    for block in blocks:
        assert all(
            block.address <= p.address and p.address + p.count <= block.address + block.count for p in block.points
        )


@each_modbus
def test_identify_is_plausible_and_refuses_zeros(one: Template) -> None:
    """Some devices answer every request with zeros: nothing may be recognised in them."""
    assert one.identify
    for quantity, (low, high) in one.identify.items():
        known = QUANTITIES[quantity]
        assert known.low is None or low >= known.low
        assert known.high is None or high <= known.high
    assert not all(low <= 0 <= high for low, high in one.identify.values())


@each_modbus
def test_phases_fit_the_data_model(one: Template) -> None:
    phases = {point.quantity[-2:] for point in one.points} & {"l2", "l3"}
    assert not (phases and one.data_model == "ACMeasurement")


@each_modbus
def test_way_to_the_device(one: Template) -> None:
    assert one.transports
    assert one.tcp_port is None or "tcp" in one.transports
    assert not one.line.stated or "rtu" in one.transports
    assert one.period_s is not None


@each_modbus
def test_evidence_rests_on_something(one: Template) -> None:
    programs = {source.split("@")[0] for source in one.sources}
    assert len(programs) == len(one.sources) >= 1
    assert one.evidence != "agreed" or len(programs) >= 2
    assert (one.evidence == "captured") == bool(one.captured)


@each_modbus
def test_what_is_disputed_is_a_caveat(one: Template) -> None:
    texts = " ".join(one.caveats).lower()
    for quantity in one.disputed:
        stem = next((stem for stem in WORDS if quantity.startswith(stem)), "")
        assert quantity in texts or "all points" in texts or (stem and WORDS[stem] in texts), quantity


@each_modbus
def test_every_modbus_template_can_be_recognised(one: Template) -> None:
    assert grade(one) >= Grade.BRONZE
