"""Frames of wired devices against our codecs: those in the templates always, the captured collection where it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from drivers import template
from drivers.buses import modbus_adu as adu
from drivers.buses.modbus_device import decode_blocks
from drivers.codecs import p1, pms, shelly
from drivers.errors import BadFrame
from drivers.planner import Block
from drivers.template import Example, Template

COLLECTION = Path(__file__).parents[2] / "../shared/data/frames"
needs = pytest.mark.skipif(not COLLECTION.exists(), reason="the collection of captured frames is not here")
WIRED = [name for name in template.names() if template.load(name).protocol in ("modbus", "p1", "pms", "shelly")]


def frames(name: str) -> list[Any]:
    path = COLLECTION / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def modbus_values(known: Template, request: bytes, answer: bytes) -> dict[str, object]:
    unit, function, address, count = (
        request[0],
        request[1],
        *(int.from_bytes(request[i : i + 2], "big") for i in (2, 4)),
    )
    assert adu.sound(request)
    last = address + count
    points = tuple(p for p in known.points if address <= p.address and p.address + p.count <= last)
    found = adu.find_answer(answer, unit, function, count)
    assert found is not None
    return {m.quantity: m.value for m in decode_blocks((Block(function, address, count, points),), (found.data,))}


def decoded(known: Template, frame: Example) -> Mapping[str, object]:
    if known.protocol == "modbus":
        return modbus_values(known, frame.request, frame.answer)
    if known.protocol == "shelly":
        return {m.quantity: m.value for m in shelly.decode(frame.topic, frame.answer)}
    codec = p1.decode if known.protocol == "p1" else pms.decode
    return {m.quantity: m.value for m in codec(frame.answer).measurements}


@pytest.mark.parametrize("name", WIRED)
def test_template_decodes_its_own_frames(name: str) -> None:
    known = template.load(name)
    for frame in known.frames:
        assert decoded(known, frame) == pytest.approx(dict(frame.expect), rel=1e-7)


@pytest.mark.parametrize("name", [name for name in WIRED if template.load(name).protocol == "modbus"])
def test_frames_of_a_map_cover_all_its_points(name: str) -> None:
    known = template.load(name)
    assert {q for frame in known.frames for q in frame.expect} == {p.quantity for p in known.points}


@needs
def test_captured_pzem() -> None:
    names = {
        "voltage_v": ("voltage_l1", 1),
        "current_a": ("current_l1", 1),
        "power_w": ("active_power_total", 1),
        "energy_wh": ("energy_import_total", 1000),
        "frequency_hz": ("frequency", 1),
        "power_factor": ("power_factor_total", 1),
    }
    known, seen = template.load("peacefair-pzem-004t-v3"), 0
    for item in frames("modbus_frames.json"):
        if item["id"].startswith("pzem004t"):
            seen += 1
            values = modbus_values(known, bytes.fromhex(item["request"]), bytes.fromhex(item["response"]))
            for theirs, (ours, divisor) in names.items():
                assert values[ours] == pytest.approx(item["expected"][theirs] / divisor)
    assert seen >= 9


@needs
def test_captured_sdm630_also_between_glitches() -> None:
    items = {item["id"]: item for item in frames("modbus_frames.json")}
    known = template.load("eastron-sdm630")
    for key, value in (("sdm630_volt_1", "voltage_l1_v"), ("sdm_glitch", "voltage_v")):
        request, answer = (bytes.fromhex(items[key][part]) for part in ("request", "response"))
        for wire in (answer, b"\0" + answer + b"\0"):
            assert modbus_values(known, request, wire)["voltage_l1"] == pytest.approx(items[key]["expected"][value])


P1_NAMES = {
    "ELECTRICITY_USED_TARIFF_1": "energy_import_t1",
    "ELECTRICITY_USED_TARIFF_2": "energy_import_t2",
    "ELECTRICITY_DELIVERED_TARIFF_1": "energy_export_t1",
    "ELECTRICITY_IMPORTED_TOTAL": "energy_import_total",
    "INSTANTANEOUS_VOLTAGE_L1": "voltage_l1",
    "INSTANTANEOUS_VOLTAGE_L3": "voltage_l3",
    "INSTANTANEOUS_CURRENT_L2": "current_l2",
    "FREQUENCY": "frequency",
}


@needs
@pytest.mark.parametrize("item", frames("dsmr_p1.json"), ids=lambda item: item["id"])
def test_captured_telegram(item: dict[str, Any]) -> None:
    raw = item["text"].encode()
    if "t210_d_r" in item["id"] or "esy5q3d" in item["id"]:  # encrypted, and a German D0 telegram in other codes
        with pytest.raises(BadFrame):
            p1.decode(raw)
        return
    told = p1.decode(raw, crc="v2" not in item["id"])
    values = {m.quantity: m.value for m in told.measurements}
    expected = item["expected"]
    for theirs, ours in P1_NAMES.items():
        if theirs in expected:
            assert values[ours] == pytest.approx(float(expected[theirs][0])), ours
    net = float(expected["CURRENT_ELECTRICITY_USAGE"][0]) - float(expected["CURRENT_ELECTRICITY_DELIVERY"][0])
    assert values["active_power_total"] == pytest.approx(1000 * net)
    assert (told.device_ns is not None) == ("P1_MESSAGE_TIMESTAMP" in expected)


@needs
def test_captured_shelly() -> None:
    items = {item["id"]: item for item in frames("mqtt_json.json")}
    item = items["shelly_pro3em_em0"]
    values = {m.quantity: m.value for m in shelly.decode(item["topic"].split("/", 1)[1], item["payload"].encode())}
    assert values["active_power_total"] == item["expected"]["total_power_w"]
    assert values["active_power_l1"] == item["expected"]["power_l1_w"]
    assert "current_n" not in values
