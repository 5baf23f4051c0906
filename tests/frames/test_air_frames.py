"""Captured frames of serial air sensors: every value right, every damaged frame refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drivers import decoding, template
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame

COLLECTION = Path(__file__).parents[2] / "../shared/data/frames/air_serial.json"
needs = pytest.mark.skipif(not COLLECTION.exists(), reason="the collection of captured frames is not here")
FRAMES: list[dict[str, Any]] = json.loads(COLLECTION.read_text(encoding="utf-8")) if COLLECTION.exists() else []
TEMPLATES = {
    "sds01x": "nova-sds011",
    "sds198": "nova-sds198",
    "pmsx003": "plantower-pms5003",
    "pms5003t": "plantower-pms5003t",
    "pms3003": "plantower-pms5003",
    "sps30": "sensirion-sps30",
    "mhz19b": "winsen-mh-z19b",
    "hpma115c0": "honeywell-hpma115c0",
    "mcu680": "gy-mcu680",
}
NAMES = {
    "pm01": "pm1",
    "pm25": "pm25",
    "pm04": "pm4",
    "pm10": "pm10",
    "pm100": "pm100",
    "n0_3": "particles_03um",
    "n0_5": "particles_05um",
    "n1_0": "particles_1um",
    "n2_5": "particles_25um",
    "n5_0": "particles_5um",
    "n10_0": "particles_10um",
    "temp": "temperature",
    "rhum": "relative_humidity",
    "pres": "pressure",
    "gas": "gas_resistance",
    "IAQ": "air_quality_index",
    "alt": "altitude",
    "CO2": "co2",
}
# The SPS30 counts from 0.3 um up to a size, where others count above it.
SPS30_NAMES = {f"n{size}": f"particles_to_{size.replace('_', '').removesuffix('0')}um" for size in ("0_5", "2_5")}
SPS30_NAMES |= {"n1_0": "particles_to_1um", "n4_0": "particles_to_4um", "n10_0": "particles_to_10um"}
SPS30_NAMES |= {"diam": "particle_size"}
# Exceptions, with their reasons: what upstream has and we do not report.
NOT_REPORTED = {
    "raw01": "CF=1: for a factory environment, not for air that people breathe",
    "raw25": "as raw01",
    "raw10": "as raw01",
    "IAQ_acc": "upstream says 1 for a frame whose four bits of accuracy are 0; no quantity of ours",
}
ROUNDED = {"temp": 0.051, "rhum": 0.051, "gas": 0.051, "diam": 0.051}  # upstream prints one digit
each = pytest.mark.parametrize("item", FRAMES, ids=lambda item: item["id"])


def names(item: dict[str, Any]) -> dict[str, str]:
    return NAMES | SPS30_NAMES if item["id"].startswith("sps30") else NAMES


def compare(item: dict[str, Any], values: dict[str, Any]) -> None:
    expected = {key: value for key, value in item["expected"].items() if key not in NOT_REPORTED}
    assert {names(item)[key] for key in expected} == values.keys()
    for key, value in expected.items():
        tolerance = 0.051 if item["id"].startswith("sps30") else ROUNDED.get(key, 1e-9)
        assert values[names(item)[key]] == pytest.approx(value, abs=tolerance), key


@needs
@each
def test_found_by_itself(item: dict[str, Any]) -> None:
    (found,) = decoding.recognise(bytes.fromhex(item["hex"]))
    compare(item, {m.quantity: m.value for m in found.measurements})


@needs
@each
def test_with_its_template(item: dict[str, Any]) -> None:
    known = template.load(TEMPLATES[item["id"].rsplit("_", 1)[0]])
    found = decoding.decode_with(known, bytes.fromhex(item["hex"]))
    compare(item, {m.quantity: m.value for m in found})
    assert item["id"] in known.captured or known.name == "plantower-pms5003"


@needs
@each
def test_no_flipped_bit_and_no_cut_frame_passes(item: dict[str, Any]) -> None:
    frame = bytes.fromhex(item["hex"])
    known = template.load(TEMPLATES[item["id"].rsplit("_", 1)[0]])
    broken = [frame[:length] for length in range(len(frame))] + [frame + b"\0"]
    for at in range(len(frame)):
        broken += [frame[:at] + bytes([frame[at] ^ 1 << bit]) + frame[at + 1 :] for bit in range(8)]
    for data in broken:
        with pytest.raises(BadFrame):
            decoding.decode_with(known, data)


def test_a_t_read_as_plain_and_a_plain_one_read_as_t_are_refused() -> None:
    plain, with_climate = (template.load(name).frames[0].answer for name in ("plantower-pms5003", "plantower-pms5003t"))
    with pytest.raises(BadFrame, match="PMS5003T needs its own template"):
        decoding.decode_as("pms", with_climate, Hints(model="plain"))
    with pytest.raises(BadFrame, match="no climate"):
        decoding.decode_as("pms", plain, Hints(model="T"))


PROTOCOLS = ("pms", "sds", "hpma", "sps30", "mhz19", "mcu680", "nmea", "airgradient", "sensor-community")
OWN = [name for name in template.names() if template.load(name).protocol in PROTOCOLS]


@pytest.mark.parametrize("name", OWN)
def test_frames_of_the_templates(name: str) -> None:
    known = template.load(name)
    for frame in known.frames:
        values = {m.quantity: m.value for m in decoding.decode_with(known, frame.answer)}
        assert {q: values[q] for q in frame.expect} == pytest.approx(dict(frame.expect))
