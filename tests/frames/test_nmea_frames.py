"""Captured NMEA sentences: every value that we report is right, every damaged sentence refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drivers import decoding
from drivers.base import Position
from drivers.errors import BadFrame

COLLECTION = Path(__file__).parents[2] / "../shared/data/frames/nmea.json"
needs = pytest.mark.skipif(not COLLECTION.exists(), reason="the collection of captured frames is not here")
FRAMES: list[dict[str, Any]] = json.loads(COLLECTION.read_text(encoding="utf-8")) if COLLECTION.exists() else []
each = pytest.mark.parametrize("item", FRAMES, ids=lambda item: item["id"])
# Exceptions: GSV lists satellites in view, which are not reported; so it decodes to nothing.


def expected(item: dict[str, Any]) -> dict[str, Any]:
    """What the sentence must give by itself, out of the fields as another program read them."""
    fields, kind = item["expected"], item["sentence"][3:6]
    mode = fields.get("posMode", "A")
    fixed = {
        "RMC": fields.get("status") == "A" and mode in "ADFRP",
        "GLL": fields.get("status") == "A" and mode in "ADFRP",
        "GGA": fields.get("quality", "0") in "12345",
        "GNS": any(letter in "ADFRP" for letter in mode),
        "VTG": mode in "ADFRP",
        "GSA": fields.get("navMode", "1") in "23",
    }.get(kind, False)
    values: dict[str, Any] = {}
    if kind in ("GGA", "GNS"):
        values["satellites"] = int(fields["numSV"])
    if not fixed:
        return values
    if fields.get("lat"):
        high = float(fields["alt"]) + float(fields["sep"]) if kind in ("GGA", "GNS") else None
        values["position"] = float(fields["lat"]), float(fields["lon"]), high
    if fields.get("sogk"):
        values["speed"] = float(fields["sogk"])
    elif fields.get("spd"):
        values["speed"] = float(fields["spd"]) * 1.852
    if fields.get("cog") or fields.get("cogt"):
        values["course"] = float(fields.get("cog") or fields["cogt"])
    if fields.get("HDOP"):
        values["hdop"] = float(fields["HDOP"])
    return values


@needs
@each
def test_sentence(item: dict[str, Any]) -> None:
    (found,) = decoding.recognise(item["sentence"].encode())
    values: dict[str, Any] = {m.quantity: m.value for m in found.measurements}
    position = values.get("position")
    if isinstance(position, Position):
        values["position"] = position.latitude, position.longitude, position.altitude
    assert found.codec == "nmea"
    assert values.keys() == expected(item).keys()
    for quantity, value in expected(item).items():
        if quantity == "position":
            assert values[quantity][:2] == pytest.approx(value[:2], abs=1e-9)
            assert values[quantity][2] == (None if value[2] is None else pytest.approx(value[2]))
        else:
            assert values[quantity] == pytest.approx(value, abs=6e-4)


@needs
@each
def test_damaged_sentence_is_refused(item: dict[str, Any]) -> None:
    sentence = item["sentence"].encode()
    broken = [sentence[:length] for length in range(len(sentence))] + [sentence + b"0"]
    broken.append(sentence.partition(b"*")[0])  # without its sum
    for at in range(len(sentence) - 2):
        for bit in range(8):
            broken.append(sentence[:at] + bytes([sentence[at] ^ 1 << bit]) + sentence[at + 1 :])
    for data in broken:
        with pytest.raises(BadFrame):
            decoding.decode_as("nmea", data)


@needs
def test_captured_sentences_of_one_epoch_make_one_position() -> None:
    said = [item["sentence"] for item in FRAMES if "nmea4" in item["id"] and "GSV" not in item["sentence"]]
    found = {m.quantity: m.value for m in decoding.decode_as("nmea", "\r\n".join(said).encode())}
    assert found == {
        "position": Position(53.450657, -2.240410333, 104.5),
        "speed": 0.085,
        "satellites": 6,
        "hdop": 5.88,
    }
