"""Embedded storage: one SQLite file in WAL mode, one writer thread with group commit, a few reader connections.

Durability: synchronous=FULL, and nobody is answered before the COMMIT that holds their write has returned. Writes that
wait while a commit runs go together into the next one, so one fsync serves many. Each write is a savepoint: what it
raises undoes only itself.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gateway.server.errors import Overloaded, Problem, ServerError, StorageFailed, StorageFull, TooComplexQuery
from gateway.server.outcome import Outcome
from gateway.server.storage import schema
from gateway.server.storage.base import Reader, StorageStats, Writer
from gateway.server.storage.tables import Tables

T = TypeVar("T")
FILE = "server.db"
LOCK = "server.lock"
READERS = 2
READS_WAITING_MAX = 256
READ_SECONDS_MAX = 10.0
PROGRESS_STEPS = 20_000  # virtual machine steps between two looks at the clock, about 1 ms
GROUP_WEIGHT_MAX = 2_000  # documents in one commit: bounds the latency of who waits behind
BUSY_MS = 5_000
JOURNAL_BYTES = 64 * 2**20
PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Writer], Any]
    weight: int
    future: asyncio.Future[Any]


class SqliteStorage:
    """See ``gateway.server.storage.base.Storage``. ``waiting_max``: documents that may wait to be written."""

    def __init__(self, folder: Path, *, waiting_max: int = 20_000, bytes_max: int = 16 * 2**30) -> None:
        self._folder = folder
        self._waiting_max = waiting_max
        self._bytes_max = bytes_max
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
        connection = await asyncio.to_thread(self._open)
        self._thread = threading.Thread(target=self._run, args=(connection,), name="server-writer")
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

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Run work on a reader thread against one snapshot."""
        if self._reading >= READS_WAITING_MAX:
            self._refused += 1
            raise Overloaded(f"{self._reading} reads wait already")
        self._reading += 1
        try:
            return await self._loop.run_in_executor(self._pool, self._read, work)
        finally:
            self._reading -= 1

    async def lookup(self, tenant: str, entity_id: str) -> bytes | None:
        """The document of an entity."""
        return await self.read(lambda reader: reader.entity(tenant, entity_id))

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

    def _run(self, connection: sqlite3.Connection) -> None:
        tables = Tables(connection)
        while jobs := self._take():
            started = time.monotonic()
            outcomes = self._commit(connection, tables, jobs)
            tables.forget_surplus()
            self._loop.call_soon_threadsafe(self._answer, jobs, outcomes, time.monotonic() - started)
        connection.close()

    def _take(self) -> list[_Job]:
        """The jobs of the next commit; none of them: stop."""
        job = self._jobs.get()
        jobs: list[_Job] = []
        weight = 0
        while job is not None:
            jobs.append(job)
            weight += job.weight
            if weight >= GROUP_WEIGHT_MAX:
                return jobs
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs
        if jobs:
            self._jobs.put(None)  # seen the end, but there is work before it
        return jobs

    def _commit(self, connection: sqlite3.Connection, tables: Tables, jobs: list[_Job]) -> list[Outcome]:
        with Outcome(translate) as group:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [_attempt(connection, tables, job) for job in jobs]
            connection.execute("COMMIT")
            return outcomes
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        tables.forget()
        return [group] * len(jobs)

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

    # reader threads

    def _read(self, work: Callable[[Reader], T]) -> T:
        connection = self._reader()
        deadline = time.monotonic() + READ_SECONDS_MAX
        connection.set_progress_handler(lambda: time.monotonic() > deadline, PROGRESS_STEPS)
        try:
            connection.execute("BEGIN")
            return work(Tables(connection))
        except sqlite3.Error as error:
            raise translate(error) from error
        finally:
            connection.set_progress_handler(None, 0)
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._readers.put(connection)

    def _reader(self) -> sqlite3.Connection:
        try:
            return self._readers.get_nowait()
        except queue.Empty:
            return self._connect()

    # opening

    def _open(self) -> sqlite3.Connection:
        path = self._folder / FILE
        with ExitStack() as undo:
            try:
                _make(self._folder)
                lock = _lock(self._folder / LOCK)
                undo.callback(os.close, lock)
                connection = self._connect()
                undo.callback(connection.close)
                _check(connection, path)
                connection.execute(f"PRAGMA max_page_count = {max(self._bytes_max // PAGE_BYTES, 64)}")
                schema.migrate(connection, path)
            except (sqlite3.Error, OSError) as error:
                raise _unusable(self._folder, path, error) from error
            undo.pop_all()
        self._lock = lock
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._folder / FILE, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
        connection.execute("PRAGMA cache_size = -8192")
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection


def _attempt(connection: sqlite3.Connection, tables: Tables, job: _Job) -> Outcome:
    """One job inside the transaction of its group. A failing disk ends the group: it is raised, not kept."""
    connection.execute("SAVEPOINT job")
    with Outcome(translate) as outcome:
        outcome.value = job.work(tables)
    if isinstance(outcome.error, StorageFailed | StorageFull):
        raise outcome.error
    if outcome.error is not None:
        connection.execute("ROLLBACK TO job")
        tables.forget()
    connection.execute("RELEASE job")
    return outcome


def _make(folder: Path) -> None:
    """Make the folder so that it is there after a power cut: its entry in the folder above is on the disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    for path in missing:
        above = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(above)
        os.close(above)


def _lock(path: Path) -> int:
    """One server per data folder: the lock lasts as long as the process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ServerError(
            f"another server works in {path.parent}",
            code="server.data-in-use",
            fix="Stop the other one, or give this one another folder (--data).",
        ) from error
    return descriptor


def _check(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, found)


def _unusable(folder: Path, path: Path, error: Exception) -> ServerError:
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return damaged(path, str(error))
    return ServerError(
        f"the data folder {folder} cannot be used: {error}",
        code="server.data-unusable",
        fix="Check that the folder exists, that the user of the service may write there, and free space.",
    )


def damaged(path: Path, what: str) -> ServerError:
    """The file is left as it is: what is in it may be all there is."""
    return ServerError(
        f"the database {path} is damaged: {what}",
        code="server.storage-damaged",
        fix=f"Nothing was deleted. Copy {path}* to a safe place, then save what is readable with "
        f"`sqlite3 {path} .recover | sqlite3 recovered.db` and put recovered.db in its place, "
        "or restore a backup; check the disk.",
    )


def translate(error: Exception) -> Exception:
    """What a user may see of an error of SQLite; other errors stay what they are."""
    if isinstance(error, Problem) or not isinstance(error, sqlite3.Error):
        return error
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StorageFull(f"no more can be written: {error}")
    if code == sqlite3.SQLITE_INTERRUPT:
        return TooComplexQuery(f"the query took more than {READ_SECONDS_MAX:.0f} s")
    return StorageFailed(f"SQLite: {error}")
