"""Air sensors on wires that answer when asked: MH-Z19B, HPMA115, SPS30.

Each understands the commands that a reader needs and is silent where the real one would be. ``turnaround_s`` is how
long it thinks; ``late_s`` is added to that once, for the next answer.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

from firmware_sim.line import Line

Particles = tuple[float, float, float]  # PM1, PM2.5, PM10 in ug/m3


class Asked:
    """The station: collects what it hears, answers the requests in it. ``given`` counts the answers with values."""

    echoes = False

    def __init__(self, line: Line, *, turnaround_s: float = 0.01) -> None:
        self.silent = False
        self.given = 0
        self.turnaround_s = turnaround_s
        self.late_s = 0.0
        self._line = line
        self._input = bytearray()
        line.attach(self)

    def heard(self, data: bytes) -> None:
        """Answer every whole request."""
        self._input += data
        while (answer := self.take()) is not None:
            if answer and not self.silent:
                wait_s, self.late_s = self.turnaround_s + self.late_s, 0.0
                asyncio.get_running_loop().call_later(wait_s, self._line.send, self, answer)

    def quiet(self) -> None:
        """Requests end by their length or by a flag, not by silence."""

    def take(self) -> bytes | None:
        """Cut the next request out of the input: its answer, b"" for none; None where no request is whole."""
        raise NotImplementedError


class Mhz19(Asked):
    """Nine bytes in, nine bytes out."""

    def __init__(self, line: Line, co2_ppm: Callable[[], float], *, turnaround_s: float = 0.01) -> None:
        super().__init__(line, turnaround_s=turnaround_s)
        self._co2_ppm = co2_ppm

    def take(self) -> bytes | None:
        """Only command 0x86 is answered here."""
        start = self._input.find(b"\xff\x01")
        del self._input[: max(0, start)]
        if start < 0 or len(self._input) < 9:
            return None
        request = bytes(self._input[:9])
        del self._input[:9]
        if request[2] != 0x86 or sum(request[1:]) % 256:
            return b""
        self.given += 1
        body = b"\x86" + struct.pack(">H", round(self._co2_ppm())) + bytes([0x42, 0, 0, 0])
        return b"\xff" + body + bytes([256 - sum(body) % 256 & 0xFF])


class Hpma(Asked):
    """``68``, length, command, data, check byte. ``sends`` tells whether it sends by itself still."""

    def __init__(self, line: Line, pm: Callable[[], Particles], *, compact: bool = False) -> None:
        super().__init__(line)
        self.sends = True
        self.measures = False
        self._pm = pm
        self._compact = compact

    def take(self) -> bytes | None:
        """Start, stop, read, auto send on and off."""
        start = self._input.find(b"\x68")
        del self._input[: max(0, start)]
        if start < 0 or len(self._input) < 4:
            return None
        request = bytes(self._input[:4])
        del self._input[:4]
        if sum(request) % 256:
            return b"\x96\x96"
        command = request[2]
        if command == 0x04:
            return self._values() if self.measures else b"\x96\x96"
        if command in (0x01, 0x02):
            self.measures = command == 0x01
        elif command in (0x20, 0x40):
            self.sends = command == 0x40
        return b"\xa5\xa5"

    def _values(self) -> bytes:
        self.given += 1
        pm1, pm25, pm10 = (round(value) for value in self._pm())
        words = (pm1, pm25, (pm25 + pm10) // 2, pm10, 0, 0) if self._compact else (pm25, pm10)
        body = bytes([0x40, 1 + 2 * len(words), 0x04]) + struct.pack(f">{len(words)}H", *words)
        return body + bytes([-sum(body) % 256])


class Sps30(Asked):
    """SHDLC. It begins idle or asleep, has new values each ``period_s``, and says so where fan or laser failed.

    ``answers`` replaces the bytes of an answer where a test wants a broken one.
    """

    def __init__(self, line: Line, pm: Callable[[], Particles], *, asleep: bool = False) -> None:
        super().__init__(line)
        self.asleep = asleep
        self.period_s = 1.0
        self.measures = False
        self.floats = True
        self.failures = 0  # the device status register
        self.answers: list[bytes] = []
        self._pm = pm
        self._woken = False
        self._read_s = 0.0

    def take(self) -> bytes | None:
        """Frames end with their second flag."""
        if self.asleep and self._input[:1] == b"\xff":  # the pulse that wakes the interface
            self._woken = True
            del self._input[:1]
        first = self._input.find(b"\x7e")
        last = self._input.find(b"\x7e", first + 1)
        if first < 0 or last < 0:
            return None
        wire = bytes(self._input[first + 1 : last])
        del self._input[: last + 1]
        for plain in (0x7E, 0x11, 0x13, 0x7D):  # 7D last: it is the mark of the others
            wire = wire.replace(bytes([0x7D, plain ^ 0x20]), bytes([plain]))
        if len(wire) < 4 or sum(wire) % 256 != 0xFF or wire[2] != len(wire) - 4:
            return b""
        if self.asleep and not (self._woken and wire[1] == 0x11):
            return b""
        return self._framed(wire[1], *self._obey(wire[1], wire[3:-1]))

    def _obey(self, command: int, data: bytes) -> tuple[int, bytes]:
        """State and data of the answer."""
        if command == 0x11:
            self.asleep = self._woken = False
        elif command == 0x00:
            if self.measures:
                return 0x43, b""
            self.measures, self.floats, self._read_s = True, data == b"\x01\x03", self._now_s()
        elif command == 0x01:
            if not self.measures:
                return 0x43, b""
            self.measures = False
        elif command == 0x03:
            return self._values() if self.measures else (0x43, b"")
        elif command == 0xD2:
            return 0, struct.pack(">IB", self.failures, 0)
        else:
            return 0x02, b""  # unknown command
        return 0, b""

    def _values(self) -> tuple[int, bytes]:
        now_s = self._now_s()
        if now_s - self._read_s < self.period_s:
            return 0, b""
        self._read_s = now_s
        self.given += 1
        pm1, pm25, pm10 = self._pm()
        masses = (pm1, pm25, (pm25 + pm10) / 2, pm10)
        numbers = (pm1 * 6, pm1 * 7, pm1 * 7.2, pm1 * 7.22, pm1 * 7.23)
        if self.floats:
            return 0, struct.pack(">10f", *masses, *numbers, 0.7)
        return 0, struct.pack(">10H", *(round(value) for value in (*masses, *numbers)), 700)

    def _framed(self, command: int, state: int, data: bytes) -> bytes:
        if self.answers:
            return self.answers.pop(0)
        state |= 0x80 if self.failures else 0
        plain = bytes([0, command, state, len(data)]) + data
        plain += bytes([0xFF - sum(plain) % 256])
        for byte in (0x7D, 0x7E, 0x11, 0x13):
            plain = plain.replace(bytes([byte]), bytes([0x7D, byte ^ 0x20]))
        return b"\x7e" + plain + b"\x7e"

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()
