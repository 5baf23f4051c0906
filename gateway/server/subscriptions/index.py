"""Which subscriptions may be about a change: found by id, type or attribute, not by asking each of them."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

from gateway.server.broker.model import Change
from gateway.server.subscriptions.model import ATTRIBUTE_TRIGGERS, Subscription

Key = tuple[str, str]  # of a bucket: "id", "type", "attribute" or "any", and what it is
ANY: Key = ("any", "")


class Index:
    """The subscriptions of one tenant. Written by the loop, asked by the storage's writer: each call is atomic."""

    def __init__(self) -> None:
        self._buckets: dict[Key, dict[str, Subscription]] = {}
        self._keys: dict[str, tuple[Key, ...]] = {}
        self._lock = Lock()

    def put(self, subscription: Subscription) -> None:
        """Add, or replace by id."""
        keys = tuple(_keys_of(subscription))
        with self._lock:
            self._remove(subscription.id)
            self._keys[subscription.id] = keys
            for key in keys:
                self._buckets.setdefault(key, {})[subscription.id] = subscription

    def remove(self, subscription_id: str) -> None:
        """Forget one, if it is there."""
        with self._lock:
            self._remove(subscription_id)

    def candidates(self, change: Change) -> dict[str, Subscription]:
        """All that may be about it, by id, and few that are not."""
        wanted: list[Key] = [ANY, ("id", change.entity["id"])]
        wanted += [("type", name) for name in change.entity["type"]]
        wanted += [("attribute", name) for name in change.attributes]
        found: dict[str, Subscription] = {}
        with self._lock:
            for key in wanted:
                found.update(self._buckets.get(key, {}))
        return found

    def _remove(self, subscription_id: str) -> None:
        for key in self._keys.pop(subscription_id, ()):
            bucket = self._buckets[key]
            bucket.pop(subscription_id, None)
            if not bucket:
                del self._buckets[key]


def _keys_of(subscription: Subscription) -> Iterator[Key]:
    if subscription.interval_s:
        return
    if not subscription.selectors:
        if subscription.watched and subscription.triggers <= ATTRIBUTE_TRIGGERS | {"entityUpdated"}:
            yield from (("attribute", name) for name in subscription.watched)
        else:
            yield ANY
    for selector in subscription.selectors:
        if selector.ids:
            yield from (("id", uri) for uri in selector.ids)
        elif selector.types is not None and selector.types.any_of:
            yield from (("type", name) for name in selector.types.any_of)
        else:
            yield ANY
