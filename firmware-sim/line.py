"""A serial line whose bytes take their true time, and the pseudo-terminals through which programs reach it.

One :class:`Line` joins any number of stations half duplex: what one sends, all others hear, no sooner than the wire
could carry it. A byte of 8N1 is 10 bits, with parity 11. Bytes are handed over in small groups (``GROUP_S``), as a
serial adapter does, and the last byte of a message exactly when it is through. Two stations that send at once garble
each other. Noise flips a bit of a byte, loss swallows it, echo lets the sender hear itself; all by a seeded generator.

A :class:`PtyPort` is a station whose other end is a pseudo-terminal that a program opens under a stable link. As with a
real port, what arrives while nobody has it open is lost, and a program that set another speed hears garbage. Parity is
not to be seen on a pseudo-terminal: what the program would have set, and swapped wires, are set at the port.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pty
import random
import select
import termios
import tty
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from firmware_sim.uart import Parity, Uart, misheard

GROUP_S = 0.002  # the longest that a byte waits for its neighbours
LOOK_S = 0.02  # how often a port that nobody has open is looked at
READ_MAX = 4096
SPEED_CODES = {
    getattr(termios, f"B{baud}"): baud
    for baud in (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400)
}


class Station(Protocol):
    """Somebody on a line. ``echoes``: its receiver stays on while it sends, where the line has echo."""

    echoes: bool

    def heard(self, data: bytes) -> None:
        """Bytes came in."""

    def quiet(self) -> None:
        """The line has been idle for 3.5 characters: in Modbus RTU, the end of a frame."""


@dataclass(slots=True)
class _Sending:
    """A message on the wire: from when on, how much of it is through, whether somebody talked into it."""

    sender: Station
    data: bytes
    start_s: float
    through: int = 0
    garbled: bool = False


class Line:
    """The wire. ``noise`` and ``loss`` are probabilities per byte; both, and ``echo``, may be set at any time.

    ``settings`` are those of all devices; ``carried`` counts the bytes that were on the wire.
    """

    def __init__(self, name: str, baud: int, parity: Parity = "none", *, seed: int = 1) -> None:
        self.name = name
        self.parity: Parity = parity
        self.set_baud(baud)
        self.noise = 0.0
        self.loss = 0.0
        self.echo = False
        self.carried = 0
        self._random = random.Random(f"{seed}-{name}")
        self._stations: list[Station] = []
        self._sendings: list[_Sending] = []
        self._wake: asyncio.TimerHandle | None = None
        self._idle_since_s = 0.0
        self._was_quiet = True

    def set_baud(self, baud: int) -> None:
        """Devices speak at another speed from now on; nothing may be on the wire."""
        self.baud = baud
        self.settings = Uart(baud, self.parity)
        self.byte_s = self.settings.bits / baud
        # Modbus over serial line 1.02, 2.5.1.1: 3.5 characters, above 19200 baud a fixed 1.75 ms
        self.silence_s = 3.5 * self.byte_s if baud <= 19_200 else 0.001_75

    def attach(self, station: Station) -> None:
        """Join a station to the line."""
        self._stations.append(station)

    def send(self, sender: Station, data: bytes) -> None:
        """Put bytes on the wire, now, or right behind what the same station is sending still."""
        if not data:
            return
        if self._sendings:
            self._pump()  # a late loop may not have seen yet that they are through
        now = asyncio.get_running_loop().time()
        if not self._sendings and not self._was_quiet and now >= self._idle_since_s + self.silence_s:
            self._quiet()  # nor that the line has been idle since: what comes now begins a frame
        for sending in self._sendings:
            if sending.sender is sender:
                sending.data += data
                return
        clash = bool(self._sendings)
        for sending in self._sendings:
            sending.garbled = True
        self._sendings.append(_Sending(sender, data, now, garbled=clash))
        self._pump()

    def close(self) -> None:
        """Stop; what is on the wire is lost."""
        self._sendings.clear()
        if self._wake is not None:
            self._wake.cancel()

    def _end_s(self, sending: _Sending) -> float:
        return sending.start_s + len(sending.data) * self.byte_s

    def _pump(self) -> None:
        """Hand over what is through by now and come back when more is."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for sending in list(self._sendings):
            due = min(len(sending.data), int((now - sending.start_s) / self.byte_s + 1e-6))
            if due > sending.through:
                self._deliver(sending, sending.data[sending.through : due])
                sending.through = due
            if due == len(sending.data):
                self._sendings.remove(sending)
                self._idle_since_s = self._end_s(sending)
        if self._wake is not None:
            self._wake.cancel()
        if self._sendings:
            step = max(GROUP_S, self.byte_s)
            soonest = min(min(self._end_s(sending), now + step) for sending in self._sendings)
            self._wake = loop.call_at(soonest, self._pump)
        else:
            self._was_quiet = False
            self._wake = loop.call_at(self._idle_since_s + self.silence_s, self._quiet)

    def _quiet(self) -> None:
        self._was_quiet = True
        for station in self._stations:
            station.quiet()

    def _deliver(self, sending: _Sending, data: bytes) -> None:
        self.carried += len(data)
        data = self.scramble(data) if sending.garbled else self._disturbed(data)
        if data:
            for station in self._stations:
                if station is not sending.sender or (self.echo and station.echoes):
                    station.heard(data)

    def _disturbed(self, data: bytes) -> bytes:
        if not self.noise and not self.loss:
            return data
        out = bytearray()
        for byte in data:
            if self._random.random() < self.loss:
                continue
            if self._random.random() < self.noise:
                # with parity the receiver sees that a bit is wrong, and reads zero (termios(3), INPCK)
                byte = byte ^ 1 << self._random.randrange(8) if self.parity == "none" else 0
            out.append(byte)
        return bytes(out)

    def scramble(self, data: bytes) -> bytes:
        """As many bytes that have nothing to do with what was sent."""
        return self._random.randbytes(len(data))


