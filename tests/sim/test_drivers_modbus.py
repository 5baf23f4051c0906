"""The Modbus RTU bus on real pseudo-terminals: true wire time, noise, silence, late answers, unplugging, echo.

Time-outs are short and lines are fast here, so that the tests are quick; what is asserted are counts and values.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers import template
from drivers.base import Frame
from drivers.buses.modbus_device import ModbusDriver
from drivers.buses.modbus_rtu import ModbusRtuBus
from drivers.buses.serial_port import PortSettings
from drivers.errors import BadFrame, Disconnected, DriverError, NoPort, Refused, Timeout
from drivers.planner import Block
from firmware_sim.devices import air, meters
from firmware_sim.line import Line, PtyPort
from firmware_sim.modbus import READ_INPUT, Slave

BAUD = 19_200
QUICK_S = 0.1  # where some more answers that come too late are no harm
COUNTING = dict(enumerate(range(1000, 1200)))  # each register says which one it is


class Wire:
    """A line with a port, and a bus that uses it."""

    def __init__(self, folder: Path, *, baud: int = BAUD, timeout_s: float = 0.6, echo: bool = False) -> None:
        self.line = Line("test", baud)
        self.line.echo = echo
        self.port = PtyPort(self.line, folder / "port")
        self.port.plug()
        self.bus = ModbusRtuBus("b", PortSettings(str(folder / "port"), baud), timeout_s, late_s=0.2, echo=echo)

    def slave(self, unit: int, table: Callable[[], dict[int, int]], turnaround_s: float = 0.002) -> Slave:
        return Slave(self.line, unit, {READ_INPUT: table}, turnaround_s=turnaround_s)

    async def close(self) -> None:
        await self.bus.close()
        self.port.unplug()
        self.line.close()


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    made = Wire(tmp_path)
    yield made
    await made.close()


def block(address: int, count: int = 2) -> Block:
    return Block(4, address, count, ())


def words(data: bytes) -> list[int]:
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


async def tally(wire: Wire, unit: int, addresses: list[int], count: int = 2) -> tuple[int, int, int]:
    """Read each; how many were right, failed, and wrong."""
    right = failed = wrong = 0
    for address in addresses:
        try:
            poll = await wire.bus.read(unit, (block(address, count),))
        except (Timeout, BadFrame):
            failed += 1
            continue
        good = words(poll.data[0]) == [1000 + a for a in range(address, address + count)]
        right, wrong = right + good, wrong + (not good)
    return right, failed, wrong


async def test_template_reads_a_meter(wire: Wire) -> None:
    registers = dict.fromkeys(range(0x180), 0)
    registers.update(dict(zip((0x46, 0x47), (0x4247, 0xC000), strict=True)))
    wire.slave(7, lambda: registers)
    driver = ModbusDriver(wire.bus, template.load("eastron-sdm630"), 7, 1.0)
    (observation,) = await driver.read()
    values = {m.quantity: m.value for m in observation.measurements}
    assert values["frequency"] == 49.9375
    assert len(values) == len(template.load("eastron-sdm630").points)


async def test_sensors_read_as_the_simulator_means_them(wire: Wire) -> None:
    wire.slave(254, lambda: air.s8(812.3))
    pzem = dict(enumerate([2304, 4345, 0, 9871, 0, 54321, 2, 500, 99, 0]))
    wire.slave(2, lambda: pzem)
    (co2,) = await ModbusDriver(wire.bus, template.load("senseair-s8"), 254, 1.0).read()
    (power,) = await ModbusDriver(wire.bus, template.load("peacefair-pzem-004t-v3"), 2, 1.0).read()
    assert {m.quantity: m.value for m in co2.measurements}["co2"] == 812
    assert {m.quantity: m.value for m in power.measurements}["energy_import_total"] == 185.393
    assert meters.PZEM_COUNT_MAX == 10


async def test_device_with_holes_in_its_map_is_read_around_them(wire: Wire) -> None:
    sdm = template.load("eastron-sdm630")
    known = {a for p in sdm.points for a in range(p.address, p.address + p.count)}
    wire.slave(1, lambda: dict.fromkeys(known, 0))
    driver = ModbusDriver(wire.bus, sdm, 1, 1.0)
    (observation,) = await driver.read()
    assert len(observation.measurements) == len(sdm.points)
    assert driver.lacking is None
    carried = []
    for _ in range(4):
        before = wire.line.carried
        assert (await driver.read())[0].measurements
        carried.append(wire.line.carried - before)
    assert carried[-1] == carried[-2] == min(carried)  # what was learned holds


async def test_neighbours_share_the_line_without_mixing(wire: Wire) -> None:
    for unit in (1, 2, 3):
        wire.slave(unit, lambda unit=unit: {0: unit, 1: unit})  # type: ignore[misc]

    async def many(unit: int) -> set[int]:
        return {w for _ in range(10) for w in words((await wire.bus.read(unit, (block(0),))).data[0])}

    assert await asyncio.gather(many(1), many(2), many(3)) == [{1}, {2}, {3}]


@pytest.mark.parametrize("late_s", [0.13, 0.19, 0.26])
async def test_late_answer_is_never_taken_for_the_next_one(wire: Wire, late_s: float) -> None:
    """Every third answer comes after the time-out of 0.1 s: lost, but no register ever gets another one's value."""
    wire.bus.timeout_s = QUICK_S
    slave = wire.slave(1, lambda: COUNTING)
    said = 0
    speak = slave._speak

    def sometimes_late(frame: bytes) -> None:
        nonlocal said
        said += 1
        if said % 3:
            speak(frame)
        else:
            asyncio.get_running_loop().call_later(late_s, speak, frame)

    slave._speak = sometimes_late  # type: ignore[method-assign]
    wire.slave(2, lambda: COUNTING)
    (right, failed, wrong), (right_2, _, wrong_2) = await asyncio.gather(
        tally(wire, 1, list(range(9))), tally(wire, 2, list(range(60, 90)))
    )
    assert (wrong, wrong_2) == (0, 0)
    assert failed >= 2
    assert right >= 5
    assert right_2 >= 25  # the neighbour goes on meanwhile; a late answer may collide with its own


