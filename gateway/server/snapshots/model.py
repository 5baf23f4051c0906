"""A snapshot as it is stored, and how it is read from a body. Members that only the broker sets are ignored in input.

The document is kept in the hidden tenant that holds the snapshot's data: its name has a space, which none of a client
can have.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.server.broker.asked import check_narrow, query_from
from gateway.server.broker.model import time_text, time_us
from gateway.server.broker.names import Fault, check_uri
from gateway.server.broker.query import Query, expand_names
from gateway.server.broker.query_body import query_of
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData, OperationNotSupported, Problem
from gateway.server.subscriptions.form import names_topic
from gateway.server.subscriptions.parse import MANAGED_HEADERS
from gateway.server.temporal.ask import Ask, ask_of
from gateway.server.temporal.body import asked_of
from gateway.server.temporal.duration import parse_duration

QUERIES_MAX = 20
LIFETIME_US, LIFETIME_US_MAX = 86_400 * 1_000_000, 7 * 86_400 * 1_000_000
SCHEMES = ("http://", "https://", "mqtt://", "mqtts://")
PREFIX = "urn:ngsi-ld:Snapshot:"
QUERIES, HISTORIES = "snapshotQueries", "snapshotTemporalQueries"
CHANGEABLE = frozenset({"snapshotPriority", "snapshotLifetime", "endpoint", "receiverInfo"})
OUTPUT = frozenset(
    {"expiresAt", "createdAt", "modifiedAt", "lastUsedAt", "snapshotStatus"}
    | {"snapshotQueriesDetails", "snapshotTemporalQueriesDetails"}
)
REFUSED = frozenset({"pick", "omit", "lang", "ordering", "orderBy", "join", "joinLevel", "containedBy", "aggrParams"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """One query: entities that fulfil any of ``queries``, with ``attributes`` alone (empty: all).

    ``ask``: of history; None asks for current state.
    """

    queries: tuple[Query, ...]
    attributes: frozenset[str]
    ask: Ask | None = None


def hidden(tenant: str, snapshot_id: str) -> str:
    """The tenant of the storage that holds a snapshot."""
    return f"{tenant} {snapshot_id}"


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def created(raw: object, context: Context, *, clone_of: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A new snapshot in preparation. Raises BadRequestData, OperationNotSupported."""
    if not isinstance(raw, dict) or raw.get("type", "Snapshot" if clone_of else None) != "Snapshot":
        raise BadRequestData('/type: a snapshot is an object of type "Snapshot"')
    asks = frozenset({QUERIES, HISTORIES})
    if clone_of is not None and (given := asks & raw.keys()):
        raise BadRequestData(f"/{min(given)}: a clone has the queries of what it is a clone of")
    _check_names(raw, CHANGEABLE | asks | {"id"})
    snapshot_id = raw.get("id", f"{PREFIX}{uuid.uuid4()}")
    _uri("/id", snapshot_id)
    if " " in snapshot_id:
        raise BadRequestData("/id: must not have a space")
    now = now_us()
    found = {"id": snapshot_id, "type": "Snapshot", **_settings(raw, now)}
    found.setdefault("expiresAt", time_text(now + LIFETIME_US))
    found |= {"createdAt": time_text(now), "modifiedAt": time_text(now), "snapshotStatus": "preparation"}
    source = raw if clone_of is None else clone_of
    for name in (QUERIES, HISTORIES):
        if name in source:
            found[name] = source[name]
    if clone_of is None:
        wanted_of(found, context)
    return found


def changed(snapshot: Mapping[str, Any], raw: object) -> dict[str, Any]:
    """The snapshot after PATCH. Raises BadRequestData."""
    if not isinstance(raw, dict):
        raise BadRequestData("/: must be an object")
    if raw.get("id", snapshot["id"]) != snapshot["id"] or raw.get("type", "Snapshot") != "Snapshot":
        raise BadRequestData("/id: id and type cannot be changed")
    _check_names(raw, CHANGEABLE | {"id"})
    if not CHANGEABLE & raw.keys():
        raise BadRequestData(f"/: nothing to change; there are {', '.join(sorted(CHANGEABLE))}")
    now = now_us()
    return {**snapshot, **_settings(raw, now), "modifiedAt": time_text(now)}


def expired(snapshot: Mapping[str, Any], at_us: int) -> bool:
    """Whether its time is over."""
    return time_us(snapshot["expiresAt"]) <= at_us


def wanted_of(snapshot: Mapping[str, Any], context: Context) -> tuple[list[Wanted], list[Wanted]]:
    """What its queries mean: of current state, of history. Raises BadRequestData with the place, 422 as well."""
    lists = []
    for name in (QUERIES, HISTORIES):
        raw = snapshot.get(name, [])
        if not isinstance(raw, list) or len(raw) > QUERIES_MAX or (name in snapshot and not raw):
            raise BadRequestData(f"/{name}: must be a list of 1 to {QUERIES_MAX} queries")
        lists.append([_placed(f"/{name}/{number}", name, part, context) for number, part in enumerate(raw)])
    if not lists[0] and not lists[1]:
        raise BadRequestData(f"/{QUERIES}: a snapshot has {QUERIES} or {HISTORIES}")
    return lists[0], lists[1]


