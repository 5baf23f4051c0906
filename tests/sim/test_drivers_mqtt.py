"""The MQTT bus against a real mosquitto: messages, broker restarts, refusals, floods."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from drivers import registry, template
from drivers.base import Frame
from drivers.buses.mqtt import MqttBus
from drivers.buses.mqtt_login import Session
from drivers.errors import BadFrame, Disconnected, DriverError, NoPort, Timeout
from firmware_sim.mqtt import Broker

SHELLY = template.load("shelly-pro-3em")
EM = SHELLY.frames[0].answer
EMDATA = SHELLY.frames[1].answer
PREFIX = "site/shellypro3em-1"


class Site:
    """A broker, a publisher, and the bus under test."""

    def __init__(self, folder: Path) -> None:
        self.broker = Broker(folder)
        self.sender = Client(CallbackAPIVersion.VERSION2, client_id="sender")
        self.bus: Any = None
        self.driver: Any = None

    async def up(self) -> None:
        await self.broker.up()
        self.bus = registry.make_bus("b", {"type": "mqtt", "host": "127.0.0.1", "port": self.broker.port})
        self.driver = registry.make_driver(SHELLY, self.bus, PREFIX, None, {})
        self.driver.silence_s = 0.05
        with pytest.raises(Timeout):
            await self.driver.read()
        self.driver.silence_s = 5.0
        self.sender.reconnect_delay_set(1, 1)
        self.sender.connect("127.0.0.1", self.broker.port)
        self.sender.loop_start()

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.sender.publish(f"{PREFIX}/{topic}", payload, qos=1, retain=retain).wait_for_publish(5)

    async def close(self) -> None:
        await self.driver.close()
        await self.bus.close()
        self.sender.disconnect()
        self.sender.loop_stop()
        await self.broker.close()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    await made.up()
    yield made
    await made.close()


async def take(driver: Any, count: int) -> list[Any]:
    got: list[Any] = []
    async with asyncio.timeout(10):
        while len(got) < count:
            got += await driver.read()
    return got


async def test_status_is_taken_once_though_it_is_published_twice(site: Site) -> None:
    site.say("status/em:0", EM)
    site.say("events/rpc", b'{"method":"NotifyStatus","params":{"em:0":' + EM + b"}}")
    site.say("status/sys", b"{}")
    site.say("status/emdata:0", EMDATA)
    (said,) = await take(site.driver, 1)
    expected = {**SHELLY.frames[0].expect, **SHELLY.frames[1].expect}
    assert {m.quantity: m.value for m in said.measurements} == pytest.approx(expected)
    site.driver.silence_s = 0.3
    with pytest.raises(Timeout):
        await site.driver.read()


async def test_what_was_retained_is_not_passed_off_as_new(site: Site) -> None:
    site.say("status/em:0", EM, retain=True)
    await take(site.driver, 1)
    late = registry.make_driver(SHELLY, site.bus, PREFIX, None, {})
    await site.driver.close()
    late.silence_s = 0.3
    with pytest.raises(Timeout):
        await late.read()
    await late.close()


async def test_damaged_messages_are_counted(site: Site) -> None:
    site.say("status/em:0", b"{")
    site.say("status/em:0", EM)
    assert len(await take(site.driver, 1)) == 1
    assert site.driver.bad_frames == 1
    site.driver.silence_s = 0.4
    reading = asyncio.create_task(site.driver.read())
    await asyncio.sleep(0.02)
    site.say("status/em:0", b"[]")
    with pytest.raises(BadFrame):
        await reading


async def test_a_session_that_is_begun_anew_hears_again(site: Site) -> None:
    site.say("status/em:0", EM)
    time.sleep(0.1)  # paho's thread has handed over, and the loop has not looked yet
    await site.bus.close()
    site.driver.silence_s = 0.3
    with pytest.raises(Timeout):  # subscribed again, and nothing is said
        await site.driver.read()
    site.driver.silence_s = 2.0
    site.say("status/em:0", EM)
    await take(site.driver, 1)


async def test_broker_restarts(site: Site) -> None:
    reading = asyncio.create_task(site.driver.read())
    await asyncio.sleep(0.05)
    await site.broker.down()
    with pytest.raises(Disconnected):
        async with asyncio.timeout(5):
            await reading
    with pytest.raises(Disconnected):  # at once, as long as it is away
        async with asyncio.timeout(2):
            await site.driver.read()
    await site.broker.up()
    async with asyncio.timeout(15):
        while True:
            if site.sender.is_connected():
                site.say("status/em:0", EM)
            try:
                site.driver.silence_s = 0.5
                assert await site.driver.read()
                return
            except DriverError:
                await asyncio.sleep(0.2)


async def test_broker_that_is_not_there_and_comes_later(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    await broker.up()
    await broker.down()
    bus: Any = registry.make_bus("b", {"type": "mqtt", "port": broker.port})
    with pytest.raises(NoPort, match="cannot be reached"):
        await bus.open()
    await broker.up()
    async with asyncio.timeout(15):
        while True:
            try:
                await bus.open()
                break
            except NoPort:
                await asyncio.sleep(0.2)
    await bus.close()
    await bus.close()
    await broker.close()


async def test_flood_is_bounded_and_counted(site: Site) -> None:
    for _ in range(800):
        site.sender.publish(f"{PREFIX}/status/em:0", EM)
    site.say("status/em:0", EM)
    await asyncio.sleep(0.3)
    got = await site.driver.read()
    assert len(got) == 64
    assert site.driver.dropped + site.bus.dropped >= 800 - 64


async def test_many_devices_share_the_session_and_the_tap_sees_all(site: Site) -> None:
    seen: list[Frame] = []
    site.bus.tap = seen.append
    other: Any = registry.make_driver(SHELLY, site.bus, "other", None, {})
    reading = asyncio.create_task(other.read())
    await asyncio.sleep(0.2)
    site.sender.publish("other/status/em:0", EM)
    site.say("status/em:0", EM)
    assert len(await reading) == 1
    assert len(await take(site.driver, 1)) == 1
    assert {frame.data.split(b"\0")[0] for frame in seen} == {b"other/status/em:0", f"{PREFIX}/status/em:0".encode()}
    await other.close()


async def test_close_ends_pahos_thread(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    await broker.up()
    before = threading.active_count()
    bus: Any = registry.make_bus("b", {"type": "mqtt", "port": broker.port})
    await bus.open()
    assert threading.active_count() == before + 1
    await bus.close()
    async with asyncio.timeout(5):
        while threading.active_count() > before:
            await asyncio.sleep(0.02)
    await broker.close()


@pytest.mark.parametrize("interface", ["lo", "nowhere0"])
async def test_a_session_over_one_interface_and_a_known_address(site: Site, interface: str) -> None:
    session = Session("broker.test", site.broker.port, interface=interface, address="127.0.0.1")
    bus = MqttBus("bound", session)
    try:
        if interface == "lo":
            await bus.open()
        else:
            with pytest.raises(NoPort, match="there is no interface nowhere0"):
                await bus.open()
    finally:
        await bus.close()
