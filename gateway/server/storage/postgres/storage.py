"""Storage in PostgreSQL for several server nodes: nothing that counts is in the memory of one of them.

Works of a node that wait while a commit runs go together into the next transaction. Readers have a transaction each, of
one state. What other nodes change of documents is told by LISTEN.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from typing import Any, TypeVar

import asyncpg
import orjson

from gateway.server.errors import Overloaded, ServerError, StorageAway, StorageFailed
from gateway.server.outcome import Outcome
from gateway.server.storage.base import Changed, Reader, StorageStats, Writer
from gateway.server.storage.postgres.held import BusyError
from gateway.server.storage.postgres.partitions import Known
from gateway.server.storage.postgres.queues import CHANNEL
from gateway.server.storage.postgres.reading import WRITTEN, Readers, Replica, read
from gateway.server.storage.postgres.session import FAILURES, Database, Session, translate, unusable
from gateway.server.storage.postgres.writer import PostgresWriter

log = logging.getLogger(__name__)
T = TypeVar("T")
VERSION = 1
READERS = 4
READS_WAITING_MAX = 256
GROUP_WEIGHT_MAX = 2_000  # documents in one commit
LISTEN_AGAIN_S = 1.0
LEAD_S = 2.0
LEADER = "lamppost leader"
SIZE_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Writer], Any]
    weight: int
    future: asyncio.Future[Any]


class PostgresStorage:
    """See ``gateway.server.storage.base.Storage``. ``waiting_max``: documents that may wait to be written."""

    shared = True

    def __init__(self, database: Database, replica: Database | None = None, *, waiting_max: int = 20_000) -> None:
        self._database = database
        self._readers = Readers(database)
        self._replica = Replica(replica) if replica else None
        self._waiting_max = waiting_max
        self._node = uuid.uuid4().hex
        self._changed: Changed | None = None
        self._known = Known()
        self._leads = False
        self._heard = -1
        self._moved = asyncio.Event()
        self._question: asyncio.Future[int] | None = None
        self._asked: asyncio.Future[int] | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._again: deque[_Job] = deque()  # first, since others write where they wanted to
        self._thread: threading.Thread | None = None
        self._listener: asyncio.Task[None] | None = None
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="server-reader")
        self._lookups: asyncpg.Pool[Any] | None = None
        self._waiting = self._reading = self._refused = self._writes = self._commits = self._bytes = 0
        self._commit_s = self._commit_s_max = self._sized_at = 0.0

    async def start(self) -> None:
        """Connect, make the schema where there is none, start the threads. Raises ServerError."""
        self._loop = asyncio.get_running_loop()
        try:
            await prepare(self._database)
            self._lookups = await asyncpg.create_pool(
                self._database.url,
                password=self._database.password,
                min_size=1,
                max_size=READERS,
                timeout=10,
                reset=_as_it_is,
            )
        except (*FAILURES, ValueError) as error:
            raise unusable(self._database, error) from error
        self._thread = threading.Thread(target=self._run, name="server-writer")
        self._thread.start()
        listening = asyncio.Event()
        self._listener = asyncio.create_task(self._listen(listening))
        await listening.wait()

    async def close(self) -> None:
        """Commit what was accepted, stop the threads, let go of the connections."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._jobs.put(None)
        await asyncio.to_thread(thread.join)
        await asyncio.to_thread(self._pool.shutdown, wait=True)
        await asyncio.to_thread(self._readers.end)
        if self._replica is not None:
            await asyncio.to_thread(self._replica.end)
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        if self._lookups is not None:
            await self._lookups.close()

    def leads(self) -> bool:
        """Whether this node has the lock of the leader, which goes with its connection."""
        return self._leads

    def on_change(self, changed: Changed) -> None:
        """Tell of documents that other nodes put or delete."""
        self._changed = changed

    async def read(self, work: Callable[[Reader], T], *, brief: bool = False, replica: bool = False) -> T:
        """Run work against one state, on a reader thread, however brief it is: the database is elsewhere."""
        if self._reading >= READS_WAITING_MAX:
            self._refused += 1
            raise Overloaded(f"{self._reading} reads wait already")
        self._reading += 1
        try:
            where = self._replica if replica else None
            return await self._loop.run_in_executor(self._pool, read, work, self._readers, where)
        finally:
            self._reading -= 1

    async def lookup(self, tenant: str, entity_id: str) -> bytes | None:
        """The document of an entity, without a transaction around it."""
        found: bytes | None = await self._value(
            "SELECT document FROM subject WHERE tenant = $1 AND id = $2", tenant, entity_id
        )
        return found

    async def _value(self, sql: str, *arguments: object) -> Any:
        if self._lookups is None:
            raise StorageFailed("the server is stopping", fix="Send it again in a moment.")
        try:
            return await self._lookups.fetchval(sql, *arguments)
        except FAILURES as error:
            raise translate(error) from error

    async def write(self, work: Callable[[Writer], T], *, weight: int = 1) -> T:
        """Run work on the writer thread; returns once the database has it on its disk."""
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
        """Counters since the start; the size is a minute old at most, while something is written."""
        return StorageStats(
            commits=self._commits,
            commit_seconds=self._commit_s,
            commit_seconds_max=self._commit_s_max,
            writes=self._writes,
            refused=self._refused,
            waiting=self._waiting,
            waiting_max=self._waiting_max,
            bytes=self._bytes,
        )

    # the writer thread

    def _run(self) -> None:
        session = Session(self._database)
        while (jobs := self._take()) is not None:
            started = time.monotonic()
            done = self._commit(session, jobs)
            took_s = time.monotonic() - started
            self._loop.call_soon_threadsafe(self._answer, done, took_s)
        session.end()

    def _take(self) -> list[_Job] | None:
        """The jobs of the next transaction; None: stop."""
        jobs = list(self._again)
        self._again.clear()
        weight = sum(job.weight for job in jobs)
        while weight < GROUP_WEIGHT_MAX:
            try:
                job = self._jobs.get(block=not jobs)
            except queue.Empty:
                return jobs
            if job is None:
                if not jobs:
                    return None
                self._jobs.put(None)  # seen the end, but there is work before it
                return jobs
            jobs.append(job)
            weight += job.weight
        return jobs

    def _commit(self, session: Session, jobs: list[_Job]) -> list[tuple[_Job, Outcome]]:
        """One transaction. Works that would have to wait for another node come again, in the next one."""
        done: list[tuple[_Job, Outcome]] = []
        again: list[_Job] = []
        writer = PostgresWriter(session, self._node, self._known)
        with Outcome(translate) as group:
            session.begin()
            for job in jobs:
                outcome = _attempt(writer, job, alone=len(jobs) == 1)
                if isinstance(outcome.error, BusyError):
                    again.append(job)
                else:
                    done.append((job, outcome))
            nothing = len(jobs) == 1 and (again or done[0][1].error)
            if not nothing:
                writer.finish()
            session.execute("ROLLBACK" if nothing else "COMMIT")
            if not nothing:
                writer.kept()
        if group.error is not None:
            writer.undo()
            session.close()
            return [(job, group) for job in jobs]
        self._again.extend(again)
        self._measure(session)
        self._written(session)
        return done

    def _written(self, session: Session) -> None:
        """A replica must have what was committed before it is read from."""
        if self._replica is None:
            return
        with Outcome() as outcome:
            outcome.value = session.value(WRITTEN)
        if outcome.error is not None:
            session.close()
        self._replica.must_have(outcome.value)

    def _measure(self, session: Session) -> None:
        """Now and then. Where that fails the works of this commit have not."""
        if time.monotonic() - self._sized_at > SIZE_EVERY_S:
            self._sized_at = time.monotonic()
            with Outcome() as outcome:
                self._bytes = session.value("SELECT pg_database_size(current_database())")
            if outcome.error is not None:
                session.close()

    def _answer(self, done: list[tuple[_Job, Outcome]], took_s: float) -> None:
        self._commits += 1
        self._writes += len(done)
        self._commit_s += took_s
        self._commit_s_max = max(self._commit_s_max, took_s)
        for job, outcome in done:
            self._waiting -= job.weight
            if job.future.done():
                continue
            if outcome.error is not None:
                job.future.set_exception(outcome.error)
            else:
                job.future.set_result(outcome.value)

    # other nodes

    async def _listen(self, listening: asyncio.Event) -> None:
        """Until cancelled. What was missed while there was no connection may be anything."""
        while True:
            lost = asyncio.Event()
            with contextlib.suppress(*FAILURES):
                connection = await self._database.connect()
                try:
                    connection.add_termination_listener(lambda _, lost=lost: lost.set())
                    await connection.add_listener(CHANNEL, self._told)
                    if listening.is_set():
                        self._tell(None)
                    self._hear(await connection.fetchval("SELECT value FROM revision"))
                    listening.set()
                    await self._lead(connection, lost)
                finally:
                    self._leads = False
                    connection.terminate()
            log.warning("the connection to the database was lost; trying again")
            await asyncio.sleep(LISTEN_AGAIN_S)

    async def _lead(self, connection: asyncpg.Connection[Any], lost: asyncio.Event) -> None:
        """Until the connection is lost: become the leader as soon as there is none, and stay it."""
        while not lost.is_set():
            if not self._leads:
                self._leads = await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", LEADER)
            written = await connection.fetchval(WRITTEN, timeout=LEAD_S)  # a connection that hangs is lost
            if self._replica is not None:
                self._replica.must_have(written)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(lost.wait(), LEAD_S)

    def _told(self, connection: object, process: int, channel: str, payload: object) -> None:
        node, revision, kind, tenant, document_id = orjson.loads(str(payload))
        if node != self._node:
            self._tell((kind, tenant, document_id))
        self._hear(revision)

    def _hear(self, revision: int) -> None:
        self._heard = max(self._heard, revision)
        self._moved.set()
        self._moved = asyncio.Event()

    async def heard(self) -> None:
        """Ask how far others are; one question for all who come while the one before it is under way."""
        if self._question is None:
            self._question = asyncio.ensure_future(self._ask(self._asked))
        revision = await asyncio.shield(self._question)
        while self._heard < revision:
            await self._moved.wait()

    async def _ask(self, before: asyncio.Future[int] | None) -> int:
        if before is not None:
            await asyncio.wait([before])
        self._asked, self._question = self._question, None
        return int(await self._value("SELECT value FROM revision"))

    def _tell(self, what: tuple[str, str, str] | None) -> None:
        if self._changed is not None:
            self._changed(what)


