"""Captured Bluetooth frames against our codecs: those in the templates always, the large collection where it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drivers import template
from drivers.codecs import bthome, csc, ruuvi
from drivers.errors import BadFrame

COLLECTION = Path(__file__).parents[2] / "../shared/data/frames"
RUUVI = {"temperature": "temperature", "relative_humidity": "humidity", "pressure": "pressure", "pm25": "pm25"}
RUUVI |= {"co2": "carbon_dioxide", "movement_count": "movement_counter"}
RUUVI |= {f"acceleration_{axis}": f"acceleration_{axis}" for axis in "xyz"}
BTHOME = {"KEY_TEMPERATURE": "temperature", "KEY_HUMIDITY": "relative_humidity", "KEY_PRESSURE": "pressure"}
BTHOME |= {"KEY_BATTERY": "battery_level", "KEY_PM25": "pm25", "KEY_PM10": "pm10", "KEY_CO2": "co2"}


def frames(name: str) -> list[Any]:
    path = COLLECTION / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


needs = pytest.mark.skipif(not COLLECTION.exists(), reason="the collection of captured frames is not here")


def csc_values(data: bytes) -> dict[str, object]:
    ride = csc.follow(csc.Ride(), csc.parse(data), 0.0)
    return {one.quantity: one.value for one in csc.measurements(ride, 2.105)}


def broadcast_values(decode: Callable[[bytes], Any]) -> Callable[[bytes], dict[str, object]]:
    return lambda data: {one.quantity: one.value for one in decode(data).measurements}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ruuvi-ruuvitag", broadcast_values(ruuvi.decode)),
        ("bthome-thermometer", broadcast_values(bthome.decode)),
        ("csc-sensor", csc_values),
    ],
)
def test_the_frames_of_a_template_decode_to_what_it_expects(
    name: str, values: Callable[[bytes], dict[str, object]]
) -> None:
    examples = template.load(name).frames
    assert examples
    for example in examples:
        assert values(example.answer) == {key: pytest.approx(value) for key, value in example.expect.items()}


@needs
@pytest.mark.parametrize("item", frames("ble_ruuvi.json"), ids=lambda item: item["id"])
def test_ruuvi(item: dict[str, Any]) -> None:
    data, expected = bytes.fromhex(item["manufacturer_data"]), item["expected"]
    if data[0] not in (3, 5, 6):
        with pytest.raises(BadFrame):
            ruuvi.decode(data)
        return
    found = {one.quantity: one.value for one in ruuvi.decode(data).measurements}
    assert found.pop("battery_voltage", None) == (
        pytest.approx(expected["voltage"] / 1000) if "voltage" in expected else None
    )
    assert found
    for quantity, value in found.items():
        assert value == pytest.approx(expected[RUUVI[quantity]], abs=0.006), quantity


@needs
@pytest.mark.parametrize("item", frames("ble_bthome_v2.json"), ids=lambda item: item["id"])
def test_bthome(item: dict[str, Any]) -> None:
    data = bytes.fromhex(item["service_data_fcd2"])
    if not data or data[0] >> 5 != bthome.VERSION or data[0] & 1:
        with pytest.raises(BadFrame):
            bthome.decode(data)
        return
    found = {one.quantity: one.value for one in bthome.decode(data).measurements}
    for key, value in item["expected"]:
        if key in BTHOME:
            assert found[BTHOME[key]] == pytest.approx(float(value)), key


@needs
@pytest.mark.parametrize(
    "item", [i for i in frames("bike_csc_cp.json") if i["char"] == "2a5b"], ids=lambda item: item["id"]
)
def test_csc(item: dict[str, Any]) -> None:
    sample, expected = csc.parse(bytes.fromhex(item["hex"])), item["expected"]
    assert sample.wheel == csc.Event(expected["wheel_revs"], expected["wheel_time_1024"])
    assert sample.crank == csc.Event(expected["crank_revs"], expected["crank_time_1024"])


@needs
def test_a_captured_ride_has_the_speed_that_its_times_say() -> None:
    rows = [item for item in frames("bike_csc_cp.json") if item["id"].startswith("csc_zwifthub")]
    ride = csc.Ride()
    for row in rows:
        ride = csc.follow(ride, csc.parse(bytes.fromhex(row["hex"])), 1.0)
    found = {one.quantity: one.value for one in csc.measurements(ride, 2.105)}
    assert found["speed"] == pytest.approx(1 / ((21670 - 21106) / 1024) * 2.105 * 3.6, abs=0.01)
    assert found["cadence"] == pytest.approx(60 / ((21703 - 20672) / 1024), abs=0.1)
