"""Modbus TCP, and RTU through TCP, on real sockets: units behind a gateway that are silent, late, or answer wrongly."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from pymodbus.framer import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers import registry, template
from drivers.base import Frame
from drivers.buses.modbus_bus import ModbusBus
from drivers.buses.modbus_device import ModbusDriver
from drivers.buses.modbus_over_tcp import RtuOverTcpBus
from drivers.buses.modbus_poll import Timing
from drivers.buses.modbus_tcp import ModbusTcpBus
from drivers.errors import BadFrame, DriverError, NoPort, Refused, Timeout
from drivers.planner import Block
from firmware_sim.modbus import READ_HOLDING, READ_INPUT, Unit
from firmware_sim.modbus_tcp import Framing, TcpHost

COUNTING = {address: address ^ 0x5A5A for address in range(400)}  # each register says which one it is
QUICK = Timing(timeout_s=0.1, late_s=0.15)  # where more answers that come too late are no harm
USUAL = Timing(timeout_s=0.35, late_s=0.4)
CHAR_S = 10 / 115_200


def unit() -> Unit:
    return Unit({READ_INPUT: lambda: COUNTING, READ_HOLDING: lambda: COUNTING})


def block(address: int, count: int = 2) -> Block:
    return Block(READ_INPUT, address, count, ())


def bus_to(host: TcpHost, timing: Timing = USUAL) -> ModbusBus:
    if host.framing == "rtu":
        return RtuOverTcpBus("b", "127.0.0.1", host.port, timing, CHAR_S)
    return ModbusTcpBus("b", "127.0.0.1", host.port, timing)


@asynccontextmanager
async def gateway(
    units: int = 3, framing: Framing = "tcp", timing: Timing = USUAL
) -> AsyncIterator[tuple[TcpHost, ModbusBus]]:
    async with TcpHost({number: unit() for number in range(1, units + 1)}, framing).listening() as host:
        bus = bus_to(host, timing)
        try:
            yield host, bus
        finally:
            await bus.close()


async def tally(bus: ModbusBus, number: int, addresses: range, count: int = 2) -> tuple[int, int, int]:
    """Read each; how many were right, failed, and wrong."""
    right = failed = wrong = 0
    for address in addresses:
        try:
            poll = await bus.read(number, (block(address, count),))
        except (Timeout, BadFrame):
            failed += 1
            continue
        good = poll.data[0] == struct.pack(f">{count}H", *(COUNTING[a] for a in range(address, address + count)))
        right, wrong = right + good, wrong + (not good)
    return right, failed, wrong


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
async def test_units_behind_a_gateway(framing: Framing) -> None:
    async with gateway(5, framing) as (host, bus):
        seen: list[Frame] = []
        bus.tap = seen.append
        tallies = await asyncio.gather(*(tally(bus, number, range(10), 10) for number in range(1, 6)))
        assert tallies == [(10, 0, 0)] * 5
        assert host.accepted == 1
        assert [frame.direction for frame in seen].count("tx") == 50
        with pytest.raises(Refused, match="exception 2, illegal data address"):
            await bus.read(1, (block(5000),))


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
async def test_silent_unit_never_costs_the_others_their_connection(framing: Framing) -> None:
    async with gateway(3, framing) as (host, bus):
        assert await tally(bus, 1, range(3)) == (3, 0, 0)
        host.units[2].silent = True
        for _ in range(3):
            with pytest.raises(Timeout, match="unit 2 did not answer"):
                await bus.read(2, (block(0),))
            assert await tally(bus, 1, range(5)) == (5, 0, 0)
        assert host.accepted == 1
        host.units[2].silent = False
        assert await tally(bus, 2, range(3)) == (3, 0, 0)


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
async def test_late_answers_are_never_taken(framing: Framing) -> None:
    """Every third answer comes after the time-out: lost, but no register ever gets another one's value."""
    async with gateway(1, framing, QUICK) as (host, bus):
        host.units[1].faults.late_every, host.units[1].faults.late_s = 3, 0.13
        right, failed, wrong = await tally(bus, 1, range(16))
        assert wrong == 0
        assert failed >= 3
        assert right >= 7


async def test_gateway_that_waits_for_a_silent_unit_is_given_time() -> None:
    """It asks one after the other: the others' requests wait behind, longer than their own time-out."""
    async with gateway() as (host, bus):
        assert await tally(bus, 1, range(2)) == (2, 0, 0)
        host.units[2].silent = True
        host.wait_s = 0.72
        with pytest.raises(Timeout):
            await bus.read(2, (block(0),))
        assert await tally(bus, 1, range(3)) == (3, 0, 0)


async def test_gateway_says_that_a_unit_is_silent() -> None:
    async with gateway() as (host, bus):
        host.units[2].silent = True
        host.tells = True
        for number in (2, 77):
            with pytest.raises(Timeout, match=f"gateway says that unit {number} does not answer"):
                await bus.read(number, (block(0),))
        assert await tally(bus, 1, range(3)) == (3, 0, 0)


async def test_answers_with_another_number_are_thrown_away() -> None:
    async with gateway(1) as (host, bus):
        host.misnumber_every = 2
        right, failed, wrong = await tally(bus, 1, range(10))
        assert (right, failed, wrong) == (5, 5, 0)
        assert isinstance(bus, ModbusTcpBus)
        assert bus.thrown_away == 5
        assert host.accepted == 1


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
async def test_hung_up_while_idle_is_no_failure(framing: Framing) -> None:
    async with gateway(1, framing) as (host, bus):
        assert await tally(bus, 1, range(2)) == (2, 0, 0)
        host.hang_up()
        await asyncio.sleep(0.02)
        assert await tally(bus, 1, range(2)) == (2, 0, 0)
        host.hang_up()  # the news of it has not been read yet when the next request goes out
        assert await tally(bus, 1, range(2)) == (2, 0, 0)
        assert host.accepted == 3


