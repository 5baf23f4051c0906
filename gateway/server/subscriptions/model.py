"""Subscriptions: what is taken in, checked, and kept (CIM 009 clauses 5.2.12, 5.2.14, 5.2.15, 5.8)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.server.broker.model import NULL, Change, time_us
from gateway.server.broker.parse import Fault, check_uri, expand_checked
from gateway.server.broker.qlang import Condition, parse_q
from gateway.server.broker.query import TypeSelection, parse_types
from gateway.server.broker.regex import Pattern
from gateway.server.broker.represent import Format
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData

Json = dict[str, Any]
FORMATS: dict[str, Format] = {
    "normalized": "normalized",
    "concise": "concise",
    "simplified": "simplified",
    "keyValues": "simplified",
}
ATTRIBUTE_TRIGGERS = frozenset({"attributeCreated", "attributeUpdated", "attributeDeleted"})
TRIGGERS = ATTRIBUTE_TRIGGERS | {"entityCreated", "entityUpdated", "entityDeleted"}
DEFAULT_TRIGGERS = frozenset({"attributeCreated", "attributeUpdated"})
READ_ONLY = frozenset({"status", "createdAt", "modifiedAt"})
COUNTERS = ("status", "timesSent", "timesFailed", "lastNotification", "lastSuccess", "lastFailure")
KNOWN = frozenset(
    {"id", "type", "@context", "subscriptionName", "description", "entities", "watchedAttributes", "q", "isActive"}
    | {"notificationTrigger", "throttling", "expiresAt", "jsonldContext", "localOnly", "notification"}
)
NOT_OFFERED = frozenset(
    {"timeInterval", "geoQ", "scopeQ", "lang", "csf", "temporalQ", "datasetId", "splitEntities", "ngsildConformance"}
    | {"expandValues", "jsonKeys"}
)
NOTIFICATION_NOT_OFFERED = frozenset({"pick", "omit", "join", "joinLevel", "showChanges"})
ENDPOINT_KNOWN = frozenset({"uri", "accept", "timeout", "cooldown", "receiverInfo"})
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")
HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,1024}\Z")
MANAGED_HEADERS = frozenset(
    {"host", "content-length", "content-type", "connection", "transfer-encoding", "ngsild-tenant", "link", "upgrade"}
)
TIMEOUT_S, TIMEOUT_S_MAX = 5.0, 30.0
LIST_MAX = 100


@dataclass(frozen=True, slots=True)
class Selector:
    """Which entities: a type expression, and an id or a pattern."""

    types: TypeSelection | None
    entity_id: str | None
    pattern: Pattern | None

    def matches(self, entity: Json) -> bool:
        """Whether the entity is meant."""
        if self.types is not None and not self.types.matches(frozenset(entity["type"])):
            return False
        if self.entity_id is not None:
            return bool(entity["id"] == self.entity_id)
        return self.pattern is None or self.pattern.search(entity["id"])


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where notifications go. Seconds."""

    url: str
    media: str
    headers: dict[str, str]
    timeout_s: float
    cooldown_s: float


@dataclass(slots=True)
class Counters:
    """What became of the notifications; times are DateTimes, "" for never."""

    sent: int = 0
    failed: int = 0
    last_notification: str = ""
    last_success: str = ""
    last_failure: str = ""
    ok: bool = True


@dataclass(slots=True)
class Subscription:
    """A subscription ready to be matched. ``raw`` is what the client gave, ``context`` how its names are read."""

    tenant: str
    id: str
    raw: Json
    context: Context
    created: str
    modified: str
    selectors: tuple[Selector, ...]
    watched: frozenset[str]
    triggers: frozenset[str]
    condition: Condition | None
    attributes: frozenset[str]
    format: Format
    system: bool
    endpoint: Endpoint
    throttling_s: float
    expires_us: int | None
    active: bool
    counters: Counters = field(default_factory=Counters)

    def status(self, now_us: int) -> str:
        """active, paused or expired."""
        if self.expires_us is not None and now_us >= self.expires_us:
            return "expired"
        return "active" if self.active else "paused"

    def concerns(self, change: Change) -> bool:
        """Whether the change is one to notify of."""
        if self.selectors and not any(selector.matches(change.entity) for selector in self.selectors):
            return False
        if not self._triggered(change):
            return False
        return self.condition is None or change.event == "deleted" or self.condition.matches(change.entity)

    def _triggered(self, change: Change) -> bool:
        if change.event == "deleted":
            return "entityDeleted" in self.triggers
        if change.event == "created" and "entityCreated" in self.triggers:
            return True
        events = [("attributeCreated", change.added), ("attributeDeleted", change.removed)]
        other = set(change.attributes) - set(change.added) - set(change.removed)
        return any(
            name in self.triggers and any(not self.watched or attribute in self.watched for attribute in attributes)
            for name, attributes in (*events, ("attributeUpdated", other))
        )


