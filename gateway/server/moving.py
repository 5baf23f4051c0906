"""Moving what a server has from its embedded database into PostgreSQL: all of it, or nothing.

The server must not run. History keeps its numbers and system dates, notifications their ids and attempts, streams what
was received. Gateways say anew what their devices are when they are asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, get_args

import orjson

from gateway.model import Range
from gateway.server.broker.transient import due_us
from gateway.server.errors import ServerError
from gateway.server.storage.base import Kind, Note, Reader, Sample, Selection, Span, Subject
from gateway.server.storage.opening import FILE
from gateway.server.storage.postgres.partitions import Known
from gateway.server.storage.postgres.session import FAILURES, Database, Session, unusable
from gateway.server.storage.postgres.storage import prepare
from gateway.server.storage.postgres.writer import PostgresWriter
from gateway.server.storage.sqlite import SqliteStorage

AT_ONCE = 200  # subjects
EVERYTHING = Span(limit=2**62, time_property="any")
ALL = 2**31 - 1
Progress = Callable[[str], None]


class Moved(NamedTuple):
    """How much was moved."""

    tenants: int = 0
    entities: int = 0
    samples: int = 0
    documents: int = 0
    notes: int = 0
    streams: int = 0

    def __add__(self, other: Moved) -> Moved:  # type: ignore[override]
        return Moved(*(a + b for a, b in zip(self, other, strict=True)))


class _Whole(NamedTuple):
    """A subject with all that is known of it."""

    subject: Subject
    document: bytes | None
    history: list[Sample]


async def move(data: Path, database: Database, say: Progress = lambda _: None) -> Moved:
    """Move it; ``say`` is told how far it is. The embedded database stays as it is. Raises ServerError."""
    if not (data / FILE).exists():
        raise ServerError(f"there is no data in {data}", code="server.nothing-to-move", fix="Check --data.")
    source = SqliteStorage(data)
    await source.start()
    try:
        with ThreadPoolExecutor(1) as thread:  # a session belongs to one thread
            target = await asyncio.get_running_loop().run_in_executor(thread, _Target, database)
            return await _Move(source, target, thread, say).run()
    finally:
        await source.close()


class _Target:
    """The empty database, in one transaction."""

    def __init__(self, database: Database) -> None:
        self.session = Session(database)
        try:
            asyncio.run(prepare(database))
            self.session.begin()
        except FAILURES as error:
            self.session.end()
            raise unusable(database, error) from error
        for table in ("subject", "document", "note", "stream"):
            if self.session.value(f"SELECT EXISTS (SELECT FROM {table})"):  # noqa: S608
                self.session.end()
                raise ServerError(
                    f"the database {database.url} has data already",
                    code="server.database-not-empty",
                    fix="Move into an empty database.",
                )
        self.writer = PostgresWriter(self.session, "move", Known())

    @contextmanager
    def writing(self) -> Iterator[PostgresWriter]:
        with self.writer.work(alone=True):
            yield self.writer

    def tenant(self, name: str) -> None:
        self.session.execute("INSERT INTO tenant (name) VALUES ($1) ON CONFLICT DO NOTHING", name)

    def subjects(self, tenant: str, parts: Sequence[_Whole]) -> None:
        with self.writing() as writer:
            for subject, document, history in parts:
                if document is None:
                    writer.put_subject(tenant, subject.id, subject.types)
                else:
                    expires_us = due_us(orjson.loads(document), document)
                    writer.put_entity(tenant, subject.id, subject.types, document, expires_us)
                writer.restore_history(tenant, subject.id, history)

    def documents(self, kind: Kind, some: Sequence[tuple[str, str, bytes]]) -> None:
        with self.writing() as writer:
            for tenant, document_id, document in some:
                writer.put_document(kind, tenant, document_id, document)

    def notes(self, waiting: Sequence[Note], dead: Sequence[Note]) -> None:
        with self.writing() as writer:
            writer.put_notes([*waiting, *dead])
            for note in dead:
                writer.bury_notes([note.id], note.why)

    def streams(self, some: Sequence[tuple[str, str, list[Range]]]) -> None:
        with self.writing() as writer:
            for gateway, stream, ranges in some:
                writer.put_received(gateway, stream, ranges, time.time_ns() // 1000, ALL)

    def counted(self) -> Moved:
        """What is there now."""
        queries = (
            "SELECT count(*) FROM tenant",
            "SELECT count(*) FROM subject WHERE document IS NOT NULL",
            "SELECT count(*) FROM sample",
            "SELECT count(*) FROM document",
            "SELECT count(*) FROM note",
            "SELECT count(*) FROM stream",
        )
        return Moved(*(int(self.session.value(sql)) for sql in queries))

    def commit(self) -> None:
        self.session.execute("SELECT setval('sample_number', greatest(max(number), 1)) FROM sample")
        self.session.execute("COMMIT")
        self.session.execute("ANALYZE")


class _Move:
    """One run of it."""

    def __init__(self, source: SqliteStorage, target: _Target, thread: ThreadPoolExecutor, say: Progress) -> None:
        self._source, self._target, self._thread, self._say = source, target, thread, say
        self._moved = Moved()

    async def run(self) -> Moved:
        try:
            await self._all()
            there = await self._there(self._target.counted)
            if there != self._moved:
                raise ServerError(
                    f"{self._moved} were read and {there} are in the database: nothing was moved",
                    code="server.move-failed",
                    fix="Run `lamppost server verify` and try again.",
                )
            await self._there(self._target.commit)
        except FAILURES as error:
            cause = f"PostgreSQL: {error or type(error).__name__}: nothing was moved"
            raise ServerError(cause, code="server.move-failed", fix="See the log of the database.") from error
        finally:
            await self._there(self._target.session.end)
        return self._moved

    async def _there(self, work: Callable[..., object], *arguments: object) -> object:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def _all(self) -> None:
        for tenant in await self._source.read(lambda reader: reader.tenants()):
            await self._there(self._target.tenant, tenant)
            self._moved += Moved(tenants=1)
            await self._subjects(tenant)
        for kind in get_args(Kind):
            some = await self._source.read(partial(_documents, kind))
            await self._there(self._target.documents, kind, some)
            self._moved += Moved(documents=len(some))
        await self._queues()

    async def _subjects(self, tenant: str) -> None:
        ids = await self._source.read(lambda reader: [one.id for one in reader.subjects(tenant, Selection())])
        for start in range(0, len(ids), AT_ONCE):
            some = tuple(ids[start : start + AT_ONCE])
            parts = await self._source.read(partial(_wholes, tenant, some))
            await self._there(self._target.subjects, tenant, parts)
            live = sum(part.document is not None for part in parts)
            self._moved += Moved(entities=live, samples=sum(len(part.history) for part in parts))
            self._say(f"{tenant or 'default tenant'}: {self._moved.entities} entities, {self._moved.samples} samples")

    async def _queues(self) -> None:
        subscriptions = await self._source.read(lambda reader: reader.note_counts())
        for tenant, name in subscriptions:
            waiting = await self._source.read(partial(_notes, tenant, name, False))
            dead = await self._source.read(partial(_notes, tenant, name, True))
            await self._there(self._target.notes, waiting, dead)
            self._moved += Moved(notes=len(waiting) + len(dead))
        streams = await self._source.read(
            lambda r: [(gateway, name, ranges) for gateway in r.gateways() for name, ranges in r.streams(gateway)]
        )
        await self._there(self._target.streams, streams)
        self._moved += Moved(streams=len(streams))


def _documents(kind: Kind, reader: Reader) -> list[tuple[str, str, bytes]]:
    return reader.documents(kind)


def _notes(tenant: str, subscription: str, dead: bool, reader: Reader) -> list[Note]:
    return reader.notes(tenant, subscription, dead=dead, limit=ALL)


def _wholes(tenant: str, ids: tuple[str, ...], reader: Reader) -> list[_Whole]:
    """In the order of creation."""
    return [
        _Whole(one, reader.entity(tenant, one.id), reader.history(tenant, one.id, EVERYTHING))
        for one in reader.subjects(tenant, Selection(ids=ids))
    ]
