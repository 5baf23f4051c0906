"""The runs of appliances on this box: when each was on and what it used. A bounded file, written once a minute.

Personal data in homes: it stays here, readable by the service and its group only.
"""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

RUNS_MAX = 20_000  # some weeks of a busy home; about 2 MB
LINE_MAX_BYTES = 512
SLACK = 2000  # lines beyond the bound before the file is written anew
LOG = logging.getLogger("lamppost.edge")


@dataclass(frozen=True, slots=True)
class Run:
    """``start_s`` and ``end_s``: UTC seconds; ``kwh``: what it used. ``was``: its name before somebody corrected it.

    ``confidence``: the mean while it went on, 0..1; None where it was not kept.
    """

    name: str
    start_s: float
    end_s: float
    kwh: float
    was: str = ""
    confidence: float | None = None


class RunStore:
    """The newest ``RUNS_MAX`` runs, in the order in which they ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._runs: deque[Run] = deque(maxlen=RUNS_MAX)
        self._new: list[Run] = []
        self._lines = 0
        self._failed = False
        for run in self._read():
            self._runs.append(run)
            self._lines += 1

    def add(self, run: Run) -> None:
        """Take a run that ended; it is on the disk after the next ``flush``."""
        self._runs.append(run)
        self._new.append(run)
        del self._new[:-RUNS_MAX]

    def since(self, start_s: float) -> list[Run]:
        """Runs that ended after an instant (UTC s)."""
        return [run for run in self._runs if run.end_s > start_s]

    def correct(self, name: str, start_s: float, right: str) -> Run | None:
        """Give a run its right name; the run, None where there is none. It is on the disk when this returns."""
        for index, run in enumerate(self._runs):
            if run.name == name and abs(run.start_s - start_s) < 1e-3:
                self._runs[index] = replace(run, name=right, was=run.was or run.name)
                self._new.clear()
                self._lines = RUNS_MAX + SLACK  # the next write is of all
                self._new.append(self._runs[index])
                self.flush()
                return self._runs[index]
        return None

    def flush(self) -> None:
        """Write what is new; a disk that takes nothing costs what waits beyond the bound, never the daemon."""
        if not self._new:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._lines + len(self._new) > RUNS_MAX + SLACK:
                self._rewrite()
            else:
                self._append(self._new)
                self._lines += len(self._new)
        except OSError as error:
            if not self._failed:
                LOG.warning("runs of appliances cannot be kept: %s", error.strerror)
            self._failed = True
            return
        self._failed = False
        self._new.clear()

    def _append(self, runs: list[Run]) -> None:
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640), "w") as file:
            file.writelines(_line(run) for run in runs)

    def _rewrite(self) -> None:
        part = self._path.with_suffix(".part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "w") as file:
            file.writelines(_line(run) for run in self._runs)
        part.replace(self._path)
        self._lines = len(self._runs)

    def _read(self) -> Iterator[Run]:
        """What is in the file; a line that a crash cut off is passed over."""
        try:
            with self._path.open("rb") as file:
                while line := file.readline(LINE_MAX_BYTES):
                    run = _run(line)
                    if run is not None:
                        yield run
        except FileNotFoundError:
            return
        except OSError as error:
            LOG.warning("runs of appliances cannot be read: %s", error.strerror)


def _line(run: Run) -> str:
    return json.dumps(asdict(run), separators=(",", ":")) + "\n"


def _run(line: bytes) -> Run | None:
    try:
        data: Any = json.loads(line)
        times = float(data["start_s"]), float(data["end_s"])
        sure = data.get("confidence")
        kwh, was = float(data["kwh"]), str(data.get("was", ""))
        return Run(str(data["name"]), *times, kwh, was, None if sure is None else float(sure))
    except (ValueError, TypeError, LookupError):
        return None
