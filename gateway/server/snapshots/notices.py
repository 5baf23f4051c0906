"""SnapshotNotifications: told to the endpoint of a snapshot, a few times at most; not kept over a restart."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.server.broker.model import time_text
from gateway.server.egress import Egress
from gateway.server.outcome import Outcome
from gateway.server.snapshots.model import now_us

log = logging.getLogger(__name__)
WAITING_MAX, TRIES, PAUSE_S, TIMEOUT_S = 100, 3, 2.0, 5.0
SHOWN = ("expiresAt", "snapshotStatus", "snapshotQueriesDetails", "snapshotTemporalQueriesDetails")


class Notices:
    """``egress``: where endpoints may be."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, tenant: str, snapshot: Mapping[str, Any]) -> None:
        """Tell the endpoint, if there is one, what became of its snapshot. It does not wait."""
        if "endpoint" not in snapshot:
            return
        if len(self._tasks) >= WAITING_MAX:
            log.warning("the notification of the snapshot %s is dropped: too many wait", snapshot["id"])
            return
        body = {
            "id": f"urn:ngsi-ld:SnapshotNotification:{uuid.uuid4()}",
            "type": "SnapshotNotification",
            "notifiedAt": time_text(now_us()),
            "snapshotId": snapshot["id"],
            **{name: snapshot[name] for name in SHOWN if name in snapshot},
        }
        headers = {part["key"]: part["value"] for part in snapshot.get("receiverInfo", ())}
        headers["Content-Type"] = "application/json"
        if tenant:
            headers["NGSILD-Tenant"] = tenant
        task = asyncio.create_task(self._send(snapshot["endpoint"], headers, orjson.dumps(body)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Give up what waits."""
        for task in self._tasks:
            task.cancel()

    async def _send(self, url: str, headers: dict[str, str], body: bytes) -> None:
        why = ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(PAUSE_S * attempt)
            with Outcome() as outcome:
                answer = await self._egress.request(url, "POST", headers, body, timeout_s=TIMEOUT_S, body_max=65_536)
                if 200 <= answer.status < 300:
                    return
                why = f"it answers {answer.status}"
            why = str(outcome.error) if outcome.error is not None else why
        log.warning("a notification of a snapshot was not delivered to %s: %s", url, why)
