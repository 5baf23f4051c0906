"""Serial ports with a device that speaks by itself, on real pseudo-terminals at true speed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from drivers import registry, template
from drivers.base import Frame
from drivers.buses.serial_port import list_ports
from drivers.buses.serial_stream import SerialBus, StreamDriver
from drivers.codecs import p1
from drivers.errors import BadFrame, Disconnected, Misconfigured, NoPort, Timeout
from firmware_sim.line import Line, PtyPort

TELEGRAM = template.load("dsmr-p1-v5").frames[0].answer
DUST = template.load("plantower-pms5003").frames[0].answer


def telegram(second: int) -> bytes:
    body = TELEGRAM[: TELEGRAM.rindex(b"!") + 1].replace(b"260714153007S", f"2607141530{second:02d}S".encode())
    return body + f"{p1.crc16(body):04X}\r\n".encode()


class Talker:
    """A line whose far end says what a test tells it to say."""

    echoes = False

    def __init__(self, folder: Path, name: str, baud: int) -> None:
        self.line = Line("talk", baud)
        self.port = PtyPort(self.line, folder / "port")
        self.port.plug()
        self.line.attach(self)
        settings = {"type": "serial", "port": str(folder / "port"), "baud": baud}
        self.bus: Any = registry.make_bus("b", settings)
        self.driver: Any = registry.make_driver(template.load(name), self.bus, None, None, {})
        assert isinstance(self.bus, SerialBus)
        assert isinstance(self.driver, StreamDriver)

    def heard(self, data: bytes) -> None: ...

    def quiet(self) -> None: ...

    def say(self, data: bytes) -> None:
        self.line.send(self, data)

    async def close(self) -> None:
        await self.driver.close()
        await self.bus.close()
        self.port.unplug()
        self.line.close()


@pytest.fixture
async def meter(tmp_path: Path) -> AsyncIterator[Talker]:
    made = Talker(tmp_path, "dsmr-p1-v5", 115_200)
    await made.bus.open()
    yield made
    await made.close()


@pytest.fixture
async def sensor(tmp_path: Path) -> AsyncIterator[Talker]:
    made = Talker(tmp_path, "plantower-pms5003", 9600)
    await made.bus.open()
    yield made
    await made.close()


async def test_telegram_carries_the_meters_time_and_its_arrival(meter: Talker) -> None:
    reading = asyncio.create_task(meter.driver.read())
    await asyncio.sleep(0.05)
    begun = time.monotonic_ns()
    meter.say(telegram(7))
    (observation,) = await reading
    assert observation.device_ns == int(datetime(2026, 7, 14, 13, 30, 7, tzinfo=UTC).timestamp()) * 10**9
    wire_ns = len(TELEGRAM) * 10 * 10**9 // 115_200
    assert begun + wire_ns * 0.9 < observation.mono_ns <= time.monotonic_ns()
    assert {m.quantity: m.value for m in observation.measurements}["active_power_total"] == -1214.0


async def test_two_telegrams_of_one_second_never_get_one_date(meter: Talker) -> None:
    meter.say(telegram(7) + telegram(7) + telegram(8))
    got: list[int | None] = []
    while len(got) < 3:
        got += [observation.device_ns for observation in await meter.driver.read()]
    assert got[0] is not None
    assert got[1:] == [None, got[0] + 10**9]


async def test_frames_wait_for_the_reader_with_their_own_time(sensor: Talker) -> None:
    with pytest.raises(Timeout):
        sensor.driver.silence_s = 0.05
        await sensor.driver.read()
    for _ in range(2):
        sensor.say(DUST)
        await asyncio.sleep(0.15)
    first, second = await sensor.driver.read()
    assert second.mono_ns - first.mono_ns > 10**8
    assert [(m.quantity, m.value) for m in first.measurements][:3] == [("pm1", 11), ("pm25", 18), ("pm10", 22)]


async def test_backlog_is_bounded_and_counted(sensor: Talker) -> None:
    sensor.driver.silence_s = 0.02
    with pytest.raises(Timeout):
        await sensor.driver.read()
    for _ in range(70):
        sensor.driver._hear(DUST, time.monotonic_ns())
    assert len(await sensor.driver.read()) == 64
    assert sensor.driver.dropped == 6


async def test_nothing_but_damage_is_a_bad_frame_and_one_bad_one_is_only_counted(sensor: Talker) -> None:
    sensor.driver.silence_s = 0.3
    bad = DUST[:-1] + bytes([DUST[-1] ^ 1])
    reading = asyncio.create_task(sensor.driver.read())
    await asyncio.sleep(0.02)
    sensor.say(bad)
    with pytest.raises(BadFrame, match="nothing but damaged"):
        await reading
    sensor.say(bad + DUST)
    assert len(await sensor.driver.read()) == 1
    assert sensor.driver.bad_frames == 2


async def test_noise_of_three_in_a_thousand(meter: Talker) -> None:
    meter.line.noise = 0.0003  # of a telegram of some 600 bytes, one in six is hit
    meter.say(b"".join(telegram(second) for second in range(20)))
    meter.driver.silence_s = 0.5
    dates: list[int] = []
    while True:
        try:
            dates += [observation.device_ns for observation in await meter.driver.read()]
        except (Timeout, BadFrame):
            break
    assert dates == sorted(set(dates))
    assert 8 <= len(dates) <= 20


async def test_unplugged_and_plugged_again(sensor: Talker) -> None:
    reading = asyncio.create_task(sensor.driver.read())
    await asyncio.sleep(0.05)
    sensor.port.unplug()
    with pytest.raises(Disconnected):
        async with asyncio.timeout(3):
            await reading
    with pytest.raises(NoPort):
        await sensor.driver.read()
    sensor.port.plug()
    reading = asyncio.create_task(sensor.driver.read())
    await asyncio.sleep(0.05)
    sensor.say(DUST)
    async with asyncio.timeout(3):
        assert len(await reading) == 1


async def test_two_devices_cannot_share_a_port(sensor: Talker) -> None:
    sensor.driver.silence_s = 0.02
    with pytest.raises(Timeout):
        await sensor.driver.read()
    other = registry.make_driver(template.load("plantower-pms5003"), sensor.bus, None, None, {})
    with pytest.raises(Misconfigured, match="share"):
        await other.read()
    await sensor.driver.close()
    sensor.say(DUST)
    assert len(await other.read()) == 1


async def test_tap_sees_the_bytes(sensor: Talker) -> None:
    seen: list[Frame] = []
    sensor.bus.tap = seen.append
    sensor.say(DUST)
    await sensor.driver.read()
    assert b"".join(frame.data for frame in seen) == DUST
    assert {frame.direction for frame in seen} == {"rx"}


async def test_period_leaves_frames_out(tmp_path: Path) -> None:
    bus = SerialBus("b", None)  # type: ignore[arg-type]
    driver: Any = registry.make_driver(template.load("plantower-pms5003"), bus, None, 10.0, {})
    assert driver.period_s is None
    for second in range(21):
        driver._hear(DUST, 10**12 + second * 10**9)
    assert len(driver._mailbox._waiting) == 3


def test_ports_are_listed_under_names_that_stay(tmp_path: Path) -> None:
    (tmp_path / "serial/by-id").mkdir(parents=True)
    (tmp_path / "serial/by-path").mkdir()
    (tmp_path / "ttyUSB0").symlink_to("/dev/null")
    (tmp_path / "ttyACM0").symlink_to("/dev/zero")
    (tmp_path / "ttyS0").write_text("no terminal")
    (tmp_path / "serial/by-id/usb-maker-1").symlink_to("../../ttyUSB0")
    (tmp_path / "serial/by-path/pci-1").symlink_to("../../ttyUSB0")
    found = {Path(port.path).name: port.device for port in list_ports(tmp_path)}
    assert found == {"usb-maker-1": "/dev/null", "ttyACM0": "/dev/zero"}
