"""A small client of a running simulator, for tests and for the demonstration."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from firmware_sim.process import SimulatorError

ANSWER_MAX = 64 * 1024


class SimControl:
    """Talks to ``<run>/sim.sock``. Methods raise SimulatorError where the simulator refuses or does not answer."""

    def __init__(self, run: Path, timeout_s: float = 30.0) -> None:
        path = run / "sim.sock"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise SimulatorError(f"{path}: no simulator answers there: {error}") from error
        self._file = self._socket.makefile("rwb")

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request, return its answer. Raises SimulatorError."""
        try:
            self._file.write(json.dumps(request).encode() + b"\n")
            self._file.flush()
            line = self._file.readline(ANSWER_MAX)
        except OSError as error:
            raise SimulatorError(f"the simulator does not answer: {error}") from error
        if not line:
            raise SimulatorError("the simulator has hung up")
        answer: dict[str, Any] = json.loads(line)
        if not answer.pop("ok"):
            raise SimulatorError(str(answer["error"]))
        return answer

    def unplug(self, line: str) -> None:
        """Take a line's port away."""
        self.ask(do="unplug", line=line)

    def plug(self, line: str) -> None:
        """Bring it back under the same name."""
        self.ask(do="plug", line=line)

    def noise(self, line: str, rate: float) -> None:
        """Flip a bit of a byte with this probability."""
        self.ask(do="noise", line=line, rate=rate)

    def loss(self, line: str, rate: float) -> None:
        """Swallow a byte with this probability."""
        self.ask(do="loss", line=line, rate=rate)

    def echo(self, line: str, on: bool) -> None:
        """Let the gateway hear what it sends."""
        self.ask(do="echo", line=line, on=on)

    def silence(self, device: str, on: bool = True) -> None:
        """Switch a device off, or with ``on=False`` on again."""
        self.ask(do="silence", device=device, on=on)

    def mqtt(self, up: bool) -> None:
        """Kill the broker, or start it again at the same port."""
        self.ask(do="mqtt", state="up" if up else "down")

    def ble(self, **request: Any) -> dict[str, Any]:
        """Ask the Bluetooth process."""
        return self.ask(do="ble", request=request)

    def counts(self) -> dict[str, int]:
        """What each device handed over."""
        devices: dict[str, int] = self.ask(do="counts")["devices"]
        return devices

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
