"""SnapshotNotifications take the durable queue of all notifications: a snapshot has a receiver like a subscription.

In the queue it has the hidden tenant and the id of the snapshot, so that no subscription of a client has its place.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.server.broker.model import time_text
from gateway.server.broker.represent import View
from gateway.server.contexts import Context
from gateway.server.snapshots.model import hidden
from gateway.server.storage.base import Note
from gateway.server.subscriptions.model import Conditions, Endpoint, Subscription
from gateway.server.subscriptions.parse import MANAGED_HEADERS
from gateway.server.wire import JSON

TIMEOUT_S = 5.0
SHOWN = ("expiresAt", "snapshotStatus", "snapshotQueriesDetails", "snapshotTemporalQueriesDetails")


def receiver_of(record: Mapping[str, Any], context: Context) -> Subscription | None:
    """Who is told what becomes of a snapshot; None where nobody is. ``context``: what its notifications name."""
    snapshot = record["snapshot"]
    if "endpoint" not in snapshot:
        return None
    pairs = ((part["key"], part["value"]) for part in snapshot.get("receiverInfo", ()))
    headers = {key: value for key, value in pairs if key.lower() not in MANAGED_HEADERS}
    return Subscription(
        tenant=hidden(record["tenant"], snapshot["id"]),
        id=snapshot["id"],
        raw={},
        context=context,
        created=snapshot["createdAt"],
        modified=snapshot["modifiedAt"],
        selectors=(),
        watched=frozenset(),
        triggers=frozenset(),
        conditions=Conditions(),
        view=View(context),
        join=None,
        changes=False,
        endpoint=Endpoint(snapshot["endpoint"], JSON, headers, TIMEOUT_S, 0.0),
        throttling_s=0.0,
        interval_s=0.0,
        expires_us=None,
        active=True,
        kind="snapshot",
    )


def note_of(record: Mapping[str, Any], now_us: int) -> Note:
    """What its receiver is told now."""
    snapshot = record["snapshot"]
    note_id = f"urn:ngsi-ld:SnapshotNotification:{uuid.uuid4()}"
    body = {
        "id": note_id,
        "type": "SnapshotNotification",
        "notifiedAt": time_text(now_us),
        "snapshotId": snapshot["id"],
        **{name: snapshot[name] for name in SHOWN if name in snapshot},
    }
    return Note(note_id, hidden(record["tenant"], snapshot["id"]), snapshot["id"], now_us, 0, orjson.dumps(body))
