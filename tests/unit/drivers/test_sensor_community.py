"""Messages of Sensor.Community stations."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.codecs import sensor_community
from drivers.codecs.framing import NO_HINTS
from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES


def message(**values: object) -> bytes:
    rows = [{"value_type": kind, "value": value} for kind, value in values.items()]
    return json.dumps({"esp8266id": "1", "sensordatavalues": rows}).encode()


def values(data: bytes) -> dict[str, object]:
    return {m.quantity: m.value for m in sensor_community.decode(data)}


def test_texts_pascal_and_the_order_of_dust() -> None:
    found = values(message(SDS_P1="12.60", SDS_P2="7.30", BME280_pressure="100873.50", signal="-71 dBm"))
    assert found == {"pm10": 12.6, "pm25": 7.3, "pressure": 1008.735, "rssi": -71}


def test_one_message_a_sensor_has_no_names_of_sensors() -> None:
    assert values(message(P1="12.60", P2="7.30")) == {"pm10": 12.6, "pm25": 7.3}
    assert values(message(temperature="-3.5", humidity="81")) == {"temperature": -3.5, "relative_humidity": 81}


def test_of_two_sensors_the_better_one_counts() -> None:
    both = message(BMP280_temperature="24.1", temperature="23", BME280_temperature="21.6", DS18B20_temperature="20")
    assert values(both) == {"temperature": 21.6}
    assert values(message(BME280_temperature="-128", temperature="23")) == {"temperature": 23}


@pytest.mark.parametrize(
    "row",
    [
        *({"SDS_P1": text} for text in ("-1.00", "", None, "1e999")),
        *(
            {"BME280_pressure": "-1"},
            {"humidity": "nan"},
            {"temperature": "-127.00"},
            {"signal": "0"},
            {"samples": "5"},
        ),
    ],
)
def test_what_is_no_value(row: dict[str, object]) -> None:
    assert values(message(**row)) == {}


def test_noise_and_sizes() -> None:
    found = values(message(DNMS_noise_LAeq="51.85", DNMS_noise_LA_min="46.15", SPS30_N05="12.1", SPS30_TS="0.6"))
    assert found == {"sound_level": 51.85, "sound_level_min": 46.15, "particles_to_05um": 12.1, "particle_size": 0.6}


def test_every_name_is_a_quantity() -> None:
    assert set(sensor_community._NAMES.values()) <= set(QUANTITIES)


def test_who_sends() -> None:
    assert sensor_community.sender(message(P1="1")) == "1"
    assert sensor_community.sender(b'{"sensordatavalues": []}') == ""
    assert sensor_community.sender(b'{"esp8266id": "a b", "sensordatavalues": []}') == ""


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"[]", b"{}", b"null", b'{"sensordatavalues": {}}', b'{"sensordatavalues": [1]}', message(P1="1")[:-2]),
        *(b'{"sensordatavalues": [{"value_type": "P1"}]}', b"[" * 60_000, b" " * 70_000 + message(P1="1")),
        message(**{f"v{number}": "1" for number in range(101)}),
    ],
)
def test_what_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        sensor_community.decode(data)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
row = st.fixed_dictionaries(
    {"value_type": st.sampled_from(sorted(sensor_community._NAMES)) | anything, "value": anything}
)


@given(st.binary(max_size=200) | st.lists(row | anything).map(lambda r: json.dumps({"sensordatavalues": r}).encode()))
def test_arbitrary_documents(data: bytes) -> None:
    with contextlib.suppress(BadFrame):
        sensor_community.decode_frame(data, NO_HINTS)
        sensor_community.sender(data)
