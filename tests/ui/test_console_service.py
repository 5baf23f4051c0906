"""What the page is told: units, quality, kinds; the time grid of the chart; files that may be read."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.server.apps.console_power import HOLD_MS, POINTS_MAX, Circuit, Grid, find_circuit, power, resample, trend
from gateway.server.apps.console_service import compact, identity, load, settings, short
from gateway.web.assets import assets

AIR = "https://smartdatamodels.org/dataModel.Environment/"
ENERGY = "https://smartdatamodels.org/dataModel.Energy/"
OWN = "https://uri.etsi.org/ngsi-ld/default-context/"
AT = "2026-11-22T10:00:00.25Z"
AT_MS = 1795341600250


def prop(value: object, code: str | None = None, **more: object) -> dict[str, object]:
    unit = {} if code is None else {"unitCode": code}
    return {"type": "Property", "value": value, "observedAt": AT, **unit, **more}


def meter(name: str, kind: str = "ThreePhaseAcMeasurement", **more: Any) -> dict[str, Any]:
    entity = {"id": f"urn:ngsi-ld:{kind}:school:{name}", "type": [ENERGY + kind]}
    return compact(entity | {ENERGY + "totalActivePower": prop(230.5, "WTT")} | more)


def appliance(parent: str, name: str) -> dict[str, Any]:
    return meter(f"{parent}:{name}", "ACMeasurement", **{OWN + "disaggregated": {"type": "Property", "value": True}})


def by_key(entity: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {value["key"]: value for value in entity["values"]}


def test_compact_names_units_and_times() -> None:
    entity = compact(
        {
            "id": "urn:ngsi-ld:AirQualityObserved:school:class-2b",
            "type": [AIR + "AirQualityObserved"],
            "createdAt": AT,
            AIR + "co2": prop(812, "59"),
            AIR + "relativeHumidity": prop(0.473),
            OWN + "description": {"type": "Property", "value": "Classroom 2b"},
            OWN + "location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [4.9, 52.4]}},
            AIR + "dateObserved": {"type": "Property", "value": {"@type": "DateTime", "@value": AT}},
        }
    )
    assert (entity["kind"], entity["site"], entity["name"], entity["place"]) == (
        "air",
        "school",
        "class-2b",
        "Classroom 2b",
    )
    assert entity["at"] == AT_MS
    values = by_key(entity)
    assert set(values) == {"co2", "relativeHumidity"}
    assert (values["co2"]["value"], values["co2"]["unit"], values["co2"]["label"]) == (812, "ppm", "CO₂")
    assert (values["relativeHumidity"]["value"], values["relativeHumidity"]["unit"]) == (47.3, "%")


def test_compact_takes_phases_apart_and_keeps_quality() -> None:
    doubt = {
        OWN + "quality": {"type": "Property", "value": "suspect"},
        OWN + "qualityReason": {"type": "Property", "value": "jump"},
    }
    values = by_key(meter("main", **{ENERGY + "phaseVoltage": prop({"L2": 229.0, "L1": 231.5}, "VLT", **doubt)}))
    assert values["phaseVoltage.L1"]["label"] == "Voltage L1"
    assert values["phaseVoltage.L2"]["value"] == 229.0
    assert (values["phaseVoltage.L1"]["quality"], values["phaseVoltage.L1"]["reason"]) == ("suspect", "jump")
    assert values["totalActivePower"]["quality"] == "good"


def test_compact_takes_the_default_instance() -> None:
    entity = meter("main", **{ENERGY + "totalActivePower": [prop(1, "WTT", datasetId="urn:x:raw"), prop(2, "WTT")]})
    assert by_key(entity)["totalActivePower"]["value"] == 2


def test_unknown_things_are_shown_under_their_own_name() -> None:
    entity = compact({"id": "urn:ngsi-ld:Tree:1", "type": [OWN + "Tree"], OWN + "trunkGirth": prop(3.1, "XYZ")})
    value = by_key(entity)["trunkGirth"]
    assert (entity["kind"], value["label"], value["unit"]) == ("other", "Trunk girth", "XYZ")


@pytest.mark.parametrize(
    ("entity_id", "expected"),
    [
        ("urn:ngsi-ld:ACMeasurement:s:main:kettle", ("s", "kettle", "main")),
        ("urn:ngsi-ld:ACMeasurement:s:main", ("s", "main", None)),
        ("https://example.org/thing", ("", "//example.org/thing", None)),
    ],
)
def test_identity(entity_id: str, expected: tuple[str, str, str | None]) -> None:
    found = identity(entity_id)
    assert (found.site, found.name, found.parent) == expected


def test_short() -> None:
    assert short("https://smartdatamodels.org/dataModel.Energy/current") == "current"
    assert short("https://example.org/terms#co2") == "co2"


def test_every_unit_of_the_thresholds_is_there() -> None:
    light = settings()["light"]
    assert [c.get("below", c.get("upto")) for c in light["classes"]] == [1000, 2000, None]
    assert all(len(entry) == 2 for entry in load("console.json")["units"].values())


def test_the_divided_meter_is_the_one_with_appliances() -> None:
    entities = [meter("grid-meter"), meter("main"), appliance("main", "kettle"), appliance("main", "other")]
    circuit = find_circuit(entities, "school")
    assert circuit is not None
    assert circuit.meter["name"] == "main"
    assert [a["name"] for a in circuit.appliances] == ["kettle"]


def test_without_appliances_the_grid_meter_is_shown() -> None:
    circuit = find_circuit([meter("a", "ACMeasurement"), meter("b"), meter("grid-meter")], "school")
    assert circuit is not None
    assert circuit.meter["name"] == "grid-meter"
    assert find_circuit([meter("a")], "elsewhere") is None


@given(st.integers(-5, 10_000), st.one_of(st.none(), st.integers(-(10**15), 3 * 10**12)))
def test_grid_is_bounded_and_aligned(minutes: int, since_ms: int | None) -> None:
    now_ms = AT_MS
    grid = Grid.of(minutes, since_ms, now_ms)
    assert 1 <= grid.count <= POINTS_MAX
    assert grid.first_ms % grid.step_ms == 0
    last = grid.first_ms + (grid.count - 1) * grid.step_ms
    assert last <= now_ms < last + grid.step_ms


@given(st.lists(st.tuples(st.integers(-200_000, 700_000), st.floats(-1e5, 1e5)), max_size=60))
def test_resample_never_invents(raw: list[tuple[int, float]]) -> None:
    series = sorted(raw)
    grid = Grid(0, 60, 10_000)
    for bucket, value in enumerate(resample(series, grid)):
        start = bucket * grid.step_ms
        near = [v for at, v in series if start - HOLD_MS <= at < start + grid.step_ms]
        assert (value is None) == (not near)
        if value is not None:
            assert min(near) - 0.1 <= value <= max(near) + 0.1


def test_power_sums_up_to_the_total() -> None:
    circuit = Circuit(meter("main"), (appliance("main", "fridge"), appliance("main", "kettle")))
    grid = Grid(0, 6, 10_000)
    total = [(at, 2400.0) for at in range(0, 35_000, 1000)]
    answer = power(circuit, grid, total, [[(1000, 100.0)], [(0, 0.0), (12_000, 2500.0)]])
    assert answer["total"] == [2400.0, 2400.0, 2400.0, 2400.0, None, None]
    assert answer["bands"][1]["watts"][:2] == [0.0, 2500.0]
    assert answer["other"] == [2300.0, 0.0, 0.0, 0.0, None, None]


def test_trend_keeps_the_end_and_the_mean() -> None:
    series = [(at, float(at)) for at in range(1000)]
    found = trend(series, 100)
    assert len(found) == 100
    assert found[-1][0] == 999
    assert math.isclose(sum(value for _, value in found) / 100, 499.5)


def test_assets_are_small_and_of_known_types() -> None:
    table = assets()
    assert {"index.html", "main.js", "console.css", "lamp.svg"} <= set(table)
    assert sum(len(asset.packed) for asset in table.values()) < 40_000
    assert table["main.js"].media_type == "text/javascript; charset=utf-8"
    for name, asset in table.items():
        assert b"//cdn" not in asset.body
        assert b" style=" not in asset.body, f"{name}: the policy forbids inline styles"
