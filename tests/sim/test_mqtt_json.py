"""Devices that publish readable messages, through a real broker: what is taken, what is not, and how often."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from drivers import registry, template
from drivers.base import passed_over
from drivers.errors import Disconnected, Timeout
from firmware_sim import scenario
from firmware_sim.devices import publishers, shelly, tasmota, zigbee
from firmware_sim.devices.air import Air
from firmware_sim.electricity import Snapshot
from firmware_sim.mqtt import Publisher
from firmware_sim.simulator import Simulator
from gateway.config.schema import Config
from tests.sim.mqtt_site import Site, site_at, take, values

SHOT = Snapshot(
    volts=(230.4, 231.1, 229.8),
    amps=(4.35, 0.5, 10.0),
    watts=(990.0, 110.0, 2250.0),
    vars=(120.0, 30.0, 200.0),
    import_kwh=(100.5, 200.25, 300.125),
    export_kwh=(1.0, 0.0, 0.0),
)
AIR = Air(812, (3.0, 5.0, 6.0), 22.4, 44.1, 1009.3)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with site_at(tmp_path) as made:
        yield made


async def told(site: Site, name: str, address: str, device: Any, **options: Any) -> dict[str, object]:
    """What the driver hears first from a simulated device."""
    driver = await site.driver(name, address, options=options)
    publishing = asyncio.create_task(Publisher(device, site.broker.port).run())
    try:
        return values(*await take(driver, 1))
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)


@pytest.mark.parametrize("name", ["shelly-pro-3em", "shelly-3em", "shelly-plug-s", "tasmota-energy-3p"])
async def test_simulated_meters_are_read(site: Site, name: str) -> None:
    address = "shellies/shellyem3-1" if name == "shelly-3em" else "meter-1"
    found = await told(site, name, address, publishers.meter(name, address, lambda: SHOT))
    if name == "shelly-plug-s":
        assert found["active_power_total"] == 990.0
        assert found["energy_import_total"] == 100.5
        assert found["relay_state"] == "on"
        return
    assert [found[f"active_power_l{phase}"] for phase in (1, 2, 3)] == [990, 110, 2250]
    assert [found[f"energy_import_l{phase}"] for phase in (1, 2, 3)] == [100.5, 200.25, 300.125]
    if name.startswith("shelly"):
        assert found["energy_import_total"] == pytest.approx(600.875)


async def test_a_round_of_a_first_generation_meter_is_one_observation(site: Site) -> None:
    driver = await site.driver("shelly-3em", "shellies/a")
    for topic, payload in shelly.first_generation("shellies/a", SHOT):
        site.sender.publish(topic, payload)
    (said,) = await take(driver, 1)
    assert len(said.measurements) == 3 * 6 + 1 + 2  # the relay, and the sums of both energies


@pytest.mark.parametrize("name", ["tasmota-air", "zigbee2mqtt-air", "zigbee2mqtt-climate"])
async def test_simulated_sensors_are_read(site: Site, name: str) -> None:
    address = "zigbee2mqtt/hall/box" if name.startswith("zigbee") else "box"
    found = await told(site, name, address, publishers.sensor(name, address, lambda: AIR))
    expected = {
        "tasmota-air": {"co2": 812, "pm25": 5, "temperature": 22.4, "relative_humidity": 44.1, "pressure": 1009.3},
        "zigbee2mqtt-air": {"co2": 812, "pm25": 5, "temperature": 22.4, "relative_humidity": 44.1},
        "zigbee2mqtt-climate": {"room_temperature": 22.4, "room_setpoint": 20.5, "battery_voltage": 2.99},
    }[name]
    assert expected.items() <= found.items()


async def test_a_chatterer_is_heard_once_a_period_and_the_last_word_counts(site: Site) -> None:
    driver = await site.driver("zigbee2mqtt-climate", "zigbee2mqtt/valve", period=0.5)
    for number in range(30):
        site.say("zigbee2mqtt/valve", zigbee.valve(20.0, number))
    first, last = await take(driver, 2)
    assert values(first)["heating_output"] == 0
    assert values(last)["heating_output"] == 29
    assert last.mono_ns > first.mono_ns
    assert passed_over(driver)["thinned"] == driver.thinned > 100
    driver.silence_s = 0.3
    with pytest.raises(Timeout):
        await driver.read()


async def test_a_device_that_left_is_told_at_once(site: Site) -> None:
    """Whether the broker says so now, or had kept it."""
    for name, address, topic, payload in (
        ("shelly-pro-3em", "s", "s/online", "false"),
        ("tasmota-air", "t", "tele/t/LWT", "Offline"),
        ("zigbee2mqtt-air", "zigbee2mqtt/z", "zigbee2mqtt/z/availability", '{"state": "offline"}'),
        ("zigbee2mqtt-air", "zigbee2mqtt/y", "zigbee2mqtt/y/availability", "offline"),
    ):
        driver = await site.driver(name, address)
        site.say(topic, payload, retain=True)
        with pytest.raises(Disconnected, match="went away"):
            await driver.read()
        await driver.close()
        with pytest.raises(Disconnected, match="went away"):
            await driver.read()
        await driver.close()


async def test_what_was_retained_is_of_unknown_age(site: Site) -> None:
    topics = {"zigbee2mqtt/a": zigbee.air(812, 5, 22.4, 44.1), "site/air": '{"co2":{"ppm":640}}'}
    for topic, payload in topics.items():
        site.say(topic, payload, retain=True)
    sensor = await site.driver("zigbee2mqtt-air", "zigbee2mqtt/a")
    box = await site.driver("mqtt-json-air", "site")
    for driver, topic, co2 in ((sensor, "zigbee2mqtt/a", 812), (box, "site/air", 640)):
        driver.silence_s = 0.2
        with pytest.raises(Timeout):
            await driver.read()
        driver.silence_s = 5.0
        site.say(topic, topics[topic])
        assert values(*await take(driver, 1))["co2"] == co2


async def test_json_by_template_at_several_topics(site: Site) -> None:
    driver = await site.driver("mqtt-json-air", "site/box-1")
    for frame in template.load("mqtt-json-air").frames:
        site.say(frame.topic, frame.answer)
    (said,) = await take(driver, 1)  # of one breath
    found = values(said)
    assert (found["co2"], found["opening"], found["battery_level"]) == (640, False, 87)


async def test_notifications_count_where_nothing_else_comes(site: Site) -> None:
    driver = await site.driver("shelly-pm-mini", "plug")
    partial = {"method": "NotifyStatus", "params": {"ts": 1.0, "switch:0": {"apower": 7.5}}}
    site.say("plug/events/rpc", json.dumps(partial))
    assert values(*await take(driver, 1)) == {"active_power_total": 7.5}
    site.say("plug/status/switch:0", '{"id":0,"apower":8.5}')
    site.say("plug/events/rpc", json.dumps(partial))
    assert values(*await take(driver, 1)) == {"active_power_total": 8.5}
    driver.silence_s = 0.3
    with pytest.raises(Timeout):
        await driver.read()


async def test_a_sleeper_wakes_says_all_and_leaves(site: Site) -> None:
    driver = await site.driver("shelly-ht", "ht")
    full = {"temperature:0": {"id": 0, "tC": 21.5}, "humidity:0": {"id": 0, "rh": 48}}
    site.say("ht/online", "true", retain=True)
    site.say("ht/events/rpc", json.dumps({"method": "NotifyFullStatus", "params": full}))
    site.say("ht/online", "false", retain=True)
    assert values(*await take(driver, 1)) == {"temperature": 21.5, "relative_humidity": 48}
    driver.silence_s = 0.3
    with pytest.raises(Timeout):
        await driver.read()


async def test_two_devices_share_a_prefix(site: Site) -> None:
    """The clamps of one meter."""
    first = await site.driver("shelly-em", "shellies/em")
    second = await site.driver("shelly-em", "shellies/em", options={"channel": 1})
    site.say("shellies/em/emeter/0/power", "10")
    site.say("shellies/em/emeter/1/power", "20")
    assert values(*await take(first, 1)) == {"active_power_total": 10}
    assert values(*await take(second, 1)) == {"active_power_total": 20}
    await first.close()
    site.say("shellies/em/emeter/1/power", "21")
    assert values(*await take(second, 1)) == {"active_power_total": 21}


SCENARIO = """
name: broker
site: {id: s, location: {latitude: 52, longitude: 4}}
devices:
  main: {model: shelly-pro-3em, bus: mqtt, address: pro}
  old: {model: shelly-3em, bus: mqtt, address: shellies/old}
  plug: {model: shelly-plug-s, bus: mqtt, address: plug, measures: [fridge]}
  behind: {model: tasmota-energy-3p, bus: mqtt, address: behind}
  plant: {model: sparkplug-meter, bus: mqtt, address: plant/edge/meter, measures: [fridge]}
  board: {model: tasmota-air, bus: mqtt, address: board}
  box: {model: zigbee2mqtt-air, bus: mqtt, address: zigbee2mqtt/box}
  valve: {model: zigbee2mqtt-climate, bus: mqtt, address: zigbee2mqtt/valve}
