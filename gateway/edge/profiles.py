"""From the configuration to what pipeline and mapping must know of each device."""

from __future__ import annotations

from drivers import template
from drivers.quantities import QUANTITIES
from gateway.config.schema import Config
from gateway.mapping.mapper import GATEWAY, Profile
from gateway.mapping.tables import MODELS
from gateway.pipeline.counters import Rule
from gateway.pipeline.stages import Correction

POSITION = "position"  # kind of templates of receivers that say where they are
# what a Device is for, by kind of template: terms of the Smart Data Model's ControlledPropertyType
_CONTROLLED = {
    POSITION: "location",
    "weather": "weatherConditions",
    "thermostat": "temperature",
    "heater": "temperature",
}


def profiles(config: Config, version: str) -> dict[str, Profile]:
    """A profile a device, and one for the gateway itself. Raises template.TemplateError for an unknown template."""
    site = config.site.location
    made = {}
    controlled = set()
    for name, device in config.devices.items():
        known = template.load(device.template)
        model, place = known.data_model, device.location or site
        own = MODELS[model].controlled_property or _CONTROLLED.get(known.kind, "power")
        constant: dict[str, object] = {"evidence": known.evidence}
        if model == "Device":
            constant["controlledProperty"] = [own]
        if model == "AirQualityObserved" and device.location_type is not None:
            constant["typeofLocation"] = device.location_type
        moves = known.kind == POSITION
        made[name] = Profile(model, place.latitude, place.longitude, device.place, constant, moves)
        controlled.add(own)
    about = {"controlledProperty": sorted(controlled) or ["power"], "softwareVersion": version}
    made[GATEWAY] = Profile("Device", site.latitude, site.longitude, config.site.name, about)
    return made


def corrections(config: Config) -> dict[str, dict[str, Correction]]:
    """The calibration of each device by quantity."""
    return {
        name: {quantity: Correction(c.scale, c.offset) for quantity, c in device.calibration.items()}
        for name, device in config.devices.items()
    }


def counter_rules(config: Config) -> dict[str, dict[str, Rule]]:
    """What the templates know of the counters of each device. Raises template.TemplateError for an unknown template.

    Where a register holds the scale, the modulus is not known beforehand.
    """
    return {
        name: {
            point.quantity: Rule(point.modulus if point.scale_register is None else None, point.max_rate)
            for point in template.load(device.template).points
            if QUANTITIES[point.quantity].kind == "counter"
        }
        for name, device in config.devices.items()
    }


def raw_counters(config: Config) -> set[str]:
    """Devices whose counters are delivered as they are said; the gateway's own among them, which are sums already."""
    return {GATEWAY, *(name for name, device in config.devices.items() if device.counters == "raw")}
