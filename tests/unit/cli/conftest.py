"""The command as a user has it: a process of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.unit.cli.command import LAMPPOST, Run, environment


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run ``lamppost`` with arguments; what it prints is text."""

    def start(*arguments: object, timeout: float = 60, **more: str) -> subprocess.CompletedProcess[str]:
        command = [LAMPPOST, *(str(argument) for argument in arguments)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=environment(tmp_path, **more),
            stdin=subprocess.DEVNULL,
        )
        assert "Traceback" not in done.stderr + done.stdout
        assert 'File "' not in done.stderr
        return done

    return start
