"""Captured SML streams of optical heads, where the collection is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drivers.codecs import sml
from drivers.codecs.framing import NO_HINTS
from drivers.errors import BadFrame

FILE = Path(__file__).parents[2] / "../shared/data/frames/sml_streams.json"
ITEMS: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else []
pytestmark = pytest.mark.skipif(not ITEMS, reason="the collection of captured frames is not here")

NAMES = {
    "1-0:1.8.0*255": "energy_import_total",
    "1-0:1.8.1*255": "energy_import_t1",
    "1-0:1.8.2*255": "energy_import_t2",
    "1-0:2.8.0*255": "energy_export_total",
    "1-0:2.8.1*255": "energy_export_t1",
    "1-0:2.8.2*255": "energy_export_t2",
    "1-0:16.7.0*255": "active_power_total",
    "1-0:15.7.0*255": "active_power_total",
    "1-0:1.7.0*255": "active_power_total",
    "1-0:1.7.1*255": "active_power_total",
    **{f"1-0:{20 * n + 16}.7.0*255": f"active_power_l{n}" for n in (1, 2, 3)},
    **{f"1-0:{20 * n + 12}.7.0*255": f"voltage_l{n}" for n in (1, 2, 3)},
    **{f"1-0:{20 * n + 11}.7.0*255": f"current_l{n}" for n in (1, 2, 3)},
    "1-0:14.7.0*255": "frequency",
}
KILO = 1000.0
WH = 30
# The file holds the beginning of the stream only, and that has no whole telegram in it.
CUT = {"sml_EMH-ED300L_consumption"}
BROKEN = [item for item in ITEMS if not item["frames_in_whole_stream"] or item["id"] in CUT]
GOOD = [item for item in ITEMS if item not in BROKEN]


@pytest.mark.parametrize("item", GOOD, ids=lambda item: item["id"])
def test_first_telegram(item: dict[str, Any]) -> None:
    found = {m.quantity: m.value for m in sml.decode_frame(bytes.fromhex(item["hex"]), NO_HINTS)}
    for code, (stated, unit) in item["expected_first_frame"].items():
        if unit:
            assert found.pop(NAMES[code]) == pytest.approx(float(stated) / (KILO if unit == WH else 1)), code
    assert not found


@pytest.mark.parametrize("item", GOOD, ids=lambda item: item["id"])
def test_all_telegrams(item: dict[str, Any]) -> None:
    """As many good ones as upstream counts, as far as the file holds the stream."""
    data = bytes.fromhex(item["hex"])
    buffer, good = bytearray(data), 0
    while True:
        try:
            decoded = sml.take(buffer)
        except BadFrame:
            continue
        if decoded is None:
            break
        good += 1
    whole = item["frames_in_whole_stream"]
    share = len(data) / item["stream_bytes"]
    assert good == whole if share == 1 else 1 <= good <= whole


@pytest.mark.parametrize("item", BROKEN, ids=lambda item: item["id"])
def test_streams_without_a_whole_telegram(item: dict[str, Any]) -> None:
    with pytest.raises(BadFrame):
        sml.decode_frame(bytes.fromhex(item["hex"]), NO_HINTS)


@pytest.mark.parametrize("item", GOOD, ids=lambda item: item["id"])
def test_any_changed_byte_is_refused(item: dict[str, Any]) -> None:
    data = bytes.fromhex(item["hex"])
    start = data.index(sml.START)
    whole = data[start : data.index(sml.ESCAPE + b"\x1a", start + 8) + 8]
    if item["id"].startswith("sml_EasyMeter"):
        return  # its first telegram is cut
    for at in range(0, len(whole), 3):
        with pytest.raises(BadFrame):
            sml.decode_frame(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :], NO_HINTS)
