"""Frames of wired devices against our codecs: those in the templates always, the captured collection where it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drivers import template
from drivers.buses import modbus_adu as adu
from drivers.buses.modbus_device import decode_blocks
from drivers.planner import Block
from drivers.template import Template

COLLECTION = Path(__file__).parents[2] / "../shared/data/frames"
needs = pytest.mark.skipif(not COLLECTION.exists(), reason="the collection of captured frames is not here")
WIRED = [name for name in template.names() if template.load(name).protocol == "modbus"]


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


@pytest.mark.parametrize("name", WIRED)
def test_template_decodes_its_own_frames(name: str) -> None:
    known = template.load(name)
    for frame in known.frames:
        values = modbus_values(known, frame.request, frame.answer)
        assert {quantity: values[quantity] for quantity in frame.expect} == pytest.approx(dict(frame.expect), rel=1e-7)


@needs
def test_captured_sdm630_also_between_glitches() -> None:
    items = {item["id"]: item for item in frames("modbus_frames.json")}
    known = template.load("eastron-sdm630")
    for key, value in (("sdm630_volt_1", "voltage_l1_v"), ("sdm_glitch", "voltage_v")):
        request, answer = (bytes.fromhex(items[key][part]) for part in ("request", "response"))
        for wire in (answer, b"\0" + answer + b"\0"):
            assert modbus_values(known, request, wire)["voltage_l1"] == pytest.approx(items[key]["expected"][value])
