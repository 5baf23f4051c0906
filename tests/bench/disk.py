"""A memory card to write to: ext4 on a loop device, whose block layer counts every sector, the journal's too."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

SECTOR = 512  # /sys/block/*/stat counts in these, whatever the device has


class Disk:
    """4 KiB blocks, noatime, everything written at mkfs time, no discards: what is counted is what files cost."""

    def __init__(self, commit_s: int = 5, gib: float = 4.0) -> None:
        """``commit_s``: how often the file system commits its journal by itself; 5 is what it does unasked."""
        self._folder = tempfile.TemporaryDirectory(prefix="lamppost-disk-")
        self.path = Path(self._folder.name) / "mnt"
        self._image = Path(self._folder.name) / "image"
        self._bytes = int(gib * 2**30)
        self._commit_s = commit_s
        self._loop = ""

    def __enter__(self) -> Self:
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(self._bytes)
        whole = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
        _run("mkfs.ext4", "-q", "-b", "4096", "-E", whole, str(self._image))
        self._loop = _run("losetup", "--find", "--show", str(self._image))
        _run("mount", "-o", f"noatime,commit={self._commit_s}", self._loop, str(self.path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _run("umount", str(self.path))
        _run("losetup", "--detach", self._loop)
        self._folder.cleanup()

    def written(self) -> int:
        """Bytes that have reached the device, with all that the file system still owes it."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(folder):
                raise OSError(ctypes.get_errno(), f"cannot sync {self.path}")
        finally:
            os.close(folder)
        fields = Path(f"/sys/block/{Path(self._loop).name}/stat").read_text(encoding="ascii").split()
        return int(fields[6]) * SECTOR


def _run(*command: str) -> str:
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "PATH": path})
    return done.stdout.strip()
