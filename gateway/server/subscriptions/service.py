"""Subscriptions: kept in storage, matched against every change, handed to their senders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace

import orjson

from drivers.http1 import HttpError
from gateway.server.broker.model import Change, time_us
from gateway.server.broker.service import Broker
from gateway.server.contexts import Context, Contexts
from gateway.server.egress import Egress
from gateway.server.errors import AlreadyExists, BadRequestData, Overloaded, ResourceNotFound
from gateway.server.storage.base import Storage, Writer
from gateway.server.subscriptions.delivery import Sender
from gateway.server.subscriptions.model import Counters, Json, Subscription, parse_subscription, patched

PER_TENANT_MAX = 1_000
COUNTERS_S = 5.0  # how often counters that changed are written: at most so much of them is lost in a crash
Key = tuple[str, str]


class Subscriptions:
    """All subscriptions of all tenants. Use ``running`` while the server runs."""

    def __init__(self, storage: Storage, broker: Broker, contexts: Contexts, egress: Egress) -> None:
        self._storage = storage
        self._broker = broker
        self._contexts = contexts
        self._egress = egress
        self._senders: dict[str, dict[str, Sender]] = {}
        self._group: asyncio.TaskGroup | None = None
        broker.observe(self._on_changes)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the subscriptions and notify until the block ends; then write the counters."""
        for tenant, _, document in await self._storage.read(lambda reader: reader.documents("subscription")):
            self._put(self._load(tenant, document))
        async with asyncio.TaskGroup() as group:
            self._group = group
            flusher = group.create_task(self._flush_often())
            try:
                yield
            finally:
                self._group = None
                flusher.cancel()
                for sender in self._all():
                    sender.stop()
        await self._flush()

    def counts(self) -> dict[str, int]:
        """For the metrics: subscriptions, attempts, failures, notifications dropped."""
        senders = self._all()
        return {
            "subscriptions": len(senders),
            "sent": sum(s.subscription.counters.sent for s in senders),
            "failed": sum(s.subscription.counters.failed for s in senders),
            "dropped": sum(s.dropped for s in senders),
        }

    def get(self, tenant: str, subscription_id: str) -> Subscription:
        """Raises ResourceNotFound."""
        sender = self._senders.get(tenant, {}).get(subscription_id)
        if sender is None:
            raise ResourceNotFound(f"there is no subscription {subscription_id}")
        return sender.subscription

    def all(self, tenant: str) -> list[Subscription]:
        """In the order of creation."""
        return [sender.subscription for sender in self._senders.get(tenant, {}).values()]

    async def create(self, tenant: str, raw: Json, context: Context) -> None:
        """Raises AlreadyExists, BadRequestData, OperationNotSupported."""
        subscription = parse_subscription(tenant, raw, context, self._broker.now())
        known = self._senders.get(tenant, {})
        if subscription.id in known:
            raise AlreadyExists(f"there is a subscription {subscription.id} already")
        if len(known) >= PER_TENANT_MAX:
            raise Overloaded(f"a tenant has at most {PER_TENANT_MAX} subscriptions", fix="Delete some.")
        self._check_target(subscription)
        await self._store(subscription)

    async def update(self, tenant: str, subscription_id: str, fragment: object, context: Context | None) -> None:
        """PATCH; ``context`` None: names are read as before. Raises ResourceNotFound, BadRequestData."""
        old = self.get(tenant, subscription_id)
        now = self._broker.now()
        raw = patched(old.raw, fragment)
        if old.status(time_us(now)) == "expired" and raw.get("expiresAt") == old.raw.get("expiresAt"):
            raise BadRequestData("/expiresAt: the subscription has expired; give it a date in the future")
        new = parse_subscription(tenant, raw, context or old.context, now)
        self._check_target(new)
        await self._store(replace(new, created=old.created, counters=old.counters))

    async def delete(self, tenant: str, subscription_id: str) -> None:
        """Raises ResourceNotFound."""
        self.get(tenant, subscription_id)
        await self._storage.write(lambda writer: writer.delete_document("subscription", tenant, subscription_id))
        sender = self._senders[tenant].pop(subscription_id, None)
        if sender is not None:
            sender.stop()

    def _on_changes(self, changes: Sequence[Change]) -> None:
        """All changes of one operation that a subscription is about make one notification."""
        senders = self._senders.get(changes[0].tenant)
        if not senders or self._group is None:
            return
        now_us = time_us(self._broker.now())
        for sender in senders.values():
            subscription = sender.subscription
            if subscription.status(now_us) == "active":
                concerned = [change for change in changes if subscription.concerns(change)]
                if concerned:
                    sender.notify(concerned, self._group)

    def _check_target(self, subscription: Subscription) -> None:
        try:
            self._egress.check(subscription.endpoint.url)
        except (OSError, HttpError) as error:
            raise BadRequestData(
                f"/notification/endpoint/uri: {error}",
                fix="Notify a public address, or have the operator grant the URL prefix.",
            ) from error

    async def _store(self, subscription: Subscription) -> None:
        document = _dump(subscription)
        tenant, subscription_id = subscription.tenant, subscription.id
        await self._storage.write(lambda writer: writer.put_document("subscription", tenant, subscription_id, document))
        self._put(subscription)

    def _put(self, subscription: Subscription) -> None:
        senders = self._senders.setdefault(subscription.tenant, {})
        sender = senders.get(subscription.id)
        if sender is None:
            senders[subscription.id] = Sender(subscription, self._egress, self._broker.now)
        else:
            sender.subscription = subscription

    def _load(self, tenant: str, document: bytes) -> Subscription:
        kept = orjson.loads(document)
        context = self._contexts.restore(kept["context"], kept["documents"])
        subscription = parse_subscription(tenant, kept["raw"], context, kept["modified"])
        return replace(subscription, created=kept["created"], counters=Counters(**kept["counters"]))

    def _all(self) -> list[Sender]:
        return [sender for senders in self._senders.values() for sender in senders.values()]

    async def _flush_often(self) -> None:
        while True:
            await asyncio.sleep(COUNTERS_S)
            await self._flush()

    async def _flush(self) -> None:
        dirty = [sender for sender in self._all() if sender.dirty]
        if not dirty:
            return
        documents = []
        for sender in dirty:
            sender.dirty = False
            documents.append((sender.subscription.tenant, sender.subscription.id, _dump(sender.subscription)))

        def work(writer: Writer) -> None:
            for document in documents:
                writer.put_document("subscription", *document)

        await self._storage.write(work)


def _dump(subscription: Subscription) -> bytes:
    return orjson.dumps(
        {
            "raw": subscription.raw,
            "context": subscription.context.spec,
            "documents": subscription.context.documents,
            "created": subscription.created,
            "modified": subscription.modified,
            "counters": asdict(subscription.counters),
        }
    )
