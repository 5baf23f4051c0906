"""Subscriptions: kept in storage, matched inside every write, their notifications sent from a durable queue."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import ClassVar

import orjson

from drivers.http1 import HttpError
from gateway.server.broker.model import Change, time_us
from gateway.server.broker.service import Broker
from gateway.server.broker.tenants import check_tenant
from gateway.server.contexts import Context, Contexts
from gateway.server.egress import Egress
from gateway.server.errors import AlreadyExists, BadRequestData, Overloaded, Problem, ResourceNotFound
from gateway.server.storage.base import Kind, Note, Storage, Writer
from gateway.server.subscriptions.delivery import Delivery
from gateway.server.subscriptions.form import check_form
from gateway.server.subscriptions.index import Index
from gateway.server.subscriptions.intervals import Intervals
from gateway.server.subscriptions.matching import Matching, State, States
from gateway.server.subscriptions.model import Counters, Json, Subscription
from gateway.server.subscriptions.parse import parse_subscription, patched

log = logging.getLogger(__name__)
PER_TENANT_MAX = 100_000
COUNTERS_S = 5.0  # how often counters that changed are written: at most so much of them is lost in a crash


def _clock_us() -> int:
    return time.time_ns() // 1000


class Subscriptions:
    """All subscriptions of all tenants. Use ``running`` while the server runs."""

    kind: ClassVar[Kind] = "subscription"

    def __init__(self, storage: Storage, broker: Broker, contexts: Contexts, egress: Egress) -> None:
        self._storage = storage
        self._broker = broker
        self._contexts = contexts
        self._egress = egress
        self._states: States = {}
        self._indexes: dict[str, Index] = {}
        self._by_tenant: dict[str, dict[str, State]] = {}
        self._changing = asyncio.Lock()  # what is on the disk and what is in memory change together
        self._delivery = Delivery(storage, self._states, egress, _clock_us)
        self._matching = matching = Matching(self._states, self._indexes, _clock_us, shared=storage.shared)
        self._intervals = Intervals(storage, self._states, matching, self._delivery.wake)
        broker.before_commit(matching.on_changes)
        broker.observe(self._on_commit)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the subscriptions and notify until the block ends; then write the counters."""
        if not self._storage.shared:  # what this server held in its last life waits for nobody
            await self._storage.write(lambda writer: writer.free_notes())
        counts = await self._storage.read(lambda reader: reader.note_counts())
        for tenant, name, document in await self._storage.read(lambda reader: reader.documents("subscription")):
            try:
                subscription = self._load(tenant, document)
            except Problem as problem:  # a rule or a context that was allowed once: it stays where it is
                log.error("the subscription %s is passed over: %s", name, problem.cause)
                continue
            self._put(subscription)
            state = self._states[(tenant, name)]
            state.waiting = counts.get((tenant, name), (0, 0, 0))[0]
            last = subscription.counters.last_notification
            state.notified_us = time_us(last) if last else 0
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._delivery.run()), group.create_task(self._intervals.run())]
            tasks.append(group.create_task(self._flush_often()))
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
        await self._delivery.flush()
        await self._flush()

    async def counts(self) -> dict[str, float]:
        """For the metrics. ``late``: seconds that the oldest which is due has waited."""
        states, now_us = list(self._states.values()), _clock_us()
        stored = (await self._storage.read(lambda reader: reader.note_counts())).values()
        due_us = min((due for waiting, _, due in stored if waiting), default=now_us)
        return {
            "dead": sum(dead for _, dead, _ in stored),
            "late": max(0, now_us - due_us) / 1e6,
            "subscriptions": sum(s.subscription.kind != "snapshot" for s in states),
            "sent": sum(s.subscription.counters.sent for s in states),
            "failed": sum(s.subscription.counters.failed for s in states),
            "dropped": sum(s.dropped for s in states),
            "waiting": sum(s.waiting for s in states),
        }

    async def notes(self, tenant: str, subscription_id: str, *, dead: bool, limit: int) -> list[Note]:
        """What waits, or what was given up, oldest first. Raises ResourceNotFound."""
        self._check_known(tenant, subscription_id)
        return await self._storage.read(lambda r: r.notes(tenant, subscription_id, dead=dead, limit=limit))

    async def queue_state(self, tenant: str, subscription_id: str) -> Json:
        """Counts of the queue, and its age in seconds. Raises ResourceNotFound."""
        self._check_known(tenant, subscription_id)
        first = await self._storage.read(lambda r: r.notes(tenant, subscription_id, dead=False, limit=1))
        counts = await self._storage.read(lambda reader: reader.note_counts())
        waiting, dead, _ = counts.get((tenant, subscription_id), (0, 0, 0))
        since = time_us(orjson.loads(first[0].body)["notifiedAt"]) if first else _clock_us()
        age_s = max(0.0, (_clock_us() - since) / 1e6)
        dropped = self._states[(tenant, subscription_id)].dropped
        return {"waiting": waiting, "dead": dead, "dropped": dropped, "age": round(age_s, 3)}

    async def redeliver(self, tenant: str, subscription_id: str) -> int:
        """Dead letters are due again; returns how many. Raises ResourceNotFound."""
        self._check_known(tenant, subscription_id)
        now_us = _clock_us()
        count = await self._storage.write(lambda writer: writer.revive_notes(tenant, subscription_id, now_us))
        state = self._states.get((tenant, subscription_id))
        if state is not None:
            state.waiting += count
        self._delivery.wake()
        return count

    def get(self, tenant: str, subscription_id: str) -> Subscription:
        """Raises ResourceNotFound."""
        state = self._by_tenant.get(tenant, {}).get(subscription_id)
        if state is None:
            raise ResourceNotFound(f"there is no subscription {subscription_id}")
        return state.subscription

    def _check_known(self, tenant: str, subscription_id: str) -> None:
        """Whether there is a queue for it. Raises ResourceNotFound."""
        if not self.is_taken(tenant, subscription_id):
            raise ResourceNotFound(f"there is no subscription {subscription_id}")

    def all(self, tenant: str) -> list[Subscription]:
        """In the order of creation."""
        return [state.subscription for state in self._by_tenant.get(tenant, {}).values()]

    async def check_tenant(self, tenant: str) -> None:
        """Raises NonexistentTenant."""
        if tenant not in self._by_tenant:
            await self._storage.read(lambda reader: check_tenant(reader, tenant))

    async def create(self, tenant: str, raw: Json, context: Context, told: Context) -> None:
        """``told``: the context of notifications. Raises AlreadyExists, BadRequestData, OperationNotSupported."""
        check_form(raw, context)
        subscription = parse_subscription(tenant, raw, context, self._broker.now(), told=told)
        async with self._changing:
            known = self._by_tenant.get(tenant, {})
            if self.is_taken(tenant, subscription.id):
                raise AlreadyExists(f"there is a subscription {subscription.id} already")
            if len(known) >= PER_TENANT_MAX:
                raise Overloaded(f"a tenant has at most {PER_TENANT_MAX} subscriptions", fix="Delete some.")
            self._check_target(subscription)
            await self._store(subscription, new=True)

    async def update(
        self, tenant: str, subscription_id: str, fragment: object, context: Context, told: Context | None
    ) -> None:
        """PATCH; ``told``: another context of notifications. Raises ResourceNotFound, BadRequestData."""
        async with self._changing:
            old = self.get(tenant, subscription_id)
            now = self._broker.now()
            raw = patched(old, fragment, context)
            check_form(raw, old.context)
            again = raw.get("expiresAt") == old.raw.get("expiresAt")  # one that has expired stays so (clause 5.8.2.4)
            new = parse_subscription(tenant, raw, old.context, now, told=told or told_of(old, raw), again=again)
            self._check_target(new)
            await self._store(replace(new, created=old.created, counters=old.counters))

    async def delete(self, tenant: str, subscription_id: str) -> None:
        """Raises ResourceNotFound."""
        async with self._changing:
            self.get(tenant, subscription_id)
            await self._storage.write(lambda writer: writer.delete_document("subscription", tenant, subscription_id))
            self._forget(tenant, subscription_id)

    def _forget(self, tenant: str, subscription_id: str) -> None:
        del self._states[(tenant, subscription_id)]
        del self._by_tenant[tenant][subscription_id]
        self._indexes[tenant].remove(subscription_id)

    # what other servers on the same storage do

    def known(self) -> list[tuple[str, str]]:
        """(tenant, id) of all."""
        return [(tenant, name) for tenant, some in self._by_tenant.items() for name in some]

    async def follow(self, tenant: str, document_id: str) -> None:
        """Take over what another server made of a subscription; attempts of this one are still to be added."""
        async with self._changing:
            document = await self._storage.read(lambda reader: reader.document("subscription", tenant, document_id))
            state = self._by_tenant.get(tenant, {}).get(document_id)
            if document is None:
                if state is not None:
                    self._forget(tenant, document_id)
                return
            theirs = self._load(tenant, document)
            if state is not None:
                mine, fresh = state.subscription.counters, theirs.counters
                mine.become(fresh.plus(mine.since(state.written)))
                state.written = fresh
                theirs = replace(theirs, counters=mine)
            self._put(theirs)

    def _on_commit(self, changes: Sequence[Change]) -> None:
        if changes[0].tenant in self._indexes:
            self._delivery.wake()

    def _check_target(self, subscription: Subscription) -> None:
        try:
            self._egress.check(subscription.endpoint.url)
        except (OSError, HttpError) as error:
            raise BadRequestData(
                f"/notification/endpoint/uri: {error}",
                fix="Notify a public address, or have the operator grant the URL prefix.",
            ) from error

    async def _store(self, subscription: Subscription, *, new: bool = False) -> None:
        document = dump(subscription)
        tenant, subscription_id = subscription.tenant, subscription.id

        def work(writer: Writer) -> None:
            if new and writer.document("subscription", tenant, subscription_id) is not None:
                raise AlreadyExists(f"there is a subscription {subscription_id} already")  # by another server
            writer.put_document("subscription", tenant, subscription_id, document)

        await self._storage.write(work)
        self._put(subscription)

    def _put(self, subscription: Subscription) -> None:
        key = (subscription.tenant, subscription.id)
        state = self._states.get(key)
        if state is None:
            self._states[key] = state = State(subscription)
            self._by_tenant.setdefault(subscription.tenant, {})[subscription.id] = state
        state.subscription = subscription
        self._indexes.setdefault(subscription.tenant, Index()).put(subscription)

    def adopt(self, subscription: Subscription, *, waiting: int = 0) -> None:
        """Deliver for a subscription that is kept and matched elsewhere, or whose document has changed there.

        Its id must be free among all that are delivered for (``is_taken``).
        """
        key = (subscription.tenant, subscription.id)
        state = self._states.get(key)
        if state is None:
            self._states[key] = state = State(subscription, waiting=waiting)
        state.subscription = subscription

    def is_taken(self, tenant: str, subscription_id: str) -> bool:
        """Whether notifications are delivered for a subscription of that id."""
        return (tenant, subscription_id) in self._states

    def dismiss(self, subscription: Subscription) -> None:
        """Deliver for it no longer."""
        self._states.pop((subscription.tenant, subscription.id), None)

    def enqueue(self, writer: Writer, subscription: Subscription, note: Note, now_us: int) -> None:
        """Queue a notification in a write, by the rules of all: throttled, bounded."""
        state = self._states.get((subscription.tenant, subscription.id))
        if state is not None and not self._matching.throttled(writer, state, subscription, now_us):
            self._matching.put(writer, state, note, now_us)

    async def pass_on(self, tenant: str, subscription_id: str, data: list[Json]) -> None:
        """Queue what another broker has notified of; nothing where the subscription is not active."""
        state, now_us = self._states.get((tenant, subscription_id)), _clock_us()
        if state is None or not data or state.subscription.status(now_us) != "active":
            return
        await self._storage.write(lambda writer: self._matching.pass_on(writer, state, data, now_us))
        self._delivery.wake()

    def wake(self) -> None:
        """A write that queued notifications is on the disk."""
        self._delivery.wake()

    def check_target(self, subscription: Subscription) -> None:
        """Whether its endpoint may be notified at all. Raises BadRequestData."""
        self._check_target(subscription)

    def _load(self, tenant: str, document: bytes) -> Subscription:
        kept = orjson.loads(document)
        context, told = restored(kept, self._contexts)
        subscription = parse_subscription(tenant, kept["raw"], context, kept["modified"], told=told, again=True)
        return replace(subscription, created=kept["created"], counters=Counters(**kept["counters"]))

    async def _flush_often(self) -> None:
        while True:
            await asyncio.sleep(COUNTERS_S)
            try:
                await self._flush()
            except Problem:  # a full disk: the counters are written later
                continue

    async def _flush(self) -> None:
        async with self._changing:
            dirty = [state for state in self._states.values() if state.dirty and state.subscription.kind != "snapshot"]
            for state in dirty:
                state.dirty = False
            for tenant in dict.fromkeys(state.subscription.tenant for state in dirty):
                some = [state for state in dirty if state.subscription.tenant == tenant]
                told = [replace(state.subscription.counters) for state in some]
                totals = await self._storage.write(partial(self._add, some, told))
                for state, mine, total in zip(some, told, totals, strict=True):
                    state.written = total
                    state.subscription.counters.become(total.plus(state.subscription.counters.since(mine)))

    def _add(self, states: Sequence[State], told: Sequence[Counters], writer: Writer) -> list[Counters]:
        """In a write: what this server has counted, where others share the storage onto what they have."""
        totals = []
        for state, mine in zip(states, told, strict=True):
            kept, total = state.subscription, mine
            document: bytes | None = dump(kept)
            if self._storage.shared:
                document = writer.document(kept.kind, kept.tenant, kept.id)
                if document is not None:
                    stored = orjson.loads(document)
                    total = Counters(**stored["counters"]).plus(mine.since(state.written))
                    document = orjson.dumps(stored | {"counters": asdict(total)})
            if document is not None:  # else another one has deleted it
                writer.put_document(kept.kind, kept.tenant, kept.id, document)
            totals.append(total)
        return totals


def told_of(old: Subscription, raw: Json) -> Context:
    """The context of the notifications of what has become of a subscription: without jsonldContext its own."""
    return old.view.context if "jsonldContext" in raw else old.context


def restored(kept: Json, contexts: Contexts) -> tuple[Context, Context]:
    """How the names of a document of the storage are read, and the context of the notifications."""
    context = contexts.restore(kept["context"], kept["documents"])
    told = kept.get("told")
    return context, context if told is None else contexts.restore(told["context"], told["documents"])


def dump(subscription: Subscription) -> bytes:
    """The document of the storage."""
    own, told = subscription.context, subscription.view.context
    other = {} if told is own else {"told": {"context": told.spec, "documents": told.documents}}
    return orjson.dumps(
        {
            "raw": subscription.raw,
            "context": own.spec,
            "documents": own.documents,
            **other,
            "created": subscription.created,
            "modified": subscription.modified,
            "counters": asdict(subscription.counters),
        }
    )
