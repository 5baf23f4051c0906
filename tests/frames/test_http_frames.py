"""Captured documents of stations that push and of monitors that are asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drivers import decoding
from drivers.errors import BadFrame

FOLDER = Path(__file__).parents[2] / "../shared/data/frames"
needs = pytest.mark.skipif(not FOLDER.exists(), reason="the collection of captured frames is not here")
PUSHED = {"pm10": "pm10", "pm25": "pm25", "temperature_c": "temperature", "humidity_pct": "relative_humidity"}
PUSHED |= {"noise_laeq_db": "sound_level"}
# Exceptions, with their reasons
NOT_DOCUMENTS = {"airrohr_dnms_serial_log": "lines of a debug log on the serial port, not a message of the station"}
NOT_MEASURES = {"airgradient_config": "the answer to GET /config: it holds no measurements"}


def items(name: str) -> list[dict[str, Any]]:
    path = FOLDER / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


@needs
@pytest.mark.parametrize("item", items("sensor_community_json.json"), ids=lambda item: item["id"])
def test_sensor_community(item: dict[str, Any]) -> None:
    data = item["payload"].encode()
    if item["id"] in NOT_DOCUMENTS:
        with pytest.raises(BadFrame):
            decoding.decode_as("sensor-community", data)
        return
    (found,) = decoding.recognise(data)
    values: dict[str, Any] = {m.quantity: m.value for m in found.measurements}
    expected = {PUSHED[key]: value for key, value in item["expected"].items() if key != "pressure_pa"}
    if "pressure_pa" in item["expected"]:
        expected["pressure"] = item["expected"]["pressure_pa"] / 100
    assert values.pop("rssi", -1) < 0
    assert values == pytest.approx(expected)


@needs
@pytest.mark.parametrize("item", items("airgradient_http.json"), ids=lambda item: item["id"])
def test_airgradient(item: dict[str, Any]) -> None:
    document = item["json"]
    data = json.dumps(document).encode()
    if item["id"] in NOT_MEASURES:
        with pytest.raises(BadFrame):
            decoding.decode_as("airgradient", data)
        return
    (found,) = decoding.recognise(data)
    values = {m.quantity: m.value for m in found.measurements}
    corrected = bool(document["rhumCompensated"])
    assert values["co2"] == document["rco2"]
    assert values["pm25"] == document["pm02Compensated" if corrected else "pm02"]
    assert values["temperature"] == document["atmpCompensated" if corrected else "atmp"]
    assert values["relative_humidity"] == document["rhumCompensated" if corrected else "rhum"]
    assert values["particles_03um"] == pytest.approx(document["pm003Count"] / 100)
    assert (values["voc_index"], values["nox_index"]) == (document["tvocIndex"], document["noxIndex"])
    assert (values["pm1"], values["pm10"], values["rssi"]) == (document["pm01"], document["pm10"], document["wifi"])


@needs
@pytest.mark.parametrize("name", ["sensor_community_json.json", "airgradient_http.json"])
def test_cut_documents_are_refused(name: str) -> None:
    for item in items(name):
        data = item["payload"].encode() if "payload" in item else json.dumps(item["json"]).encode()
        for length in range(0, len(data) - 1, 7):
            assert decoding.recognise(data[:length]) == []
