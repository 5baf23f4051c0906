"""zigbee2mqtt: generic properties, the two meanings of a voltage; nothing but BadFrame on garbage."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.codecs import zigbee2mqtt
from drivers.codecs.framing import NO_HINTS, Hints
from drivers.errors import BadFrame


def decode(state: object) -> dict[str, Any]:
    return {one.quantity: one.value for one in zigbee2mqtt.decode(json.dumps(state).encode())}


def test_a_voltage_is_that_of_the_battery_or_of_the_mains() -> None:
    assert decode({"battery": 87, "voltage": 2990}) == {"battery_level": 87, "battery_voltage": 2.99}
    mains = {"power": 5.5, "voltage": 231, "current": 0.02, "energy": 1.25, "state": "ON"}
    assert decode(mains) == {
        "active_power_total": 5.5,
        "voltage_l1": 231,
        "current_l1": 0.02,
        "energy_import_total": 1.25,
        "relay_state": "on",
    }
    assert decode({"voltage": 231}) == {}
    assert decode({**mains, "power_phase_b": 1}) == {"energy_import_total": 1.25, "relay_state": "on"}


def test_states_are_truth_values_and_an_open_contact_is_an_opening() -> None:
    state = {"contact": False, "occupancy": True, "battery_low": False, "smoke": None}
    assert decode(state) == {"opening": True, "occupancy": True, "battery_low": False}


def test_light_in_lux_goes_before_the_raw_value() -> None:
    assert decode({"illuminance": 9000, "illuminance_lux": 8}) == {"illuminance": 8}
    assert decode({"illuminance": 8}) == {"illuminance": 8}


def test_properties_without_one_unit_are_left_out() -> None:
    assert decode({"voc": 3, "formaldehyd": 4, "linkquality": 99, "last_seen": "2024-01-01T00:00:00Z"}) == {}


def test_what_is_not_certainly_zigbee2mqtt_is_refused() -> None:
    for topic in ("zigbee2mqtt/bridge/state", "zigbee2mqtt/a/availability", "zigbee2mqtt/a/set", "other/a", ""):
        with pytest.raises(BadFrame):
            zigbee2mqtt.decode_frame(b'{"temperature": 21.5}', Hints(topic=topic))
    for data in (b"[]", b"21", b"", b"{"):
        with pytest.raises(BadFrame):
            zigbee2mqtt.decode_frame(data, Hints(topic="zigbee2mqtt/a"))
    assert zigbee2mqtt.decode_frame(b'{"temperature": 21.5, "linkquality": 3}', NO_HINTS)
    assert zigbee2mqtt.decode_frame(b'{"temperature": 21.5}', Hints(topic="zigbee2mqtt/floor/room"))


KEYS = st.sampled_from(
    (
        *("temperature", "voltage", "battery", "power"),
        *("state", "contact", "linkquality", "power_phase_b"),
    )
)


@given(
    st.binary(max_size=60)
    | st.dictionaries(KEYS, st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)).map(
        lambda value: json.dumps(value).encode()
    ),
    st.text(max_size=10),
)
def test_nothing_but_bad_frame(data: bytes, topic: str) -> None:
    with contextlib.suppress(BadFrame):
        zigbee2mqtt.decode(data)
    for hints in (NO_HINTS, Hints(topic=topic), Hints(topic=f"zigbee2mqtt/{topic}")):
        with contextlib.suppress(BadFrame):
            zigbee2mqtt.decode_frame(data, hints)
