"""The open bicycle format: the vectors of its document, and that encoder and decoder are each other's inverse."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Measurement
from drivers.codecs import bike
from drivers.codecs.ad_structures import parse
from drivers.codecs.framing import NO_HINTS
from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES

DOCUMENT = (Path(__file__).parents[3] / "docs/reference/bicycle-format.md").read_text(encoding="utf-8")
VECTORS: list[dict[str, Any]] = json.loads(DOCUMENT.split("```json\n")[1].split("```")[0])
COUNTS = ("swerve_count", "hard_braking_count", "impact_count", "overtake_count")
BANDS = [f"{5 * low}-{5 * high}" for low in range(15) for high in range(low + 1, 15)]
BANDS += [f"{5 * low}-" for low in range(15)]


def steps(unit: float, most: int) -> st.SearchStrategy[float]:
    return st.integers(0, most).map(lambda raw: round(raw * unit, 3))


VALUES = st.fixed_dictionaries(
    {},
    optional={
        **{quantity: st.integers(0, 2**24 - 2) for quantity in COUNTS},
        "battery_level": st.integers(0, 254),
        "speed": steps(0.5, 254),
        "illuminance": steps(0.01, 2**24 - 2),
        "distance_left": steps(0.001, 0xFFFE),
        "distance_right": steps(0.001, 0xFFFE),
        "sensor_mount": st.sampled_from(["handlebar", "saddle", "frame", "fork", "hub"]),
    },
).filter(bool)
EVENTS = st.builds(
    bike.Event,
    st.sampled_from(["swerve", "hard braking", "impact"]),
    st.integers(0, 2**24 - 2),
    steps(0.1, 0xFFFE),
    st.none() | steps(0.01, 0xFFFE),
    st.just(""),
    st.none() | steps(0.001, 0xFFFE),
    st.none() | steps(0.5, 254),
)


def said(data: bytes) -> dict[str, object]:
    return {one.quantity: one.value for one in bike.decode(data).measurements}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["payload"])
def test_the_vectors_of_the_document(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["payload"])
    if "refused" in vector:
        with pytest.raises(BadFrame):
            bike.decode(payload)
        return
    assert said(payload) == vector["says"]
    assert bike.decode(payload).age_s == vector.get("age_s", 0.0)
    assert bike.decode(payload).sequence == payload[1]
    assert set(vector["says"]) <= set(QUANTITIES)


def test_the_whole_advertisement_of_the_document_fits_a_legacy_one() -> None:
    data = bytes.fromhex(re.findall(r"`(020106[0-9a-f]+)`", DOCUMENT)[0])
    assert len(data) == 31
    broadcast = bike.decode_advert(parse(data), b"")
    assert broadcast is not None
    assert {one.quantity: one.value for one in broadcast.measurements} == VECTORS[0]["says"]
    assert bike.decode_frame(data, NO_HINTS) == bike.decode_frame(data[5:], NO_HINTS) == broadcast.measurements


def test_names_on_the_air_are_those_of_the_document() -> None:
    assert re.findall(r"`(24f1[0-9a-f-]{32})`", DOCUMENT) == [bike.SERVICE, bike.MEASUREMENT]


def test_the_tags_of_the_document_are_those_of_the_codec() -> None:
    rows = re.findall(r"^\| (\d+) \| `([0-9a-f]{2})` \| [^|]* \| (\d)", DOCUMENT, re.MULTILINE)
    assert len(rows) == 12
    for number, tag, size in rows:
        lengths = {"7": 3, "63": 1}.get(number, int(size))  # the band follows in its own row; events state a length
        assert int(tag, 16) == (lengths - 1) << 6 | int(number)


@given(st.integers(0, 1000), VALUES)
def test_what_is_encoded_is_decoded(sequence: int, values: dict[str, Any]) -> None:
    payload = bike.encode(sequence, [Measurement(name, value) for name, value in values.items()], 244)
    assert said(payload) == values
    assert bike.decode(payload).sequence == sequence % 256


@given(steps(0.01, 0xFFFE), st.sampled_from(BANDS))
def test_vibration_and_its_band_go_together(rms: float, band: str) -> None:
    values = {"surface_vibration": rms, "speed_band": band}
    payload = bike.encode(1, [Measurement(name, value) for name, value in values.items()])
    assert said(payload) == values


@given(EVENTS, st.sampled_from([10, 20]))
def test_events_in_both_forms(event: bike.Event, size: int) -> None:
    payload = bike.encode_event(5, event, size)
    assert len(payload) <= size
    broadcast = bike.decode(payload)
    peaks = [one.value for one in broadcast.measurements if one.quantity.endswith("_peak")]
    assert peaks == ([] if event.peak is None else [event.peak])
    assert broadcast.age_s == event.age_s
    found = {one.quantity: one.value for one in broadcast.measurements}
    if size == 20:
        assert [found[name] for name in COUNTS if name in found] == [event.count]
        assert (found.get("event_duration"), found.get("speed")) == (event.duration_s, event.speed)


@given(steps(0.001, 0x3FFE), st.sampled_from(["left", "right"]), st.integers(0, 2**24 - 2))
def test_overtakes(metres: float, side: str, count: int) -> None:
    payload = bike.encode_event(5, bike.Event("overtake", count, 1.5, metres, side))
    assert said(payload) == {"overtaker_distance": metres, "overtaker_side": side, "overtake_count": count}


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda data: b"\x20\x01" + data))
def test_any_bytes_give_values_or_bad_frame(data: bytes) -> None:
    try:
        found = bike.decode_frame(data, NO_HINTS)
    except BadFrame:
        return
    assert all(one.quantity in QUANTITIES for one in found)


@given(VALUES, st.data())
def test_a_payload_cut_short_is_refused_or_says_less(values: dict[str, Any], data: st.DataObject) -> None:
    payload = bike.encode(1, [Measurement(name, value) for name, value in values.items()], 244)
    cut = payload[: data.draw(st.integers(0, len(payload) - 1))]
    try:
        found = said(cut)
    except BadFrame:
        return
    assert found.items() < values.items()


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 20.0},
        {"battery_level": 255},
        {"swerve_count": -1},
        {"swerve_count": 2**24 - 1},
        {"speed": True},
        {"speed": "fast"},
        {"sensor_mount": "hat"},
        {"surface_vibration": 1.0, "speed_band": "12-20"},
        {"surface_vibration": 1.0, "speed_band": "20-15"},
        {"surface_vibration": 1.0, "speed_band": "70-75"},
        {"speed_band": "15-20"},
        {"swerve_count": 1, "impact_count": 1, "speed": 1.0},
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        bike.encode(1, [Measurement(name, value) for name, value in values.items()])


@pytest.mark.parametrize(
    "event",
    [
        bike.Event("wheelie", 1, 0.0),
        bike.Event("impact", 1, 1e5),
        bike.Event("overtake", 1, 0.0, 17.0, "left"),
        bike.Event("overtake", 1, 0.0, 1.0, "above"),
    ],
)
def test_an_event_that_the_format_cannot_say_is_refused(event: bike.Event) -> None:
    with pytest.raises(ValueError):
        bike.encode_event(1, event)


def test_the_same_notification_twice_counts_once_and_an_event_is_dated_back() -> None:
    sensor = bike.Sensor()
    first = bytes.fromhex(VECTORS[0]["payload"])
    (observation,) = sensor.take(bike.MEASUREMENT, first, 5_000_000_000)
    assert observation.mono_ns == 5_000_000_000
    assert sensor.take(bike.MEASUREMENT, first, 5_100_000_000) == ()
    event = bike.encode_event(9, bike.Event("impact", 3, 2.4, 30.0))
    (observation,) = sensor.take(bike.MEASUREMENT, event, 6_000_000_000)
    assert observation.mono_ns == 3_600_000_000
