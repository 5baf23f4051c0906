"""M-Bus meters: slaves of EN 13757-2 with records of EN 13757-3, on a line that they share.

A meter answers at its primary address, at 254, and at 253 while it is selected. Its frame count bit is kept as the
standard says: a request with the bit of the last one repeats the last telegram. ``thinks_s`` is the time before it
answers. Written for the simulator alone, so that it can prove the gateway's own decoding wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from firmware_sim.electricity import Snapshot
from firmware_sim.line import Line

BAUD = 2400
TEST, SELECTED = 254, 253
MORE_FOLLOWS = b"\x1f"
Telegrams = Callable[[], Sequence[bytes]]  # the records of each telegram


def bcd(value: int, digits: int) -> bytes:
    """Binary-coded decimal, lowest digits first; a minus is an F in the highest place."""
    text = str(abs(value)).rjust(digits, "0")
    if value < 0:
        text = "F" + text[1:]
    return bytes.fromhex(text[-digits:])[::-1]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a meter is selected by: number of 8 digits, three letters of its maker, version, medium."""

    number: str
    maker: str
    version: int
    medium: int

    def sent(self) -> bytes:
        """The 8 bytes as they are on the wire."""
        code = 0
        for letter in self.maker:
            code = code << 5 | ord(letter) - 64
        return bytes.fromhex(self.number)[::-1] + code.to_bytes(2, "little") + bytes([self.version, self.medium])


class MBusMeter:
    """One meter. ``given`` counts its telegrams."""

    echoes = False

    def __init__(
        self, line: Line, address: int, identity: Identity, telegrams: Telegrams, *, thinks_s: float = 0.03
    ) -> None:
        self.address = address
        self.identity = identity
        self.thinks_s = thinks_s
        self.silent = False
        self.given = 0
        self.requests: list[bytes] = []
        self._line = line
        self._telegrams = telegrams
        self._frame = bytearray()
        self._is_selected = False
        self._access = 0
        self._last_bit: dict[int, bool | None] = {}
        self._next: dict[int, int] = {}
        self._sent = b""
        line.attach(self)

    def heard(self, data: bytes) -> None:
        """Collect the frame."""
        if len(self._frame) <= 300:
            self._frame += data

    def quiet(self) -> None:
        """The frame is complete."""
        frame, self._frame = bytes(self._frame), bytearray()
        answer = b"" if self.silent else self._answer(frame)
        if answer:
            asyncio.get_running_loop().call_later(self.thinks_s, self._speak, answer)

    def _speak(self, answer: bytes) -> None:
        self.given += answer != b"\xe5"
        self._line.send(self, answer)

    def _answer(self, frame: bytes) -> bytes:
        if len(frame) == 5 and frame[0] == 0x10 and frame[4] == 0x16 and frame[1] + frame[2] & 0xFF == frame[3]:
            return self._short(frame[1], frame[2])
        if len(frame) > 8 and frame[0] == frame[3] == 0x68 and sum(frame[4:-2]) & 0xFF == frame[-2]:
            return self._long(frame[4], frame[5], frame[6], frame[7:-2])
        return b""

    def _is_mine(self, address: int) -> bool:
        return address in (self.address, TEST) or (address == SELECTED and self._is_selected)

    def _short(self, control: int, address: int) -> bytes:
        if not self._is_mine(address):
            return b""
        self.requests.append(bytes([control, address]))
        if control == 0x40:
            self._last_bit[address], self._next[address] = None, 0
            if address == SELECTED:
                self._is_selected = False
            return b"\xe5"
        return self._data(address, bool(control & 0x20)) if control & 0xDF == 0x5B else b""

    def _long(self, control: int, address: int, ci: int, data: bytes) -> bytes:
        if control & 0xDF != 0x53 or ci != 0x52 or address != SELECTED or len(data) != 8:
            return b""
        mine = self.identity.sent()
        digits = zip(data[:4].hex(), mine[:4].hex(), strict=True)
        rest = zip(data[4:], mine[4:], strict=True)
        self._is_selected = all(wanted in ("f", own) for wanted, own in digits) and all(
            wanted in (0xFF, own) for wanted, own in rest
        )
        self._last_bit[SELECTED], self._next[SELECTED] = None, 0
        return b"\xe5" if self._is_selected else b""

    def _data(self, address: int, bit: bool) -> bytes:
        telegrams = self._telegrams()
        if self._last_bit.get(address) == bit and self._sent:
            return self._sent
        place = self._next.get(address, 0) % len(telegrams)
        self._last_bit[address], self._next[address] = bit, place + 1
        self._access = self._access + 1 & 0xFF
        body = bytes([0x08, self.address, 0x72]) + self.identity.sent() + bytes([self._access, 0, 0, 0])
        body += telegrams[place] + (MORE_FOLLOWS if place + 1 < len(telegrams) else b"")
        self._sent = bytes([0x68, len(body), len(body), 0x68]) + body + bytes([sum(body) & 0xFF, 0x16])
        return self._sent


def heat_records(kwh: int, litres: int, watts: int, flow_lh: int, warm: float, cold: float) -> bytes:
    """A heat meter: energy, volume, power, flow, both temperatures and their difference, the end of last month."""
    return b"".join(
        (
            b"\x0c\x06" + bcd(kwh, 8),
            b"\x0c\x13" + bcd(litres, 8),
            b"\x0c\x2b" + bcd(watts, 8),
            b"\x0b\x3b" + bcd(flow_lh, 6),
            b"\x0a\x5a" + bcd(round(warm * 10), 4),
            b"\x0a\x5e" + bcd(round(cold * 10), 4),
            b"\x0b\x61" + bcd(round((warm - cold) * 100), 6),
            b"\x4c\x06" + bcd(kwh - kwh // 9, 8),
        )
    )


def water_records(litres: int) -> bytes:
    """A water meter: its number and its volume."""
    return b"\x0c\x13" + bcd(litres, 8) + b"\x02\xfd\x17\x00\x00"


def electricity_records(shot: Snapshot) -> bytes:
    """A three-phase meter that marks its phases as EMU does: energy, total power, and volts, amperes, watts a phase."""
    records = b"\x04\x03" + round(sum(shot.import_kwh) * 1000).to_bytes(4, "little", signed=True)
    records += b"\x04\x2b" + round(sum(shot.watts)).to_bytes(4, "little", signed=True)
    for phase in range(3):
        mark = b"\xff" + bytes([phase + 1])
        records += b"\x02\xfd\xc8" + mark + round(shot.volts[phase] * 10).to_bytes(2, "little", signed=True)
        records += b"\x03\xfd\xd9" + mark + round(shot.amps[phase] * 1000).to_bytes(3, "little", signed=True)
        records += b"\x04\xab" + mark + round(shot.watts[phase]).to_bytes(4, "little", signed=True)
    return records
