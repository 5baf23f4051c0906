"""Waits of a fraction of a millisecond. The event loop's own timers are rounded up to whole ones (epoll_wait(2)).

At 115200 baud a request and its answer take 6 ms, of which 1.75 ms are silence: a millisecond too much each time is a
tenth of what the line can carry. A kernel timer behind a descriptor (timerfd_create(2)) is exact and needs no thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os

from drivers.buses.readable import readable

CLOCK_MONOTONIC = 1
LOST_S = 0.1  # the loop's own timer, should the kernel's never come


class _Setting(ctypes.Structure):
    """struct itimerspec: the period, and the time to the first expiry."""

    _fields_ = [(name, ctypes.c_long) for name in ("period_s", "period_ns", "first_s", "first_ns")]


class FineTimer:
    """One waiter at a time. Where the kernel has none to give, the loop's timer does."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        self._fd = int(self._libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))

    async def sleep(self, seconds: float) -> None:
        """Wait so long, at least."""
        setting = _Setting(0, 0, int(seconds), int(seconds % 1 * 1e9) + 1)
        if self._fd < 0 or self._libc.timerfd_settime(self._fd, 0, ctypes.byref(setting), None) < 0:
            await asyncio.sleep(seconds)
            return
        await readable(self._fd, asyncio.get_running_loop().time() + seconds + LOST_S)
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)

    def close(self) -> None:
        """Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