async def test_silent_unit_costs_its_neighbour_little_once_known(wire: Wire) -> None:
    wire.bus.timeout_s = QUICK_S
    slave = wire.slave(9, lambda: COUNTING)
    wire.slave(1, lambda: COUNTING)
    await wire.bus.read(9, (block(0),))
    slave.silent = True
    carried = wire.line.carried
    for _ in range(2):
        with pytest.raises(Timeout):
            await wire.bus.read(9, (block(0),))
    assert wire.line.carried - carried == 16  # no retry: one request of 8 bytes each
    assert (await tally(wire, 1, list(range(20))))[0] == 20
    slave.silent = False
    assert words((await wire.bus.read(9, (block(0),))).data[0]) == [1000, 1001]


async def test_unit_that_became_slow_is_found_again(wire: Wire) -> None:
    wire.bus.timeout_s = QUICK_S
    slave = wire.slave(1, lambda: COUNTING)
    wire.bus.timeout_s = 0.3
    await wire.bus.read(1, (block(0),))
    slave.turnaround_s = 0.2  # four times what is usual is far less
    slave.silent = True
    with pytest.raises(Timeout):
        await wire.bus.read(1, (block(0),))
    slave.silent = False
    for _ in range(5):
        try:
            await wire.bus.read(1, (block(0),))
        except DriverError:
            continue
        return
    pytest.fail("never waited long enough again")


async def test_noise_never_makes_a_wrong_value(wire: Wire) -> None:
    wire.bus.timeout_s = QUICK_S
    wire.slave(1, lambda: COUNTING)
    wire.line.noise = 0.003
    right, failed, wrong = await tally(wire, 1, list(range(60)), count=20)
    assert wrong == 0
    assert right >= 45
    assert right + failed == 60


async def test_lost_bytes_never_make_a_wrong_value(wire: Wire) -> None:
    wire.bus.timeout_s = QUICK_S
    wire.slave(1, lambda: COUNTING)
    wire.line.loss = 0.003
    right, _, wrong = await tally(wire, 1, list(range(30)), count=20)
    assert wrong == 0
    assert right >= 20


async def test_glitches_around_the_answer(wire: Wire) -> None:
    slave = wire.slave(1, lambda: COUNTING)
    speak = slave._speak
    slave._speak = lambda frame: speak(b"\0" + frame + b"\0")  # type: ignore[method-assign]
    assert await tally(wire, 1, list(range(10))) == (10, 0, 0)


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
async def test_echo(tmp_path: Path, told: bool) -> None:
    wire = Wire(tmp_path, echo=True)
    wire.bus._echo = told
    wire.slave(1, lambda: COUNTING, turnaround_s=0.03)
    try:
        assert await tally(wire, 1, list(range(10)), count=1) == (10, 0, 0)
        with pytest.raises(Timeout):
            await wire.bus.read(2, (block(0),))
    finally:
        await wire.close()


async def test_exception_is_told_and_not_repeated(wire: Wire) -> None:
    wire.slave(1, lambda: {0: 1})
    seen: list[Frame] = []
    wire.bus.tap = seen.append
    with pytest.raises(Refused, match="exception 2, illegal data address"):
        await wire.bus.read(1, (block(50),))
    assert [frame.direction for frame in seen].count("tx") == 1
    assert b"".join(frame.data for frame in seen if frame.direction == "rx")[:3] == b"\x01\x84\x02"


