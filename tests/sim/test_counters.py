"""Counters from the wire to the reading: a simulated loop counter that wraps, restarts and is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drivers import template
from drivers.base import Quality, Reading, Reason
from drivers.buses.modbus_device import ModbusDriver
from drivers.buses.modbus_rtu import ModbusRtuBus
from drivers.buses.serial_port import PortSettings
from firmware_sim.devices.loop import MODULUS, LoopCounter
from firmware_sim.line import Line, PtyPort
from firmware_sim.modbus import READ_INPUT, Slave
from gateway.clock import Source
from gateway.config.schema import Config
from gateway.edge.profiles import counter_rules
from gateway.pipeline.counters import Counters, parse
from gateway.pipeline.stages import Pipeline

UNIT, BAUD = 3, 19_200
NOW_NS = 1_793_000_000 * 10**9


class KnownTime:
    """UTC is known from the start."""

    boot_id = "boot"
    source: Source = "configured"

    def mono_ns(self) -> int:
        return 0

    def utc_ns(self, mono_ns: int) -> int | None:
        return NOW_NS + mono_ns


class Track:
    """A cycle track, its counter on a line, and the way to the readings. ``passed`` is what really went by."""

    def __init__(self, folder: Path, begin: tuple[int, int]) -> None:
        self.passed = [0, 0]
        self.begin = begin
        self.device = LoopCounter(lambda: (self.passed[0], self.passed[1]), begin)
        self.line = Line("loops", BAUD)
        self.port = PtyPort(self.line, folder / "port")
        self.port.plug()
        self.slave = Slave(self.line, UNIT, {READ_INPUT: self._registers}, turnaround_s=0.001)
        self.bus = ModbusRtuBus("loops", PortSettings(str(folder / "port"), BAUD), 0.3)
        known = template.load("loop-counter-modbus")
        self.driver = ModbusDriver(self.bus, known, UNIT, 1.0)
        self.counters = Counters()
        self.start_pipeline()

    def _registers(self) -> dict[int, int]:
        return dict(self.device.registers())

    def start_pipeline(self) -> None:
        """The gateway begins a life, with what it remembers of the one before."""
        self.counters = Counters(parse(self.counters.save()))
        config = {
            "site": {"id": "s", "location": {"latitude": 52, "longitude": 5}},
            "buses": {"loops": {"type": "modbus-rtu", "port": "/dev/serial/by-id/x"}},
            "devices": {"loop": {"template": "loop-counter-modbus", "bus": "loops", "address": UNIT}},
        }
        self.counters.learn(counter_rules(Config.model_validate(config)), ())
        self.pipeline = Pipeline(KnownTime(), {}, self.counters)

    async def read(self) -> Reading:
        """The count of one direction, as it would be sent."""
        async with asyncio.timeout(10):
            (observation,) = await self.driver.read()
        readings = {one.quantity: one for one in self.pipeline.process("loop", observation)}
        assert readings["supply_voltage"].value == pytest.approx(12.41)
        return readings["bicycle_count_in"]

    async def close(self) -> None:
        await self.driver.close()
        await self.bus.close()
        self.port.unplug()
        self.line.close()


@pytest.fixture
async def track(tmp_path: Path) -> AsyncIterator[Track]:
    made = Track(tmp_path, (MODULUS - 5, 40))
    yield made
    await made.close()


async def test_a_wrap_of_32_bits_is_read_as_one_step(track: Track) -> None:
    values = []
    for _ in range(6):
        reading = await track.read()
        assert reading.quality is Quality.GOOD
        values.append(reading.value)
        track.passed[0] += 2
    assert values == [MODULUS - 5 + 2 * step for step in range(6)]


async def test_a_restart_is_flagged_once_and_nothing_jumps(track: Track) -> None:
    track.device = LoopCounter(lambda: (track.passed[0], track.passed[1]), (70_000, 40))
    assert (await track.read()).value == 70_000
    track.passed[0] += 3
    assert (await track.read()).value == 70_003
    track.device.restart()
    track.passed[0] += 2
    flagged = await track.read()
    assert (flagged.value, flagged.quality, flagged.reason) == (2, Quality.SUSPECT, Reason.JUMP)
    track.passed[0] += 1
    after = await track.read()
    assert (after.value, after.quality) == (70_006, Quality.GOOD)
    assert track.counters.offsets("loop") == {"bicycle_count_in": 70_003, "bicycle_count_out": 40}
    track.start_pipeline()
    track.passed[0] += 1
    assert ((await track.read()).value) == 70_007


async def test_a_counter_that_was_replaced_goes_on(track: Track) -> None:
    track.device = LoopCounter(lambda: (track.passed[0], track.passed[1]), (70_000, 40))
    for _ in range(2):
        await track.read()
        track.passed[0] += 1
    track.device = LoopCounter(lambda: (track.passed[0], track.passed[1]), (3_000_000, 12))
    qualities = []
    for _ in range(4):
        reading = await track.read()
        qualities.append(reading.quality)
        track.passed[0] += 1
    assert qualities == [Quality.BAD, Quality.BAD, Quality.SUSPECT, Quality.GOOD]
    assert reading.value == 70_004  # one step fewer than really passed: the change took a poll to be seen
