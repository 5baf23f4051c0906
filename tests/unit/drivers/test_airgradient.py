"""Answers of AirGradient monitors."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.codecs import airgradient
from drivers.codecs.framing import NO_HINTS
from drivers.errors import BadFrame
from firmware_sim.devices.air import Air
from firmware_sim.devices.http_air import AirGradient

READY = AirGradient(Air).measures()


def values(**changes: object) -> dict[str, object]:
    return {m.quantity: m.value for m in airgradient.decode(json.dumps(READY | changes).encode())}


def test_corrected_values_are_preferred() -> None:
    found = values()
    assert (found["pm25"], found["temperature"], found["relative_humidity"]) == (5.6, 21.4, 44.0)
    assert (found["pm1"], found["pm10"], found["particles_03um"], found["co2"]) == (4, 11, 2.7, 640)


def test_corrected_values_that_are_not_there_yet() -> None:
    monitor = AirGradient(Air)
    monitor.readiness = "warming"
    found = {m.quantity: m.value for m in airgradient.decode(json.dumps(monitor.measures()).encode())}
    assert (found["pm25"], found["temperature"], found["relative_humidity"]) == (7, 23.5, 38.0)
    assert not {"voc_index", "nox_index"} & found.keys()
    old = dict.fromkeys(("pm02Compensated", "atmpCompensated", "rhumCompensated"))
    assert values(**old)["temperature"] == 23.5


def test_just_booted_there_are_no_values() -> None:
    monitor = AirGradient(Air)
    monitor.readiness = "booted"
    found = airgradient.decode(json.dumps(monitor.measures()).encode())
    assert [m.quantity for m in found] == ["rssi"]
    zeros = {key: 0 for key, value in READY.items() if isinstance(value, int | float)}
    assert values(**zeros) == {}


def test_sensors_that_are_not_there() -> None:
    found = values(rco2=-1, pm01=-1, pm02=-1, pm10=-1, pm003Count=-1, pm02Compensated=-1, atmp=-1000, rhum=-1)
    assert not {"co2", "pm1", "pm25", "pm10", "particles_03um"} & found.keys()


def test_frost_is_a_value() -> None:
    assert values(atmpCompensated=0.0)["temperature"] == 0.0
    assert values(atmpCompensated=-12.5)["temperature"] == -12.5


def test_clean_air_is_a_value_while_particles_are_counted() -> None:
    found = values(pm01=0, pm02=0, pm10=0, pm02Compensated=0, pm003Count=12)
    assert (found["pm1"], found["pm25"], found["particles_03um"]) == (0, 0, 0.12)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"serialno": "x"}', b'{"country": "DE", "model": "I-9PSL"}'])
def test_other_documents_are_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        airgradient.decode(data)


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())


@given(st.binary(max_size=100) | st.dictionaries(st.sampled_from(sorted(READY)), anything))
def test_arbitrary_documents(document: bytes | dict[str, object]) -> None:
    data = document if isinstance(document, bytes) else json.dumps({**READY, **document}).encode()
    with contextlib.suppress(BadFrame):
        airgradient.decode_frame(data, NO_HINTS)
