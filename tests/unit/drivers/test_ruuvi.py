from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.codecs import ruuvi
from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES

I16, U16, U8 = st.integers(-0x7FFF, 0x7FFF), st.integers(0, 0xFFFE), st.integers(0, 0xFE)


def values(data: bytes) -> dict[str, object]:
    return {one.quantity: one.value for one in ruuvi.decode(data).measurements}


@given(st.binary(max_size=40), st.sampled_from([b"", b"\x03", b"\x05", b"\x06"]))
@example(b"", b"")
def test_any_bytes_give_known_quantities_or_bad_frame(tail: bytes, head: bytes) -> None:
    try:
        broadcast = ruuvi.decode(head + tail)
    except BadFrame:
        return
    assert {one.quantity for one in broadcast.measurements} <= QUANTITIES.keys()


@given(I16, U16, U16, st.tuples(I16, I16, I16), st.integers(0, 0x7FE), st.integers(0, 31), U8, U16)
def test_format_5_round_trip(
    temperature: int,
    humidity: int,
    pressure: int,
    acceleration: tuple[int, int, int],
    voltage: int,
    power: int,
    movements: int,
    sequence: int,
) -> None:
    packed = struct.pack(
        ">BhHHhhhHBH6s",
        5,
        temperature,
        humidity,
        pressure,
        *acceleration,
        voltage << 5 | power,
        movements,
        sequence,
        b"mac123",
    )
    broadcast = ruuvi.decode(packed)
    found = {one.quantity: one.value for one in broadcast.measurements}
    assert broadcast.sequence == sequence
    assert found["temperature"] == pytest.approx(temperature * 0.005)
    assert found["relative_humidity"] == pytest.approx(humidity * 0.0025)
    assert found["pressure"] == pytest.approx((pressure + 50_000) / 100)
    for axis, milli_g in zip("xyz", acceleration, strict=True):
        assert found[f"acceleration_{axis}"] == pytest.approx(milli_g * 9.80665e-3, abs=5e-4)
    assert found["battery_voltage"] == pytest.approx(1.6 + voltage / 1000)
    assert found["movement_count"] == movements


def test_format_5_leaves_out_what_is_not_available() -> None:
    assert ruuvi.decode(bytes.fromhex("058000ffffffff800080008000ffffffffffffffffffffff")).measurements == ()
    assert ruuvi.decode(bytes.fromhex("058000ffffffff800080008000ffffffffffffffffffffff")).sequence is None


def test_format_5_example_of_the_specification() -> None:
    assert values(bytes.fromhex("0512fc5394c37c0004fffc040cac364200cdcbb8334c884f")) == {
        "temperature": pytest.approx(24.3),
        "relative_humidity": pytest.approx(53.49),
        "pressure": pytest.approx(1000.44),
        "acceleration_x": pytest.approx(0.039),
        "acceleration_y": pytest.approx(-0.039),
        "acceleration_z": pytest.approx(10.160),
        "battery_voltage": pytest.approx(2.977),
        "movement_count": 66,
    }


@pytest.mark.parametrize(("whole", "hundredths", "celsius"), [(0x01, 69, 1.69), (0x81, 69, -1.69), (0x80, 5, -0.05)])
def test_format_3_temperature_is_sign_and_magnitude(whole: int, hundredths: int, celsius: float) -> None:
    data = bytes((3, 100, whole, hundredths)) + bytes(10)
    assert values(data)["temperature"] == pytest.approx(celsius)


@pytest.mark.parametrize(
    "data", ["", "05", "0512fc5394c37c0004fffc040cac364200cdcbb8334c88", "07" + "00" * 19, "0364016400"]
)
def test_damaged_or_unknown_is_a_bad_frame(data: str) -> None:
    with pytest.raises(BadFrame):
        ruuvi.decode(bytes.fromhex(data))
