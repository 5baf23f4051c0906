"""Sparkplug B edge nodes through a real broker: births asked for, gaps, deaths, several devices of a node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from drivers import registry, template
from drivers.base import Bus, Driver
from drivers.buses import mqtt_sparkplug
from drivers.errors import BadFrame, Disconnected, Timeout
from firmware_sim.devices.sparkplug import EdgeNode, metric, payload
from firmware_sim.mqtt import Broker, Published, Publisher, SparkplugNode
from gateway.testing import Condition, check_driver
from tests.sim.mqtt_site import Site, site_at, take, values

NOW_MS = 1_700_000_000_000
METER: dict[str, Any] = {"Active Power": 640.5, "Voltage": 231.25, "Current": 2.75, "Energy": 410.25}
READ = {"active_power_total": 640.5, "voltage_l1": 231.25, "current_l1": 2.75, "energy_import_total": 410.25}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with site_at(tmp_path) as made:
        yield made


def edge() -> EdgeNode:
    return EdgeNode("plant", "edge", {"Active Power": 5.5}, {"a": dict(METER), "b": dict(METER)})


class Asked:
    """Counts the commands that reach the node."""

    def __init__(self, site: Site) -> None:
        self.count = 0
        self.last = b""
        site.sender.on_message = lambda _c, _u, message: self._add(bytes(message.payload))
        site.sender.subscribe("spBv1.0/plant/NCMD/edge")

    def _add(self, data: bytes) -> None:
        self.count += 1
        self.last = data


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.01)


async def test_a_node_that_was_there_before_us_is_asked_for_its_birth(site: Site) -> None:
    node = SparkplugNode("plant", "edge", "meter", lambda: dict(METER), site.broker.port)
    running = asyncio.create_task(node.run())
    await until(lambda: node.given >= 1)
    driver = await site.driver("sparkplug-meter", "plant/edge/meter")
    said = await take(driver, 1, 4)
    assert values(*said) == READ
    assert node.births >= 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    driver.silence_s = 2.0
    with pytest.raises(Disconnected, match="said goodbye"):
        while True:
            await driver.read()


async def test_data_follow_births_and_each_device_hears_its_own(site: Site) -> None:
    a = await site.driver("sparkplug-meter", "plant/edge/a")
    b = await site.driver("sparkplug-meter", "plant/edge/b")
    own = await site.driver("sparkplug-meter", "plant/edge")
    assert a.edge_node is b.edge_node is own.edge_node
    there = edge()
    for message in there.birth(NOW_MS):
        site.say(*message)
    for driver, expected in ((a, READ), (b, READ), (own, {"active_power_total": 5.5})):
        assert values(*await take(driver, 1)) == expected
    site.say(*there.data("b", {"Voltage": 232.5}, NOW_MS))
    assert values(*await take(b, 1)) == {"voltage_l1": 232.5}
    site.say(*there.death("a", NOW_MS))
    with pytest.raises(Disconnected, match="the device said goodbye"):
        await a.read()
    site.say(*there.data("b", {"Voltage": 233.5}, NOW_MS))
    assert values(*await take(b, 1)) == {"voltage_l1": 233.5}
    site.say(*there.will(NOW_MS))
    for driver in (a, b, own):
        with pytest.raises(Disconnected, match="the edge node said goodbye"):
            await driver.read()


async def test_after_a_gap_nothing_is_guessed_and_the_node_is_asked_seldom(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_sparkplug, "ASK_MIN_S", 0.4)
    asked = Asked(site)
    driver = await site.driver("sparkplug-meter", "plant/edge/a")
    await until(lambda: asked.count == 1)  # nobody knows yet whether the node is there
    there = edge()
    for message in there.birth(NOW_MS):
        site.say(*message)
    await take(driver, 1)
    there.data("a", {"Voltage": 1.0}, NOW_MS)  # lost on its way
    for number in range(20):
        site.say(*there.data("a", {"Voltage": 240.0 + number}, NOW_MS + number))
    driver.silence_s = 0.5
    with pytest.raises(Timeout):
        await driver.read()
    for number in range(20):
        site.say(*there.data("a", {"Voltage": 250.0 + number}, NOW_MS + number))
    await until(lambda: asked.count >= 2)
    assert asked.count <= 3
    assert b"Node Control/Rebirth" in asked.last
    for message in there.birth(NOW_MS + 99):
        site.say(*message)
    assert values(*await take(driver, 1))["voltage_l1"] == 269.0


async def test_a_node_is_not_asked_where_that_is_forbidden(site: Site) -> None:
    asked = Asked(site)
    driver = await site.driver("sparkplug-meter", "plant/edge/a", options={"rebirth": False})
    site.say(*edge().data("a", {"Voltage": 240.0}, NOW_MS))
    driver.silence_s = 0.3
    with pytest.raises(Timeout):
        await driver.read()
    assert asked.count == 0
    there = edge()
    for message in there.birth(NOW_MS):  # they come when the node likes
        site.say(*message)
    assert values(*await take(driver, 1)) == READ


async def test_history_is_dated_by_its_age_and_is_not_thinned(site: Site) -> None:
    driver = await site.driver("sparkplug-meter", "plant/edge/a", period=60)
    there = edge()
    for message in there.birth(NOW_MS):
        site.say(*message)
    (birth,) = await take(driver, 1)
    kept = [metric(100.0 + n, name="Active Power", at_ms=NOW_MS - 1000 * (3 - n), historical=True) for n in range(3)]
    site.say("spBv1.0/plant/DDATA/edge/a", payload(kept, NOW_MS, 3))
    old = await take(driver, 3)
    assert [values(one)["active_power_total"] for one in old] == [100.0, 101.0, 102.0]
    assert [one.mono_ns - old[0].mono_ns for one in old] == [0, 10**9, 2 * 10**9]
    assert old[0].mono_ns < birth.mono_ns


async def test_damaged_and_retained_messages(site: Site) -> None:
    for message in edge().birth(NOW_MS):
        site.say(*message, retain=True)
    driver = await site.driver("sparkplug-meter", "plant/edge/a")
    driver.silence_s = 0.3
    with pytest.raises(Timeout):  # a birth that was kept may be of another life
        await driver.read()
    reading = asyncio.create_task(driver.read())
    await asyncio.sleep(0.02)
    site.say("spBv1.0/plant/DDATA/edge/a", b'{"not":"protobuf"}')
    with pytest.raises(BadFrame):
        await reading
    assert driver.bad_frames == 1


async def test_after_the_session_was_lost_births_count_anew(site: Site) -> None:
    driver = await site.driver("sparkplug-meter", "plant/edge/a")
    there = edge()
    for message in there.birth(NOW_MS):
        site.say(*message)
    await take(driver, 1)
    await site.broker.down()
    with pytest.raises(Disconnected, match="was lost"):
        while True:
            await driver.read()
    assert not driver.edge_node.node.is_born


async def test_the_contract_of_drivers(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    await broker.up()
    now: list[Condition] = ["well"]
    there = edge()

    def messages(number: int) -> list[tuple[str, bytes]]:
        at_ms = NOW_MS + number
        data = [*there.birth(at_ms), there.data("a", {"Voltage": 240.0}, at_ms)]
        return data if now[0] == "well" else [(topic, b"{}") for topic, _ in data] if now[0] == "garbage" else []

    async def be(condition: Condition) -> None:
        now[0] = condition
        await asyncio.sleep(0.1)

    def make() -> tuple[Bus, Driver]:
        bus = registry.make_bus("b", {"type": "mqtt", "port": broker.port})
        driver = registry.make_driver(template.load("sparkplug-meter"), bus, "plant/edge/a", None, {})
        driver.silence_s = 0.6
        return bus, driver

    publisher = Publisher(Published("edge", messages, period_s=0.03), broker.port)
    running = asyncio.create_task(publisher.run())
    try:
        kept = await check_driver(make, provoke=be)
        assert kept.points >= 7
    finally:
        running.cancel()
        await asyncio.wait([running])
        await broker.close()