def patched(raw: Json, fragment: object) -> Json:
    """A subscription after PATCH: members replace members, the null marker removes one (clause 5.8.2)."""
    if not isinstance(fragment, dict) or not fragment:
        raise BadRequestData("the fragment must be a JSON object with members")
    if fragment.get("id", raw["id"]) != raw["id"]:
        raise BadRequestData("/id: it differs from the id in the path")
    result = dict(raw)
    for name, value in fragment.items():
        if value == NULL:
            result.pop(name, None)
        elif name == "notification" and isinstance(value, dict):
            result[name] = {k: v for k, v in {**raw[name], **value}.items() if v != NULL}
        elif name != "@context":
            result[name] = value
    return result


def parse_subscription(tenant: str, raw: object, context: Context, now: str) -> Subscription:
    """Check what a client gave. Raises BadRequestData with a JSON pointer, OperationNotSupported."""
    try:
        return _Reader(raw, context, time_us(now)).subscription(tenant, now)
    except Fault as fault:
        raise fault.problem() from None


class _Reader:
    """Reads one subscription; every refusal is a Fault with its path."""

    def __init__(self, raw: object, context: Context, now_us: int) -> None:
        if not isinstance(raw, dict):
            raise Fault("a subscription must be a JSON object")
        self.raw: Json = {k: v for k, v in raw.items() if k not in READ_ONLY}
        self.context = context
        self.now_us = now_us

    def subscription(self, tenant: str, now: str) -> Subscription:
        """All of it."""
        raw = self.raw
        if raw.get("type") != "Subscription":
            raise Fault('must be "Subscription"', "type")
        for name in raw:
            if name not in KNOWN:
                raise Fault("is not offered by this version", name, not_offered=name in NOT_OFFERED)
        if not raw.get("entities") and not raw.get("watchedAttributes") and raw.get("localOnly") is not True:
            raise Fault("a subscription must have entities or watchedAttributes")
        for name in ("subscriptionName", "description"):
            self._typed(name, str)
        notification = self._object(raw.get("notification"), "notification")
        return Subscription(
            tenant=tenant,
            id=self._under(check_uri, raw.get("id"), "id"),
            raw=raw,
            context=self.context,
            created=now,
            modified=now,
            selectors=tuple(self._selector(s, i) for i, s in enumerate(self._list("entities"))),
            watched=self._names(raw, "watchedAttributes"),
            triggers=self._triggers(),
            condition=None if raw.get("q") is None else parse_q(self._text("q"), self.context),
            attributes=self._under(lambda n: self._names(n, "attributes"), notification, "notification"),
            format=self._under(self._format, notification, "notification"),
            system=notification.get("sysAttrs") is True,
            endpoint=self._under(self._endpoint, notification.get("endpoint"), "notification", "endpoint"),
            throttling_s=self._seconds(raw, "throttling", 0.0),
            expires_us=self._expiry(),
            active=self._typed("isActive", bool) is not False,
        )

    def _under(self, read: Callable[[Any], Any], value: object, *path: str | int) -> Any:  # what read returns
        try:
            return read(value)
        except Fault as fault:
            raise fault.under(*path) from None

    def _typed(self, name: str, kind: type) -> object:
        value = self.raw.get(name)
        if value is not None and not isinstance(value, kind):
            raise Fault(f"must be a {'boolean' if kind is bool else 'string'}", name)
        return value

    def _text(self, name: str) -> str:
        value = self.raw[name]
        if not isinstance(value, str):
            raise Fault("must be a string", name)
        return value

    def _object(self, value: object, *path: str | int) -> Json:
        if not isinstance(value, dict):
            raise Fault("must be an object", *path)
        return value

    def _list(self, name: str) -> list[Any]:
        if name not in self.raw:
            return []
        value = self.raw[name]
        if not isinstance(value, list) or not 1 <= len(value) <= LIST_MAX:
            raise Fault(f"must be a list of 1 to {LIST_MAX} elements", name)
        return value

    def _selector(self, raw: object, index: int) -> Selector:
        members = self._object(raw, "entities", index)
        if not isinstance(members.get("type"), str):
            raise Fault("must be a type, several, or *", "entities", index, "type")
        try:
            pattern = Pattern(members["idPattern"]) if isinstance(members.get("idPattern"), str) else None
        except ValueError as error:
            raise Fault(str(error), "entities", index, "idPattern") from None
        entity_id = (
            None if members.get("id") is None else self._under(check_uri, members["id"], "entities", index, "id")
        )
        return Selector(parse_types(members["type"], self.context), entity_id, pattern)

    def _names(self, holder: Json, name: str) -> frozenset[str]:
        value = holder.get(name)
        if value is None:
            return frozenset()
        if not isinstance(value, list) or not 1 <= len(value) <= LIST_MAX:
            raise Fault(f"must be a list of 1 to {LIST_MAX} attribute names", name)
        return frozenset(self._under(lambda n: expand_checked(n, self.context), part, name) for part in value)

    def _triggers(self) -> frozenset[str]:
        given = frozenset(t for t in self._list("notificationTrigger") if isinstance(t, str))
        if not given <= TRIGGERS or len(given) < len(self._list("notificationTrigger")):
            raise Fault(f"must be of {', '.join(sorted(TRIGGERS))}", "notificationTrigger")
        if "entityUpdated" in given:
            given |= ATTRIBUTE_TRIGGERS
        return given or DEFAULT_TRIGGERS

    def _format(self, notification: Json) -> Format:
        for name in notification:
            if name in NOTIFICATION_NOT_OFFERED:
                raise Fault("is not offered by this version", name, not_offered=True)
        named = notification.get("format", "normalized")
        if not isinstance(named, str) or named not in FORMATS:
            raise Fault(f"must be one of {', '.join(FORMATS)}", "format")
        return FORMATS[named]

    def _endpoint(self, raw: object) -> Endpoint:
        members = self._object(raw)
        for name in members:
            if name not in ENDPOINT_KNOWN:
                raise Fault("is not offered by this version", name, not_offered=name == "notifierInfo")
        url = self._under(check_uri, members.get("uri"), "uri")
        if not url.startswith(("http://", "https://")):
            raise Fault("only http and https are offered by this version", "uri", not_offered=True)
        media = members.get("accept", "application/json")
        if media not in ("application/json", "application/ld+json"):
            raise Fault("is not offered by this version", "accept", not_offered=True)
        if media == "application/json" and not isinstance(self.context.spec, str):
            raise Fault(
                "an inline @context needs accept application/ld+json, or a jsonldContext", "accept", not_offered=True
            )
        timeout_s = self._seconds(members, "timeout", TIMEOUT_S * 1000) / 1000
        headers = self._under(self._headers, members.get("receiverInfo", []), "receiverInfo")
        cooldown_s = self._seconds(members, "cooldown", 0.0) / 1000
        return Endpoint(url, media, headers, min(timeout_s, TIMEOUT_S_MAX), cooldown_s)

    def _headers(self, pairs: object) -> dict[str, str]:
        if not isinstance(pairs, list) or len(pairs) > LIST_MAX:
            raise Fault(f"must be a list of at most {LIST_MAX} pairs of key and value")
        headers: dict[str, str] = {}
        for index, pair in enumerate(pairs):
            key, value = (pair.get("key"), pair.get("value")) if isinstance(pair, dict) else (None, None)
            if not isinstance(key, str) or not isinstance(value, str):
                raise Fault("must have key and value, both strings", index)
            if not HEADER_NAME.match(key) or not HEADER_VALUE.match(value) or key.lower() in MANAGED_HEADERS:
                raise Fault(f"{key!r} cannot be set as a header", index)
            headers[key] = value
        return headers

    def _seconds(self, holder: Json, name: str, default: float) -> float:
        value = holder.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or (value <= 0 and name in holder):
            raise Fault("must be a number above 0", name)
        return float(value)

    def _expiry(self) -> int | None:
        value = self.raw.get("expiresAt")
        if value is None:
            return None
        try:
            expires_us = time_us(value) if isinstance(value, str) else -1
        except ValueError as error:
            raise Fault(str(error), "expiresAt") from None
        if expires_us <= self.now_us:
            raise Fault("must be a DateTime in the future", "expiresAt")
        return expires_us
