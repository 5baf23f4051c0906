"""Templates of meters that say themselves what they mean: their own frames, and those that they claim as captured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drivers import decoding, template
from drivers.template import Template

COLLECTION = Path(__file__).parents[2] / "../shared/data/frames"
ALL = [one for name in template.names() if (one := template.load(name)).protocol in ("p1", "sml", "d0", "mbus")]
CLAIMS = [(one, name) for one in ALL for name in one.captured]
each = pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)


def captured() -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for file in ("dsmr_p1.json", "sml_streams.json", "mbus_frames.json"):
        for item in json.loads((COLLECTION / file).read_text(encoding="utf-8")):
            found[item["id"]] = bytes.fromhex(item["hex"]) if "hex" in item else item["text"].encode()
    return found


@each
def test_own_frames(one: Template) -> None:
    for frame in one.frames:
        values = {m.quantity: m.value for m in decoding.decode_with(one, frame.answer)}
        assert values == dict(frame.expect)


@each
def test_evidence_and_line_are_stated(one: Template) -> None:
    assert (one.evidence == "captured") == bool(one.captured)
    assert one.evidence != "agreed"
    assert one.line.stated
    assert one.sources


@pytest.mark.skipif(not COLLECTION.exists(), reason="the collection of captured frames is not here")
@pytest.mark.parametrize(("one", "name"), CLAIMS, ids=[f"{one.name}-{name}" for one, name in CLAIMS])
def test_captured_frames_are_of_the_kind(one: Template, name: str) -> None:
    values = {m.quantity for m in decoding.decode_with(one, captured()[name])}
    shown = {quantity for frame in one.frames for quantity in frame.expect}
    assert len(values & shown) >= 1 + bool("meter_status" in values)
