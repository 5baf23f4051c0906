"""A daemon that starts on a disk that takes nothing: it lives, says so, and recovers alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from gateway.cli.children import Child, lamppost
from gateway.cli.control import ControlClient, NoDaemonError
from gateway.cli.demo import _free_port
from gateway.cli.demo_count import until
from gateway.cli.doctor_checks import disk as doctor

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
WAIT_S = 40.0


def mount(folder: Path, *options: str) -> None:
    subprocess.run(["mount", *options, str(folder)], check=True)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "disk"
    made.mkdir()
    mount(made, "-t", "tmpfs", "-o", "size=8m,nr_inodes=40", "none")
    yield made
    subprocess.run(["umount", "-l", str(made)], check=True)


def read_only(folder: Path) -> Callable[[], None]:
    mount(folder, "-o", "remount,ro")
    return lambda: mount(folder, "-o", "remount,rw")


def read_only_and_empty(folder: Path) -> Callable[[], None]:
    (folder / "data").rmdir()
    return read_only(folder)


def full(folder: Path) -> Callable[[], None]:
    hog = folder / "hog"
    with pytest.raises(OSError, match="No space"), hog.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return hog.unlink


def no_inode(folder: Path) -> Callable[[], None]:
    hogs: list[Path] = []
    with pytest.raises(OSError, match="No space"):
        while True:
            (folder / f"hog{len(hogs)}").touch()
            hogs.append(folder / f"hog{len(hogs)}")
    return lambda: [hog.unlink() for hog in hogs] and None


@pytest.mark.parametrize("ail", [read_only, read_only_and_empty, full, no_inode])
def test_a_start_on_a_sick_disk(folder: Path, tmp_path: Path, ail: Callable[[Path], Callable[[], None]]) -> None:
    (folder / "data").mkdir()
    config = {
        "site": {"id": "box", "location": {"latitude": 0.0, "longitude": 0.0}},
        "uplink": {"url": "http://127.0.0.1:9"},
        "storage": {"path": str(folder / "data")},
        "local": {"listen": {"port": _free_port("127.0.0.1")}},
        "clock": {"trusted": True},
    }
    path, log = tmp_path / "lamppost.yaml", tmp_path / "edge.log"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    heal = ail(folder)
    client = ControlClient(folder / "data" / "lamppost.sock")

    def problem() -> str | None:
        try:
            return str(client.ask("status")["outbox"]["problem"])
        except NoDaemonError:
            return None

    edge = Child("edge", lamppost("run", "--role", "edge", "--config", str(path)), log, os.environ)
    try:
        assert until(lambda: log.exists() and "lamppost is ready" in log.read_text(), WAIT_S, 0.1), log.read_text()
        edge.check()
        assert "the outbox cannot be written" in log.read_text()
        if ail is full:  # a socket takes no room
            assert problem()
        else:
            assert "so no command can ask this daemon" in log.read_text()
            (found,) = doctor(folder)
            assert "takes no file" in found.detail
        heal()
        assert until(lambda: problem() == "", WAIT_S, 0.1), log.read_text()
        assert (folder / "data" / "outbox.sqlite").exists()
        assert client.ask("status")["outbox"]["dropped"] == {}
        assert "Traceback" not in log.read_text()
    finally:
        assert edge.stop() < 5
