"""A driver from outside: an example distribution with a bus, a driver and a template, built and installed by pip.

Without a network, beside the environment that runs the tests: into a folder that only the commands here see.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

SOURCE = Path(__file__).parents[1] / "external_driver"


@dataclass
class Outside:
    """Where the distribution is installed, and a simulated box that its driver reads."""

    folder: Path
    environment: dict[str, str]
    port: int

    def lamppost(self, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gateway.cli.main", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment or self.environment,
            cwd=self.folder,
        )

    def config(self, **bus: object) -> str:
        settings = {
            "site": {"id": "school-1", "location": {"latitude": 60.2, "longitude": 24.9}},
            "uplink": {"url": "https://platform.example"},
            "buses": {"rooms": {"type": "example-lines", "host": "127.0.0.1", "port": self.port, "timeout": 2} | bus},
            "devices": {"room-12": {"template": "example-room", "bus": "rooms", "address": 12}},
            "storage": {"path": str(self.folder / "edge")},
        }
        path = self.folder / "lamppost.yaml"
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return str(path)


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    folder = tmp_path_factory.mktemp("outside")
    source, target = folder / "source", folder / "site"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    pip += ["--no-build-isolation", "--target", str(target), str(source)]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    environment = {**os.environ, "PYTHONPATH": str(target)}
    box = subprocess.Popen(
        [sys.executable, "-m", "lamppost_example.box", "0"], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert box.stdout is not None
        yield Outside(folder, environment, int(box.stdout.readline()))
    finally:
        box.terminate()
        box.wait(10)
        box.stdout.close()


def test_configuration_that_uses_it_is_checked(outside: Outside) -> None:
    done = outside.lamppost("check", outside.config())
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = outside.lamppost("check", outside.config(colour="red"))
    assert wrong.returncode != 0
    assert "lamppost.yaml:" in wrong.stdout + wrong.stderr  # the place of the mistake
    assert "unknown setting 'colour'; known: host, port, timeout" in wrong.stdout + wrong.stderr
    without = {**outside.environment, "PYTHONPATH": ""}
    missing = outside.lamppost("check", outside.config(), environment=without)
    assert missing.returncode != 0
    assert "example-lines" in missing.stdout + missing.stderr


def test_it_is_read(outside: Outside) -> None:
    done = outside.lamppost("read", "room-12", "--config", outside.config(), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = {reading["quantity"]: (reading["value"], reading["unit"]) for reading in json.loads(done.stdout)}
    assert told == {"co2": (612, "ppm"), "temperature": (pytest.approx(21.3), "degC")}


def test_its_template_is_listed_with_ours(outside: Outside) -> None:
    done = outside.lamppost("template", "list")
    assert done.returncode == 0, done.stderr
    assert "example-room" in done.stdout
    assert "eastron-sdm630" in done.stdout
    shown = outside.lamppost("template", "show", "example-room")
    assert shown.returncode == 0, shown.stderr
    assert "room sensor" in shown.stdout


def test_its_own_tests_pass_the_published_contract_among_them(outside: Outside) -> None:
    tests = outside.folder / "source" / "test_room.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env=outside.environment,
        cwd=outside.folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout
