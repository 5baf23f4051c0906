"""From the configuration to what pipeline and mapping must know of each device."""

from __future__ import annotations

from drivers import template
from gateway.config.schema import Config
from gateway.mapping.mapper import GATEWAY, Profile
from gateway.mapping.tables import MODELS
from gateway.pipeline.stages import Correction


def profiles(config: Config, version: str) -> dict[str, Profile]:
    """A profile a device, and one for the gateway itself. Raises template.TemplateError for an unknown template."""
    site = config.site.location
    made = {}
    controlled = set()
    for name, device in config.devices.items():
        model = template.load(device.template).data_model
        place = device.location or site
        made[name] = Profile(model, place.latitude, place.longitude, device.place)
        controlled.add(MODELS[model].controlled_property)
    constant = {"controlledProperty": sorted(controlled) or ["power"], "softwareVersion": version}
    made[GATEWAY] = Profile("Device", site.latitude, site.longitude, config.site.name, constant)
    return made


def corrections(config: Config) -> dict[str, dict[str, Correction]]:
    """The calibration of each device by quantity."""
    return {
        name: {quantity: Correction(c.scale, c.offset) for quantity, c in device.calibration.items()}
        for name, device in config.devices.items()
    }
