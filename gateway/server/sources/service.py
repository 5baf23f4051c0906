"""Registrations of sources: kept in storage and in memory, both changed together; expired ones go."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import ClassVar

import orjson

from gateway.server.broker.model import time_text
from gateway.server.contexts import Context
from gateway.server.errors import AlreadyExists, Conflict, NonexistentTenant, Overloaded, Problem, ResourceNotFound
from gateway.server.sources import conflicts
from gateway.server.sources.discovery import Question
from gateway.server.sources.parse import TYPE, check_given, parse_registration, patched
from gateway.server.sources.record import Counters, Json, Record
from gateway.server.sources.registry import Registry
from gateway.server.storage.base import Kind, Storage, Writer

PER_TENANT_MAX = 10_000
LOOK_S = 0.5  # for those that expired, and counters to be written
COUNTERS_S = 5.0
Hook = Callable[[Writer, str, Record | None, Record | None], None]
log = logging.getLogger(__name__)


def clock_us() -> int:
    """UTC, microseconds since 1970."""
    return time.time_ns() // 1000


class Sources:
    """All registrations of all tenants. Use ``running`` while the server runs."""

    kind: ClassVar[Kind] = "registration"

    def __init__(self, storage: Storage, core: Context) -> None:
        """``core`` reads what is kept, where all names are IRIs."""
        self._storage = storage
        self._core = core
        self._records: dict[str, dict[str, Record]] = {}
        self.changing = asyncio.Lock()  # also of what the hooks look at, which run in the thread of the writer
        self._hooks: list[Hook] = []
        self._after: list[Callable[[], None]] = []
        self._dirty: set[tuple[str, str]] = set()
        self.registry = Registry(self._sent)

    def before_commit(self, hook: Hook, after: Callable[[], None]) -> None:
        """``hook(writer, tenant, before, now)`` runs inside the write of a change, ``after`` once it is on the disk."""
        self._hooks.append(hook)
        self._after.append(after)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the registrations, and let the expired go until the block ends; then write the counters."""
        for tenant, name, document in await self._storage.read(lambda reader: reader.documents("registration")):
            try:
                self._remember(self._load(tenant, document))
            except Problem as problem:  # a rule that it kept to once: it stays where it is
                log.error("the registration %s is passed over: %s", name, problem.cause)
        task = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._flush()

    def counts(self) -> dict[str, int]:
        """For the metrics: registrations, requests sent to sources that are registered, those that failed."""
        records = [record for records in self._records.values() for record in records.values()]
        return {
            "registrations": len(records),
            "sent": sum(record.counters.sent for record in records),
            "failed": sum(record.counters.failed for record in records),
        }

    def get(self, tenant: str, registration_id: str) -> Record:
        """Raises ResourceNotFound."""
        record = self._records.get(tenant, {}).get(registration_id)
        if record is None or _expired(record, clock_us()):
            raise ResourceNotFound(f"there is no registration {registration_id}")
        return record

    def record(self, tenant: str, registration_id: str) -> Record | None:
        """All that a registration says; None where it is gone."""
        return self._records.get(tenant, {}).get(registration_id)

    def all(self, tenant: str) -> list[Record]:
        """In the order of creation; those that expired are left out."""
        now_us = clock_us()
        return [record for record in self._records.get(tenant, {}).values() if not _expired(record, now_us)]

    def find(self, tenant: str, question: Question) -> list[tuple[Record, frozenset[int]]]:
        """Registrations that match, each with the elements of its information that do."""
        found = ((record, question.parts(record)) for record in self.all(tenant))
        return [(record, parts) for record, parts in found if parts]

    async def create(self, tenant: str, raw: Json, context: Context) -> None:
        """Raises BadRequestData, AlreadyExists, Conflict, Overloaded."""
        check_given(raw)
        record = parse_registration(tenant, raw, context, time_text(clock_us()))
        async with self.changing:
            known = self._records.get(tenant, {})
            if record.id in known:
                raise AlreadyExists(f"there is a registration {record.id} already")
            if len(known) >= PER_TENANT_MAX:
                raise Overloaded(f"a tenant has at most {PER_TENANT_MAX} registrations", fix="Delete some.")
            await self._store(None, record)

    async def update(self, tenant: str, registration_id: str, fragment: object, context: Context) -> None:
        """PATCH. Raises ResourceNotFound, BadRequestData, Conflict."""
        async with self.changing:
            old = self.get(tenant, registration_id)
            raw = patched({**old.raw, "type": TYPE}, fragment, context)
            check_given(raw)
            again = raw.get("expiresAt") == old.raw.get("expiresAt")
            new = parse_registration(tenant, raw, context, time_text(clock_us()), again=again)
            await self._store(old, replace(new, created=old.created, counters=old.counters))

    async def delete(self, tenant: str, registration_id: str) -> None:
        """Raises ResourceNotFound."""
        async with self.changing:
            await self._remove(self.get(tenant, registration_id))

    # what other servers on the same storage do

    def known(self) -> list[tuple[str, str]]:
        """(tenant, id) of all."""
        return [(tenant, name) for tenant, some in self._records.items() for name in some]

    async def follow(self, tenant: str, document_id: str) -> None:
        """Take over what another server made of a registration; the counters are those of this one."""
        async with self.changing:
            document = await self._storage.read(lambda reader: reader.document("registration", tenant, document_id))
            known = self._records.get(tenant, {}).get(document_id)
            if document is not None:
                record = self._load(tenant, document)
                self._remember(record if known is None else replace(record, counters=known.counters))
            elif known is not None:
                self._forget(known)

    async def check_tenant(self, tenant: str) -> None:
        """Raises NonexistentTenant."""
        if tenant and tenant not in self._records and tenant not in await self._storage.read(lambda r: r.tenants()):
            raise NonexistentTenant(f"there is no tenant {tenant}")

    async def _store(self, old: Record | None, new: Record) -> None:
        others = [record for record in self._records.get(new.tenant, {}).values() if record.id != new.id]
        others = [record for record in others if not _expired(record, clock_us())]

        clash = conflicts.clash_with_others(new, others)
        if not clash:  # a view of its own: the writer must not wait while all entities of a type are looked at
            clash = await self._storage.read(lambda reader: conflicts.clash_with_entities(reader, new))
        if clash:
            raise Conflict(clash)

        def work(writer: Writer) -> None:
            if new.registration.mode == "exclusive" and conflicts.clash_with_entities(writer, new):
                raise Conflict("an entity that this source would answer for was made just now")
            writer.put_document("registration", new.tenant, new.id, new.dump())
            for hook in self._hooks:
                hook(writer, new.tenant, old, new)

        await self._storage.write(work)
        self._remember(new)
        for after in self._after:
            after()

    async def _remove(self, record: Record) -> None:
        def work(writer: Writer) -> None:
            writer.delete_document("registration", record.tenant, record.id)
            for hook in self._hooks:
                hook(writer, record.tenant, record, None)

        await self._storage.write(work)
        self._forget(record)
        for after in self._after:
            after()

    def _forget(self, record: Record) -> None:
        del self._records[record.tenant][record.id]
        self._dirty.discard((record.tenant, record.id))
        self.registry.remove(record.tenant, record.id)

    def _remember(self, record: Record) -> None:
        self._records.setdefault(record.tenant, {})[record.id] = record
        self.registry.put(record.tenant, record.registration)

    def _load(self, tenant: str, document: bytes) -> Record:
        kept = orjson.loads(document)
        raw = {**kept["raw"], "type": TYPE}
        record = parse_registration(tenant, raw, self._core, kept["modified"], again=True)
        return replace(record, created=kept["created"], counters=Counters(**kept["counters"]))

    def _sent(self, tenant: str, registration_id: str, ok: bool) -> None:
        record = self._records.get(tenant, {}).get(registration_id)
        if record is not None:
            record.counters.count(clock_us(), ok=ok)
            self._dirty.add((tenant, registration_id))

    async def _keep(self) -> None:
        """Let the expired go, and write counters now and then."""
        written = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._let_go()
                if time.monotonic() - written >= COUNTERS_S:
                    written = time.monotonic()
                    await self._flush()
            except Problem as problem:  # a full disk: later
                log.warning("registrations cannot be written: %s", problem.cause)

    async def _let_go(self) -> None:
        now_us = clock_us()
        async with self.changing:
            gone = [r for records in self._records.values() for r in records.values() if _expired(r, now_us)]
            for record in gone:
                await self._remove(record)

    async def _flush(self) -> None:
        async with self.changing:
            dirty, self._dirty = self._dirty, set()
            records = [self._records[tenant][name] for tenant, name in dirty]
            documents = [(record.tenant, record.id, record.dump()) for record in records]

            def work(writer: Writer) -> None:
                for record, (tenant, name, document) in zip(records, documents, strict=True):
                    stored = writer.document("registration", tenant, name) if self._storage.shared else document
                    if stored is not None and orjson.loads(stored)["modified"] == record.modified:
                        writer.put_document("registration", tenant, name, document)

            if documents:
                await self._storage.write(work)


def _expired(record: Record, now_us: int) -> bool:
    expires_at = record.registration.expires_at
    return expires_at is not None and expires_at <= now_us
