"""A helper process in a namespace that says when it is ready and ends with us."""

from __future__ import annotations

import ctypes
import select
import signal
import subprocess
import sys

from firmware_sim.net.namespace import Namespace
from firmware_sim.process import SimulatorError

READY_S = 20.0
STOP_S = 5.0
_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None)


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Service:
    """``python -m firmware_sim.net.MODULE ...`` inside. Raises SimulatorError where it does not get ready."""

    def __init__(self, namespace: Namespace, module: str, arguments: list[str]) -> None:
        self.arguments = arguments
        command = namespace.command(sys.executable, "-m", f"firmware_sim.net.{module}", *arguments)
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=_end_with_parent
        )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], READY_S)
        if not readable or not self._process.stdout.readline():
            self.stop()
            raise SimulatorError(f"{module} {' '.join(arguments)} does not start")

    def stop(self) -> None:
        """End it; safe to call twice."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
