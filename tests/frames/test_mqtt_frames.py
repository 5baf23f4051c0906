"""Messages of MQTT devices against our codecs: those in the templates always, the captured collection where it is."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from drivers import template
from drivers.codecs import shelly, sparkplug
from drivers.codecs.framing import NO_HINTS, Hints
from drivers.codecs.sparkplug_node import Node
from drivers.decoding import decode_as, decode_with
from drivers.errors import BadFrame

COLLECTION = Path(__file__).parents[2] / "../shared/data/frames"
needs = pytest.mark.skipif(not COLLECTION.exists(), reason="the collection of captured frames is not here")
PROTOCOLS = ("shelly", "tasmota", "zigbee2mqtt", "mqtt-json", "sparkplug")
TEMPLATES = [known for known in map(template.load, template.names()) if known.protocol in PROTOCOLS]
each = pytest.mark.parametrize("known", TEMPLATES, ids=lambda known: known.name)
# what the collection calls a value -> our quantity, and how many of ours one of theirs is
NAMES = {
    "power_w": ("active_power_total", 1.0),
    "total_power_w": ("active_power_total", 1.0),
    "power_l1_w": ("active_power_l1", 1.0),
    "voltage_v": ("voltage_l1", 1.0),
    "current_a": ("current_l1", 1.0),
    "energy_kwh": ("energy_import_total", 1.0),
    "energy_wh": ("energy_import_total", 0.001),
    "co2_ppm": ("co2", 1.0),
    "temperature_c": ("temperature", 1.0),
    "humidity_pct": ("relative_humidity", 1.0),
    "pf": ("power_factor_total", 1.0),
    "current": ("current_l1", 1.0),
    "power": ("active_power_total", 1.0),
}
# read from the documents by hand: the collection gives no expectation for them
STATUSES: dict[str, dict[str, object]] = {
    "shelly_Shelly_Air": {
        "active_power_total": 0.0,
        "energy_import_total": 0.0,
        "relay_state": "off",
        "temperature": 23.06,
        "device_temperature": 33.89,
        "rssi": -65,
    },
    "shelly_Shelly_Plug_S": {
        "active_power_total": 0.0,
        "energy_import_total": 2632 / 60_000,
        "relay_state": "off",
        "device_temperature": 24.14,
        "rssi": -76,
    },
    "shelly_Shelly_Vintage": {
        "active_power_total": 0.0,
        "energy_import_total": 1 / 60_000,
        "relay_state": "off",
        "rssi": -41,
    },
    "shelly_Shelly_BLU_Gateway": {},
    "shelly_Shelly_Wall_Display": {
        "relative_humidity": 43.8,
        "illuminance": 30,
        "relay_state": "off",
        "temperature": 21.3,
        "room_temperature": 21.3,
        "room_setpoint": 21,
        "rssi": -59,
    },
}


def items(name: str) -> list[Any]:
    path = COLLECTION / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


MESSAGES = {item["id"]: item for item in items("mqtt_json.json")}


def codec(item: Any) -> str:
    return next(name for name in ("tasmota", "shelly", "zigbee2mqtt") if item["id"].startswith(name))


@each
def test_a_template_decodes_its_own_frames(known: template.Template) -> None:
    assert known.frames
    for frame in known.frames:
        found = {one.quantity: one.value for one in decode_with(known, frame.answer, Hints(topic=frame.topic))}
        assert found.keys() == frame.expect.keys()
        for quantity, value in frame.expect.items():
            told = found[quantity]
            if isinstance(value, str):  # a state; a truth value is written as a word
                assert (str(told).lower() if isinstance(told, bool) else told) == value
            else:
                assert told == pytest.approx(value, rel=1e-9)


@needs
@each
def test_what_a_template_claims_as_captured_it_reads(known: template.Template) -> None:
    for name in known.captured:
        item = MESSAGES[name]
        assert decode_with(known, item["payload"].encode(), Hints(topic=item["topic"]))
    assert (known.evidence == "captured") == bool(known.captured)


@needs
@pytest.mark.parametrize("item", MESSAGES.values(), ids=lambda item: item["id"])
def test_captured_message(item: dict[str, Any]) -> None:
    hints = Hints(topic=item["topic"])
    found = {one.quantity: one.value for one in decode_as(codec(item), item["payload"].encode(), hints)}
    for theirs, value in item["expected"].items():
        if theirs in ("phase", "partial"):
            continue
        ours, factor = NAMES[theirs]
        phase = item["expected"].get("phase", int(item["id"][-1]) if "_em1_" in item["id"] else None)
        if isinstance(value, list):
            assert [found[ours.replace("total", f"l{n}")] for n in (1, 2, 3)] == value
            continue
        if phase is not None:
            ours = ours.replace("total", f"l{phase + 1}").replace("l1", f"l{phase + 1}")
        assert found[ours] == pytest.approx(value * factor, rel=1e-9), ours


@needs
@pytest.mark.parametrize("item", items("shelly_status.json"), ids=lambda item: item["id"])
def test_captured_status(item: dict[str, Any]) -> None:
    data = json.dumps(item["status"]).encode()
    found = {one.quantity: one.value for one in shelly.decode_frame(data, NO_HINTS)}
    expected = STATUSES[item["id"]]
    if not expected:  # a gateway measures nothing but its own reception
        expected = {"rssi": item["status"]["wifi"]["rssi"]}
    assert found == pytest.approx(expected)


@needs
@pytest.mark.parametrize("item", items("sparkplug_b.json"), ids=lambda item: item["id"])
def test_sparkplug_vector(item: dict[str, Any]) -> None:
    data, expected = base64.b64decode(item["base64"]), item["expected"]
    payload = sparkplug.parse(data)
    assert (payload.timestamp_ms, payload.seq) == (expected["timestamp"], expected["seq"])
    assert len(payload.metrics) == item["metrics"]
    for metric, wanted in zip(payload.metrics, expected["metrics"], strict=True):
        assert (metric.name or None, metric.alias, metric.datatype) == (
            wanted["name"],
            wanted["alias"],
            wanted["datatype"],
        )
        assert sparkplug.value(metric, metric.datatype) == wanted["value"]
    if "before_birth" in item["id"]:
        outcome = Node().take("NDATA", "", data)
        assert not outcome.named
        assert outcome.rebirth


@needs
@pytest.mark.parametrize(
    "item", [item for item in MESSAGES.values() if item["payload"].startswith("{")], ids=lambda item: item["id"]
)
def test_a_captured_message_that_was_cut_is_refused(item: dict[str, Any]) -> None:
    payload = item["payload"].encode()
    for end in range(1, len(payload)):
        with pytest.raises(BadFrame):
            decode_as(codec(item), payload[:end], Hints(topic=item["topic"]))
