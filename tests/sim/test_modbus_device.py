"""A device on a real line as its driver sees it: what it refuses, where it is slow, silent, late, or behind an echo."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from drivers import template
from drivers.base import Frame
from drivers.buses.modbus_device import ModbusDriver
from drivers.buses.modbus_poll import Timing
from drivers.buses.modbus_rtu import ModbusRtuBus
from drivers.buses.serial_port import PortSettings
from drivers.errors import BadFrame, DriverError, Refused, Timeout
from drivers.planner import Block
from drivers.template import Point
from firmware_sim import line as line_module
from firmware_sim.line import Line, PtyPort
from firmware_sim.modbus import READ_HOLDING, READ_INPUT, Slave

BAUD = 38_400
NAMES = [f"{what}_l{phase}" for what in ("voltage", "current", "active_power", "power_factor") for phase in (1, 2, 3)]
GAUGES = tuple(Point(name, at, READ_INPUT, "u16") for at, name in enumerate(NAMES))
ENERGY = Point("energy_import_total", 200, READ_INPUT, "u16")
COUNTING = dict(enumerate(range(1000, 1300)))


class Wire:
    """A line with a port and a bus that uses it; ``frames`` are those that the bus showed."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.line = Line("test", BAUD)
        self.port = PtyPort(self.line, folder / "port")
        self.port.plug()
        port = PortSettings(str(folder / "port"), BAUD, rs485=settings.pop("rs485", False))
        self.bus = ModbusRtuBus("b", port, **{"timeout_s": 0.5, "late_s": 0.6, **settings})
        self.frames: list[Frame] = []
        self.bus.tap = self.frames.append

    def slave(self, table: Callable[[], dict[int, int]], unit: int = 1, function: int = READ_INPUT) -> Slave:
        return Slave(self.line, unit, {function: table}, turnaround_s=0.001)

    def driver(self, *points: Point, period_s: float = 1.0, **limits: Any) -> ModbusDriver:
        made = dataclasses.replace(template.load("peacefair-pzem-004t-v3"), points=points, registers_max=125, **limits)
        return ModbusDriver(self.bus, made, 1, period_s)

    def asked(self) -> list[tuple[int, int]]:
        """(address, count) of the requests since the last call."""
        sent = [f.data for f in self.frames if f.direction == "tx"]
        self.frames.clear()
        return [(int.from_bytes(data[2:4], "big"), int.from_bytes(data[4:6], "big")) for data in sent]

    async def close(self) -> None:
        await self.bus.close()
        self.port.unplug()
        self.line.close()


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    made = Wire(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[Wire]:
    """Where answers are meant to come too late, and some more that do are no harm."""
    made = Wire(tmp_path, timeout_s=0.1, late_s=0.15)
    yield made
    await made.close()


async def values(driver: ModbusDriver) -> dict[str, Any]:
    (observation,) = await driver.read()
    return {m.quantity: m.value for m in observation.measurements}


async def test_refused_point_is_found_named_and_left_alone(wire: Wire) -> None:
    lacking = {a: v for a, v in COUNTING.items() if a != 7}
    wire.slave(lambda: lacking)
    driver = wire.driver(*GAUGES)
    assert await values(driver) == {name: 1000 + at for at, name in enumerate(NAMES) if at != 7}
    assert isinstance(driver.lacking, Refused)
    assert "active_power_l2 (function 4, 0x0007)" in str(driver.lacking)
    wire.asked()
    assert len(await values(driver)) == 11
    assert wire.asked() == [(0, 7), (8, 4)]


async def test_device_that_gives_fewer_registers_at_once(wire: Wire) -> None:
    Slave(wire.line, 1, {READ_INPUT: lambda: COUNTING}, turnaround_s=0.001, count_max=8)
    driver = wire.driver(*GAUGES)
    assert len(await values(driver)) == 12
    assert driver.lacking is None
    wire.asked()
    assert len(await values(driver)) == 12
    assert wire.asked() == [(0, 6), (6, 6)]


async def test_function_that_the_device_does_not_have(wire: Wire) -> None:
    wire.slave(lambda: COUNTING)
    holding = Point("frequency", 0, READ_HOLDING, "u16")
    driver = wire.driver(*GAUGES, holding)
    assert "frequency" not in await values(driver)
    assert "frequency (function 3, 0x0000)" in str(driver.lacking)


async def test_device_that_refuses_everything_and_gives_it_later(wire: Wire) -> None:
    table: dict[int, int] = {}
    wire.slave(lambda: table)
    driver = wire.driver(*GAUGES)
    for _ in range(2):
        with pytest.raises(Refused, match="refuses every point"):
            await driver.read()
    wire.asked()
    with pytest.raises(Refused):
        await driver.read()
    assert wire.asked() == [(0, 1)]  # one register tells as much as all of them
    table.update(COUNTING)
    assert len(await values(driver)) == 12


async def test_silent_device_is_asked_for_one_register_until_it_answers(wire: Wire) -> None:
    slave = wire.slave(lambda: COUNTING)
    driver = wire.driver(*GAUGES)
    await driver.read()
    slave.silent = True
    wire.asked()
    for _ in range(3):
        with pytest.raises(Timeout):
            await driver.read()
    assert wire.asked() == [(0, 12), (0, 1), (0, 1)]
    slave.silent = False
    assert len(await values(driver)) == 12
    assert wire.asked() == [(0, 1), (0, 12)]


async def test_slow_class_that_is_silent_costs_the_fast_one_nothing(wire: Wire) -> None:
    """Some devices say nothing where they have nothing; the fast points go on, and the slow ones are put off."""
    slave = wire.slave(lambda: COUNTING)
    hear = slave.quiet

    def deaf_to_energy() -> None:
        slave.silent = slave._frame[2:4] == bytes((0, ENERGY.address))
        hear()

    slave.quiet = deaf_to_energy  # type: ignore[method-assign]
    driver = wire.driver(*GAUGES, ENERGY)
    for _ in range(3):
        assert len(await values(driver)) == 12
    assert (ENERGY.address, 1) in wire.asked()
    assert len(await values(driver)) == 12
    assert wire.asked() == [(0, 12)]


async def test_late_beyond_all_patience_is_still_never_another_ones(hasty: Wire) -> None:
    """Later than `late`, to requests of one shape: units answer in order, and the guard asks for another first."""
    slave = hasty.slave(lambda: COUNTING)
    slave.faults.late_every, slave.faults.late_s = 4, 0.45
    right = 0
    for address in range(0, 40, 2):
        try:
            poll = await hasty.bus.read(1, (Block(READ_INPUT, address, 2, ()),))
        except (Timeout, BadFrame):
            continue
        assert poll.data[0] == (1000 + address).to_bytes(2, "big") + (1001 + address).to_bytes(2, "big")
        right += 1
    assert right >= 5


async def test_late_and_noisy(hasty: Wire) -> None:
    slave = hasty.slave(lambda: COUNTING)
    slave.faults.late_every, slave.faults.late_s, slave.faults.corrupt = 6, 0.13, 0.003
    right = 0
    for address in range(36):
        try:
            poll = await hasty.bus.read(1, (Block(READ_INPUT, address, 10, ()),))
        except (Timeout, BadFrame):
            continue
        assert int.from_bytes(poll.data[0][:2], "big") == 1000 + address
        right += 1
    assert right >= 15


async def test_gap_of_the_device_is_kept(wire: Wire) -> None:
    wire.slave(lambda: COUNTING)
    timing = Timing(gap_s=0.03)
    for _ in range(4):
        await wire.bus.read(1, (Block(READ_INPUT, 0, 2, ()),), timing=timing)
    for before, after in zip(wire.frames, wire.frames[1:], strict=False):
        if (before.direction, after.direction) == ("rx", "tx"):
            assert after.at_ns - before.at_ns >= 0.029e9


async def test_patience_of_the_device_goes_before_that_of_its_bus(hasty: Wire) -> None:
    hasty.slave(lambda: COUNTING).turnaround_s = 0.25
    block = Block(READ_INPUT, 0, 2, ())
    with pytest.raises(Timeout):
        await hasty.bus.read(1, (block,))
    await hasty.bus.read(1, (block,), timing=Timing(timeout_s=5.0))


async def test_adapter_that_holds_bytes_back(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """An FTDI chip hands over what it has every 16 ms: a frame comes in clumps with silence between."""
    monkeypatch.setattr(line_module, "GROUP_S", 0.016)
    wire.slave(lambda: COUNTING)
    for _ in range(5):
        poll = await wire.bus.read(1, (Block(READ_INPUT, 0, 100, ()),))
        assert len(poll.data[0]) == 200


async def test_echo_is_noticed_and_told_once(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lamppost.drivers")
    wire.line.echo = True
    wire.slave(lambda: COUNTING)
    for _ in range(5):
        await wire.bus.read(1, (Block(READ_INPUT, 0, 10, ()),))
    assert [record.getMessage() for record in caplog.records] == [
        "bus b: the adapter hears what it sends; `echo: true` would say so"
    ]


async def test_port_that_cannot_switch_direction_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(tmp_path, rs485=True)
    wire.slave(lambda: COUNTING)
    for _ in range(2):
        assert len((await wire.bus.read(1, (Block(READ_INPUT, 0, 10, ()),))).data[0]) == 20
        wire.bus._drop()
    assert len([record for record in caplog.records if "cannot switch the direction" in record.getMessage()]) == 1
    await wire.close()


async def test_earliest_deadline_is_asked_first(wire: Wire) -> None:
    """While one request is on its way the others wait; the most urgent goes next, whoever came first."""
    for unit in (1, 2, 3):
        wire.slave(lambda: COUNTING, unit)
    loop = asyncio.get_running_loop()
    now, order = loop.time(), []

    async def one(unit: int, deadline: float) -> None:
        await wire.bus.read(unit, (Block(READ_INPUT, 0, 2, ()),), deadline=deadline)
        order.append(unit)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one(1, now + 100))
        await asyncio.sleep(0)
        tasks.create_task(one(2, now + 60))
        tasks.create_task(one(3, now + 1))
    assert order == [1, 3, 2]


async def test_values_are_dated_when_the_device_looked(wire: Wire) -> None:
    """In the middle of its turn-around: the wire time of neither frame counts."""
    looked: list[int] = []
    loop = asyncio.get_running_loop()
    slave = wire.slave(lambda: (looked.append(int(loop.time() * 1e9)), COUNTING)[1])
    slave.turnaround_s = 0.02
    errors = []
    for _ in range(5):
        poll = await wire.bus.read(1, (Block(READ_INPUT, 0, 100, ()),))
        errors.append(abs(poll.at_mono_ns - looked[-1] - 10_000_000))
    assert min(errors) < 5_000_000  # of 80 ms that the exchange takes


async def test_options_of_the_device(wire: Wire) -> None:
    from drivers import registry

    known = template.load("peacefair-pzem-004t-v3")
    registry.make_driver(known, wire.bus, 1, 1.0, {"timeout": 0.2, "gap": 0.01, "late": 1})
    for wrong in ({"timeout": "soon"}, {"gap": -1}, {"late": True}, {"speed": 1}):
        with pytest.raises(DriverError):
            registry.make_driver(known, wire.bus, 1, 1.0, wrong)
