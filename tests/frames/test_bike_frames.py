"""Captured values of GATT characteristics against our codecs: those in the templates always, others where they are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from drivers import template
from drivers.base import Measurement
from drivers.codecs import csc, cycling_power
from drivers.codecs.framing import NO_HINTS
from drivers.decoding import decode_as, decode_with
from drivers.errors import BadFrame

COLLECTION = Path(__file__).parents[2] / "../shared/data/frames"
GATT = {"csc", "cycling-power", "openbikesensor", "bike", "airthings"}


def frames(name: str) -> list[Any]:
    path = COLLECTION / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def values(measurements: Iterable[Measurement]) -> dict[str, Any]:
    return {one.quantity: one.value for one in measurements}


CYCLING = frames("bike_csc_cp.json")
needs = pytest.mark.skipif(not COLLECTION.exists(), reason="the collection of captured frames is not here")


@pytest.mark.parametrize("name", [one for one in template.names() if template.load(one).protocol in GATT])
def test_the_frames_of_a_template_decode_to_what_it_expects(name: str) -> None:
    known = template.load(name)
    assert known.frames
    for example in known.frames:
        found = values(decode_with(known, example.answer, NO_HINTS))
        assert found == {key: pytest.approx(value) if isinstance(value, float) else value
                         for key, value in example.expect.items()}  # fmt: skip


@needs
@pytest.mark.parametrize("item", [i for i in CYCLING if i["char"] == "2a5b"], ids=lambda item: item["id"])
def test_speed_and_cadence(item: dict[str, Any]) -> None:
    sample, expected = csc.parse(bytes.fromhex(item["hex"])), item["expected"]
    assert sample.wheel == csc.Event(expected["wheel_revs"], expected["wheel_time_1024"])
    assert sample.crank == csc.Event(expected["crank_revs"], expected["crank_time_1024"])


@needs
@pytest.mark.parametrize("item", [i for i in CYCLING if i["char"] == "2a63"], ids=lambda item: item["id"])
def test_cycling_power(item: dict[str, Any]) -> None:
    data, expected = bytes.fromhex(item["hex"]), item["expected"]
    found = values(cycling_power.decode_frame(data, NO_HINTS))
    assert found["rider_power"] == expected["power_w"]
    assert found.get("torque_accumulated", 0) * 32 == expected.get("accumulated_torque_32", 0)
    assert found.get("crank_revolutions") == expected.get("crank_revs")
    crank = cycling_power.parse(data).turns.crank
    assert (crank.ticks if crank else None) == expected.get("crank_time_1024")


@needs
@pytest.mark.parametrize("item", CYCLING, ids=lambda item: item["id"])
def test_a_captured_frame_cut_short_or_with_more_behind_it_is_refused(item: dict[str, Any]) -> None:
    codec = {"2a5b": "csc", "2a63": "cycling-power"}[item["char"]]
    data = bytes.fromhex(item["hex"])
    for damaged in (*(data[:size] for size in range(len(data))), data + b"\0"):
        with pytest.raises(BadFrame):
            decode_as(codec, damaged)


@needs
def test_a_captured_ride_has_the_speed_that_its_times_say() -> None:
    rows = [item for item in CYCLING if item["id"].startswith("csc_zwifthub")]
    sensor = csc.Sensor(2.105)
    for second, row in enumerate(rows):
        (observation,) = sensor.take(csc.MEASUREMENT, bytes.fromhex(row["hex"]), second * 10**9)
    found = values(observation.measurements)
    (before, last) = (row["expected"] for row in rows[-2:])
    ticks = last["wheel_time_1024"] - before["wheel_time_1024"]
    turns = last["wheel_revs"] - before["wheel_revs"]
    assert found["speed"] == pytest.approx(turns / (ticks / 1024) * 2.105 * 3.6, abs=0.01)
    turns = last["crank_revs"] - before["crank_revs"]
    ticks = last["crank_time_1024"] - before["crank_time_1024"]
    assert found["cadence"] == pytest.approx(60 * turns / (ticks / 1024), abs=0.1)


@needs
@pytest.mark.parametrize("item", frames("ble_airthings_gatt.json"), ids=lambda item: item["id"])
def test_airthings(item: dict[str, Any]) -> None:
    """Whatever the collection calls a value, it is among those decoded."""
    found = values(decode_as("airthings", bytes.fromhex(item["hex"])))
    for name, value in item["expected"].items():
        if isinstance(value, int | float):
            assert any(value == pytest.approx(float(one), abs=0.006) for one in found.values()), name
