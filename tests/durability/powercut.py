"""A power cut for tests: a killed program's files are put back to what it had fsynced. See lostwrites.c."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("lostwrites.c")
NOT_DURABLE = ("-shm",)  # SQLite's shared index of the log: mapped memory, made anew by whoever opens the database


def build(directory: Path) -> Path:
    """Compile the library into ``directory``; raises CalledProcessError with the compiler's words."""
    library = directory / "lostwrites.so"
    if not library.exists():
        part = directory / f"lostwrites.{os.getpid()}.so"
        command = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o", str(part), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        part.rename(library)
    return library


class PowerCut:
    """Watches everything below ``directory``; ``work`` (else a folder beside it) is for the library and the images.

    Call ``env()`` while no program uses the directory: what is there then counts as on the disk. Start the program with
    it, kill it with SIGKILL and reap it, then ``cut()``.
    """

    def __init__(self, directory: Path, work: Path | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory.resolve()
        work = work or self.directory.with_name(f"{self.directory.name}.powercut")
        self._images = (work / "images").resolve()
        work.mkdir(parents=True, exist_ok=True)
        self._library = build(work.resolve())

    def env(self) -> dict[str, str]:
        """The environment for the program and its children, which is started next."""
        shutil.rmtree(self._images, ignore_errors=True)
        self._images.mkdir(parents=True)
        for file in self._files(self.directory):
            self._copy(file, self.directory, self._images)
        more = {
            "LD_PRELOAD": str(self._library),
            "LOSTWRITES_DIR": str(self.directory),
            "LOSTWRITES_SHADOW": str(self._images),
        }
        return {**os.environ, **more}

    def cut(self) -> dict[str, int]:
        """Put back what was fsynced. Returns, by changed file, the difference in bytes, -1 where the file vanished."""
        lost: dict[str, int] = {}
        for file in self._files(self.directory):
            image = self._images / file.relative_to(self.directory)
            name = str(file.relative_to(self.directory))
            if name.endswith(NOT_DURABLE) or not image.exists():
                lost[name] = -1
            elif file.read_bytes() != image.read_bytes():
                lost[name] = abs(file.stat().st_size - image.stat().st_size)
            file.unlink()
        for image in self._files(self._images):
            if image.suffix == ".part":
                image.unlink()  # the process died while this was written: that fsync never returned
            elif not image.name.endswith(NOT_DURABLE):
                self._copy(image, self._images, self.directory)
        return lost

    @staticmethod
    def _files(directory: Path) -> list[Path]:
        return [path for path in sorted(directory.rglob("*")) if path.is_file() and not path.is_symlink()]

    @staticmethod
    def _copy(file: Path, from_directory: Path, to_directory: Path) -> None:
        target = to_directory / file.relative_to(from_directory)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
