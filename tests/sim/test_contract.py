"""The built-in drivers keep the published contract, each against its simulated device."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiocoap.error
import pytest

from drivers import registry, template
from drivers.base import Bus, Driver
from drivers.buses import serial_asked
from drivers.template import Template
from firmware_sim.devices import air
from firmware_sim.devices.asked import Mhz19
from firmware_sim.devices.coap import Pusher, Sensor, as_cbor, records
from firmware_sim.devices.http_air import AirGradient
from firmware_sim.devices.mbus import Identity, MBusMeter, water_records
from firmware_sim.line import Line, PtyPort
from firmware_sim.modbus import READ_INPUT, Slave, Unit
from firmware_sim.modbus_tcp import TcpHost
from firmware_sim.mqtt import Broker, Published, Publisher
from firmware_sim.uart import Parity
from gateway.testing import Condition, Kept, Provoke, check_bus, check_driver

JUNK = b"\x00\xff\x42" * 11
CO2 = {0: 0, 1: 0, 2: 0, 3: 612}


def both(
    settings: dict[str, Any], name: str, address: Any, period: float | None = None
) -> Callable[[], tuple[Bus, Driver]]:
    def make() -> tuple[Bus, Driver]:
        bus = registry.make_bus("b", settings)
        driver = registry.make_driver(template.load(name), bus, address, period, {})
        driver.silence_s = min(driver.silence_s, 0.5)
        return bus, driver

    return make


@asynccontextmanager
async def wire(folder: Path, baud: int, parity: Parity = "none") -> AsyncIterator[tuple[Line, str]]:
    line = Line("contract", baud, parity)
    port = PtyPort(line, folder / "port")
    port.plug()
    try:
        yield line, str(folder / "port")
    finally:
        port.unplug()
        line.close()


@asynccontextmanager
async def speaking(say: Callable[[Condition], Awaitable[None]], every_s: float = 0.02) -> AsyncIterator[Provoke]:
    """Somebody who speaks by himself, as he is told to be."""
    now: list[Condition] = ["well"]

    async def talk() -> None:
        while True:
            if now[0] != "silent":
                await say(now[0])
            await asyncio.sleep(every_s)

    async def be(condition: Condition) -> None:
        now[0] = condition
        await asyncio.sleep(2 * every_s)  # what is on its way arrives

    task = asyncio.create_task(talk())
    try:
        yield be
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def unit_be(unit: Unit) -> Provoke:
    answer = unit.answer

    async def be(condition: Condition) -> None:
        unit.silent = condition == "silent"
        unit.answer = answer if condition != "garbage" else lambda _request: JUNK  # type: ignore[method-assign]

    return be


def is_kept(kept: Kept, points: int) -> None:
    assert kept.observations > 20
    assert kept.points >= points, kept


async def test_modbus_rtu(tmp_path: Path) -> None:
    async with wire(tmp_path, 115_200) as (line, port):
        slave = Slave(line, 9, {READ_INPUT: lambda: CO2}, turnaround_s=0.002)
        settings = {"type": "modbus-rtu", "port": port, "baud": 115_200, "timeout": 0.05, "late": 0.05}
        make = both(settings, "senseair-s8", 9, 1.0)
        is_kept(await check_driver(make, provoke=unit_be(slave)), 7)
        await check_bus(lambda: make()[0])


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
async def test_modbus_tcp(framing: Any) -> None:
    unit = Unit({READ_INPUT: lambda: CO2})
    async with TcpHost({9: unit}, framing).listening() as host:
        settings = {"type": "modbus-tcp", "host": "127.0.0.1", "port": host.port, "framing": framing, "timeout": 0.1}
        make = both({**settings, "late": 0.05}, "senseair-s8", 9, 1.0)
        is_kept(await check_driver(make, provoke=unit_be(unit)), 7)
        await check_bus(lambda: make()[0])


async def test_serial_stream(tmp_path: Path) -> None:
    async with wire(tmp_path, 115_200) as (line, port):
        station = Slave(line, 250, {}, turnaround_s=0)  # any station can speak
        good = air.pms5003((4.0, 7.0, 11.0))

        async def say(condition: Condition) -> None:
            line.send(station, good if condition == "well" else JUNK)

        make = both({"type": "serial", "port": port, "baud": 115_200}, "plantower-pms5003", None)
        async with speaking(say) as be:
            is_kept(await check_driver(make, provoke=be), 7)
        await check_bus(lambda: make()[0])


async def test_serial_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_asked, "ANSWER_S", 0.3)
    monkeypatch.setattr(serial_asked, "LATE_S", 0.05)
    async with wire(tmp_path, 9600) as (line, port):
        sensor = Mhz19(line, lambda: 640.0)
        answer = sensor.take

        async def be(condition: Condition) -> None:
            sensor.silent = condition == "silent"
            sensor.take = answer if condition != "garbage" else lambda: JUNK if answer() else None  # type: ignore[method-assign]

        make = both({"type": "serial", "port": port, "baud": 9600}, "winsen-mh-z19b", None, 1.0)
        is_kept(await check_driver(make, provoke=be), 7)


async def test_mbus(tmp_path: Path) -> None:
    async with wire(tmp_path, 19_200, "even") as (line, port):
        who = Identity("12345678", "KAM", 8, 4)
        meter = MBusMeter(line, 5, who, lambda: [water_records(561_080)], thinks_s=0.002)
        answer = meter._answer

        async def be(condition: Condition) -> None:
            meter.silent = condition == "silent"
            meter._answer = answer if condition != "garbage" else lambda frame: JUNK if answer(frame) else b""  # type: ignore[method-assign]

        known = Template("m", "meter", "Lamppost", "M", "mbus", "Device", "manual")
        settings = {"type": "mbus", "port": port, "baud": 19_200, "timeout": 0.05}

        def make() -> tuple[Bus, Driver]:
            bus = registry.make_bus("b", settings)
            return bus, registry.make_driver(known, bus, "12345678", 1.0, {})  # it is selected, then asked

        is_kept(await check_driver(make, provoke=be), 7)
        await check_bus(lambda: make()[0])


async def test_mqtt(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    await broker.up()
    known = template.load("shelly-pro-3em")
    payload = [known.frames[0].answer]

    def messages(_number: int) -> list[tuple[str, bytes]]:
        return [("meter/status/em:0", one) for one in payload]

    publisher = Publisher(Published("meter", messages, period_s=0.03), broker.port)
    running = asyncio.create_task(publisher.run())

    async def be(condition: Condition) -> None:
        publisher.silent = condition == "silent"
        payload[:] = [b'{"id":0,' if condition == "garbage" else known.frames[0].answer]
        await asyncio.sleep(0.1)

    try:
        make = both({"type": "mqtt", "host": "127.0.0.1", "port": broker.port}, "shelly-pro-3em", "meter")
        is_kept(await check_driver(make, provoke=be), 7)
        await check_bus(lambda: make()[0])
    finally:
        running.cancel()
        await asyncio.wait([running])
        await broker.close()


async def test_coap_asked() -> None:
    sensor = Sensor({"co2": (612, "ppm")})
    await sensor.up()

    async def be(condition: Condition) -> None:
        sensor.deaf, sensor.spoilt = condition == "silent", JUNK if condition == "garbage" else b""

    make = both({"type": "coap", "timeout": 0.3}, "coap-senml-air", f"coap://127.0.0.1:{sensor.port}/still", 0.01)
    is_kept(await check_driver(make, provoke=be), 7)
    await sensor.down()


async def test_coap_pushed() -> None:
    pusher = Pusher()
    await pusher.up()
    with socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def say(condition: Condition) -> None:
        body = as_cbor(records({"co2": (612, "ppm")})) if condition == "well" else JUNK
        with contextlib.suppress(TimeoutError, aiocoap.error.NetworkError):
            async with asyncio.timeout(0.05):
                await pusher.push(f"coap://127.0.0.1:{port}/push/mast", body)

    make = both({"type": "coap", "listen": {"host": "127.0.0.1", "port": port}}, "coap-senml-air", "mast")
    async with speaking(say) as be:
        is_kept(await check_driver(make, provoke=be), 7)
    await check_bus(lambda: make()[0])
    await pusher.down()


async def test_http_asked() -> None:
    monitor = AirGradient(air.Air)
    await monitor.up()
    measures = monitor.measures

    async def be(condition: Condition) -> None:
        monitor.silent = condition == "silent"
        monitor.measures = measures if condition != "garbage" else lambda: {"rco2": "x"}  # type: ignore[method-assign]

    make = both({"type": "http", "timeout": 0.2}, "airgradient-one", monitor.url, 1.0)
    is_kept(await check_driver(make, provoke=be), 7)
    await check_bus(lambda: make()[0])
    await monitor.close()
