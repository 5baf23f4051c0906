"""Child processes that never outlive the simulator."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_S = 3.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class SimulatorError(Exception):
    """The simulator cannot do what it was asked; the text says why and what helps."""


def find_program(name: str) -> str | None:
    """The path of a program, also where Debian keeps daemons outside a user's PATH."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))


def _end_with_parent() -> None:
    """prctl(2): the kernel ends the child when the simulator ends, however that happens."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def start(
    arguments: Sequence[str], log: Path, *, piped: bool = False, environment: Mapping[str, str] | None = None
) -> Process:
    """Start a program that ends with us. Its output goes to ``log``; with ``piped`` its stdout comes to us."""
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if piped else file,
            stderr=file,
            env=environment,
            preexec_fn=_end_with_parent,
        )


async def stop(process: Process) -> None:
    """End a program: politely, and after a while for certain."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
