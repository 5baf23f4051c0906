"""Subscriptions ready to be matched: what they ask for (CIM 009 clauses 5.2.12, 5.2.14, 5.2.15)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from gateway.server.broker.geo_query import GeoQuery
from gateway.server.broker.model import Change, Stored, instances
from gateway.server.broker.qlang import Condition, Linked, nothing_linked
from gateway.server.broker.query import Selector
from gateway.server.broker.query_join import Join
from gateway.server.broker.represent import View
from gateway.server.broker.scope_query import ScopeTest
from gateway.server.contexts import Context

Json = dict[str, Any]
ATTRIBUTE_TRIGGERS = frozenset({"attributeCreated", "attributeUpdated", "attributeDeleted"})
TRIGGERS = ATTRIBUTE_TRIGGERS | {"entityCreated", "entityUpdated", "entityDeleted"}
DEFAULT_TRIGGERS = frozenset({"attributeCreated", "attributeUpdated"})
COUNTERS = ("status", "timesSent", "timesFailed", "lastNotification", "lastSuccess", "lastFailure")
UNNOTED = frozenset({"createdAt", "modifiedAt"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where notifications go. Seconds. ``version`` and ``qos`` are those of MQTT."""

    url: str
    media: str
    headers: dict[str, str]
    timeout_s: float
    cooldown_s: float
    version: str = "mqtt5.0"
    qos: int = 0

    @property
    def mqtt(self) -> bool:
        """Whether it is a topic of an MQTT broker."""
        return self.url.startswith(("mqtt://", "mqtts://"))


@dataclass(slots=True)
class Counters:
    """What became of the notifications; times are DateTimes, "" for never."""

    sent: int = 0
    failed: int = 0
    last_notification: str = ""
    last_success: str = ""
    last_failure: str = ""
    ok: bool = True

    def since(self, before: Counters) -> Counters:
        """What was counted since."""
        return replace(self, sent=self.sent - before.sent, failed=self.failed - before.failed)

    def plus(self, more: Counters) -> Counters:
        """With what another one has counted."""
        return Counters(
            sent=self.sent + more.sent,
            failed=self.failed + more.failed,
            last_notification=max(self.last_notification, more.last_notification),
            last_success=max(self.last_success, more.last_success),
            last_failure=max(self.last_failure, more.last_failure),
            ok=(more if more.last_notification >= self.last_notification else self).ok,
        )

    def become(self, other: Counters) -> None:
        """Take over the counts, for all who hold this object."""
        for part in fields(self):
            setattr(self, part.name, getattr(other, part.name))


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must hold of an entity."""

    q: Condition | None = None
    geo: GeoQuery | None = None
    scope: ScopeTest | None = None

    def match(self, entity: Stored, linked: Linked = nothing_linked) -> bool:
        """Whether all of it holds."""
        if self.scope is not None and not self.scope(entity.get("scope", ())):
            return False
        if self.q is not None and not self.q.matches(entity, linked):
            return False
        return self.geo is None or self.geo.matches(entity)


@dataclass(slots=True)
class Subscription:
    """A subscription ready to be matched. ``raw`` is what the client gave, ``context`` how its names are read.

    That of the notifications, which may be another one, is the context of ``view``.
    """

    tenant: str
    id: str
    raw: Json
    context: Context
    created: str
    modified: str
    selectors: tuple[Selector, ...]
    watched: frozenset[str]
    triggers: frozenset[str]
    conditions: Conditions
    view: View
    join: Join | None
    changes: bool
    endpoint: Endpoint
    throttling_s: float
    interval_s: float
    expires_us: int | None
    active: bool
    counters: Counters = field(default_factory=Counters)
    kind: Literal["subscription", "csource-subscription", "snapshot"] = "subscription"

    def status(self, now_us: int) -> str:
        """active, paused or expired."""
        if self.expires_us is not None and now_us >= self.expires_us:
            return "expired"
        return "active" if self.active else "paused"

    def means(self, entity: Stored, linked: Linked = nothing_linked) -> bool:
        """Whether the entity is one of those selected and the conditions hold of it."""
        if self.selectors and not any(selector.matches(entity) for selector in self.selectors):
            return False
        return self.conditions.match(entity, linked)

    def concerns(self, change: Change, linked: Linked = nothing_linked) -> bool:
        """Whether the change is one to notify of; of a deleted entity the conditions are those it had last."""
        return self._triggered(change) and self.means(change.entity, linked)

    def _triggered(self, change: Change) -> bool:
        touched = not self.watched or not self.watched.isdisjoint(change.attributes)
        if change.event == "deleted":
            return touched and "entityDeleted" in self.triggers
        if change.event == "created" and "entityCreated" in self.triggers:
            return touched
        if not change.attributes:
            return "entityUpdated" in self.triggers and not self.watched
        return any(
            not self.triggers.isdisjoint(events_of(change, name))
            for name in change.attributes
            if not self.watched or name in self.watched
        )


def by_dataset(value: Any) -> dict[str | None, Stored]:
    """Instances of an attribute by their datasetId."""
    return {instance.get("datasetId"): instance for instance in instances(value or [])}


def events_of(change: Change, name: str) -> set[str]:
    """What happened to an attribute: an instance that came or went counts as the attribute does."""
    if change.event == "created" or name in change.added:
        return {"attributeCreated"}
    if name in change.removed:
        return {"attributeDeleted"}
    before, after = by_dataset(change.previous.get(name)), by_dataset(change.entity.get(name))
    if not before:
        return {"attributeUpdated"}
    events = set()
    if after.keys() - before.keys():
        events.add("attributeCreated")
    if before.keys() - after.keys():
        events.add("attributeDeleted")
    if any(differs(before[key], after[key]) for key in before.keys() & after.keys()):
        events.add("attributeUpdated")
    return events


def differs(before: Stored, after: Stored | None) -> bool:
    """Whether an instance says something else than before; one that went does not."""
    return after is not None and _content(before) != _content(after)


def _content(instance: Stored) -> Stored:
    return {name: value for name, value in instance.items() if name not in UNNOTED}
