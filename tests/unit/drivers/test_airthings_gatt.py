from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.codecs import airthings_gatt as gatt
from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES

WAVE = {"temperature": 21.34, "relative_humidity": 46.5, "radon_avg_24h": 61, "radon_avg_long": 55}
AIR = {"pressure": 1003.4, "co2": 812, "voc_ppb": 143}


def wave(*, air: tuple[int, int, int] = (50_170, 812, 143), temperature: int = 2134, radon: int = 61) -> bytes:
    return struct.pack("<4B8H", 1, 93, 40, 0, radon, 55, temperature, *air, 0, 0)


def mini(kelvin: int = 29_449, pressure: int = 50_170, humidity: int = 4123, voc: int = 210) -> bytes:
    return struct.pack("<2B5H2L", 1, 0, kelvin, pressure, humidity, voc, 0, 0, 0)


def values(uuid: str, value: bytes) -> dict[str, object]:
    return {one.quantity: one.value for one in gatt.decode(uuid, value)}


def test_wave_plus_and_wave_2() -> None:
    assert values(gatt.WAVE_PLUS, wave()) == WAVE | AIR
    assert values(gatt.WAVE_2, wave()) == WAVE
    assert set(WAVE | AIR) <= set(QUANTITIES)


def test_wave_mini_measures_kelvin() -> None:
    found = {"temperature": 21.34, "relative_humidity": 41.23, "pressure": 1003.4, "voc_ppb": 210}
    assert values(gatt.WAVE_MINI, mini()) == found


@pytest.mark.parametrize(
    ("uuid", "value", "expected"),
    [
        (gatt.TEMPERATURE, "caff", {"temperature": -0.54}),
        (gatt.HUMIDITY, "a111", {"relative_humidity": 45.13}),
        (gatt.RADON_24H, "3d00", {"radon_avg_24h": 61}),
        (gatt.RADON_LONG, "3700", {"radon_avg_long": 55}),
        (gatt.RADON_LONG, "ffff", {}),
    ],
)
def test_the_first_wave_has_a_characteristic_for_each_value(uuid: str, value: str, expected: dict[str, object]) -> None:
    assert values(uuid, bytes.fromhex(value)) == expected


def test_no_value_yet_is_left_out() -> None:
    found = values(gatt.WAVE_PLUS, wave(air=(0xFFFF, 0xFFFF, 0xFFFF), temperature=0xFFFF, radon=0xFFFF))
    assert found == {"relative_humidity": 46.5, "radon_avg_long": 55}


def test_a_value_alone_is_told_apart_by_what_it_can_mean() -> None:
    assert gatt.decode_bare(wave()) == gatt.decode(gatt.WAVE_PLUS, wave())
    for air in ((0, 0, 0), (0xFFFF, 0xFFFF, 0xFFFF)):
        assert gatt.decode_bare(wave(air=air)) == gatt.decode(gatt.WAVE_2, wave())
    assert gatt.decode_bare(mini()) == gatt.decode(gatt.WAVE_MINI, mini())


@pytest.mark.parametrize("uuid", [gatt.WAVE_PLUS, gatt.WAVE_2, gatt.WAVE_MINI, gatt.TEMPERATURE])
@given(data=st.binary(max_size=24))
def test_another_length_is_refused_and_nothing_else_is_raised(uuid: str, data: bytes) -> None:
    try:
        found = gatt.decode(uuid, data)
    except BadFrame:
        return
    assert len(data) in (2, 20)
    assert all(one.quantity in QUANTITIES for one in found)


@given(st.binary(min_size=20, max_size=20))
def test_rubbish_of_the_right_length_is_refused_or_plausible(data: bytes) -> None:
    try:
        found = {one.quantity: float(str(one.value)) for one in gatt.decode_bare(data)}
    except BadFrame:
        return
    assert -50 <= found.get("temperature", 0.0) <= 100
    assert 0 <= found.get("relative_humidity", 0.0) <= 100


def test_another_version_and_an_unknown_characteristic_are_refused() -> None:
    with pytest.raises(BadFrame, match="version 2"):
        gatt.decode(gatt.WAVE_PLUS, b"\x02" + wave()[1:])
    with pytest.raises(BadFrame, match="no characteristic"):
        gatt.decode("0000180f-0000-1000-8000-00805f9b34fb", b"\0\0")


def test_every_model_names_its_service_and_what_to_read() -> None:
    for name, model in gatt.MODELS.items():
        assert model.asked, name
        assert gatt.Sensor(name).asked == model.asked
