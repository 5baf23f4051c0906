"""Processes that a command starts and must not leave behind."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.errors import LamppostError

PR_SET_PDEATHSIG = 1  # prctl(2)
STOP_TIMEOUT_S = 5.0


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """One process with its log file; it is told to stop when we die, however we die."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=dict(environment),
                preexec_fn=_die_with_parent, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def check(self, may_end: bool = False) -> None:
        """Raise LamppostError, with the end of its log, when it has died; ``may_end`` with code 0 by itself."""
        code = self._process.poll()
        if code is not None and not (may_end and code == 0):
            tail = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise LamppostError(
                f"the {self.name} process ended with code {code}: {' / '.join(tail)}",
                code="demo.died",
                fix=f"See {self.log}.",
            )

    def stop(self) -> float:
        """SIGTERM, then SIGKILL after STOP_TIMEOUT_S. Returns the seconds that it took."""
        began = time.monotonic()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return time.monotonic() - began


def lamppost(*arguments: str) -> list[str]:
    """The command line of this same installation."""
    return [sys.executable, "-m", "gateway.cli.main", *arguments]