def _placed(place: str, name: str, raw: object, context: Context) -> Wanted:
    if not isinstance(raw, dict):
        raise BadRequestData(f"{place}: must be a Query")
    if ("temporalQ" in raw) is (name == QUERIES):
        raise BadRequestData(f"{place}/temporalQ: belongs to each of {HISTORIES}, and to none of {QUERIES}")
    if refused := REFUSED & raw.keys():
        raise OperationNotSupported(f"{place}/{min(refused)}: a query of a snapshot has no {min(refused)} here")
    try:
        return _current(raw, context) if name == QUERIES else _history(raw, context)
    except Problem as problem:
        at = problem.cause if problem.cause.startswith("/") else f": {problem.cause}"
        raise BadRequestData(f"{place}{at}") from None


def _current(raw: dict[str, Any], context: Context) -> Wanted:
    parameters, selectors = query_of(raw, context)
    query = replace(query_from(parameters, context), selectors=selectors)
    check_narrow(query, parameters)
    return Wanted((query,), _attributes(parameters, context))


def _history(raw: dict[str, Any], context: Context) -> Wanted:
    asked = asked_of(raw)
    queries = []
    for selector in asked.selectors:
        together = {**asked.parameters, **selector}
        query = query_from(together, context)
        check_narrow(query, together)
        queries.append(query)
    return Wanted(tuple(queries), _attributes(asked.parameters, context), ask_of(asked.parameters, context, timed=True))


def _attributes(parameters: Mapping[str, str], context: Context) -> frozenset[str]:
    names = [part.strip() for part in parameters.get("attrs", "").split(",") if part.strip()]
    return frozenset(expand_names(names, context))


def _check_names(raw: Mapping[str, object], known: frozenset[str]) -> None:
    if unknown := raw.keys() - known - OUTPUT - {"type", "@context"}:
        raise BadRequestData(f"/{min(unknown)}: there is no such member here")


def _settings(raw: Mapping[str, Any], now: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "snapshotPriority" in raw:
        priority = raw["snapshotPriority"]
        if isinstance(priority, bool) or not isinstance(priority, int) or not 1 <= priority <= 10:
            raise BadRequestData("/snapshotPriority: must be a whole number from 1 to 10")
        found["snapshotPriority"] = priority
    if "snapshotLifetime" in raw:
        found["snapshotLifetime"] = raw["snapshotLifetime"]
        found["expiresAt"] = time_text(now + _lifetime(raw["snapshotLifetime"], now))
    if "endpoint" in raw:
        _uri("/endpoint", raw["endpoint"])
        if not raw["endpoint"].startswith(SCHEMES) or not names_topic(raw["endpoint"]):
            raise BadRequestData("/endpoint: must be a URI of http, https, or of an MQTT topic (mqtt, mqtts)")
        found["endpoint"] = raw["endpoint"]
    if "receiverInfo" in raw:
        found["receiverInfo"] = _pairs(raw["receiverInfo"])
    return found


def _lifetime(value: object, now: int) -> int:
    try:
        us = parse_duration(value if isinstance(value, str) else "").edge(now, 1) - now
    except (ValueError, OverflowError) as error:
        raise BadRequestData(f"/snapshotLifetime: {error}") from None
    if us <= 0:
        raise BadRequestData("/snapshotLifetime: must be longer than nothing")
    return min(us, LIFETIME_US_MAX)


def _pairs(value: object) -> list[dict[str, str]]:
    """Headers for the receiver: key and value, visible ASCII."""
    if not isinstance(value, list) or len(value) > 20:
        raise BadRequestData("/receiverInfo: must be a list of at most 20 objects with key and value")
    for number, part in enumerate(value):
        place = f"/receiverInfo/{number}"
        if not isinstance(part, dict) or part.keys() != {"key", "value"}:
            raise BadRequestData(f"{place}: must be an object with key and value")
        key, text = part["key"], part["value"]
        if not isinstance(key, str) or not key.isascii() or not key.replace("-", "").isalnum() or len(key) > 100:
            raise BadRequestData(f"{place}/key: must be the name of a header")
        if key.lower() in MANAGED_HEADERS:
            raise BadRequestData(f"{place}/key: {key} cannot be set")
        if not isinstance(text, str) or not text.isascii() or not text.isprintable() or len(text) > 1000:
            raise BadRequestData(f"{place}/value: must be printable ASCII")
    return value


def _uri(place: str, value: object) -> None:
    try:
        check_uri(value)
    except Fault as fault:
        raise BadRequestData(f"{place}: {fault}") from None
