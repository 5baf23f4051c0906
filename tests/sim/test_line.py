"""The serial line on real pseudo-terminals: true byte times, disturbance, ports that come and go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import serial

from firmware_sim.line import Line, PtyPort
from firmware_sim.modbus import READ_INPUT, Slave, crc16, sealed

T = TypeVar("T")
REQUEST = sealed(bytes([1, READ_INPUT, 0, 0, 0, 6]))  # 8 bytes; its answer has 17


class Ear:
    """A station that keeps what it hears."""

    echoes = False

    def __init__(self) -> None:
        self.data = b""
        self.frames: list[bytes] = []

    def heard(self, data: bytes) -> None:
        self.data += data

    def quiet(self) -> None:
        self.frames.append(self.data)
        self.data = b""


@contextmanager
def plugged(line: Line, link: Path) -> Iterator[PtyPort]:
    port = PtyPort(line, link)
    port.plug()
    try:
        yield port
    finally:
        port.unplug()
        line.close()


def meter(line: Line, turnaround_s: float = 0.0) -> Slave:
    return Slave(line, 1, {READ_INPUT: lambda: dict.fromkeys(range(20), 0x1234)}, turnaround_s=turnaround_s)


async def on_port(link: Path, work: Callable[[serial.Serial], T], baud: int = 9600) -> T:
    """Do blocking work on the opened port, in a thread."""

    def opened() -> T:
        with serial.Serial(str(link), baud, timeout=2) as port:
            # the simulator notices within its look interval that the port is open
            time.sleep(0.05)
            return work(port)

    return await asyncio.to_thread(opened)


def poll(port: serial.Serial, size: int = 17) -> tuple[bytes, float]:
    begin = time.monotonic()
    port.write(REQUEST)
    return port.read(size), time.monotonic() - begin


async def settle(line: Line, size: int) -> None:
    await asyncio.sleep(size * line.byte_s + line.silence_s + 0.05)


async def test_a_poll_takes_its_wire_time(tmp_path: Path) -> None:
    line = Line("meters", 9600)
    meter(line)
    with plugged(line, tmp_path / "tty"):
        answer, took = await on_port(tmp_path / "tty", poll)
    assert len(answer) == 17
    assert crc16(answer[:-2]).to_bytes(2, "little") == answer[-2:]
    assert took >= 25 * 10 / 9600  # 26 ms for 25 bytes


async def test_parity_makes_bytes_longer(tmp_path: Path) -> None:
    line = Line("meters", 2400, "even")
    meter(line)
    with plugged(line, tmp_path / "tty"):
        _, took = await on_port(tmp_path / "tty", poll, 2400)
    assert took >= 25 * 11 / 2400


async def test_turnaround_is_added(tmp_path: Path) -> None:
    line = Line("meters", 9600)
    meter(line, turnaround_s=0.15)
    with plugged(line, tmp_path / "tty"):
        _, took = await on_port(tmp_path / "tty", poll)
    assert took >= 25 * 10 / 9600 + 0.15


@pytest.mark.parametrize("baud", [9600, 115_200])
async def test_no_byte_is_ever_early(tmp_path: Path, baud: int) -> None:
    line, ear = Line("grid", baud), Ear()
    line.attach(ear)
    size = baud // 40
    data = bytes(index % 251 for index in range(size))
    begins: list[float] = []

    def read(port: serial.Serial) -> list[tuple[float, int]]:
        loop.call_soon_threadsafe(lambda: (begins.append(time.monotonic()), line.send(ear, data)))
        seen, got = [], b""
        while len(got) < size:
            got += port.read(max(1, port.in_waiting))
            seen.append((time.monotonic(), len(got)))
        assert got == data
        return seen

    loop = asyncio.get_running_loop()
    with plugged(line, tmp_path / "tty"):
        seen = await on_port(tmp_path / "tty", read, baud)
    assert all(at - begins[0] >= count * line.byte_s - 1e-3 for at, count in seen)
    assert len(seen) > 5  # it came bit by bit, not in one piece


async def test_noise_is_seeded_and_hits_its_share() -> None:
    async def through(seed: int, rate: float) -> bytes:
        line, ear, mouth = Line("x", 1_000_000, seed=seed), Ear(), Ear()
        line.noise = rate
        line.attach(ear)
        line.send(mouth, bytes(5000))
        await settle(line, 5000)
        line.close()
        return ear.frames[0]

    once, again, other, clean = await asyncio.gather(
        through(1, 0.02), through(1, 0.02), through(2, 0.02), through(1, 0)
    )
    assert once == again != other
    hit = [byte for byte in once if byte]
    assert 50 < len(hit) < 170
    assert all(byte.bit_count() == 1 for byte in hit)
    assert clean == bytes(5000)


async def test_loss_swallows_bytes() -> None:
    line, ear = Line("x", 1_000_000), Ear()
    line.loss = 0.1
    line.attach(ear)
    line.send(Ear(), bytes(3000))
    await settle(line, 3000)
    line.close()
    assert 2500 < len(ear.frames[0]) < 2850


async def test_echo_returns_what_the_program_sent(tmp_path: Path) -> None:
    line = Line("meters", 9600)
    line.echo = True
    slave = meter(line)
    with plugged(line, tmp_path / "tty"):
        answer, _ = await on_port(tmp_path / "tty", lambda port: poll(port, 25))
        await settle(line, 25)
    assert answer[:8] == REQUEST
    assert crc16(answer[8:-2]).to_bytes(2, "little") == answer[-2:]
    assert slave.given == 1  # it does not take its own echo for a request


async def test_two_at_once_garble_each_other() -> None:
    line, ear, one, two = Line("x", 9600), Ear(), Ear(), Ear()
    line.attach(ear)
    line.send(one, b"a" * 20)
    line.send(two, b"b" * 20)
    async with asyncio.timeout(10):
        while sum(map(len, ear.frames)) < 40:  # a busy machine hears later
            await settle(line, 20)
    line.close()
    heard = b"".join(ear.frames)
    assert len(heard) == 40
    assert heard.count(b"a") + heard.count(b"b") < 10


async def test_frames_end_by_silence_not_by_the_scheduler() -> None:
    line, ear, mouth = Line("x", 9600), Ear(), Ear()
    line.attach(ear)
    line.send(mouth, b"first")
    await asyncio.sleep(0)
    time.sleep(0.003)
    line.send(mouth, b"-more")
    await settle(line, 10)
    line.send(mouth, b"second")
    await settle(line, 6)
    line.close()
    assert ear.frames == [b"first-more", b"second"]


async def test_a_wrong_speed_is_garbage(tmp_path: Path) -> None:
    line = Line("meters", 9600)
    slave = meter(line)
    with plugged(line, tmp_path / "tty"):

        def wrong(port: serial.Serial) -> bytes:
            port.timeout = 0.2
            return poll(port)[0]

        assert await on_port(tmp_path / "tty", wrong, 19_200) == b""
        assert slave.given == 0
        assert len((await on_port(tmp_path / "tty", poll, 9600))[0]) == 17


async def test_two_programs_share_one_line(tmp_path: Path) -> None:
    line = Line("meters", 9600)
    meter(line)

    def overhear(port: serial.Serial) -> bytes:
        asyncio.run_coroutine_threadsafe(on_port(tmp_path / "one", poll), loop)
        return port.read(25)

    loop = asyncio.get_running_loop()
    with plugged(line, tmp_path / "one"), plugged(line, tmp_path / "two"):
        heard = await on_port(tmp_path / "two", overhear)
    assert heard[:8] == REQUEST
    assert len(heard) == 25


async def test_what_comes_while_the_port_is_closed_is_lost(tmp_path: Path) -> None:
    line, mouth = Line("x", 115_200), Ear()

    def read(port: serial.Serial) -> bytes:
        loop.call_soon_threadsafe(line.send, mouth, b"new")
        return port.read(3)

    loop = asyncio.get_running_loop()
    with plugged(line, tmp_path / "tty"):
        line.send(mouth, b"old")
        await settle(line, 3)
        assert await on_port(tmp_path / "tty", read, 115_200) == b"new"


async def test_unplugged_and_plugged_again(tmp_path: Path) -> None:
    line, link = Line("meters", 9600), tmp_path / "ttyMETERS"
    meter(line)
    with plugged(line, link) as port:

        def cut(opened: serial.Serial) -> bytes:
            assert len(poll(opened)[0]) == 17
            asyncio.run_coroutine_threadsafe(later(port.unplug), loop).result()
            opened.write(REQUEST)
            return opened.read(1)

        loop = asyncio.get_running_loop()
        with pytest.raises(serial.SerialException):
            await on_port(link, cut)
        assert not link.is_symlink()
        assert not port.plugged
        port.plug()
        port.plug()
        assert link.is_symlink()
        assert len((await on_port(link, poll))[0]) == 17
    assert not link.is_symlink()


async def later(call: Callable[[], None]) -> None:
    call()


async def test_a_program_that_reopens_is_served_again(tmp_path: Path) -> None:
    line = Line("meters", 9600)
    slave = meter(line)
    with plugged(line, tmp_path / "tty"):
        for _ in range(3):
            assert len((await on_port(tmp_path / "tty", poll))[0]) == 17
    assert slave.given == 3


async def test_a_full_buffer_loses_bytes_and_never_blocks(tmp_path: Path) -> None:
    line, mouth = Line("x", 1_000_000), Ear()
    with plugged(line, tmp_path / "tty"), serial.Serial(str(tmp_path / "tty"), 115_200):
        line.send(mouth, bytes(60_000))
        await settle(line, 60_000)
        assert line.carried == 60_000


async def test_a_frame_ends_in_the_silence_also_where_the_loop_was_too_late_to_see_it() -> None:
    """Two messages with a silence between them are two frames, whenever the simulator gets round to looking."""
    line = Line("late", 115_200)
    ear, sender = Ear(), Ear()
    line.attach(ear)
    line.attach(sender)
    line.send(sender, b"first")
    time.sleep(0.01)  # the loop is held up: that is the case here
    line.send(sender, b"second")
    await asyncio.sleep(0.01)
    line.close()
    assert ear.frames == [b"first", b"second"]
