"""The device made from a template: its registers say what the decoder makes of them, for every form of a point."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import template
from drivers.codecs import registers
from drivers.template import Order, Point, RegisterType, Template
from firmware_sim.devices.from_template import TemplateDevice

ORDERS = st.sampled_from(["high-first", "low-first"])
NUMBERS = st.sampled_from(["u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"])
SCALES = st.sampled_from([1, 0.1, 0.01, 0.001, 10, 1000, -1, 0.00125])


def device(*points: Point, **more: object) -> TemplateDevice:
    made = Template("t", "k", "v", "m", "modbus", "Device", "manual", points=points, **more)  # type: ignore[arg-type]
    return TemplateDevice(made, "t", clock=lambda: 0.0)


def wire(held: Mapping[int, int], point: Point) -> bytes:
    return b"".join(struct.pack(">H", held[point.address + at]) for at in range(point.count))


def decoded(made: TemplateDevice, point: Point) -> object:
    held = made.table(point.function)()
    power = 0 if point.scale_register is None else struct.unpack(">h", struct.pack(">H", held[point.scale_register]))[0]
    return registers.value(point, wire(held, point), power)


@given(NUMBERS, ORDERS, ORDERS, SCALES, st.floats(-3000, 3000), st.sampled_from([0, 40, -273.15]))
def test_what_it_holds_is_what_is_decoded(
    kind: RegisterType, words: Order, octets: Order, scale: float, value: float, offset: float
) -> None:
    point = Point("temperature", 7, 3, kind, words, octets, scale, offset)
    made = device(point)
    made.fixed["temperature"] = value
    held = made.held()["temperature"]
    assert decoded(made, point) == pytest.approx(held, rel=1e-6, abs=1e-5), "an f32 of 273 is good to 1e-5"
    if kind == "f64":
        assert held == pytest.approx(value, rel=1e-9, abs=1e-9)


@given(st.sampled_from(["u16", "i16", "u32"]), st.floats(0.5, 30_000))
def test_scale_registers_suit_the_value(kind: RegisterType, value: float) -> None:
    point = Point("active_power_total", 10, 4, kind, scale_register=20)
    made = device(point)
    assert made.held()["active_power_total"] == pytest.approx(made._site.value("active_power_total"), rel=1e-3)
    made.fixed["active_power_total"] = min(value, 3000)
    assert decoded(made, point) == pytest.approx(made.held()["active_power_total"])


@pytest.mark.parametrize("kind", ["u16", "i16", "u32", "i32", "u64", "i64"])
def test_absent_is_told_as_the_template_says(kind: RegisterType) -> None:
    nan = (1 << 16 * int(kind[1:]) // 16) - 1 if kind[0] == "u" else -(1 << (int(kind[1:]) - 1))
    point = Point("temperature", 0, 3, kind, nan=(nan,))
    made = device(point, Point("co2", 9, 3, kind))
    assert decoded(made, point) is not None
    made.absent.add("temperature")
    assert decoded(made, point) is None
    assert set(made.held()) == {"co2"}
    made.absent.add("co2")
    with pytest.raises(ValueError, match="co2 cannot be absent"):
        made.table(3)()


def test_absent_floats_and_texts() -> None:
    points = Point("temperature", 0, 3, "f32"), Point("serial_number", 4, 3, "ascii", words=3)
    made = device(*points)
    assert decoded(made, points[1]) == "SIM000", "what does not fit is cut"
    made.absent |= {"temperature", "serial_number"}
    assert [decoded(made, point) for point in points] == [None, None]


def test_states_are_told_by_their_numbers() -> None:
    point = Point("status", 0, 4, "u16", map={0: "normal", 7: "replace the sensor"})
    made = device(point)
    assert decoded(made, point) == made.held()["status"] == "normal"
    made.fixed["status"] = "replace the sensor"
    assert made.table(4)() == {0: 7}


def test_counters_wrap_and_gauges_stop() -> None:
    counter, gauge = Point("pulse_count_1", 0, 4, "u16"), Point("co2", 1, 4, "u16")
    made = device(counter, gauge)
    made.fixed |= {"pulse_count_1": 65_540.0, "co2": 65_540.0}
    assert made.table(4)() == {0: 4, 1: 65_535}
    short = device(Point("pulse_count_1", 0, 4, "u16", wrap=10_000))
    short.fixed["pulse_count_1"] = 10_003.0
    assert short.held() == {"pulse_count_1": 3.0}


def test_counters_only_grow() -> None:
    now = 0.0
    made = TemplateDevice(template.load("eastron-sdm630"), "m", clock=lambda: now)
    before = made.held()
    now = 3600.0
    after = made.held()
    energies = [quantity for quantity in before if "energy" in quantity]
    assert len(energies) > 20
    assert all(float(after[quantity]) > float(before[quantity]) for quantity in energies)


def test_gaps_read_as_zero_but_where_nothing_may_be_read() -> None:
    made = device(Point("co2", 0, 3, "u16"), Point("temperature", 8, 3, "u16"), no_fill=((3, 5),))
    held = made.table(3)()
    assert sorted(held) == [0, 1, 2, 6, 7, 8]
    assert held[1] == 0
