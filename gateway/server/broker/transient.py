"""Transient data: entities and attributes with ``expiresAt`` (since version 1.9 of CIM 009).

From that moment on they count as gone, in every operation; the sweeper removes them soon after.
"""

from __future__ import annotations

import orjson

from gateway.server.broker.model import Stored, instances, time_us

MARK = b'"expiresAt"'


def load(document: bytes, now_us: int) -> Stored | None:
    """The stored entity as it is at that time: without what has expired; None where all of it has."""
    entity: Stored = orjson.loads(document)
    return alive(entity, now_us) if MARK in document else entity


def alive(entity: Stored, now_us: int) -> Stored | None:
    """The entity without expired attributes (a new object where there are such); None where it has expired."""
    if _past(entity, now_us):
        return None
    gone = [name for name, value in entity.items() if ":" in name and any(_past(i, now_us) for i in instances(value))]
    if not gone:
        return entity
    result = dict(entity)
    for name in gone:
        left = [instance for instance in instances(entity[name]) if not _past(instance, now_us)]
        if left:
            result[name] = left if len(left) > 1 else left[0]
        else:
            del result[name]
    return result


def due_us(entity: Stored, document: bytes) -> int | None:
    """When the first part of an entity expires, if any does; ``document`` is the same entity as JSON."""
    if MARK not in document:
        return None
    parts = [entity, *(i for name, value in entity.items() if ":" in name for i in instances(value))]
    times = [time_us(part["expiresAt"]) for part in parts if "expiresAt" in part]
    return min(times, default=None)


def _past(part: Stored, now_us: int) -> bool:
    moment = part.get("expiresAt")
    return moment is not None and time_us(moment) <= now_us
