"""Sequence numbers: given in memory, out of a range that is reserved on the disk before any of it is used.

After a crash the numbers that were reserved and are not in the file are what it may have cost. While each window is
committed the range is renewed with it and stays short, so that bound is close. While the uplink acknowledges all in
time nothing is committed; then a range for about a minute is reserved at a time.
"""

from __future__ import annotations

from collections import deque

STEP_MIN = 64
STEP_MAX = 200_000
QUIET_S = 60.0  # of the present rate are reserved where nothing but the reservation is written
WINDOWS = 2  # of the present rate are reserved where each window is committed
RATE_S = 5.0  # the rate is looked at over at least so long


class Numbers:
    """The numbers of one stream. ``next``: the first one not used; up to ``reserved_to`` they may be."""

    def __init__(self) -> None:
        self.next = 1
        self.reserved_to = 0
        self._low = 0
        self._rates: deque[float] = deque(maxlen=4)
        self._asked = 0
        self._mark = (0.0, 0)
        self._renewed_at = 1

    def start(self, last_seq: int, reserved_to: int) -> None:
        """Go on behind what the file says is used."""
        self.next = last_seq + 1
        self.reserved(reserved_to)

    def take(self, count: int) -> int | None:
        """The first of ``count`` numbers, None where so many are not reserved."""
        if self.next + count - 1 > self.reserved_to:
            self._asked += count
            return None
        first, self.next = self.next, self.next + count
        return first

    @property
    def short(self) -> bool:
        """Whether it is time to reserve more."""
        return self.next > self._low

    def wanted(self, now_s: float, window_s: float, quiet: bool) -> int:
        """Up to where to reserve now; ``quiet``: nothing else is written."""
        self._look(now_s)
        if self._rates:
            step = int(max(self._rates) * (QUIET_S if quiet else WINDOWS * window_s))
        else:  # before there is a rate, steps double
            step = 2 * (self.next - self._renewed_at)
        return self.next - 1 + max(STEP_MIN, min(STEP_MAX, step), 2 * self._asked)

    def reserved(self, to: int) -> None:
        """The reservation up to ``to`` is on the disk."""
        self._asked = 0
        self._renewed_at = self.next
        self.reserved_to = to
        self._low = self.next + (to - self.next) * 3 // 4

    def _look(self, now_s: float) -> None:
        since_s, at = self._mark
        if now_s - since_s >= RATE_S or not since_s:
            if since_s:
                self._rates.append((self.next - at) / (now_s - since_s))
            self._mark = (now_s, self.next)
