"""Captured frames handed to `lamppost decode` without a word: the codec is found, and never another one's values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drivers import decoding
from drivers.codecs.framing import Hints
from gateway.cli.decode_input import candidates

COLLECTION = Path(__file__).parents[2] / "../shared/data/frames"
pytestmark = pytest.mark.skipif(not COLLECTION.exists(), reason="the collection of captured frames is not here")

# file: the codecs that its frames may be taken for; a frame that no codec takes is no wrong value
FAMILIES = {
    "air_serial.json": {"sds", "pms", "sps30", "mhz19", "hpma", "mcu680"},
    "airgradient_http.json": {"airgradient"},
    "bike_csc_cp.json": set(),
    "ble_adv_hci.json": {"ble"},
    "ble_aranet.json": set(),
    "ble_bthome_v2.json": set(),
    "ble_ruuvi.json": set(),
    "dsmr_p1.json": {"p1", "d0"},
    "mbus_frames.json": {"mbus"},
    "modbus_frames.json": set(),
    "mqtt_json.json": {"tasmota", "shelly", "zigbee2mqtt"},
    "nmea.json": {"nmea"},
    "sensor_community_json.json": {"sensor-community"},
    "shelly_status.json": {"shelly"},
    "sml_streams.json": {"sml"},
}
ALWAYS = ("air_serial.json", "nmea.json", "shelly_status.json", "mqtt_json.json")  # every frame is known


def text_of(item: dict[str, Any]) -> str:
    for key in (
        "hex",
        "hci",
        "text",
        "sentence",
        "payload",
        "manufacturer_data",
        "service_data_fcd2",
        "json",
        "status",
    ):
        if key in item:
            return item[key] if isinstance(item[key], str) else json.dumps(item[key])
    return str(item.get("request") or "") + str(item.get("response") or "")


@pytest.mark.parametrize("file", FAMILIES)
def test_frames_are_taken_by_their_own_codec_only(file: str) -> None:
    unknown = 0
    items = json.loads((COLLECTION / file).read_text(encoding="utf-8"))
    for item in items:
        hints = Hints(topic=str(item.get("topic", "")))
        forms = candidates(text_of(item).encode())
        found = next((found for data in forms if (found := decoding.recognise(data, hints))), [])
        assert {one.codec for one in found} <= FAMILIES[file], item["id"]
        unknown += not found
    assert file not in ALWAYS or unknown == 0
