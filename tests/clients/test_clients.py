"""Clients that others wrote, from PyPI, each in a venv of its own, against a real server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.support import serving, until
from tests.server.test_subscriptions import Receiver, receiving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lamppost-clients"
OFFLINE = ("NameResolutionError", "NewConnectionError", "ConnectTimeoutError", "No matching distribution")


def python_with(package: str) -> str:
    """The interpreter of a venv that has it; made once. Skips the test where the network is missing."""
    venv = CACHE / package.replace("==", "-")
    python = venv / "bin" / "python"
    if not (venv / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode and any(word in done.stderr for word in OFFLINE):
            pytest.skip(f"{package} cannot be downloaded")
        assert done.returncode == 0, done.stderr
        (venv / "done").touch()
    return str(python)


async def used(python: str, script: str, *arguments: str) -> None:
    """Run what its user does; all that goes wrong there is told here."""
    command = [python, str(Path(__file__).with_name(script)), *arguments]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["done"]), done.stdout + done.stderr


def heard(receiver: Receiver, entity_id: str, degrees: float) -> bool:
    return any(
        (entity["id"], entity.get("temperature", {}).get("value")) == (entity_id, degrees)
        for notification in receiver.got
        for entity in notification["data"]
    )


async def test_ngsildclient(tmp_path: Path) -> None:
    python = python_with("ngsildclient==0.5.2")
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        await used(python, "use_ngsildclient.py", str(client.base_url.port), receiver.url)
        await until(lambda: heard(receiver, "urn:ngsi-ld:Room:n1", 23.5))


async def test_filip(tmp_path: Path) -> None:
    python = python_with("filip==0.8.1")
    async with receiving() as receiver, serving(tmp_path, notify_prefixes=(receiver.url,)) as client:
        await used(python, "use_filip.py", str(client.base_url), receiver.url)
        await until(lambda: heard(receiver, "urn:ngsi-ld:Room:1", 23.5))