"""


async def test_a_scenario_may_have_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for period in ("SHELLY_1_PERIOD_S", "TASMOTA_PERIOD_S", "AIR_PERIOD_S"):
        monkeypatch.setattr(publishers, period, 0.5)
    (tmp_path / "broker.yaml").write_text(SCENARIO)
    simulator = Simulator(scenario.load(tmp_path / "broker.yaml"), tmp_path / "run", loads="model")
    async with simulator.alive():
        assert simulator.broker is not None
        text = scenario.gateway_config(
            simulator.scenario, tmp_path, "http://127.0.0.1:9", mqtt_port=simulator.broker.port
        )
        config = Config.model_validate(yaml.safe_load(text))
        bus = registry.make_bus("b", config.buses["mqtt"].model_dump())
        drivers = {
            name: registry.make_driver(template.load(device.template), bus, device.address, device.period, {})
            for name, device in config.devices.items()
        }
        said = await asyncio.gather(*(take(driver, 1, 15) for driver in drivers.values()))
        assert {name for name, seen in zip(drivers, said, strict=True) if len(values(*seen)) >= 3} == set(drivers)
        await asyncio.gather(*(driver.close() for driver in drivers.values()))
        await bus.close()
    assert set(await simulator.counts()) == set(config.devices)


async def test_scan_names_what_fits_and_lists_ties(site: Site) -> None:
    site.say("zigbee2mqtt/bridge/devices", json.dumps([{"friendly_name": "attic", "type": "EndDevice"}]), retain=True)
    site.say("zigbee2mqtt/hall/box", zigbee.air(812, 5, 22.4, 44.1), retain=True)
    site.say("tele/roof/meter/SENSOR", tasmota.energy(SHOT), retain=True)
    messages: list[tuple[str, str | bytes]] = [
        *shelly.first_generation("shellies/em3", SHOT),
        *shelly.messages("pro", SHOT, 0, 0.0),
        *shelly.statuses("office/plug", {"switch:0": shelly.plug(SHOT)}, 0.0),
        ("spBv1.0/plant/NDATA/edge", b"\x08\x01\x18\x01"),
        ("spBv1.0/plant/DDATA/edge/meter", b"\x08\x01\x18\x01"),
        ("spBv1.0/STATE/host", b"{}"),
        ("other/status/json", b'{"a":1}'),
        ("zigbee2mqtt/bridge/state", b'{"state":"online"}'),
        ("shellies/broken/emeter/0/power", b"\xff"),
    ]

    async def chatter() -> None:
        while True:
            for topic, payload in messages:
                site.sender.publish(topic, payload)
            await asyncio.sleep(0.1)

    chattering = asyncio.create_task(chatter())
    found = {one.address: one.could_be for one in await site.bus.scan(0.6)}
    chattering.cancel()
    assert found == {
        "zigbee2mqtt/attic": (),
        "zigbee2mqtt/hall/box": ("zigbee2mqtt-air",),
        "roof/meter": ("tasmota-energy-3p",),
        "shellies/em3": ("shelly-3em",),
        "pro": ("shelly-pro-3em",),
        "office/plug": ("shelly-plug-s", "shelly-pm-mini"),
        "plant/edge": ("sparkplug-meter",),
        "plant/edge/meter": ("sparkplug-meter",),
    }
