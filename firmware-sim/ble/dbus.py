"""A private dbus-daemon: one process, one socket in the run folder, gone when its parent is."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
from pathlib import Path

SOCKET_PATH_MAX = 100  # sun_path holds 108 bytes; dbus-daemon wants a little room
START_S, STOP_S = 10.0, 3.0
_PR_SET_PDEATHSIG = 1

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


def _die_with_parent() -> None:
    """prctl(2) PR_SET_PDEATHSIG: however the simulator ends, its bus ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class DbusDaemon:
    """Starts and stops dbus-daemon at one address."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "dbus.sock"
        self._config = folder / "dbus.conf"
        if len(str(self._socket)) > SOCKET_PATH_MAX:
            raise ValueError(f"{self._socket} is too long for a Unix socket: choose a shorter folder")
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """What goes into DBUS_SYSTEM_BUS_ADDRESS."""
        return f"unix:path={self._socket}"

    async def start(self) -> None:
        """Start it and wait until it listens. Raises RuntimeError where it does not, OSError where it is missing."""
        self._config.write_text(_CONFIG.format(socket=self._socket), encoding="utf-8")
        self._socket.unlink(missing_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            "dbus-daemon",
            f"--config-file={self._config}",
            "--nofork",
            "--nopidfile",
            "--print-address=1",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            preexec_fn=_die_with_parent,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_S):
            if not await self._process.stdout.readline():
                raise RuntimeError(f"dbus-daemon ended with {await self._process.wait()}")

    async def wait(self) -> int:
        """Its exit status, once it has ended."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """End it; safe to call twice."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        self._socket.unlink(missing_ok=True)
