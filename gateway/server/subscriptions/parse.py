"""Subscriptions as clients give them: checked, and made ready to be matched (CIM 009 clauses 5.2.12, 5.8.1, 5.8.2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from gateway.server.broker.answers import languages_of
from gateway.server.broker.geo_query import GeoQuery, parse_geo
from gateway.server.broker.model import NULL, time_us
from gateway.server.broker.parse import Fault, check_uri, expand_checked
from gateway.server.broker.projection import check_projections, parse_projection
from gateway.server.broker.qlang import parse_q
from gateway.server.broker.query import Selector, build_selector
from gateway.server.broker.query_join import LEVEL_MAX, Join
from gateway.server.broker.represent import Format, View
from gateway.server.broker.represent_filter import Version
from gateway.server.broker.scope_query import parse_scope_query
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData
from gateway.server.subscriptions.model import (
    ATTRIBUTE_TRIGGERS,
    COUNTERS,
    DEFAULT_TRIGGERS,
    TRIGGERS,
    Conditions,
    Endpoint,
    Json,
    Subscription,
)
from gateway.server.subscriptions.words import worded

FORMATS: dict[str, Format] = {
    "normalized": "normalized",
    "concise": "concise",
    "simplified": "simplified",
    "keyValues": "simplified",
}
READ_ONLY = frozenset({"status", "createdAt", "modifiedAt", "@context"})
KNOWN = frozenset(
    {"id", "type", "subscriptionName", "description", "entities", "watchedAttributes", "q", "isActive", "localOnly"}
    | {"notificationTrigger", "throttling", "expiresAt", "jsonldContext", "notification", "geoQ", "scopeQ", "lang"}
    | {"expandValues", "jsonKeys", "datasetId", "timeInterval", "ngsildConformance", "csf", "splitEntities"}
)
NOT_OFFERED = frozenset({"temporalQ"})  # of subscriptions to registrations only
NOTIFICATION_KNOWN = frozenset(
    {"endpoint", "format", "attributes", "pick", "omit", "join", "joinLevel", "showChanges", "sysAttrs", *COUNTERS}
)
ENDPOINT_KNOWN = frozenset({"uri", "accept", "timeout", "cooldown", "receiverInfo", "notifierInfo"})
MEDIA = ("application/json", "application/ld+json", "application/geo+json")
LOCATION = "https://uri.etsi.org/ngsi-ld/location"
VERSION = re.compile(r"(\d)\.(\d{1,2})(?:\.\d+)?\Z")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")
HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,1024}\Z")
MANAGED_HEADERS = frozenset(
    {"host", "content-length", "content-type", "connection", "transfer-encoding", "ngsild-tenant", "link", "upgrade"}
)
TIMEOUT_S, TIMEOUT_S_MAX = 5.0, 30.0
LIST_MAX = 100


def patched(old: Subscription, fragment: object, context: Context) -> Json:
    """A subscription after PATCH: members replace members, the null marker removes one (clause 5.8.2).

    ``context``: how the names of the fragment are read. Raises BadRequestData.
    """
    raw = old.raw
    if not isinstance(fragment, dict) or not fragment:
        raise BadRequestData("the fragment must be a JSON object with members")
    if fragment.get("id", raw["id"]) != raw["id"]:
        raise BadRequestData("/id: it differs from the id in the path")
    result = dict(raw)
    for name, value in worded(fragment, context, raw, old.context).items():
        if value == NULL:
            result.pop(name, None)
        elif name == "notification" and isinstance(value, dict):
            result[name] = {k: v for k, v in {**raw[name], **value}.items() if v != NULL}
        elif name != "@context":
            result[name] = value
    return result


def parse_subscription(
    tenant: str,
    raw: object,
    context: Context,
    now: str,
    *,
    told: Context | None = None,
    known: frozenset[str] = KNOWN,
    again: bool = False,
) -> Subscription:
    """Check what a client gave. ``told``: the context of notifications, where it is not ``context``.

    ``again``: its expiresAt was accepted before, and may have passed since.
    Raises BadRequestData with a JSON pointer, OperationNotSupported.
    """
    try:
        return _Reader(raw, context, told or context, None if again else time_us(now), known).subscription(tenant, now)
    except Fault as fault:
        raise fault.problem() from None


TYPED = {"subscriptionName": str, "description": str, "isActive": bool, "localOnly": bool, "splitEntities": bool}
TYPED |= {"csf": str, "jsonldContext": str}


class _Reader:
    """Reads one subscription; every refusal is a Fault with its path."""

    def __init__(self, raw: object, context: Context, told: Context, now_us: int | None, known: frozenset[str]) -> None:
        if not isinstance(raw, dict):
            raise Fault("a subscription must be a JSON object")
        self.raw: Json = {k: v for k, v in raw.items() if k not in READ_ONLY}
        self.context = context
        self.told = told
        self.now_us = now_us
        self.known = known

    def subscription(self, tenant: str, now: str) -> Subscription:
        """All of it."""
        raw = self.raw
        if raw.get("type") != "Subscription":
            raise Fault('must be "Subscription"', "type")
        for name in raw:
            if name not in self.known:
                raise Fault("a subscription has no such member", name, not_offered=name in NOT_OFFERED)
        if not raw.get("entities") and not raw.get("watchedAttributes") and raw.get("localOnly") is not True:
            raise Fault("a subscription must have entities or watchedAttributes")
        for name, kind in TYPED.items():
            self._typed(name, kind)
        notification = self._object(raw.get("notification"), "notification")
        view = replace(
            self._under(self._view, notification, "notification"),
            datasets=self._datasets(),
            languages=languages_of(self._text("lang") if "lang" in raw else None),
            version=self._version(),
        )
        interval_s = self._interval()
        endpoint = self._under(self._endpoint, notification.get("endpoint"), "notification", "endpoint")
        if endpoint.media == "application/geo+json":
            view = replace(view, geometry=LOCATION)
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
            conditions=self._conditions(),
            view=view,
            join=self._under(self._join, notification, "notification"),
            changes=notification.get("showChanges") is True,
            endpoint=endpoint,
            throttling_s=self._seconds(raw, "throttling", 0.0),
            interval_s=interval_s,
            expires_us=self._expiry(),
            active=raw.get("isActive") is not False,
        )

    def _interval(self) -> float:
        if "timeInterval" not in self.raw:
            return 0.0
        for name in ("watchedAttributes", "throttling"):
            if name in self.raw:
                raise Fault(f"does not go with {name}", "timeInterval")
        return max(self._seconds(self.raw, "timeInterval", 0.0), 1.0)

    def _conditions(self) -> Conditions:
        raw = self.raw
        q = None
        if "q" in raw:
            expand, keys = (self._words(name) for name in ("expandValues", "jsonKeys"))
            q = parse_q(self._text("q"), self.context, expand=expand, json_keys=keys)
        scope = parse_scope_query(self._text("scopeQ")) if "scopeQ" in raw else None
        geo = self._under(self._geo, raw["geoQ"], "geoQ") if "geoQ" in raw else None
        return Conditions(q, geo, scope)

    def _words(self, name: str) -> list[str]:
        value = self.raw.get(name, [])
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list) or not all(isinstance(part, str) and part for part in parts):
            raise Fault("must be names with commas between", name)
        return parts

    def _geo(self, value: object) -> GeoQuery | None:
        members = self._object(value)
        coordinates = members.get("coordinates")
        if isinstance(coordinates, list):
            coordinates = orjson.dumps(coordinates).decode()
        texts = (members.get("georel"), members.get("geometry"), coordinates)
        if not all(isinstance(text, str) for text in texts):
            raise Fault("must have georel, geometry and coordinates")
        geoproperty = members.get("geoproperty")
        if geoproperty is not None and not isinstance(geoproperty, str):
            raise Fault("must be a string", "geoproperty")
        return parse_geo(self.context, *texts, geoproperty)

    def _view(self, notification: Json) -> View:
        for name in notification:
            if name not in NOTIFICATION_KNOWN:
                raise Fault("a notification has no such member", name)
        for name in ("sysAttrs", "showChanges"):
            if not isinstance(notification.get(name, False), bool):
                raise Fault("must be a boolean", name)
        shown = self._format(notification)
        if notification.get("showChanges") and shown == "simplified":
            raise Fault("does not go with the simplified format", "showChanges")
        if "attributes" in notification and ("pick" in notification or "omit" in notification):
            raise Fault("does not go with pick or omit", "attributes")
        for name in ("id", "type", "scope"):
            if name in (notification.get("attributes") or []):
                raise Fault(f"{name} is no attribute", "attributes")
        texts = {name: self._projection(notification, name) for name in ("pick", "omit")}
        pick, omit = (parse_projection(name, text, self.context) for name, text in texts.items())
        level = notification.get("joinLevel", 1) if notification.get("join") in ("flat", "inline") else 0
        check_projections(pick, omit, level if isinstance(level, int) else 0)
        return View(
            self.told,
            shown,
            self._names(notification, "attributes"),
            notification.get("sysAttrs") is True,
            pick=pick,
            omit=omit,
        )

    def _datasets(self) -> frozenset[str] | None:
        if "datasetId" not in self.raw:
            return None
        given = self._list("datasetId")
        return frozenset(p if p == "@none" else self._under(check_uri, p, "datasetId") for p in given)

    def _projection(self, notification: Json, name: str) -> str | None:
        value = notification.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
            raise Fault("must be a list of names that is not empty", name)
        return ",".join(value)

    def _version(self) -> Version | None:
        value = self.raw.get("ngsildConformance")
        if value is None:
            return None
        found = VERSION.match(value) if isinstance(value, str) else None
        if found is None:
            raise Fault("must be a version such as 1.8", "ngsildConformance")
        return int(found[1]), int(found[2])

    def _join(self, notification: Json) -> Join | None:
        kind, level = notification.get("join", "@none"), notification.get("joinLevel", 1)
        if kind not in ("flat", "inline", "@none"):
            raise Fault("must be flat, inline or @none", "join")
        if isinstance(level, bool) or not isinstance(level, int) or not 1 <= level <= LEVEL_MAX:
            raise Fault(f"must be a whole number from 1 to {LEVEL_MAX}", "joinLevel")
        if kind == "@none":
            return None
        return Join("flat" if kind == "flat" else "inline", level)

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
        pattern, entity_id = members.get("idPattern"), members.get("id")
        if pattern is not None and not isinstance(pattern, str):
            raise Fault("must be a regular expression", "entities", index, "idPattern")
        ids = [] if entity_id is None else [self._under(check_uri, entity_id, "entities", index, "id")]
        try:
            return build_selector(self.context, members["type"], ids, pattern)
        except BadRequestData as problem:
            raise Fault(problem.cause, "entities", index) from None

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
        named = notification.get("format", "normalized")
        if not isinstance(named, str) or named not in FORMATS:
            raise Fault(f"must be one of {', '.join(FORMATS)}", "format")
        return FORMATS[named]

    def _endpoint(self, raw: object) -> Endpoint:
        members = self._object(raw)
        for name in members:
            if name not in ENDPOINT_KNOWN:
                raise Fault("an endpoint has no such member", name)
        url = self._under(check_uri, members.get("uri"), "uri")
        if not url.startswith(("http://", "https://", "mqtt://", "mqtts://")):
            raise Fault("must be a URL of http, https, mqtt or mqtts", "uri")
        media = members.get("accept", "application/json")
        if media not in MEDIA:
            raise Fault(f"must be one of {', '.join(MEDIA)}", "accept")
        timeout_s = self._seconds(members, "timeout", TIMEOUT_S * 1000) / 1000
        headers = self._under(self._headers, members.get("receiverInfo", []), "receiverInfo")
        cooldown_s = self._seconds(members, "cooldown", 0.0) / 1000
        version, qos = self._under(self._notifier, members.get("notifierInfo", []), "notifierInfo")
        return Endpoint(url, media, headers, min(timeout_s, TIMEOUT_S_MAX), cooldown_s, version, qos)

    def _notifier(self, pairs: object) -> tuple[str, int]:
        given = self._headers(pairs)
        version, qos = given.get("MQTT-Version", "mqtt5.0"), given.get("MQTT-QoS", "0")
        if version not in ("mqtt3.1.1", "mqtt5.0"):
            raise Fault("MQTT-Version must be mqtt3.1.1 or mqtt5.0")
        if qos not in ("0", "1", "2"):
            raise Fault("MQTT-QoS must be 0, 1 or 2")
        return version, int(qos)

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
        if expires_us < 0 or (self.now_us is not None and expires_us <= self.now_us):
            raise Fault("must be a DateTime in the future", "expiresAt")
        return expires_us
