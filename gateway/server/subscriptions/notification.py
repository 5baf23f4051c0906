"""The Notification (CIM 009 clause 5.3.1): made when a change matches, inside the write, from what is true then."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import orjson

from gateway.server.broker.links import Links
from gateway.server.broker.model import NULL, VALUE_MEMBERS, Change, Stored, instances
from gateway.server.broker.query_join import Joiner
from gateway.server.broker.represent import View, represent
from gateway.server.broker.represent_filter import DEFAULT_INSTANCE, projects_to_nothing
from gateway.server.storage.base import Note, Reader
from gateway.server.subscriptions.model import Json, Subscription, by_dataset, differs, events_of
from gateway.server.wire import GEO, LD, context_header

JSON = "application/json"


def note_of(
    subscription: Subscription, changes: Sequence[Change], reader: Reader, now: str, due_us: int
) -> Note | None:
    """A notification that waits, with an element of ``data`` for each change that leaves something to be seen.

    None where there is no such.
    """
    view = subscription.view
    data = [_shown(change, subscription, now) for change in changes if change.event == "deleted"]
    kept = [change for change in changes if change.event != "deleted"]
    entities = [change.entity for change in kept]
    linked: list[Stored] = []
    if subscription.join is not None:
        joiner = Joiner(subscription.join, view, Links(reader, subscription.tenant))
        if subscription.join.kind == "inline":
            entities = [joiner.inline(entity) for entity in entities]
        else:
            linked = joiner.flat(entities)
    for change, entity in zip(kept, entities, strict=True):
        shown = represent(entity, view)
        told = _told(shown, change, subscription, now)
        if told or not projects_to_nothing(change.entity, view.pick, view.datasets):
            data.append(shown)
    if not data:
        return None
    data += [represent(entity, view) for entity in linked]
    return note_with(subscription, data, now, due_us)


def note_with(subscription: Subscription, data: list[Json], now: str, due_us: int) -> Note:
    """A notification that waits, of entities as the subscriber wants to see them."""
    note_id = f"urn:ngsi-ld:Notification:{uuid.uuid4()}"
    body = orjson.dumps(_notification(note_id, subscription, data, now))
    return Note(note_id, subscription.tenant, subscription.id, due_us, 0, body)


def media_of(subscription: Subscription) -> str:
    """An inline context has no URL for a Link header: it travels in the body, which is then JSON-LD."""
    media = subscription.endpoint.media
    inline = media == JSON and not isinstance(subscription.view.context.spec, str)
    return LD if inline else media


def headers_of(subscription: Subscription) -> dict[str, str]:
    """The headers of a notification (over MQTT: its metadata)."""
    media = media_of(subscription)
    headers = {**subscription.endpoint.headers, "Content-Type": media}
    if media == JSON or not _context_in_body(subscription):
        headers["Link"] = context_header(subscription.view.context)
    tenant, _, snapshot = subscription.tenant.partition(" ")  # what is in a snapshot has a tenant of its own
    if tenant:
        headers["NGSILD-Tenant"] = tenant
    if snapshot:
        headers["NGSILD-Snapshot"] = snapshot
    return headers


def _context_in_body(subscription: Subscription) -> bool:
    if media_of(subscription) == GEO:
        preferred = next((v for k, v in subscription.endpoint.headers.items() if k.lower() == "prefer"), "")
        return preferred != "body=json" or not isinstance(subscription.view.context.spec, str)
    return media_of(subscription) == LD


def _notification(note_id: str, subscription: Subscription, data: list[Json], now: str) -> Json:
    body: dict[str, Any] = {
        "id": note_id,
        "type": "Notification",
        "subscriptionId": subscription.id,
        "notifiedAt": now,
        "data": {"type": "FeatureCollection", "features": data} if media_of(subscription) == GEO else data,
    }
    if _context_in_body(subscription):
        body["@context"] = subscription.view.context.spec
    return body


def _shown(change: Change, subscription: Subscription, now: str) -> Json:
    """A deleted entity: what it was called, and with ``showChanges`` what it had."""
    view, entity = subscription.view, change.entity
    bare = View(view.context, system=view.system)
    named: Json = {name: entity[name] for name in ("id", "type", "createdAt", "modifiedAt") if name in entity}
    gone: Json = {**represent(named, bare), "deletedAt": now}
    if subscription.changes:
        everything = Change(change.tenant, {"id": entity["id"]}, change.attributes, "updated", (), change.attributes,
                            change.previous)  # fmt: skip
        _told(gone, everything, subscription, now, plain=True)
    if view.geometry is not None:
        properties = {name: value for name, value in gone.items() if name != "id"}
        return {"id": gone["id"], "type": "Feature", "geometry": None, "properties": properties}
    return gone


def _told(shown: Json, change: Change, subscription: Subscription, now: str, *, plain: bool = False) -> bool:
    """Adds what went, and with ``showChanges`` what was there before; whether anything went that is wanted.

    ``plain``: it is no GeoJSON yet.
    """
    view, told = subscription.view, False
    holder = shown["properties"] if view.geometry is not None and not plain else shown
    for name in change.attributes:
        if not wanted(name, view):
            continue
        before, after = by_dataset(change.previous.get(name)), by_dataset(change.entity.get(name))
        compact = view.context.compact_name(name)
        if subscription.changes and compact in holder:
            changed = {dataset: old for dataset, old in before.items() if differs(old, after.get(dataset))}
            holder[compact] = _with_previous(holder[compact], changed, view)
        if "attributeDeleted" in events_of(change, name):
            gone = [_gone(i, subscription, now) for key, i in before.items() if key not in after and _chosen(key, view)]
            parts = [*instances(holder[compact]), *gone] if compact in holder else gone
            if parts:
                holder[compact] = parts if len(parts) > 1 else parts[0]
            told = told or bool(gone)
    return told


def _chosen(dataset: str | None, view: View) -> bool:
    return view.datasets is None or (dataset or DEFAULT_INSTANCE) in view.datasets


def wanted(name: str, view: View) -> bool:
    """Whether an attribute (an IRI) is one that the subscriber wants to see."""
    if view.attrs and name not in view.attrs:
        return False
    if view.omit is not None and name in view.omit.names:
        return False
    return view.pick is None or name in view.pick.names


def _with_previous(shown: Any, before: dict[str | None, Stored], view: View) -> Any:
    if isinstance(shown, list):
        return [_with_previous(part, before, view) for part in shown]
    old = before.get(shown.get("datasetId") if isinstance(shown, dict) else None)
    if old is None:
        return shown
    if not isinstance(shown, dict) or "coordinates" in shown:
        shown = {"value": shown}
    return {**shown, **_previous(old, view)}


def _previous(old: Stored, view: View) -> Json:
    member = VALUE_MEMBERS[old["type"]]
    value = view.context.compact_names(old[member]) if member == "vocab" else old[member]
    return {f"previous{member[0].upper()}{member[1:]}": value}


def _gone(old: Stored, subscription: Subscription, now: str) -> Any:
    """A deleted attribute: the null marker, in an object where more must be said."""
    view = subscription.view
    if view.format == "simplified" or not ("datasetId" in old or view.system or subscription.changes):
        return NULL
    member = VALUE_MEMBERS[old["type"]]
    result: Json = {"type": old["type"], member: {"@none": NULL} if member == "languageMap" else NULL}
    if "datasetId" in old:
        result["datasetId"] = old["datasetId"]
    if view.system:
        result["deletedAt"] = now
    return result | (_previous(old, view) if subscription.changes else {})
