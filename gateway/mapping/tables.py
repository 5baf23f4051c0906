"""Which attribute of which data model a quantity becomes, with UN/CEFACT unit code and factor.

Attribute names and codes: Smart Data Models (smartdatamodels.org, CC BY 4.0), subjects Energy, Environment,
Transportation and Device.
A quantity without a row keeps its own name in camelCase, in the default context: nothing that was measured is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from drivers.quantities import PHASES, QUANTITIES

_SUBJECT = "https://raw.githubusercontent.com/smart-data-models/dataModel.{}/master/context.jsonld"
ENERGY = _SUBJECT.format("Energy")
ENVIRONMENT = _SUBJECT.format("Environment")
DEVICE = _SUBJECT.format("Device")
TRANSPORTATION = _SUBJECT.format("Transportation")
CORE = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.9.jsonld"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a quantity goes: ``key`` is a member of a structured value (phases), ``factor`` converts the unit."""

    attribute: str
    key: str | None
    unit_code: str
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class DataModel:
    """One entity type: its @context, where quantities go, and the members that never change."""

    type: str
    context: str
    targets: dict[str, Target]
    constant: dict[str, object]
    dated: bool = False
    controlled_property: str = ""


def _electric() -> dict[str, Target]:
    rows = {
        "active_power_total": Target("totalActivePower", None, "WTT"),
        "reactive_power_total": Target("totalReactivePower", None, "D44"),
        "apparent_power_total": Target("totalApparentPower", None, "D46"),
        "power_factor_total": Target("totalPowerFactor", None, "C62"),
        "energy_import_total": Target("totalActiveEnergyImport", None, "KWH"),
        "energy_export_total": Target("totalActiveEnergyExport", None, "KWH"),
        "reactive_energy_import_total": Target("totalReactiveEnergyImport", None, "K3"),
        "reactive_energy_export_total": Target("totalReactiveEnergyExport", None, "K3"),
        "frequency": Target("frequency", None, "HTZ"),
        "current_n": Target("current", "N", "AMP"),
    }
    phased = {
        "active_power": ("activePower", "WTT"),
        "reactive_power": ("reactivePower", "D44"),
        "apparent_power": ("apparentPower", "D46"),
        "power_factor": ("powerFactor", "C62"),
        "current": ("current", "AMP"),
        "voltage": ("phaseVoltage", "VLT"),
        "energy_import": ("activeEnergyImport", "KWH"),
        "energy_export": ("activeEnergyExport", "KWH"),
        "reactive_energy_import": ("reactiveEnergyImport", "K3"),
        "reactive_energy_export": ("reactiveEnergyExport", "K3"),
    }
    for stem, (attribute, code) in phased.items():
        rows |= {f"{stem}_{phase}": Target(attribute, phase.upper(), code) for phase in PHASES}
    for stem, attribute in (("thd_voltage", "thdVoltage"), ("thd_current", "thdCurrent")):
        rows |= {f"{stem}_{phase}": Target(attribute, phase.upper(), "C62", 0.01) for phase in PHASES}
    for pair in ("l12", "l23", "l31"):
        rows[f"voltage_{pair}"] = Target("phaseToPhaseVoltage", pair.upper(), "VLT")
    return rows


_AIR = {
    "co2": Target("co2", None, "59"),
    "pm1": Target("pm1", None, "GQ"),
    "pm25": Target("pm25", None, "GQ"),
    "pm4": Target("pm4", None, "GQ"),
    "pm10": Target("pm10", None, "GQ"),
    "co": Target("co", None, "59"),
    "no2": Target("no2", None, "61"),
    "o3": Target("o3", None, "61"),
    "voc_ppb": Target("volatileOrganicCompoundsTotal", None, "61"),
    "temperature": Target("temperature", None, "CEL"),
    "relative_humidity": Target("relativeHumidity", None, "C62", 0.01),
    "pressure": Target("pressure", None, "A97"),
    "battery_level": Target("batteryLevel", None, "C62", 0.01),
}

# `intensity` is the number of vehicles within a period: a count that goes on for ever keeps its own name
_TRAFFIC = {"speed": Target("averageVehicleSpeed", None, "KMH")}

# `run` says at the start of a run that it goes on, and at its end the whole of it
_RUN = {
    "run_started": Target("run", "startedAt", "C62"),
    "run_ended": Target("run", "endedAt", "C62"),
    "duration": Target("run", "duration", "C62"),
    "run_energy": Target("run", "energy", "C62"),
    "confidence": Target("run", "confidence", "C62"),
    "provisional": Target("run", "provisional", "C62"),
}

MODELS: dict[str, DataModel] = {
    model.type: model
    for model in (
        DataModel("ThreePhaseAcMeasurement", ENERGY, _electric(), {}, False, "electricityConsumption"),
        DataModel("ACMeasurement", ENERGY, _electric(), {"phaseType": "singlePhase"}, True, "electricityConsumption"),
        DataModel("AirQualityObserved", ENVIRONMENT, _AIR, {}, True, "airPollution"),
        DataModel("TrafficFlowObserved", TRANSPORTATION, _TRAFFIC, {"vehicleType": "bicycle"}, True, "trafficFlow"),
        DataModel("CyclingMeasurement", CORE, {}, {}, False, "motion"),
        DataModel("ApplianceRun", CORE, _RUN, {}),
        DataModel("Device", DEVICE, {}, {}, False, ""),
    )
}


# a device that says where it is: GeoProperty `location`, as all Smart Data Models have it
_EVERYWHERE = {"position": Target("location", None, "C62")}


@lru_cache(maxsize=4096)  # a server maps quantities of any name that gateways send
def target(model: str, quantity: str) -> Target:
    """The place of a quantity in a data model. Raises KeyError for a model that is not in MODELS."""
    found = MODELS[model].targets.get(quantity) or _EVERYWHERE.get(quantity)
    if found is not None:
        return found
    known = QUANTITIES.get(quantity)
    first, *rest = quantity.split("_")
    return Target(first + "".join(word.capitalize() for word in rest), None, known.code if known else "C62")
