"""Subscriptions to registrations (CIM 009 clauses 5.11, 5.3.2): matched inside the write of a registration.

Their notifications take the same durable queue as those of entities.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import orjson

from gateway.server.broker.model import time_text
from gateway.server.broker.qlang import parse_q
from gateway.server.contexts import Context, Contexts
from gateway.server.errors import AlreadyExists, BadRequestData, Overloaded, Problem, ResourceNotFound
from gateway.server.sources.discovery import Area, Question, Selected, When, area_of, when_of
from gateway.server.sources.record import Json, Record, shown
from gateway.server.sources.service import Sources, clock_us
from gateway.server.storage.base import Kind, Note, Storage, Writer
from gateway.server.subscriptions.form import check_form
from gateway.server.subscriptions.model import Counters, Subscription
from gateway.server.subscriptions.notification import media_of
from gateway.server.subscriptions.parse import KNOWN, parse_subscription, patched
from gateway.server.subscriptions.service import Subscriptions, dump, restored, told_of
from gateway.server.wire import LD

log = logging.getLogger(__name__)
PER_TENANT_MAX = 10_000
LOOK_S = 0.5
Found = Sequence[tuple[Record, frozenset[int]]]
Reason = Literal["newlyMatching", "updated", "noLongerMatching"]


@dataclass(slots=True)
class Watch:
    """A subscription and what it asks. ``interval_s`` above 0: all that match, periodically, and no changes."""

    subscription: Subscription
    question: Question
    interval_s: float
    due_us: int = 0


class SourceSubscriptions:
    """All of all tenants. Use ``running`` while the server runs, within that of ``sources`` and ``delivery``."""

    kind: ClassVar[Kind] = "csource-subscription"

    def __init__(self, storage: Storage, sources: Sources, delivery: Subscriptions, contexts: Contexts) -> None:
        self._storage = storage
        self._sources = sources
        self._delivery = delivery
        self._contexts = contexts
        self._watches: dict[str, dict[str, Watch]] = {}
        self._changing = sources.changing
        sources.before_commit(self._on_change, delivery.wake)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load them, and notify periodically until the block ends."""
        counts = await self._storage.read(lambda reader: reader.note_counts())
        for tenant, name, document in await self._storage.read(lambda reader: reader.documents(self.kind)):
            try:
                watch = self._load(tenant, document)
            except Problem as problem:  # a rule or a context that was allowed once: it stays where it is
                log.error("the subscription %s is passed over: %s", name, problem.cause)
                continue
            self._remember(watch, waiting=counts.get((tenant, name), (0, 0, 0))[0])
        task = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def get(self, tenant: str, subscription_id: str) -> Subscription:
        """Raises ResourceNotFound."""
        return self._get(tenant, subscription_id).subscription

    def all(self, tenant: str) -> list[Subscription]:
        """In the order of creation."""
        return [watch.subscription for watch in self._watches.get(tenant, {}).values()]

    async def create(self, tenant: str, raw: Json, context: Context, told: Context) -> None:
        """What matches already is notified of. Raises AlreadyExists, BadRequestData, Overloaded."""
        check_form(raw, context, entities=False)
        watch = _watch(tenant, raw, context, time_text(clock_us()), told)
        async with self._changing:
            known = self._watches.get(tenant, {})
            if self._delivery.is_taken(tenant, watch.subscription.id):
                raise AlreadyExists(f"there is a subscription {watch.subscription.id} already")
            if len(known) >= PER_TENANT_MAX:
                raise Overloaded(f"a tenant has at most {PER_TENANT_MAX} subscriptions to sources", fix="Delete some.")
            await self._store(watch, self._sources.find(tenant, watch.question))

    async def update(
        self, tenant: str, subscription_id: str, fragment: object, context: Context, told: Context | None
    ) -> None:
        """PATCH, after which all that match are told anew (clause 5.11.3). Raises ResourceNotFound, BadRequestData."""
        async with self._changing:
            old = self._get(tenant, subscription_id).subscription
            now = time_text(clock_us())
            raw = patched(old, fragment, context)
            check_form(raw, old.context, entities=False)
            again = raw.get("expiresAt") == old.raw.get("expiresAt")  # one that has expired stays so
            watch = _watch(tenant, raw, old.context, now, told or told_of(old, raw), again=again)
            watch.subscription = replace(watch.subscription, created=old.created, counters=old.counters)
            await self._store(watch, self._sources.find(tenant, watch.question))

    async def delete(self, tenant: str, subscription_id: str) -> None:
        """Raises ResourceNotFound."""
        async with self._changing:
            watch = self._get(tenant, subscription_id)

            def work(writer: Writer) -> None:
                writer.delete_document("csource-subscription", tenant, subscription_id)

            await self._storage.write(work)
            del self._watches[tenant][subscription_id]
            self._delivery.dismiss(watch.subscription)

    # what other servers on the same storage do

    def known(self) -> list[tuple[str, str]]:
        """(tenant, id) of all."""
        return [(tenant, name) for tenant, some in self._watches.items() for name in some]

    async def follow(self, tenant: str, document_id: str) -> None:
        """Take over what another server made of a subscription."""
        async with self._changing:
            kind = self.kind
            document = await self._storage.read(lambda reader: reader.document(kind, tenant, document_id))
            watch = self._watches.get(tenant, {}).get(document_id)
            if document is not None:
                loaded = self._load(tenant, document)
                if watch is not None:
                    loaded.subscription = replace(loaded.subscription, counters=watch.subscription.counters)
                self._remember(loaded)
            elif watch is not None:
                del self._watches[tenant][document_id]
                self._delivery.dismiss(watch.subscription)

    def _load(self, tenant: str, document: bytes) -> Watch:
        kept = orjson.loads(document)
        context, told = restored(kept, self._contexts)
        watch = _watch(tenant, kept["raw"], context, kept["modified"], told, again=True)
        counters = Counters(**kept["counters"])
        watch.subscription = replace(watch.subscription, created=kept["created"], counters=counters)
        return watch

    def _get(self, tenant: str, subscription_id: str) -> Watch:
        watch = self._watches.get(tenant, {}).get(subscription_id)
        if watch is None:
            raise ResourceNotFound(f"there is no subscription {subscription_id}")
        return watch

    async def _store(self, watch: Watch, found: Found = ()) -> None:
        """With the notification of what was found, which is in the same commit."""
        subscription = watch.subscription
        self._delivery.check_target(subscription)
        document, now_us = dump(subscription), clock_us()
        told = found and subscription.status(now_us) == "active"

        def work(writer: Writer) -> None:
            writer.put_document("csource-subscription", subscription.tenant, subscription.id, document)
            if told:
                self._queue(writer, watch, found, "newlyMatching", now_us)

        known = self._delivery.is_taken(subscription.tenant, subscription.id)
        if not known:
            self._delivery.adopt(subscription)  # only then can anything be queued for it
        try:
            await self._storage.write(work)
            known = True
        finally:
            if not known:
                self._delivery.dismiss(subscription)
        self._remember(watch)
        if told:
            self._delivery.wake()

    def _remember(self, watch: Watch, *, waiting: int = 0) -> None:
        subscription = watch.subscription
        self._watches.setdefault(subscription.tenant, {})[subscription.id] = watch
        if watch.interval_s:
            watch.due_us = clock_us() + int(watch.interval_s * 1e6)
        self._delivery.adopt(subscription, waiting=waiting)

    def _on_change(self, writer: Writer, tenant: str, before: Record | None, now: Record | None) -> None:
        """In the write of a registration: who is to hear of it."""
        now_us = clock_us()
        for watch in self._watches.get(tenant, {}).values():
            if watch.interval_s or watch.subscription.status(now_us) != "active":
                continue
            was = frozenset() if before is None else watch.question.parts(before)
            parts = frozenset() if now is None else watch.question.parts(now)
            if parts and now is not None:
                self._queue(writer, watch, [(now, parts)], "updated" if was else "newlyMatching", now_us)
            elif was and before is not None:
                self._queue(writer, watch, [(before, was)], "noLongerMatching", now_us)

    async def _notify_of_all(self, watch: Watch, reason: Reason) -> None:
        """Of all registrations that match now, where there are any."""
        now_us = clock_us()
        found = self._sources.find(watch.subscription.tenant, watch.question)
        if found and watch.subscription.status(now_us) == "active":
            await self._storage.write(lambda writer: self._queue(writer, watch, found, reason, now_us))
            self._delivery.wake()

    def _queue(self, writer: Writer, watch: Watch, found: Found, reason: Reason, now_us: int) -> None:
        subscription = watch.subscription
        note_id = f"urn:ngsi-ld:ContextSourceNotification:{uuid.uuid4()}"
        view = subscription.view
        body: dict[str, Any] = {
            "id": note_id,
            "type": "ContextSourceNotification",
            "subscriptionId": subscription.id,
            "notifiedAt": time_text(now_us),
            "data": [shown(record, view.context, system=view.system, only=parts) for record, parts in found],
            "triggerReason": reason,
        }
        if media_of(subscription) == LD:
            body["@context"] = view.context.spec
        note = Note(note_id, subscription.tenant, subscription.id, now_us, 0, orjson.dumps(body))
        self._delivery.enqueue(writer, subscription, note, now_us)

    async def _tick(self) -> None:
        """Periodic notifications. A period that passed while the server was down is not made up for."""
        while True:
            await asyncio.sleep(LOOK_S)
            now_us = time.time_ns() // 1000
            if not self._storage.leads():
                continue
            due = [w for some in self._watches.values() for w in some.values() if w.interval_s and w.due_us <= now_us]
            for watch in due:
                watch.due_us = max(watch.due_us + int(watch.interval_s * 1e6), now_us)
                await self._notify_of_all(watch, "updated")