async def test_unplugged_and_plugged_again(wire: Wire) -> None:
    wire.slave(1, lambda: COUNTING)
    assert await tally(wire, 1, [0]) == (1, 0, 0)
    wire.port.unplug()
    with pytest.raises(Disconnected):
        await wire.bus.read(1, (block(0),))
    with pytest.raises(NoPort, match="is not there"):
        await wire.bus.read(1, (block(0),))
    wire.port.plug()
    assert (await tally(wire, 1, [5, 6]))[2] == 0
    assert await tally(wire, 1, [5, 6]) == (2, 0, 0)


async def test_unplugged_while_waiting_for_an_answer(wire: Wire) -> None:
    wire.bus.timeout_s = 5.0
    reading = asyncio.create_task(wire.bus.read(1, (block(0),)))
    await asyncio.sleep(0.1)
    wire.port.unplug()
    with pytest.raises(Disconnected):
        async with asyncio.timeout(3):
            await reading


async def test_port_in_use_and_what_is_no_port(wire: Wire, tmp_path: Path) -> None:
    await wire.bus.open()
    second = ModbusRtuBus("c", wire.bus.settings)
    with pytest.raises(DriverError, match="in use"):
        await second.open()
    (tmp_path / "file").write_text("")
    for path in ("file", "nothing"):
        with pytest.raises(NoPort):
            await ModbusRtuBus("c", PortSettings(str(tmp_path / path))).open()


async def test_cancelled_request_leaves_no_answer_for_the_next(wire: Wire) -> None:
    wire.slave(1, lambda: COUNTING, turnaround_s=0.06)
    reading = asyncio.create_task(wire.bus.read(1, (block(0),)))
    await asyncio.sleep(0.03)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert await tally(wire, 1, [40, 41]) == (2, 0, 0)


async def test_line_that_is_never_silent_is_given_up(wire: Wire) -> None:
    wire.bus.timeout_s = QUICK_S
    stop = asyncio.Event()

    async def chatter() -> None:
        other = PtyPort(wire.line, wire.port.link.with_name("other"))
        while not stop.is_set():
            wire.line.send(other, os.urandom(8))
            await asyncio.sleep(0.001)

    task = asyncio.create_task(chatter())
    await wire.bus.open()
    await asyncio.sleep(0.05)
    with pytest.raises((BadFrame, Timeout)):
        async with asyncio.timeout(10):
            await wire.bus.read(1, (block(0),))
    stop.set()
    await task


async def test_scan_names_who_answers_and_what_it_may_be(wire: Wire) -> None:
    pzem = dict(enumerate([2304, 4345, 0, 9871, 0, 54321, 2, 500, 99, 0]))
    wire.slave(3, lambda: pzem)
    wire.slave(5, lambda: dict.fromkeys(range(200), 0))  # answers everything with zeros
    seen: list[tuple[int, int]] = []
    found = await wire.bus.scan(lambda done, of: seen.append((done, of)), units=range(2, 7))
    assert [(one.address, one.could_be[:1]) for one in found] == [(3, ("peacefair-pzem-004t-v3",)), (5, ())]
    assert seen[-1] == (5, 5)


async def test_pymodbus_server_as_the_other_end(wire: Wire) -> None:
    """A peer that knows nothing of ours: pymodbus's own server on a second port of the same line."""
    other = PtyPort(wire.line, wire.port.link.with_name("server"))
    other.plug()
    data = [SimData(0, values=[1000 + n for n in range(100)], datatype=DataType.REGISTERS)]
    server = ModbusSerialServer(
        SimDevice(id=17, simdata=data), framer=FramerType.RTU, port=str(other.link), baudrate=BAUD
    )
    serving = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0.1)
    wire.bus.timeout_s = 1.0
    try:
        assert await tally(wire, 17, [0, 7, 30], count=20) == (3, 0, 0)
        with pytest.raises(Refused):
            await wire.bus.read(17, (block(5000),))
    finally:
        await server.shutdown()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        other.unplug()


async def test_a_device_that_refuses_part_of_its_map_comes_back_after_damaged_answers(wire: Wire) -> None:
    wire.bus.timeout_s = QUICK_S
    slave = wire.slave(9, lambda: {3: 612})
    driver = ModbusDriver(wire.bus, template.load("senseair-s8"), 9, 1.0)
    slave.faults.corrupt = 1.0
    for _ in range(3):
        with pytest.raises((BadFrame, Timeout)):
            await driver.read()
    slave.faults.corrupt = 0.0
    results: list[object] = []
    for _ in range(4):
        try:
            results.append({m.quantity: m.value for m in (await driver.read())[0].measurements})
        except (BadFrame, Timeout) as error:
            results.append(error)
    assert results[-1] == {"co2": 612}
