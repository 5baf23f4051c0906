"""The scenario of the utilities' meters: the gateway's own configuration of it reads every one of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import yaml

from drivers import registry, template
from firmware_sim import scenario
from firmware_sim.simulator import Simulator

SHOWN = {
    "house": "gas_volume_total",
    "flat-1": "frequency",
    "flat-2": "energy_import_total",
    "lift": "current_l3",
    "heating": "heat_energy_total",
    "cold-water": "water_volume_total",
    "heat-pump": "active_power_l2",
}


async def test_every_meter_is_read_with_the_gateways_configuration(tmp_path: Path) -> None:
    room = scenario.load("utility-room")
    config = yaml.safe_load(scenario.gateway_config(room, tmp_path, "http://127.0.0.1:1", mqtt_port=1))
    async with Simulator(room, tmp_path, loads="model").alive():
        buses = {name: registry.make_bus(name, settings) for name, settings in config["buses"].items()}

        async def read(name: str, device: dict[str, Any]) -> set[str]:
            model = template.load(device["template"])
            driver = registry.make_driver(model, buses[device["bus"]], device.get("address"), None, model.options)
            try:
                async with asyncio.timeout(20):
                    observations = await driver.read()
            finally:
                await driver.close()
            return {m.quantity for m in observations[-1].measurements}

        found = await asyncio.gather(*(read(name, device) for name, device in config["devices"].items()))
        for bus in buses.values():
            await bus.close()
    for name, quantities in zip(config["devices"], found, strict=True):
        assert SHOWN[name] in quantities
