"""Readings become entities of Smart Data Models, validated against our schemas and the published ones where at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from drivers.base import Position, Quality, Reading, Reason
from drivers.quantities import QUANTITIES
from gateway.mapping.mapper import GATEWAY, Mapper, Profile, count_readings, entity_id, iso
from gateway.mapping.tables import MODELS

AT = 1_793_000_000_123_456_000
SHARED = Path(__file__).parents[3] / "../shared/data/sdm"
PUBLISHED = {
    "ThreePhaseAcMeasurement": "dataModel.Energy/ThreePhaseAcMeasurement/schema.json",
    "ACMeasurement": "dataModel.Energy/ACMeasurement/schema.json",
    "AirQualityObserved": "dataModel.Environment/AirQualityObserved/schema.json",
    "Device": "dataModel.Device/Device/schema.json",
    "TrafficFlowObserved": "dataModel.Transportation/TrafficFlowObserved/schema.json",
}
PROFILES = {
    "main": Profile("ThreePhaseAcMeasurement", 52.1, 5.1, "Main board"),
    "kitchen": Profile("ACMeasurement", 52.1, 5.1),
    "class": Profile("AirQualityObserved", 52.1, 5.1, "Room 3"),
    "bike": Profile("CyclingMeasurement", 52.1, 5.1),
    "loop": Profile("TrafficFlowObserved", 52.1, 5.1),
    GATEWAY: Profile("Device", 52.1, 5.1, "", {"controlledProperty": ["electricityConsumption"]}),
}
ELECTRIC = ["active_power_total", "active_power_l1", "active_power_l2", "active_power_l3", "voltage_l1", "voltage_l2"]
ELECTRIC += ["reactive_energy_import_l1", "reactive_energy_import_total", "energy_export_l3", "thd_voltage_l2"]
ELECTRIC += ["current_l1", "current_n", "frequency", "energy_import_total", "energy_export_total", "power_factor_total"]
AIR = ["co2", "pm1", "pm25", "pm4", "pm10", "co", "voc_ppb", "temperature", "relative_humidity", "pressure"]
AIR += ["battery_voltage"]
GATEWAY_SAYS = ["outbox_depth", "outbox_age", "devices_up", "readings_made"]
SAID = {
    "main": ELECTRIC,
    "kitchen": ELECTRIC[:1] + ELECTRIC[12:],
    "class": AIR,
    "bike": ["speed"],
    "loop": ["bicycle_count_in", "bicycle_count_out", "speed", "supply_voltage"],
    GATEWAY: GATEWAY_SAYS,
}


def reading(device: str, quantity: str, value: Any = 1.0, at: int = AT, **more: Any) -> Reading:
    return Reading(device, quantity, value, QUANTITIES[quantity].unit, at, **more)


def key_values(entity: dict[str, Any]) -> dict[str, Any]:
    plain = {}
    for name, member in entity.items():
        value = member["value"] if isinstance(member, dict) else member
        plain[name] = value["@value"] if isinstance(value, dict) and "@value" in value else value
    return {name: value for name, value in plain.items() if name != "@context"}


def entity_of(device: str) -> dict[str, Any]:
    made: list[dict[str, Any]] = Mapper("town-hall", PROFILES).entities([reading(device, q) for q in SAID[device]])
    assert len(made) == 1
    return made[0]


@pytest.mark.parametrize("device", list(PROFILES))
def test_entity_fits_our_own_schema(device: str) -> None:
    schema = json.loads((Path(__file__).parent / "schemas.json").read_text())
    entity = entity_of(device)
    Draft202012Validator(schema[entity["type"]]).validate(key_values(entity))


@pytest.mark.parametrize("device", [name for name, profile in PROFILES.items() if profile.data_model in PUBLISHED])
@pytest.mark.skipif(not SHARED.exists(), reason="the published schemas are not at hand")
def test_entity_fits_the_published_schema(device: str) -> None:
    def fetch(uri: str) -> Resource[Any]:
        return Resource.from_contents(json.loads((SHARED / by_name[uri.rsplit("/", 1)[1]]).read_text()))

    by_name = {path.name: path.relative_to(SHARED) for path in SHARED.rglob("*-schema.json")}
    entity = entity_of(device)
    schema = json.loads((SHARED / PUBLISHED[entity["type"]]).read_text())
    Draft202012Validator(schema, registry=Registry(retrieve=fetch)).validate(key_values(entity))


def test_our_schema_refuses_what_is_wrong() -> None:
    schema = json.loads((Path(__file__).parent / "schemas.json").read_text())
    wrong = key_values(entity_of("class")) | {"relativeHumidity": 55}
    assert not Draft202012Validator(schema["AirQualityObserved"]).is_valid(wrong)


def test_phases_share_one_attribute() -> None:
    entity = entity_of("main")
    assert entity["activePower"]["value"] == {"L1": 1.0, "L2": 1.0, "L3": 1.0}
    assert entity["activePower"]["unitCode"] == "WTT"
    assert entity["current"]["value"] == {"L1": 1.0, "N": 1.0}
    assert entity["totalActivePower"]["observedAt"] == iso(AT) == "2026-10-26T07:33:20.123456Z"


def test_humidity_is_a_share_and_unknown_terms_keep_their_name() -> None:
    entity = entity_of("class")
    assert entity["relativeHumidity"]["value"] == 0.01
    assert entity["batteryVoltage"] == {"type": "Property", "value": 1.0, "observedAt": iso(AT), "unitCode": "VLT"}


def test_quality_rides_on_the_attribute() -> None:
    bad = reading("class", "co2", 17410.0, quality=Quality.BAD, reason=Reason.RANGE)
    entity: dict[str, Any] = Mapper("s", PROFILES).entities([bad])[0]
    assert entity["co2"]["quality"]["value"] == "bad"
    assert entity["co2"]["qualityReason"]["value"] == "range"


def test_appliance_inherits_place_and_constants_ride_once() -> None:
    readings = [reading("main/kettle", "active_power_total", 2000.0, AT + i * 10**9) for i in range(3)]
    entities: list[dict[str, Any]] = Mapper("s", PROFILES).entities(readings)
    assert [e["id"] for e in entities] == ["urn:ngsi-ld:ACMeasurement:s:main:kettle"] * 3
    assert entities[0]["applianceType"]["value"] == "kettle"
    assert [("name" in e) for e in entities] == [True, False, False]


def test_a_run_is_an_event_of_its_appliance() -> None:
    said = {"run_started": "2026-01-01T00:00:00.000000Z", "run_energy": 0.066, "confidence": 0.9, "provisional": False}
    readings = [reading("main/kettle/run", name, value) for name, value in said.items()]
    entity: dict[str, Any] = Mapper("s", PROFILES).entities(readings)[0]
    assert (entity["id"], entity["type"]) == ("urn:ngsi-ld:ApplianceRun:s:main:kettle:run", "ApplianceRun")
    assert entity["refDevice"] == {"type": "Relationship", "object": "urn:ngsi-ld:ACMeasurement:s:main:kettle"}
    assert entity["applianceType"]["value"] == "kettle"
    start, energy, sure, still = said.values()
    whole = {"startedAt": start, "energy": energy, "confidence": sure, "provisional": still}
    assert entity["run"] == {"type": "Property", "value": whole, "observedAt": iso(AT)}
    assert count_readings(entity) == 4


def test_removed_device_still_goes_out() -> None:
    entity: dict[str, Any] = Mapper("s", PROFILES).entities([reading("gone", "co2", 500.0)])[0]
    assert entity["id"] == entity_id("s", "gone", "Device")


def test_position_becomes_a_geoproperty() -> None:
    value = Reading("bike", "position", Position(52.0, 5.0), "", AT)
    entity: dict[str, Any] = Mapper("s", PROFILES).entities([value])[0]
    where = {"type": "Point", "coordinates": [5.0, 52.0]}
    assert entity["location"] == {"type": "GeoProperty", "value": where, "observedAt": iso(AT)}
    assert count_readings(entity) == 1


def test_place_of_the_site_is_not_claimed_for_what_moves() -> None:
    at_site, moving = (Profile("Device", 52.1, 5.1, moves=moves) for moves in (False, True))
    mapper = Mapper("s", {"fixed": at_site, "van": moving})
    fixed, van = (mapper.entities([reading(name, "satellites", 0)])[0] for name in ("fixed", "van"))
    assert "location" in fixed
    assert "location" not in van


known = st.sampled_from(sorted(QUANTITIES))
lists = st.lists(st.tuples(st.sampled_from(sorted(PROFILES)), known, st.integers(0, 5)), max_size=60)


@given(lists)
def test_no_reading_is_lost_or_doubled(triples: list[tuple[str, str, int]]) -> None:
    distinct = sorted(set(triples), key=lambda t: (t[0], t[2]))
    readings = [reading(device, quantity, 1.0, AT + second * 10**9) for device, quantity, second in distinct]
    entities = Mapper("s", PROFILES).entities(readings)
    assert sum(count_readings(entity) for entity in entities) == len(readings)


def test_every_target_has_a_unit_code_and_context_known_offline() -> None:
    index = json.loads((Path(__file__).parents[3] / "gateway/mapping/contexts/index.json").read_text())
    for model in MODELS.values():
        if model.context not in index:
            assert "ngsi-ld-core-context" in model.context
            continue
        terms = json.loads((Path(__file__).parents[3] / "gateway/mapping/contexts" / index[model.context]).read_text())
        for place in model.targets.values():
            assert place.unit_code
            assert place.attribute in terms["@context"], place.attribute
