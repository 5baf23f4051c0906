"""Hours in minutes, without touching the code under test: an event loop and a clock whose time runs faster.

Every timer of the loop (the outbox's commit window, its retries) fires in fast time, and so do the clock and
``time.monotonic`` of the whole process; threads, SQLite and fsync take the time that they take. So the number of
commits to a reading is that of true time. Give it a process of its own.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar
from unittest.mock import patch

from gateway.clock import Source

_T = TypeVar("_T")
SECOND = 1_000_000_000
_true_ns = time.monotonic_ns


class FastTime:
    """A trusted clock of one boot. ``speed`` may change on the way: time never jumps."""

    def __init__(self, speed: float = 1.0, ago_s: float = 0.0) -> None:
        """``ago_s``: how long before now its UTC begins."""
        self.boot_id = "00000000-0000-4000-8000-000000000001"
        self.source: Source = "configured"
        self.speed = speed
        self._true_ns = self._fast_ns = _true_ns()
        self._offset_ns = time.time_ns() - int(ago_s * SECOND) - self._true_ns

    def run_at(self, speed: float) -> None:
        """From now on a second of true time is ``speed`` seconds."""
        self._true_ns, self._fast_ns = _true_ns(), self.mono_ns()
        self.speed = speed

    def mono_ns(self) -> int:
        """Monotonic ns of the fast time."""
        return self._fast_ns + int((_true_ns() - self._true_ns) * self.speed)

    def utc_ns(self, mono_ns: int) -> int | None:
        """UTC of a fast monotonic instant."""
        return mono_ns + self._offset_ns

    def run(self, main: Coroutine[Any, Any, _T]) -> _T:
        """Like asyncio.run, on a loop and in a process that keep this time."""
        monotonic = lambda: self.mono_ns() / SECOND  # noqa: E731
        with (
            patch("time.monotonic", monotonic),
            patch("time.monotonic_ns", self.mono_ns),
            asyncio.Runner(loop_factory=lambda: _FastLoop(self)) as runner,
        ):
            return runner.run(main)

    def true_s(self) -> float:
        """True seconds, of an arbitrary beginning."""
        return _true_ns() / SECOND


class _FastSelector(selectors.DefaultSelector):
    fast: FastTime

    def select(self, timeout: float | None = None) -> Any:
        return super().select(None if timeout is None else timeout / self.fast.speed)


class _FastLoop(asyncio.SelectorEventLoop):
    def __init__(self, fast: FastTime) -> None:
        selector = _FastSelector()
        selector.fast = fast
        self._fast = fast
        super().__init__(selector)

    def time(self) -> float:
        return self._fast.mono_ns() / SECOND
