"""The writer thread of one outbox file: one job at a time, a damaged file replaced on the way."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gateway.errors import OutboxError
from gateway.outbox import quarantine
from gateway.outbox.codec import DamagedError
from gateway.outbox.database import Database
from gateway.outbox.memory_note import MemoryNote
from gateway.outbox.numbers import STEP_MIN
from gateway.outbox.records import Figures, Moment, is_damage, is_damage_at_start
from gateway.outbox.retention import Limits

LOG = logging.getLogger("lamppost.outbox")
_T = TypeVar("_T")


class Writer:
    """Owns the file and its thread. ``figures`` are those after the last job; ``busy_since_ns`` (monotonic) or 0."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.figures = Figures()
        self.busy_since_ns = 0
        self._path = path
        self._limits = limits
        self._note = MemoryNote(path.with_name(path.name + ".memory"))
        self._database: Database | None = None
        self._lock = -1
        self._turn = asyncio.Lock()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox")

    async def run(self, job: Callable[[Database], _T], now: Moment) -> _T:
        """Run a job in the thread, on the open file. Raises what the job raises, but a damaged file is replaced."""
        async with self._turn:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._job, job, now)

    async def hold(self, readings: int) -> None:
        """Write down how many readings only memory holds, as far as the disk takes that."""
        async with self._turn:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._note.hold, readings)

    def close(self) -> None:
        """End the thread and close the file; no job may be under way. Safe to call twice."""
        self._executor.shutdown(wait=True)
        if self._database is not None:
            self._database.close()
            self._database = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _job(self, job: Callable[[Database], _T], now: Moment) -> _T:
        self.busy_since_ns = time.monotonic_ns()
        try:
            if self._database is None:
                self._database = self._open(now)
            try:
                done = job(self._database)
            except (sqlite3.DatabaseError, DamagedError) as error:
                if not is_damage(error):
                    raise
                self._database = self._replace(self._database, error, now)
                done = job(self._database)
            with suppress(sqlite3.OperationalError):  # the job is done, whatever its figures are
                self.figures = self._database.figures(now)
            return done
        finally:
            self.busy_since_ns = 0

    def _open(self, now: Moment) -> Database:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._lock < 0:
            self._lock = _locked(self._path)
        quarantine.settle(self._path)
        database: Database | None = None
        try:
            database = Database(self._path, self._limits)
            database.open()
            database.begin(now, crashed=True, reserve=STEP_MIN, held=self._note.left())
        except (sqlite3.DatabaseError, DamagedError) as error:
            if is_damage_at_start(error):
                return self._replace(database, error, now, crashed=True)
            if database is not None:
                database.close()
            raise
        self._note.begin()
        return database

    def _replace(self, database: Database | None, error: Exception, now: Moment, crashed: bool = False) -> Database:
        if database is not None:
            database.close()
        self._database = None
        found = quarantine.rescue(self._path, self._limits)
        details = {"cause": str(error), "aside": found.aside.name, "saved": found.readings, "lost": found.lost}
        LOG.error(
            "the outbox was damaged (%(cause)s): moved aside as %(aside)s, %(saved)d readings saved, %(lost)d lost",
            details,
            extra={"code": "outbox.damaged", **details},
        )
        fresh = Database(self._path, self._limits)
        fresh.begin(now, crashed, reserve=STEP_MIN)
        return fresh


def _locked(path: Path) -> int:
    """Take the lock file beside the outbox: two daemons in one file would lose each other's readings."""
    handle = os.open(path.with_name(path.name + ".lock"), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        fix = "Stop the other one, or give this one another storage.path."
        raise OutboxError(f"{path} is in use by another daemon", code="outbox.in-use", fix=fix) from None
    return handle