def _watch(tenant: str, raw: Json, context: Context, now: str, told: Context, *, again: bool = False) -> Watch:
    """Raises BadRequestData, OperationNotSupported."""
    parsed = parse_subscription(tenant, raw, context, now, told=told, known=KNOWN | {"temporalQ"}, again=again)
    subscription = replace(parsed, kind="csource-subscription", interval_s=0.0)
    selected = tuple(
        Selected(one.types, one.ids, None if part.get("id") else part.get("idPattern"))
        for one, part in zip(parsed.selectors, raw.get("entities", []), strict=True)
    )
    question = Question(
        selectors=selected,
        attributes=parsed.watched | parsed.view.attrs,
        datasets=parsed.view.datasets,
        geo=_area(raw.get("geoQ"), context),
        scope=parsed.conditions.scope,
        when=_when(raw.get("temporalQ")),
        csf=parse_q(raw["csf"], context) if "csf" in raw else None,
    )
    return Watch(subscription, question, parsed.interval_s)


def _area(given: Mapping[str, Any] | None, context: Context) -> Area | None:
    """What was found to be a geo-query before."""
    if given is None:
        return None
    texts = {name: part if isinstance(part, str) else orjson.dumps(part).decode() for name, part in given.items()}
    try:
        return area_of(texts, context)
    except BadRequestData as problem:
        raise BadRequestData(f"/geoQ: {problem.cause}") from None


def _when(given: object) -> When | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise BadRequestData("/temporalQ: must be an object")
    try:
        return when_of(given)
    except BadRequestData as problem:
        raise BadRequestData(f"/temporalQ: {problem.cause}") from None