def _attempt(writer: PostgresWriter, job: _Job, *, alone: bool) -> Outcome:
    """One work. A lost connection ends the group: it is raised, not kept."""
    with Outcome(translate) as outcome, writer.work(alone=alone):
        outcome.value = job.work(writer)
    if isinstance(outcome.error, StorageFailed | StorageAway):
        raise outcome.error
    return outcome


async def _as_it_is(connection: asyncpg.Connection[Any]) -> None:
    """Single questions leave nothing behind in their connection that would have to be reset."""


async def prepare(database: Database) -> None:
    """Make or check the schema; several nodes may start at once. Raises ServerError, PostgresError, OSError."""
    connection = await database.connect()
    try:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            if await connection.fetchval(f"SHOW {setting}") == "off":
                raise ServerError(
                    f"the database has {setting} = off: what it acknowledges can be lost",
                    code="server.database-unsafe",
                    fix=f"Set {setting} = on in postgresql.conf.",
                )
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('lamppost schema', 0))")
            if await connection.fetchval("SELECT to_regclass('schema_version')") is None:
                sql = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
                await connection.execute(sql)
            version = await connection.fetchval("SELECT version FROM schema_version")
        if version != VERSION:
            raise ServerError(
                f"the database has schema {version}, this version of Lamppost knows {VERSION}",
                code="server.storage-newer",
                fix="Install the version that wrote it, or use another database.",
            )
    finally:
        await connection.close()
