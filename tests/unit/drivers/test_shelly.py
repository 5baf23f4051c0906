"""Shelly of all generations: what a message says, by channel and as a whole; nothing but BadFrame on garbage."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Measurement
from drivers.codecs import shelly, shelly_gen1
from drivers.codecs.framing import NO_HINTS, Hints
from drivers.codecs.shelly import Choice
from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES

SWITCH = {
    "id": 1,
    "output": True,
    "apower": 11.5,
    "voltage": 240.3,
    "current": 0.073,
    "pf": None,
    "aenergy": {"total": 152669.987, "minute_ts": 1},
    "temperature": {"tC": 55.0, "tF": 131.0},
}
SWITCH_VALUES = {
    "relay_state": "on",
    "active_power_total": 11.5,
    "voltage_l1": 240.3,
    "current_l1": 0.073,
    "energy_import_total": 152.669987,
    "device_temperature": 55.0,
}


def values(measured: tuple[Measurement, ...]) -> dict[str, object]:
    return {one.quantity: one.value for one in measured}


def decode(topic: str, payload: object, choice: Choice = shelly.WHOLE) -> dict[str, object]:
    return values(shelly.decode(topic, json.dumps(payload).encode(), choice))


def test_a_channel_is_a_meter_of_its_own() -> None:
    assert decode("status/switch:1", SWITCH, Choice(channel=1)) == SWITCH_VALUES
    assert decode("status/switch:1", SWITCH) == {}
    assert decode("status/switch:0", SWITCH, Choice(channel=1)) == {}
    assert decode("status/switch:0", SWITCH) == SWITCH_VALUES


def test_three_single_phase_meters_are_phases_or_each_its_own() -> None:
    status = {"id": 2, "act_power": 219.4, "voltage": 228.5, "freq": 50.0}
    whole = {"active_power_l3": 219.4, "voltage_l3": 228.5, "frequency": 50.0}
    own = {"active_power_total": 219.4, "voltage_l1": 228.5, "frequency": 50.0}
    assert decode("status/em1:2", status) == whole
    assert decode("status/em1:2", status, Choice(channel=2)) == own
    assert decode("status/em1:3", status) == {}
    assert decode("status/em1data:1", {"total_act_energy": 1500}) == {"energy_import_l2": 1.5}


def test_a_partial_notification_says_what_it_holds() -> None:
    params = {"ts": 1.5, "switch:0": {"apower": 7.5}, "em:0": {"n_current": None}}
    assert decode("events/rpc", {"method": "NotifyStatus", "params": params}) == {"active_power_total": 7.5}
    assert decode("events/rpc", {"method": "NotifyEvent", "params": {"events": []}}) == {}
    with pytest.raises(BadFrame):
        decode("events/rpc", {"method": "NotifyStatus", "params": []})


def test_a_thermometer_in_a_meter_minds_the_meter() -> None:
    status = {"id": 0, "tC": 46.1}
    assert decode("status/temperature:0", status) == {"device_temperature": 46.1}
    assert decode("status/temperature:0", status, Choice(ambient=True)) == {"temperature": 46.1}
    assert decode("status/temperature:100", status) == {"temperature": 46.1}
    assert decode("status/temperature:101", status) == {}
    assert decode("status/temperature:101", status, Choice(channel=101)) == {"temperature": 46.1}
    assert values(shelly.decode_status({"temperature:0": status, "humidity:0": {"rh": 50}})) == {
        "temperature": 46.1,
        "relative_humidity": 50,
    }
    assert values(shelly.decode_status({"temperature:0": status, "em:0": {}})) == {"device_temperature": 46.1}


@pytest.mark.parametrize(
    ("topic", "payload", "found"),
    [
        ("emeter/0/power", b"116.23", {"active_power_l1": 116.23}),
        ("emeter/2/total", b"1234.5", {"energy_import_l3": 1.2345}),
        ("emeter/2/energy", b"60", {}),
        ("emeter/3/power", b"1", {}),
        ("relay/0", b"on", {"relay_state": "on"}),
        ("relay/0", b"overpower", {}),
        ("relay/0/power", b"60", {"active_power_total": 60}),
        ("relay/0/energy", b"120000", {"energy_import_total": 2.0}),
        ("relay/1/power", b"60", {}),
        ("temperature", b"41.2", {"device_temperature": 41.2}),
        ("sensor/temperature", b"21.5", {"temperature": 21.5}),
        ("sensor/temperature", b"999", {}),
        ("sensor/state", b"close", {"opening": False}),
        ("sensor/motion", b"1", {"motion": True}),
        ("sensor/vibration", b"-1", {}),
        ("ext_temperature/0", b"19.06", {"temperature": 19.06}),
        ("ext_temperature/1", b"19.06", {}),
        ("announce", b"{}", {}),
        ("info", b"{}", {}),
    ],
)
def test_generation_1_says_one_value_a_topic(topic: str, payload: bytes, found: dict[str, object]) -> None:
    assert values(shelly.decode(topic, payload)) == found
    assert values(shelly.decode_frame(payload, Hints(topic=f"shellies/shellyem3-1/{topic}"))) == found


def test_a_clamp_of_generation_1_as_a_meter_of_its_own() -> None:
    second = Choice(channel=1)
    assert values(shelly.decode("emeter/1/power", b"5", second)) == {"active_power_total": 5}
    assert values(shelly.decode("emeter/1/voltage", b"230", second)) == {"voltage_l1": 230}
    assert shelly.decode("emeter/0/power", b"5", second) == ()


def test_a_status_of_generation_1() -> None:
    phases = [{"power": p, "total": 1000 * p, "total_returned": 0, "is_valid": p != 9} for p in (1, 2, 3)]
    status = {"wifi_sta": {"rssi": -60}, "emeters": phases, "total_power": 6.0, "tmp": {"tC": 3, "is_valid": False}}
    found = values(shelly.decode_status(status))
    assert found["active_power_total"] == 6.0
    assert found["energy_import_total"] == 6.0
    assert found["energy_import_l2"] == 2.0
    assert "device_temperature" not in found
    phases[1]["is_valid"] = False
    found = values(shelly.decode_status(status))
    assert "energy_import_total" not in found
    assert "active_power_l2" not in found
    room = {"relays": [], "tmp": {"tC": 21.0}, "hum": {"value": 40}, "bat": {"value": 80, "voltage": 5.9}}
    assert values(shelly.decode_status(room)) == {
        "temperature": 21.0,
        "relative_humidity": 40,
        "battery_level": 80,
        "battery_voltage": 5.9,
    }


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("status/em:0", b"[]"),
        ("status/em:0", b"{"),
        ("status/em:0", b'{"a":' * 2000),
        ("events/rpc", b"true"),
        ("relay/0/power", b"nan"),
        ("relay/0/power", b""),
        ("emeter/0/power", b"\xff"),
        ("sensor/temperature", b"warm"),
    ],
)
def test_damaged_messages_are_refused(topic: str, payload: bytes) -> None:
    with pytest.raises(BadFrame):
        shelly.decode(topic, payload)


@pytest.mark.parametrize("data", [b"{}", b"[]", b"230", b'{"temperature": 21.5}', b'{"method": "NotifyStatus"}'])
def test_what_is_not_certainly_a_shelly_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        shelly.decode_frame(data, NO_HINTS)
    with pytest.raises(BadFrame):
        shelly.decode_frame(data, Hints(topic="zigbee2mqtt/lamp"))


def test_a_status_without_its_topic_says_its_own_number() -> None:
    status = {"id": 2, "act_power": 1, "aprt_power": 2, "pf": 0.5}
    found = values(shelly.decode_frame(json.dumps(status).encode(), NO_HINTS))
    assert found == {"active_power_l3": 1, "apparent_power_l3": 2, "power_factor_l3": 0.5}


KEYS = st.sampled_from(
    [
        "id",
        "params",
        "method",
        "em:0",
        "em1:1",
        "switch:0",
        "temperature:0",
        "a_voltage",
        "aenergy",
        "total",
        "tC",
        "sys",
        "meters",
        "emeters",
        "tmp",
        "power",
        "NotifyStatus",
        "input:0",
        "counts",
        "relays",
        "ison",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
TOPICS = st.sampled_from(
    [
        "status/em:0",
        "status/wifi",
        "events/rpc",
        "emeter/0/power",
        "relay/0",
        "sensor/state",
        "ext_temperature/0",
        "temperature",
    ]
) | st.text(max_size=12)


@given(
    st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()),
    TOPICS,
    st.builds(Choice, st.none() | st.integers(0, 120), st.booleans()),
)
def test_nothing_but_bad_frame(data: bytes, topic: str, choice: Choice) -> None:
    with contextlib.suppress(BadFrame):
        found = shelly.decode(topic, data, choice)
        assert all(one.quantity in QUANTITIES for one in found)
    for hints in (NO_HINTS, Hints(topic=topic), Hints(topic=f"shellies/a/{topic}"), Hints(topic=f"a/{topic}")):
        with contextlib.suppress(BadFrame):
            assert len({one.quantity for one in shelly.decode_frame(data, hints)}) <= 40


def test_prefixes() -> None:
    assert shelly_gen1.below_prefix("shellies/a/relay/0") == "relay/0"
    assert shelly_gen1.below_prefix("a/relay/0") is None
