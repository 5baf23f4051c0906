"""Embedded storage: one SQLite file in WAL mode, one writer thread with group commit, a few reader connections.

A commit is one row of a log, fsynced (synchronous=FULL) before anybody is answered; works that wait while a commit runs
go together into the next one. Committed state is served from memory (``state``); a write-behind moves it and history
into tables (``write_behind``). A reader sees the state of one commit: a transaction of SQLite for what is in tables,
versions by the number of the commit for what is in memory.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never, TypeVar, cast

from gateway.server.errors import Overloaded, StorageFailed
from gateway.server.outcome import Outcome
from gateway.server.storage.base import Changed, Reader, StorageStats, Writer
from gateway.server.storage.engine import Engine
from gateway.server.storage.opening import FILE, READ_SECONDS_MAX, connect, open_folder, translate
from gateway.server.storage.view import View

T = TypeVar("T")
READERS = 2
READS_WAITING_MAX = 256
PROGRESS_STEPS = 20_000  # virtual machine steps between two looks at the clock, about 1 ms
GROUP_WEIGHT_MAX = 2_000  # documents in one commit: bounds the latency of who waits behind
CACHE_BYTES = 256 * 2**20  # of documents that are in the tables too


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Writer], Any]
    weight: int
    future: asyncio.Future[Any]


class _OnDiskError(Exception):
    """Something is not in memory."""


class _NoFile:
    """In place of a connection, for who may only look at memory."""

    def execute(self, *_: object) -> Never:
        """It would need the file."""
        raise _OnDiskError


_NO_FILE = _NoFile()


class SqliteStorage:
    """See ``gateway.server.storage.base.Storage``. ``waiting_max``: documents that may wait to be written."""

    shared = False

    def __init__(
        self,
        folder: Path,
        *,
        waiting_max: int = 20_000,
        bytes_max: int = 16 * 2**30,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._folder = folder
        self._waiting_max = waiting_max
        self._bytes_max = bytes_max
        self._cache_bytes = cache_bytes
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._readers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="server-reader")
        self._lock: int | None = None
        self._waiting = self._reading = self._refused = self._writes = self._commits = 0
        self._commit_s = self._commit_s_max = 0.0

    async def start(self) -> None:
        """Open, check, migrate, start the threads. Raises ServerError."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._open)
        self._thread = threading.Thread(target=self._run, name="server-writer")
        self._thread.start()

    async def close(self) -> None:
        """Commit what was accepted, stop the threads, close the file."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._jobs.put(None)
        await asyncio.to_thread(thread.join)
        await asyncio.to_thread(self._pool.shutdown, wait=True)
        while not self._readers.empty():
            self._readers.get().close()
        if self._lock is not None:
            os.close(self._lock)

    def leads(self) -> bool:
        """There is no other one."""
        return True

    def on_change(self, changed: Changed) -> None:
        """Nobody else writes to the file."""

    async def heard(self) -> None:
        """There is nothing to hear."""

    async def read(self, work: Callable[[Reader], T], *, brief: bool = False, replica: bool = False) -> T:
        """Run work against one snapshot: on a reader thread, since it may take long, or here where it is brief.

        To hand it over costs more than to look up a page of entities.
        """
        if brief:
            try:
                return self._read_memory(work)
            except _OnDiskError:
                return self._read(work)
        if self._reading >= READS_WAITING_MAX:
            self._refused += 1
            raise Overloaded(f"{self._reading} reads wait already")
        self._reading += 1
        try:
            return await self._loop.run_in_executor(self._pool, self._read, work)
        finally:
            self._reading -= 1

    async def lookup(self, tenant: str, entity_id: str) -> bytes | None:
        """The document of an entity: mostly from memory."""
        state = self._engine.state
        subject = state.subject(tenant, entity_id)
        head = None if subject is None else subject.head
        if subject is None or head is None:
            return None
        before = head.previous  # read first: it is there as long as the head is not to be seen
        version = head if head.seq <= state.seq else before
        if version is None or not version.live:
            return None
        document = version.document
        if document is None:
            document = await self.read(lambda reader: reader.entity(tenant, entity_id))
            if subject.head is version and version.document is None and document is not None:
                version.document = document
                state.loaded.append(version)
        return document

    async def write(self, work: Callable[[Writer], T], *, weight: int = 1) -> T:
        """Run work on the writer thread; returns once it is on the disk."""
        if self._thread is None:
            raise StorageFailed("the server is stopping", fix="Send it again in a moment.")
        if self._waiting and self._waiting + weight > self._waiting_max:
            self._refused += 1
            raise Overloaded(f"{self._waiting} documents wait to be written already")
        self._waiting += weight
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(work, weight, future))
        return await future

    def stats(self) -> StorageStats:
        """Counters since the start."""
        path = self._folder / FILE
        size = sum(p.stat().st_size for p in (path, Path(f"{path}-wal")) if p.exists())
        return StorageStats(
            commits=self._commits,
            commit_seconds=self._commit_s,
            commit_seconds_max=self._commit_s_max,
            writes=self._writes,
            refused=self._refused,
            waiting=self._waiting,
            waiting_max=self._waiting_max,
            bytes=size,
        )

    # the writer thread

    def _run(self) -> None:
        engine = self._engine
        while (jobs := self._take(engine.idle_seconds())) is not None:
            if jobs:
                started = time.monotonic()
                outcomes = engine.commit([job.work for job in jobs])
                self._loop.call_soon_threadsafe(self._answer, jobs, outcomes, time.monotonic() - started)
            engine.behind()
        engine.finish()

    def _take(self, wait_s: float | None) -> list[_Job] | None:
        """The jobs of the next commit; none of them when the wait is over; None: stop."""
        try:
            job = self._jobs.get(timeout=wait_s)
        except queue.Empty:
            return []
        if job is None:
            return None
        jobs = [job]
        weight = job.weight
        while weight < GROUP_WEIGHT_MAX:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs
            if job is None:
                self._jobs.put(None)  # seen the end, but there is work before it
                return jobs
            jobs.append(job)
            weight += job.weight
        return jobs

    def _answer(self, jobs: list[_Job], outcomes: list[Outcome], took_s: float) -> None:
        self._commits += 1
        self._writes += len(jobs)
        self._commit_s += took_s
        self._commit_s_max = max(self._commit_s_max, took_s)
        for job, outcome in zip(jobs, outcomes, strict=True):
            self._waiting -= job.weight
            if job.future.done():
                continue
            if outcome.error is not None:
                job.future.set_exception(outcome.error)
            else:
                job.future.set_result(outcome.value)

    # readers

    def _read_memory(self, work: Callable[[Reader], T]) -> T:
        """Against what is in memory, for which no transaction is needed. Raises _OnDiskError where that is not all."""
        engine = self._engine
        reader = engine.readers.enter()
        try:
            return work(View(cast(sqlite3.Connection, _NO_FILE), engine.state, engine.state.seq))
        finally:
            engine.readers.leave(reader)

    def _read(self, work: Callable[[Reader], T]) -> T:
        engine = self._engine
        connection = self._reader()
        deadline = time.monotonic() + READ_SECONDS_MAX
        connection.set_progress_handler(lambda: time.monotonic() > deadline, PROGRESS_STEPS)
        reader = engine.readers.enter()
        try:
            connection.execute("BEGIN")
            seq = connection.execute("SELECT seq FROM state").fetchone()[0]
            engine.readers.wait_for(seq)
            return work(View(connection, engine.state, seq, deadline, engine.indexes))
        except sqlite3.Error as error:
            raise translate(error) from error
        finally:
            connection.set_progress_handler(None, 0)
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            engine.readers.leave(reader)
            self._readers.put(connection)

    def _reader(self) -> sqlite3.Connection:
        try:
            return self._readers.get_nowait()
        except queue.Empty:
            return connect(self._folder)

    def _open(self) -> None:
        connection, lock = open_folder(self._folder, self._bytes_max)
        with Outcome() as outcome:
            self._engine = Engine(connection, self._folder / FILE, self._cache_bytes)
            self._engine.load()
        if outcome.error is not None:
            connection.close()
            os.close(lock)
            raise outcome.error
        self._lock = lock
