"""Snapshots: made, filled by one worker, shown, ended (CIM 009 v1.9.1).

A snapshot is a hidden tenant of the storage, so all operations work on it as on any tenant. Its document is the queue
of the worker, too: what is in preparation when the server ends is begun again at the next start. Of several servers
that share a storage one fills and removes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import orjson

from gateway.server.broker.model import time_text
from gateway.server.broker.tenants import check_tenant
from gateway.server.contexts import Contexts
from gateway.server.errors import AlreadyExists, Conflict, Problem, ResourceNotFound, TooManyResults
from gateway.server.outcome import Outcome
from gateway.server.snapshots.copying import Copied, copy_whole, drop_part, fill
from gateway.server.snapshots.model import expired, hidden, now_us
from gateway.server.snapshots.notices import note_of, receiver_of
from gateway.server.storage.base import Kind, Reader, Storage, Writer
from gateway.server.subscriptions.model import Subscription
from gateway.server.subscriptions.service import Subscriptions

log = logging.getLogger(__name__)
SNAPSHOTS_MAX = 100
PAUSE_S = 1.0
KIND: Kind = "snapshot"
ENDED_MAX = 100  # that have ended, and whose receivers are yet to be told


class Snapshots:
    """Use ``running`` while the server runs, after ``load``.

    A record is {tenant, context, cloneOf?, snapshot, ended?}.
    """

    kind: ClassVar[Kind] = KIND

    def __init__(self, storage: Storage, contexts: Contexts, subscriptions: Subscriptions) -> None:
        self._storage = storage
        self._contexts = contexts
        self._subscriptions = subscriptions
        self._wake = asyncio.Event()
        self._used: dict[tuple[str, str], int] = {}
        self._receivers: dict[tuple[str, str], Subscription] = {}
        self._emptied: set[str] = set()

    async def load(self) -> None:
        """Who is told, before notifications are sent: what waits for nobody is thrown away."""
        counts = await self._storage.read(lambda reader: reader.note_counts())
        for record in await self.records():
            key = hidden(record["tenant"], record["snapshot"]["id"]), record["snapshot"]["id"]
            self._adopt(record, waiting=counts.get(key, (0, 0, 0))[0])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Fill and end snapshots until the block ends."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run())
            try:
                yield
            finally:
                task.cancel()

    # what the routes ask

    async def use(self, tenant: str, snapshot_id: str) -> None:
        """Before an operation on a snapshot. Raises ResourceNotFound, Conflict while it is in preparation."""
        snapshot = (await self.record(tenant, snapshot_id))["snapshot"]
        if snapshot["snapshotStatus"] == "preparation":
            raise Conflict(f"the snapshot {snapshot_id} is still in preparation")
        if len(self._used) < SNAPSHOTS_MAX or (tenant, snapshot_id) in self._used:
            self._used[(tenant, snapshot_id)] = now_us()

    async def record(self, tenant: str, snapshot_id: str) -> dict[str, Any]:
        """What is stored of a snapshot. Raises ResourceNotFound."""
        return await self._storage.read(lambda reader: _found(reader, tenant, snapshot_id), brief=True)

    async def records(self, tenant: str | None = None) -> list[dict[str, Any]]:
        """All that there are, of a tenant or of all."""
        documents = await self._storage.read(lambda reader: reader.documents(KIND))
        found = [orjson.loads(document) for _, _, document in documents]
        return [one for one in found if tenant is None or one["tenant"] == tenant]

    async def create(self, tenant: str, snapshot: dict[str, Any], context: object, clone_of: str | None = None) -> None:
        """Take it on. Raises AlreadyExists, TooManyResults, NonexistentTenant."""
        record = {"tenant": tenant, "context": context, "cloneOf": clone_of, "snapshot": snapshot}

        def work(writer: Writer) -> None:
            check_tenant(writer, tenant)
            known = writer.document(KIND, hidden(tenant, snapshot["id"]), snapshot["id"])
            if known is not None and "ended" not in orjson.loads(known):
                raise AlreadyExists(f"there is a snapshot {snapshot['id']}")
            if sum("ended" not in orjson.loads(one) for _, _, one in writer.documents(KIND)) >= SNAPSHOTS_MAX:
                raise TooManyResults(f"there are {SNAPSHOTS_MAX} snapshots", fix="Delete one, or wait for an expiry.")
            _put(writer, record)

        await self._storage.write(work)
        self._adopt(record)
        self._wake.set()

    async def change(self, record: dict[str, Any], snapshot: dict[str, Any]) -> None:
        """Other settings. Raises ResourceNotFound."""
        await self._update(record["tenant"], snapshot)

    async def delete(self, tenant: str, snapshot_id: str) -> None:
        """End it now: it is not seen any more, its data go after. Raises ResourceNotFound."""
        await self._end(await self.record(tenant, snapshot_id))
        self._wake.set()

    # what other servers on the same storage do

    def known(self) -> list[tuple[str, str]]:
        """(hidden tenant, id) of those that somebody is told of."""
        return list(self._receivers)

    async def follow(self, tenant: str, document_id: str) -> None:
        """Take over who is told of a snapshot of another server."""
        document = await self._storage.read(lambda reader: reader.document(KIND, tenant, document_id))
        if document is None:
            self._dismiss(tenant, document_id)
        else:
            self._adopt(orjson.loads(document))

    def _adopt(self, record: dict[str, Any], *, waiting: int = 0) -> None:
        receiver = receiver_of(record, self._contexts.core)
        if receiver is not None:
            self._receivers[receiver.tenant, receiver.id] = receiver
            self._subscriptions.adopt(receiver, waiting=waiting)

    def _dismiss(self, target: str, snapshot_id: str) -> None:
        receiver = self._receivers.pop((target, snapshot_id), None)
        if receiver is not None:
            self._subscriptions.dismiss(receiver)

    def _tell(self, writer: Writer, record: dict[str, Any]) -> None:
        """In the write of a change: its notification, which is on the disk with it."""
        receiver, now = receiver_of(record, self._contexts.core), now_us()
        if receiver is not None:
            self._subscriptions.enqueue(writer, receiver, note_of(record, now), now)

    # the worker

    async def _run(self) -> None:
        failing = False
        while True:
            self._wake.clear()
            with Outcome() as outcome:
                await self._round()
            if outcome.error is not None and not failing:
                log.warning("snapshots have to wait: %s", outcome.error)
            failing = outcome.error is not None
            try:
                async with asyncio.timeout(PAUSE_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _round(self) -> None:
        used, self._used = self._used, {}
        for (tenant, snapshot_id), at_us in used.items():
            await self._update(tenant, {"id": snapshot_id, "lastUsedAt": time_text(at_us)}, silent=True)
        if not self._storage.leads():
            return
        records = await self.records()
        ended = [record for record in records if record.get("ended")]
        for record in records:
            if record.get("ended"):
                await self._remove(record, at_once=record in ended[:-ENDED_MAX])
            elif expired(record["snapshot"], now_us()):
                await self._end(record)
        waiting = [
            one for one in records if not one.get("ended") and one["snapshot"]["snapshotStatus"] == "preparation"
        ]
        waiting.sort(key=lambda one: -one["snapshot"].get("snapshotPriority", 1))
        for record in waiting[:1]:  # one in each round, so that what has expired never waits for many
            await self._prepare(record)
            self._wake.set()

    async def _prepare(self, record: dict[str, Any]) -> None:
        snapshot, tenant = record["snapshot"], record["tenant"]
        target = hidden(tenant, snapshot["id"])
        await self._empty(target)  # what a server left that ended in the middle
        details: dict[str, Any] = {}
        with Outcome() as outcome:
            if record["cloneOf"] is not None:
                details = await self._clone(tenant, record["cloneOf"], target)
            else:
                details = await self._query(record, target)
        if outcome.error is not None:
            if not isinstance(outcome.error, Problem):
                log.error("the snapshot %s failed", snapshot["id"], exc_info=outcome.error)
            details = {"snapshotStatus": "failure"}
        await self._update(tenant, {"id": snapshot["id"], **details, "modifiedAt": time_text(now_us())})

    async def _query(self, record: dict[str, Any], target: str) -> dict[str, Any]:
        spec = record["context"]
        context = self._contexts.known(spec) or await self._contexts.context_for(spec)
        current, history = await fill(self._storage, record["snapshot"], context, record["tenant"], target)
        details: dict[str, Any] = {"snapshotStatus": _status([*current, *history])}
        for name, results in (("snapshotQueriesDetails", current), ("snapshotTemporalQueriesDetails", history)):
            if results:
                details[name] = [result.shown() for result in results]
        return details

    async def _clone(self, tenant: str, source_id: str, target: str) -> dict[str, Any]:
        source = (await self.record(tenant, source_id))["snapshot"]
        await copy_whole(self._storage, hidden(tenant, source_id), target)
        names = ("snapshotStatus", "snapshotQueriesDetails", "snapshotTemporalQueriesDetails")
        return {name: source[name] for name in names if name in source}

    async def _update(self, tenant: str, members: dict[str, Any], *, silent: bool = False) -> None:
        """Change members of what is there (still). Raises ResourceNotFound unless ``silent``."""
        if not silent:  # only then can anything be queued for its receiver
            known = await self.record(tenant, members["id"])
            self._adopt({**known, "snapshot": known["snapshot"] | members})

        def work(writer: Writer) -> dict[str, Any] | None:
            try:
                record = _found(writer, tenant, members["id"])
            except ResourceNotFound:
                if silent:
                    return None
                raise
            record["snapshot"] |= members
            _put(writer, record)
            if not silent:
                self._tell(writer, record)
            return record

        await self._storage.write(work)
        self._subscriptions.wake()

    async def _end(self, record: dict[str, Any]) -> None:
        """From now on nobody finds it."""
        tenant, snapshot = record["tenant"], record["snapshot"]

        def work(writer: Writer) -> None:
            known = _found(writer, tenant, snapshot["id"], ended=True)
            known["ended"] = True
            known["snapshot"]["expiresAt"] = min(known["snapshot"]["expiresAt"], time_text(now_us()))
            _put(writer, known)
            self._tell(writer, known)

        await self._storage.write(work)
        self._subscriptions.wake()
        self._wake.set()

    async def _remove(self, record: dict[str, Any], *, at_once: bool) -> None:
        """Its data go; the rest once its receiver was told, or was told so often in vain that this was given up."""
        target, snapshot_id = hidden(record["tenant"], record["snapshot"]["id"]), record["snapshot"]["id"]
        if target not in self._emptied:
            await self._empty(target)
            self._emptied.add(target)
        if not at_once and await self._storage.read(
            lambda reader: bool(reader.notes(target, snapshot_id, dead=False, limit=1)), brief=True
        ):
            return

        def work(writer: Writer) -> bool:
            known = writer.document(KIND, target, snapshot_id)
            if known is not None and "ended" not in orjson.loads(known):
                return False  # a new one of that id
            for dead in (False, True):
                writer.drop_notes(target, snapshot_id, dead=dead, keep=0)
            writer.delete_document(KIND, target, snapshot_id)
            return True

        self._emptied.discard(target)
        if await self._storage.write(work):
            self._dismiss(target, snapshot_id)

    async def _empty(self, target: str) -> None:
        documents = await self._storage.read(lambda reader: reader.documents("subscription", target))
        for _, subscription_id, _ in documents:
            await self._subscriptions.delete(target, subscription_id)
        while await self._storage.write(lambda writer: drop_part(writer, target), weight=500):
            pass


def _found(reader: Reader, tenant: str, snapshot_id: str, *, ended: bool = False) -> dict[str, Any]:
    """``ended``: also one that is to be removed. Raises ResourceNotFound."""
    document = reader.document(KIND, hidden(tenant, snapshot_id), snapshot_id)
    record: dict[str, Any] | None = None if document is None else orjson.loads(document)
    gone = record is None or record.get("ended") or expired(record["snapshot"], now_us())
    if record is None or (gone and not ended):
        raise ResourceNotFound(f"there is no snapshot {snapshot_id}, or it has expired")
    return record


def _put(writer: Writer, record: dict[str, Any]) -> None:
    snapshot_id = record["snapshot"]["id"]
    writer.put_document(KIND, hidden(record["tenant"], snapshot_id), snapshot_id, orjson.dumps(record))


def _status(results: Sequence[Copied]) -> str:
    """Of all queries together."""
    failed = [result for result in results if result.problem is not None]
    if len(failed) == len(results):
        return "failure"
    if failed or any(result.cut for result in results):
        return "partial"
    return "success" if any(result.entities for result in results) else "empty"