class PtyPort:
    """A program's way to a line: a pseudo-terminal under a link that stays the same when it is plugged again."""

    echoes = True

    def __init__(self, line: Line, link: Path) -> None:
        self.link = link
        self.parity: Parity = line.parity
        self.swapped = False
        self._line = line
        self._misheard = b""
        self._drove = False
        self._master: int | None = None
        self._look: asyncio.TimerHandle | None = None
        line.attach(self)

    @property
    def plugged(self) -> bool:
        """Whether the port is there."""
        return self._master is not None

    def plug(self) -> None:
        """Make the port, if it is not there. Raises OSError where no pseudo-terminal or link can be made."""
        if self._master is not None:
            return
        master, slave = pty.openpty()
        self._configure(master)
        target = os.ttyname(slave)
        os.close(slave)  # so that we see whether the program has it open
        os.set_blocking(master, False)
        new = self.link.with_name(f".{self.link.name}.new")
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        new.replace(self.link)
        self._master = master
        self._look_for_reader()

    def unplug(self) -> None:
        """Take the port away: a program that has it open reads an end of file or EIO, the link vanishes."""
        if self._master is None:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        if self._look is not None:
            self._look.cancel()
        self.link.unlink(missing_ok=True)
        os.close(self._master)
        self._master = None

    def heard(self, data: bytes) -> None:
        """Hand bytes to the program, if one has the port open; what its full buffer cannot take is lost."""
        if self._master is None or not self._is_open(self._master):
            return
        if self._settings(self._master) != self._line.settings:
            self._misheard += data  # where its bytes begin shows in the whole message only
            return
        with contextlib.suppress(BlockingIOError):
            os.write(self._master, data)

    def quiet(self) -> None:
        """Hand over what a program with other settings makes of the message."""
        message, self._misheard = self._misheard[-READ_MAX:], b""
        released, self._drove = self._drove, False
        if self._master is None or not (message or released):
            return
        settings = self._settings(self._master)
        data = misheard(message, self._line.settings, settings)
        # a driver that lets go of swapped wires leaves behind what its own receiver takes for a break
        data += b"\0" if released and settings.swapped else b""
        with contextlib.suppress(BlockingIOError):
            os.write(self._master, data)

    def _configure(self, master: int) -> None:
        tty.setraw(master)
        settings = termios.tcgetattr(master)
        code = {baud: code for code, baud in SPEED_CODES.items()}.get(self._line.baud)
        if code is not None:
            settings[4] = settings[5] = code
            termios.tcsetattr(master, termios.TCSANOW, settings)

    def _settings(self, master: int) -> Uart:
        """What the program has set."""
        baud = SPEED_CODES.get(termios.tcgetattr(master)[5], self._line.baud)
        return Uart(baud, self.parity, self.swapped)

    @staticmethod
    def _is_open(master: int) -> bool:
        poller = select.poll()
        poller.register(master, 0)
        return not any(event & select.POLLHUP for _, event in poller.poll(0))

    def _look_for_reader(self) -> None:
        """A closed port would wake the loop without end, so it is polled until somebody opens it."""
        if self._master is None:
            return
        loop = asyncio.get_running_loop()
        if self._is_open(self._master):
            loop.add_reader(self._master, self._readable)
        else:
            self._look = loop.call_later(LOOK_S, self._look_for_reader)

    def _readable(self) -> None:
        if self._master is None:
            return
        try:
            data = os.read(self._master, READ_MAX)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            asyncio.get_running_loop().remove_reader(self._master)
            self._look_for_reader()
            return
        settings = self._settings(self._master)
        if settings != self._line.settings:
            data = misheard(data, settings, self._line.settings, checks_parity=True)
            self._drove = settings.swapped
        self._line.send(self, data)
