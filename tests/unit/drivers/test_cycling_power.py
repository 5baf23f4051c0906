from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.codecs import csc, cycling_power
from drivers.codecs.framing import NO_HINTS
from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES

U8, U16, U32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1)
I16 = st.integers(-(2**15), 2**15 - 1)
# flag, layout and values of the fields in the order of the GATT Specification Supplement
FIELDS: tuple[tuple[int, st.SearchStrategy[bytes]], ...] = (
    (0x0001, st.builds(lambda a: struct.pack("<B", a), U8)),
    (0x0004, st.builds(lambda a: struct.pack("<H", a), U16)),
    (0x0010, st.builds(lambda a, b: struct.pack("<IH", a, b), U32, U16)),
    (0x0020, st.builds(lambda a, b: struct.pack("<HH", a, b), U16, U16)),
    (0x0040, st.builds(lambda a, b: struct.pack("<hh", a, b), I16, I16)),
    (0x0080, st.builds(lambda a, b: struct.pack("<hh", a, b), I16, I16)),
    (0x0100, st.binary(min_size=3, max_size=3)),
    (0x0200, st.builds(lambda a: struct.pack("<H", a), U16)),
    (0x0400, st.builds(lambda a: struct.pack("<H", a), U16)),
    (0x0800, st.builds(lambda a: struct.pack("<H", a), U16)),
)


def decoded(data: bytes) -> dict[str, object]:
    return {one.quantity: one.value for one in cycling_power.decode_frame(data, NO_HINTS)}


def test_all_fields_at_once() -> None:
    values = struct.pack("<HhBHIHHHhhhh", 0x0FFF, 251, 104, 64, 70_000, 2048, 1000, 512, 900, -20, 640, -32)
    angles = (0x123 | 0x045 << 12).to_bytes(3, "little")
    found = decoded(values + angles + struct.pack("<HHH", 12, 190, 77))
    assert found == {
        "rider_power": 251,
        "pedal_balance_left": 52,
        "torque_accumulated": 2,
        "wheel_revolutions": 70_000,
        "crank_revolutions": 1000,
        "pedal_force_max": 900,
        "pedal_force_min": -20,
        "pedal_torque_max": 20,
        "pedal_torque_min": -1,
        "crank_angle_max": 0x123,
        "crank_angle_min": 0x045,
        "top_dead_spot": 12,
        "bottom_dead_spot": 190,
        "rider_energy": 77,
    }
    assert set(found) <= set(QUANTITIES)


def test_a_balance_of_an_unknown_side_is_not_told() -> None:
    assert decoded(bytes.fromhex("0100 6400 68")) == {"rider_power": 100}


@given(st.data(), st.sets(st.integers(0, len(FIELDS) - 1)), I16)
def test_every_combination_of_flags_is_read_and_no_byte_more_or_less(
    data: st.DataObject, chosen: set[int], power: int
) -> None:
    flags = sum(FIELDS[index][0] for index in chosen)
    frame = struct.pack("<Hh", flags, power)
    frame += b"".join(data.draw(FIELDS[index][1]) for index in sorted(chosen))
    assert decoded(frame)["rider_power"] == power
    for damaged in (frame[:-1], frame + b"\0"):
        with pytest.raises(BadFrame):
            cycling_power.parse(damaged)


@given(st.binary(max_size=40))
def test_any_bytes_give_values_or_bad_frame(data: bytes) -> None:
    try:
        decoded(data)
    except BadFrame:
        return
    assert len(data) >= 4


def test_reserved_flags_are_no_frame() -> None:
    with pytest.raises(BadFrame):
        decoded(bytes.fromhex("0080 6400"))


def test_the_wheel_clock_runs_at_2048_and_the_crank_clock_at_1024() -> None:
    sensor = cycling_power.Sensor(2.0)
    first = struct.pack("<HhIHHH", 0x0030, 200, 100, 0, 50, 0)
    second = struct.pack("<HhIHHH", 0x0030, 210, 104, 2048, 52, 1024)
    sensor.take(cycling_power.MEASUREMENT, first, 0)
    (observation,) = sensor.take(cycling_power.MEASUREMENT, second, 1_000_000_000)
    found = {one.quantity: one.value for one in observation.measurements}
    assert found["speed"] == pytest.approx(4 * 2.0 * 3.6)
    assert found["cadence"] == pytest.approx(120)
    assert (found["rider_power"], found["distance"]) == (210, 208)


def test_a_stop_longer_than_the_wheel_clock_of_32_s_gives_no_speed_and_then_one() -> None:
    sensor = cycling_power.Sensor(2.0)
    rows = [(100, 0, 0.0), (100, 0, 31.0), (101, 100, 32.0), (103, 2148, 33.0)]
    speeds = []
    for count, ticks, at_s in rows:
        frame = struct.pack("<HhIH", 0x0010, 0, count, ticks)
        (observation,) = sensor.take(cycling_power.MEASUREMENT, frame, int(at_s * 1e9))
        speeds.append({one.quantity: one.value for one in observation.measurements}.get("speed"))
    assert speeds == [None, 0.0, None, pytest.approx(14.4)]


def test_torque_goes_on_beyond_its_16_bits_and_a_meter_that_began_again_begins_again() -> None:
    sensor = cycling_power.Sensor(2.0)
    found = []
    for number, raw in enumerate((65_500, 10, 100, 4)):
        frame = struct.pack("<HhH", 0x0004, 0, raw)
        (observation,) = sensor.take(cycling_power.MEASUREMENT, frame, number * 10**9)
        found += [one.value for one in observation.measurements if one.quantity == "torque_accumulated"]
    assert found == [65_500 / 32, 65_546 / 32, 65_636 / 32, 4 / 32]


def test_speed_and_cadence_frames_alone_give_the_counts_only() -> None:
    found = csc.decode_frame(bytes.fromhex("03a4000000184e4000a74c"), NO_HINTS)
    assert {one.quantity: one.value for one in found} == {"wheel_revolutions": 164, "crank_revolutions": 64}
    with pytest.raises(BadFrame):
        csc.decode_frame(bytes.fromhex("13a4000000184e"), NO_HINTS)
