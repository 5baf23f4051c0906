"""Captured frames of Modbus devices against the templates whose `captured` names them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drivers import template
from drivers.decoding import decode_with

COLLECTION = Path(__file__).parents[2] / "../shared/data/frames/modbus_frames.json"
needs = pytest.mark.skipif(not COLLECTION.exists(), reason="the collection of captured frames is not here")
MODBUS = [known for name in template.names() if (known := template.load(name)).protocol == "modbus"]
CLAIMS = [(known.name, frame) for known in MODBUS for frame in known.captured]
# what the collection calls a value: the quantity and how many of its units make one of ours
NAMES = {
    "voltage_v": ("voltage_l1", 1),
    "voltage_l1_v": ("voltage_l1", 1),
    "current_a": ("current_l1", 1),
    "power_w": ("active_power_total", 1),
    "active_power_w": ("active_power_total", 1),
    "energy_wh": ("energy_import_total", 1000),
    "import_energy_kwh": ("energy_import_total", 1),
    "frequency_hz": ("frequency", 1),
    "power_factor": ("power_factor_total", 1),
}


def collection() -> dict[str, Any]:
    return {item["id"]: item for item in json.loads(COLLECTION.read_text(encoding="utf-8"))}


@needs
@pytest.mark.parametrize(("name", "frame"), CLAIMS)
def test_claimed_frame_decodes_to_what_its_owner_saw(name: str, frame: str) -> None:
    item, known = collection()[frame], template.load(name)
    model = known.model.split()[0].split("-")[0]
    assert model in item["device"], "a frame of another model proves nothing"
    found = decode_with(known, bytes.fromhex(item["request"] + item["response"]))
    values = {measured.quantity: measured.value for measured in found}
    expected = {NAMES[word][0]: value / NAMES[word][1] for word, value in item["expected"].items() if word in NAMES}
    assert expected
    assert {quantity: values[quantity] for quantity in expected} == pytest.approx(expected)


@needs
def test_every_captured_answer_of_a_known_model_is_claimed() -> None:
    """What is left has no request, is a vector or shows a fault of the line."""
    left = {key for key, item in collection().items() if item.get("response")} - {frame for _, frame in CLAIMS}
    assert left <= {"sdm630_f_1", "sdm_glitch", "sdm_datasheet", "sdm230_10_07", "mbmd63_probe_0"}
