"""Modbus as a device speaks it: frames, checksum, the functions that read, exceptions, silence, and what goes wrong.

After *Modbus over serial line* 1.02 and *Modbus application protocol* 1.1b3. Written for the simulator alone, so that
it can prove the gateway's own decoding wrong.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from firmware_sim.line import Line

READ_HOLDING, READ_INPUT = 3, 4
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, TARGET_SILENT = 1, 2, 3, 11
TICK_S = 1e-6
WordOrder = Literal["high-first", "low-first"]


def crc16(data: bytes) -> int:
    """CRC-16 of the protocol: polynomial 0xA001 (reflected 0x8005), start 0xFFFF."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def sealed(body: bytes) -> bytes:
    """A body with its checksum behind it, low byte first."""
    return body + struct.pack("<H", crc16(body))


def float_words(value: float) -> tuple[int, int]:
    """IEEE 754 single precision in two registers, high word first."""
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return high, low


def long_words(value: int, order: WordOrder) -> tuple[int, int]:
    """An unsigned 32-bit number in two registers."""
    high, low = value >> 16 & 0xFFFF, value & 0xFFFF
    return (high, low) if order == "high-first" else (low, high)


Registers = Mapping[int, int]
Table = Callable[[], Registers]


@dataclass(slots=True)
class Faults:
    """What goes wrong with the answers of a unit; may be changed at any time.

    Of its answers one in ``late_every`` comes ``late_s`` late (0: none). ``corrupt`` is the probability that a byte of
    it is damaged. ``glitches``: a pair that nobody drives reads as 0x00 before and behind each answer.
    """

    late_every: int = 0
    late_s: float = 0.0
    corrupt: float = 0.0
    glitches: bool = False


class Unit:
    """A Modbus device without its wires.

    ``tables`` gives, for functions 3 and 4, the registers as they are at the moment of asking. ``count_max`` is the
    most registers that the device gives at once. ``silent`` switches it off. ``given`` counts its good answers,
    exceptions aside.
    """

    def __init__(
        self, tables: Mapping[int, Table], *, turnaround_s: float = 0.0, count_max: int = 125, seed: int = 1
    ) -> None:
        self.turnaround_s = turnaround_s
        self.silent = False
        self.given = 0
        self.faults = Faults()
        self._tables = tables
        self._count_max = count_max
        self._random = random.Random(seed)
        self._answers = 0

    def answer(self, request: bytes) -> bytes:
        """The answer's body to a request's body (function code and data)."""
        function = request[0]
        table = self._tables.get(function)
        if table is None:
            return bytes([function | 0x80, ILLEGAL_FUNCTION])
        if len(request) != 5:
            return bytes([function | 0x80, ILLEGAL_VALUE])
        start, count = struct.unpack(">HH", request[1:])
        if not 1 <= count <= self._count_max:
            return bytes([function | 0x80, ILLEGAL_VALUE])
        registers = table()
        wanted = range(start, start + count)
        if any(address not in registers for address in wanted):
            return bytes([function | 0x80, ILLEGAL_ADDRESS])
        self.given += 1
        return struct.pack(f">BB{count}H", function, 2 * count, *(registers[address] for address in wanted))

    def delay_s(self) -> float:
        """How long after the request the next answer begins."""
        self._answers += 1
        faults = self.faults
        late = faults.late_every and self._answers % faults.late_every == 0
        return self.turnaround_s + (faults.late_s if late else 0.0)

    def spoilt(self, frame: bytes) -> bytes:
        """The frame as it leaves the device."""
        faults = self.faults
        if faults.corrupt:
            hits = [self._random.random() < faults.corrupt for _ in frame]
            flips = (1 << self._random.randrange(8) if hit else 0 for hit in hits)
            frame = bytes(byte ^ flip for byte, flip in zip(frame, flips, strict=True))
        return b"\0" + frame + b"\0" if faults.glitches else frame


class Slave(Unit):
    """A Modbus device on a line."""

    echoes = False

    def __init__(
        self, line: Line, address: int, tables: Mapping[int, Table], *, turnaround_s: float, count_max: int = 125
    ) -> None:
        super().__init__(tables, turnaround_s=turnaround_s, count_max=count_max, seed=address)
        self.address = address
        self._line = line
        self._frame = bytearray()
        self._free_at = 0.0
        line.attach(self)

    def heard(self, data: bytes) -> None:
        """Collect the frame. More than the longest frame of the protocol cannot be one."""
        if len(self._frame) <= 256:
            self._frame += data

    def quiet(self) -> None:
        """The frame is complete: answer it if it is whole and for us."""
        frame, self._frame = bytes(self._frame), bytearray()
        if self.silent or not 4 <= len(frame) <= 256 or frame[0] != self.address:
            return
        if crc16(frame[:-2]) != struct.unpack("<H", frame[-2:])[0]:
            return
        answer = sealed(bytes([self.address]) + self.answer(frame[1:-2]))
        loop = asyncio.get_running_loop()
        # it does one thing after the other; of two timers for one instant the loop may fire either first
        self._free_at = max(loop.time(), self._free_at + TICK_S) + self.delay_s()
        loop.call_at(self._free_at, self._speak, answer)

    def _speak(self, frame: bytes) -> None:
        self._line.send(self, self.spoilt(frame))


class Twins(Slave):
    """Two devices that were left at the same address. The second one begins ``skew_chars`` characters later.

    Where both drive the pair, a 0 of either wins. ``other`` gives the registers of the second one.
    """

    def __init__(
        self,
        line: Line,
        address: int,
        tables: Mapping[int, Table],
        other: Mapping[int, Table],
        *,
        turnaround_s: float,
        skew_chars: int = 0,
    ) -> None:
        super().__init__(line, address, tables, turnaround_s=turnaround_s)
        self._other = Unit(other)
        self._skew_chars = skew_chars
        self._second = b""

    def answer(self, request: bytes) -> bytes:
        """The answer of the first one; that of the second is kept for the wire."""
        self._second = sealed(bytes([self.address]) + self._other.answer(request))
        return super().answer(request)

    def spoilt(self, frame: bytes) -> bytes:
        """Both answers on one pair."""
        alone, second = frame[: self._skew_chars], self._second
        pause = bytes([0xFF]) * max(0, self._skew_chars - len(frame))  # never sent: nobody drives then
        both = bytes(a & b for a, b in zip(frame[self._skew_chars :], second, strict=False))
        rest = max(frame[self._skew_chars :], second, key=len)[len(both) :]
        return alone + both + rest if not pause else frame + second
