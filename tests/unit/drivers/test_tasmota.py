"""Tasmota: energies of one and three phases, sensors by kind, units; nothing but BadFrame on garbage."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.codecs import tasmota
from drivers.codecs.framing import NO_HINTS, Hints
from drivers.errors import BadFrame


def decode(document: object, topic: str = "SENSOR", sensor: str = "") -> dict[str, Any]:
    return {one.quantity: one.value for one in tasmota.decode(topic, json.dumps(document).encode(), sensor)}


def test_lists_are_phases_and_numbers_totals() -> None:
    energy = {
        "Total": [1.5, 2.5, 3.5],
        "Power": [10, 20, 30],
        "Factor": 0.9,
        "Voltage": 230,
        "Frequency": 50,
        "Today": 1,
    }
    assert decode({"Time": "2021-07-26T09:11:00", "ENERGY": energy}) == {
        "energy_import_l1": 1.5,
        "energy_import_l2": 2.5,
        "energy_import_l3": 3.5,
        "active_power_l1": 10,
        "active_power_l2": 20,
        "active_power_l3": 30,
        "power_factor_total": 0.9,
        "voltage_l1": 230,
        "frequency": 50,
        "energy_today": 1,
    }
    with pytest.raises(BadFrame, match="4 values"):
        decode({"ENERGY": {"Factor": 1, "Power": [1, 2, 3, 4]}})


def test_direct_current_is_not_taken_for_mains() -> None:
    energy = {"Total": 1.5, "Power": 60, "Voltage": 12.0, "Current": 5.0}
    expected = {"dc_voltage": 12.0, "dc_current": 5.0, "dc_power": 60, "energy_import_total": 1.5}
    assert decode({"ENERGY": energy}) == expected


def test_units_are_those_that_the_message_names() -> None:
    sensor = {"Temperature": 68.0, "Humidity": 40.5, "DewPoint": 50, "Pressure": 760.0}
    found = decode({"BME280": sensor, "TempUnit": "F", "PressureUnit": "mmHg"})
    assert found == pytest.approx(
        {"temperature": 20.0, "dew_point": 10.0, "relative_humidity": 40.5, "pressure": 1013.25}, abs=0.001
    )
    assert "pressure" not in decode({"BME280": sensor, "PressureUnit": "psi"})
    with pytest.raises(BadFrame, match="'K'"):
        decode({"BME280": sensor, "TempUnit": "K"})


def test_the_better_sensor_counts_and_what_measures_its_own_warmth_does_not() -> None:
    found = decode(
        {
            "AM2301": {"Temperature": 20.0, "Humidity": 41.0},
            "SCD40": {"CarbonDioxide": 746, "eCO2": 727, "Temperature": 30.6, "Humidity": None},
            "MHZ19B": {"CarbonDioxide": 9, "Temperature": 44.0},
            "PMS5003": {"CF2.5": 99, "PM1": 1, "PM2.5": 2, "PM10": 3},
            "ESP32": {"Temperature": 52.2},
            "WHATEVER": {"Temperature": 1},
        }
    )
    assert found == {
        "temperature": 30.6,
        "relative_humidity": 41.0,
        "co2": 746,
        "pm1": 1,
        "pm25": 2,
        "pm10": 3,
        "device_temperature": 52.2,
    }


def test_two_sensors_of_a_kind_must_be_told_apart() -> None:
    both = {"DS18B20-1": {"Id": "01", "Temperature": 4.5}, "DS18B20-2": {"Id": "02", "Temperature": 60.1}}
    with pytest.raises(BadFrame, match="DS18B20-1, DS18B20-2"):
        decode(both)
    assert decode(both, sensor="DS18B20-2") == {"temperature": 60.1}
    assert decode({"DS18B20-1": both["DS18B20-1"]}, sensor="DS18B20-2") == {}


def test_states_and_answers() -> None:
    state = {"Time": "x", "POWER": "ON", "Wifi": {"RSSI": 78, "Signal": -61}}
    assert decode(state, "STATE") == {"relay_state": "on", "rssi": -61}
    assert decode({"StatusSTS": state}, "STATUS11") == {"relay_state": "on", "rssi": -61}
    assert decode({"StatusSNS": {"COUNTER": {"C1": 17}}}, "STATUS8") == {"pulse_count_1": 17}
    assert tasmota.decode("RESULT", b"?") == ()


def test_what_is_not_certainly_tasmota_is_refused() -> None:
    for data in (b"{}", b"[]", b'{"ENERGY": 1}', b'{"temperature": 1}', b"{"):
        with pytest.raises(BadFrame):
            tasmota.decode_frame(data, NO_HINTS)
    with pytest.raises(BadFrame):
        tasmota.decode_frame(b'{"SCD30": {"CarbonDioxide": 1}}', Hints(topic="tele/x/LWT"))


KEYS = st.sampled_from(
    [
        "ENERGY",
        "Power",
        "Factor",
        "Voltage",
        "Total",
        "TempUnit",
        "SCD30",
        "Temperature",
        "DS18B20-1",
        "DS18B20_2",
        "POWER",
        "C",
        "F",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | KEYS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


@given(
    st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(["SENSOR", "STATE", ""]),
)
def test_nothing_but_bad_frame(data: bytes, topic: str) -> None:
    with contextlib.suppress(BadFrame):
        tasmota.decode(topic, data)
    for hints in (NO_HINTS, Hints(topic=f"tele/x/{topic}")):
        with contextlib.suppress(BadFrame):
            tasmota.decode_frame(data, hints)
