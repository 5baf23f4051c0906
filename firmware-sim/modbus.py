"""Modbus RTU as a device speaks it: frames, checksum, the functions that read, exceptions, silence.

After *Modbus over serial line* 1.02 and *Modbus application protocol* 1.1b3. Written for the simulator alone, so that
it can prove the gateway's own decoding wrong.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import Literal

from firmware_sim.line import Line

READ_HOLDING, READ_INPUT = 3, 4
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
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


class Slave:
    """A Modbus device on a line.

    ``tables`` gives, for functions 3 and 4, the registers as they are at the moment of asking. ``count_max`` is the
    most registers that the device gives at once. ``silent`` switches it off. ``given`` counts its good answers,
    exceptions aside.
    """

    echoes = False

    def __init__(
        self, line: Line, address: int, tables: Mapping[int, Table], *, turnaround_s: float, count_max: int = 125
    ) -> None:
        self.address = address
        self.turnaround_s = turnaround_s
        self.silent = False
        self.given = 0
        self._line = line
        self._tables = tables
        self._count_max = count_max
        self._frame = bytearray()
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
        body = self.answer(frame[1:-2])
        loop = asyncio.get_running_loop()
        loop.call_later(self.turnaround_s, self._speak, sealed(bytes([self.address]) + body))

    def _speak(self, frame: bytes) -> None:
        self.given += not frame[1] & 0x80
        self._line.send(self, frame)

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
        return struct.pack(f">BB{count}H", function, 2 * count, *(registers[address] for address in wanted))
