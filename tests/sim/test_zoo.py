"""The bus zoo: devices of many makers at the true speed of their lines, read with the configuration that follows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import yaml

from drivers import registry, template
from drivers.base import Observation
from firmware_sim.scenario import gateway_config, load
from firmware_sim.simulator import Simulator
from gateway.config.schema import Config


async def test_the_zoo_is_read_with_the_configuration_made_from_it(tmp_path: Path) -> None:
    zoo = load("bus-zoo")
    simulator = Simulator(zoo, tmp_path, loads="model")
    async with simulator.alive():
        text = gateway_config(zoo, tmp_path, "http://x", mqtt_port=0, tcp_ports=simulator.about()["tcp_ports"])
        config = Config.model_validate(yaml.safe_load(text))
        found = await asyncio.gather(*(read_bus(config, bus) for bus in config.buses))
        counts = await simulator.counts()
    observed = {name: observation for part in found for name, observation in part.items()}
    alive = {name for name, spec in zoo.devices.items() if not spec.silent}
    assert set(observed) == alive
    for name in alive:
        points = template.load(zoo.devices[name].model).points
        assert {m.quantity for m in observed[name].measurements} == {point.quantity for point in points}, name
    assert all(counts[name] > 0 for name in alive)
    assert counts["spare"] == 0


async def read_bus(config: Config, bus: str) -> dict[str, Observation]:
    """One observation of each device that is not silent."""
    opened = registry.make_bus(bus, config.buses[bus].model_dump())
    observed = {}
    for name, device in config.devices.items():
        if device.bus == bus and name != "spare":
            known = template.load(device.template)
            driver = registry.make_driver(known, opened, device.address, device.period, device.driver_options)
            (observed[name],) = await driver.read()
    await opened.close()
    return observed