async def test_host_that_is_away_and_back() -> None:
    host = TcpHost({1: unit()})
    await host.up()
    bus = bus_to(host)
    assert await tally(bus, 1, range(2)) == (2, 0, 0)
    await host.down()
    with pytest.raises(NoPort, match="refuses the connection"):
        await bus.read(1, (block(0),))
    await host.up()
    with pytest.raises(NoPort):  # not tried again at once: 50 devices would
        await bus.read(1, (block(0),))
    bus.host._not_before = 0.0  # type: ignore[attr-defined]
    assert await tally(bus, 1, range(2)) == (2, 0, 0)
    await bus.close()
    await bus.close()
    await host.down()


async def test_host_that_has_no_address() -> None:
    bus = ModbusTcpBus("b", "nowhere.invalid")
    with pytest.raises(NoPort, match="no such host"):
        await bus.open()


async def test_stalled_gateway_is_connected_anew() -> None:
    """It takes requests and answers nobody: not the fault of its units, and a new connection may help."""
    async with gateway(4) as (host, bus):
        bus.late_s = 0.0
        for number in range(1, 5):
            assert await tally(bus, number, range(2)) == (2, 0, 0)
        host.stalled = True
        for number in range(1, 4):
            with pytest.raises(Timeout):
                await bus.read(number, (block(0),))
        host.stalled = False
        assert await tally(bus, 4, range(2)) == (2, 0, 0)
        assert host.accepted == 2


def swapped(number: int, unit_id: int, body: bytes) -> bytes:
    return struct.pack(">HHHB", number, 0, 1 + len(body), unit_id) + body


WRONG: dict[str, Callable[[int], bytes]] = {
    "another unit": lambda number: swapped(number, 9, b"\x04\x04\0\1\0\2"),
    "another function": lambda number: swapped(number, 1, b"\x03\x04\0\1\0\2"),
    "fewer registers": lambda number: swapped(number, 1, b"\x04\x02\0\1"),
    "a count that lies": lambda number: swapped(number, 1, b"\x04\x06\0\1\0\2"),
    "no Modbus TCP": lambda number: b"HTTP/1.1 400 Bad Request\r\n",
    "rtu": lambda number: bytes.fromhex("010404000100026b84"),
    "cut off": lambda number: swapped(number, 1, b"\x04\x04\0\1\0\2")[:-1],
    "nothing": lambda number: b"",
}


@pytest.mark.parametrize("kind", WRONG)
async def test_wrong_answers_are_refused(kind: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(12):
            writer.write(WRONG[kind](struct.unpack(">H", request[:2])[0]))
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    bus = ModbusTcpBus("b", "127.0.0.1", server.sockets[0].getsockname()[1], QUICK)
    for _ in range(2):
        with pytest.raises((BadFrame, Timeout)):
            await bus.read(1, (block(0),))
    await bus.close()
    server.close()


async def test_answer_in_pieces() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(12):
            for byte in swapped(struct.unpack(">H", request[:2])[0], 1, b"\x04\x04\0\1\0\2"):
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0.001)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    bus = ModbusTcpBus("b", "127.0.0.1", server.sockets[0].getsockname()[1], Timing(timeout_s=1.0))
    assert (await bus.read(1, (block(0),))).data == (b"\0\1\0\2",)
    await bus.close()
    server.close()


async def test_cancelled_request_leaves_no_answer_for_the_next() -> None:
    async with gateway(1) as (host, bus):
        host.units[1].turnaround_s = 0.05
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await bus.read(1, (block(7),))
        host.units[1].turnaround_s = 0.0
        bus.timeout_s = 1.0
        assert await tally(bus, 1, range(5)) == (5, 0, 0)


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
async def test_pymodbus_server_as_the_other_end(framing: Framing) -> None:
    """A peer that knows nothing of ours."""
    data = [SimData(0, values=[a ^ 0x5A5A for a in range(100)], datatype=DataType.REGISTERS)]
    framer = FramerType.RTU if framing == "rtu" else FramerType.SOCKET
    server = ModbusTcpServer(SimDevice(id=17, simdata=data), framer=framer, address=("127.0.0.1", 0))
    await server.listen()
    assert server.transport is not None
    host = TcpHost({}, framing)
    host.port = server.transport.sockets[0].getsockname()[1]
    bus = bus_to(host, Timing(timeout_s=1.0))
    try:
        assert await tally(bus, 17, range(0, 60, 20), count=20) == (3, 0, 0)
        with pytest.raises(Refused):
            await bus.read(17, (block(5000),))
    finally:
        await bus.close()
        await server.shutdown()


async def test_template_is_read_over_a_configured_bus() -> None:
    pzem = dict(enumerate([2304, 4345, 0, 9871, 0, 54321, 2, 500, 99, 0]))
    async with TcpHost({3: Unit({READ_INPUT: lambda: pzem})}).listening() as host:
        bus = registry.make_bus("b", {"type": "modbus-tcp", "host": "127.0.0.1", "port": host.port, "framing": "tcp"})
        driver = registry.make_driver(template.load("peacefair-pzem-004t-v3"), bus, 3, 1.0, {})
        assert isinstance(driver, ModbusDriver)
        (observation,) = await driver.read()
        assert {m.quantity: m.value for m in observation.measurements}["voltage_l1"] == 230.4
        await driver.close()
        await bus.close()
        with pytest.raises(DriverError):
            registry.make_driver(template.load("peacefair-pzem-004t-v3"), bus, 256, 1.0, {})
