"""Time that never lies: a trusted UTC is monotonic time plus an offset that somebody vouched for.

Sources of trust, the better ones first: ``clock: trusted`` in the configuration, the kernel's synchronised flag
(adjtimex(2), STA_UNSYNC cleared by NTP or chrony), a GNSS receiver with a fix, or the server's time over an
authenticated exchange with a bounded round trip. Until one of them speaks every reading carries (boot id, monotonic ns)
and nothing leaves the box. The system clock itself is never set.

How far off it may be: a receiver on a serial port speaks up to FIX_LATENCY_MAX_NS after the instant that it means, so
its time is right to +-0.25 s; the server's to half the round trip, at most +-1 s.
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Literal, Protocol

from gateway.model import BootTime

Source = Literal["none", "configured", "kernel", "gnss", "server"]
BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
ROUND_TRIP_MAX_NS = 2_000_000_000
FIX_LATENCY_MAX_NS = 500_000_000
FIXES_MIN = 3  # in a row that agree, before they are believed, and before others are believed instead
DRIFT_MAX = 10_000  # a quartz goes wrong by at most one part in so many
DISAGREE_MAX_NS = 5_000_000_000  # between server and receiver: beyond it the server's authenticated word stands
TIME_ERROR = 5  # adjtimex(2): return value while the clock is not synchronised
EARLIEST_NS = 1_704_067_200_000_000_000  # 2024-01-01: a clock before the software was written is never trusted


class Clock(Protocol):
    """What the edge asks for the time."""

    boot_id: str
    source: Source

    def mono_ns(self) -> int:
        """Monotonic nanoseconds of this boot."""

    def utc_ns(self, mono_ns: int) -> int | None:
        """The trusted UTC of a monotonic instant of this boot, None while no source is trusted."""


class FixTime:
    """What a row of GNSS fixes says of the time. The fix that was heard soonest after its instant says most."""

    def __init__(self) -> None:
        self._offset_ns = 0
        self._at_mono_ns = 0
        self._agree = 0
        self._disagree = 0

    def add(self, utc_ns: int, mono_ns: int) -> int | None:
        """UTC less monotonic time, once FIXES_MIN fixes in a row agree."""
        offset = utc_ns + FIX_LATENCY_MAX_NS // 2 - mono_ns
        aged = self._offset_ns - (mono_ns - self._at_mono_ns) // DRIFT_MAX
        if self._agree and abs(offset - aged) <= FIX_LATENCY_MAX_NS:
            self._offset_ns, self._at_mono_ns = max(offset, aged), mono_ns
            self._agree, self._disagree = self._agree + 1, 0
        else:
            self._disagree += 1
            if not self._agree or self._disagree >= FIXES_MIN:
                self._offset_ns, self._at_mono_ns = offset, mono_ns
                self._agree, self._disagree = 1, 0
        return self._offset_ns if self._agree >= FIXES_MIN else None


class SystemClock:
    """The box's clock. ``configured``: the configuration vouches for the system clock (an RTC, a demo)."""

    def __init__(self, configured: bool = False) -> None:
        self.boot_id = read_boot_id()
        self.source: Source = "none"
        self._offset_ns = 0
        self._configured = configured
        self._fixes = FixTime()
        self.refresh()

    def mono_ns(self) -> int:
        """Monotonic nanoseconds of this boot."""
        return time.monotonic_ns()

    def utc_ns(self, mono_ns: int) -> int | None:
        """The trusted UTC of a monotonic instant, None while no source is trusted."""
        return None if self.source == "none" else mono_ns + self._offset_ns

    def refresh(self) -> None:
        """Look at the configured and kernel sources again; call it now and then, the system clock may have been set."""
        offset = time.time_ns() - time.monotonic_ns()
        if offset + time.monotonic_ns() < EARLIEST_NS:
            return
        if self._configured:
            self.source, self._offset_ns = "configured", offset
        elif kernel_synchronised():
            self.source, self._offset_ns = "kernel", offset

    def learn(self, server_ns: int, sent_mono_ns: int, received_mono_ns: int) -> bool:
        """Take the server's time, got over an authenticated exchange. Returns whether it was used.

        The kernel's and the configuration's word go before the server's, and so does that of a GNSS receiver that says
        about the same; a round trip over 2 s proves too little.
        """
        if self.source in ("configured", "kernel") or server_ns < EARLIEST_NS:
            return False
        if not 0 <= received_mono_ns - sent_mono_ns <= ROUND_TRIP_MAX_NS:
            return False
        offset = server_ns - (sent_mono_ns + received_mono_ns) // 2
        if self.source == "gnss" and abs(offset - self._offset_ns) <= DISAGREE_MAX_NS:
            return False
        self._offset_ns = offset
        self.source = "server"
        return True

    def learn_fix(self, utc_ns: int, mono_ns: int) -> bool:
        """Take the time of a valid GNSS fix, heard at ``mono_ns``. Returns whether it was used.

        The kernel's and the configuration's word go before it, and the server's where they are far apart.
        """
        if self.source in ("configured", "kernel") or utc_ns < EARLIEST_NS:
            return False
        offset = self._fixes.add(utc_ns, mono_ns)
        if offset is None or (self.source == "server" and abs(offset - self._offset_ns) > DISAGREE_MAX_NS):
            return False
        self._offset_ns = offset
        self.source = "gnss"
        return True


def stamp(clock: Clock, mono_ns: int) -> tuple[int, BootTime | None]:
    """(observed_ns, None) where the clock is trusted, else (0, boot time): the two clock fields of a Reading."""
    utc = clock.utc_ns(mono_ns)
    if utc is None:
        return 0, BootTime(clock.boot_id, mono_ns)
    return utc, None


def read_boot_id() -> str:
    """The kernel's random id of this boot (proc(5))."""
    return BOOT_ID_FILE.read_text(encoding="ascii").strip()


def kernel_synchronised() -> bool:
    """Whether the kernel says that its clock is disciplined by NTP or the like."""
    libc = ctypes.CDLL(None, use_errno=True)
    status: int = libc.adjtimex(ctypes.create_string_buffer(512))  # struct timex, modes = 0: read only
    return 0 <= status < TIME_ERROR
