"""Sending notifications: one queue and at most one sender per subscription, so a slow receiver delays nobody else.

Retries with back-off and jitter, a bounded number; what does not fit the queue drops the oldest. Notifications that
wait are in memory only: a restart loses those (not the subscription).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from drivers.http1 import HttpError
from gateway.server.broker.model import Change
from gateway.server.broker.represent import View, represent
from gateway.server.egress import Egress
from gateway.server.subscriptions.model import Subscription
from gateway.server.wire import LD, context_header

log = logging.getLogger(__name__)
ATTEMPTS_MAX = 5
BACK_OFF_S, BACK_OFF_S_MAX = 0.5, 30.0
WAITING_MAX = 100  # notifications of one subscription
ANSWER_BYTES_MAX = 64 * 1024


class Sender:
    """The notifications of one subscription."""

    def __init__(self, subscription: Subscription, egress: Egress, now: Callable[[], str]) -> None:
        self.subscription = subscription
        self.dirty = False
        self.dropped = 0
        self._egress = egress
        self._now = now
        self._waiting: deque[tuple[str, Sequence[Change]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._last_mono_s = float("-inf")

    def notify(self, changes: Sequence[Change], group: asyncio.TaskGroup) -> None:
        """Queue one notification, unless throttled."""
        mono_s = time.monotonic()
        if mono_s - self._last_mono_s < self.subscription.throttling_s:
            return
        self._last_mono_s = mono_s
        if len(self._waiting) >= WAITING_MAX:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append((self._now(), changes))
        if self._task is None:
            self._task = group.create_task(self._run())

    def stop(self) -> None:
        """Send no more."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                notified_at, changes = self._waiting.popleft()
                await self._deliver(body_of(self.subscription, changes, notified_at))
        finally:
            self._task = None

    async def _deliver(self, body: bytes) -> None:
        endpoint = self.subscription.endpoint
        for attempt in range(ATTEMPTS_MAX):
            if await self._attempt(body):
                return
            back_off_s = min(BACK_OFF_S * 2**attempt, BACK_OFF_S_MAX) * random.uniform(0.5, 1.0)
            await asyncio.sleep(max(back_off_s, endpoint.cooldown_s))

    async def _attempt(self, body: bytes) -> bool:
        subscription, endpoint = self.subscription, self.subscription.endpoint
        counters = subscription.counters
        headers = {**endpoint.headers, "Content-Type": endpoint.media, "Connection": "close"}
        if endpoint.media != LD:
            headers["Link"] = context_header(subscription.context)
        if subscription.tenant:
            headers["NGSILD-Tenant"] = subscription.tenant
        counters.sent += 1
        counters.last_notification = self._now()
        status = 0
        cause = ""
        try:
            answer = await self._egress.request(
                endpoint.url, "POST", headers, body, timeout_s=endpoint.timeout_s, body_max=ANSWER_BYTES_MAX
            )
            status = answer.status
        except (OSError, HttpError) as error:
            cause = str(error) or type(error).__name__
        good = 200 <= status < 300
        if good:
            counters.last_success = self._now()
        else:
            counters.failed += 1
            counters.last_failure = self._now()
            if counters.ok:  # once when it goes; the counters tell the rest
                log.warning("subscription %s cannot be notified: %s", subscription.id, cause or f"status {status}")
        counters.ok = good
        self.dirty = True
        return good


def body_of(subscription: Subscription, changes: Sequence[Change], notified_at: str) -> bytes:
    """The Notification (clause 5.3.1)."""
    view = View(subscription.context, subscription.format, subscription.attributes, subscription.system)
    data = [_shown(change, view, notified_at) for change in changes]
    body: dict[str, Any] = {
        "id": f"urn:ngsi-ld:Notification:{uuid.uuid4()}",
        "type": "Notification",
        "subscriptionId": subscription.id,
        "notifiedAt": notified_at,
        "data": data,
    }
    if subscription.endpoint.media == LD:
        body["@context"] = subscription.context.spec
    return orjson.dumps(body)


def _shown(change: Change, view: View, notified_at: str) -> dict[str, Any]:
    if change.event == "deleted":
        gone = represent({"id": change.entity["id"], "type": change.entity["type"]}, view)
        return {**gone, "deletedAt": notified_at}
    return represent(change.entity, view)
