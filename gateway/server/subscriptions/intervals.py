"""Subscriptions with timeInterval: at every period all entities that are meant (CIM 009 clause 5.8.6)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gateway.server.broker.links import Links, now_us
from gateway.server.broker.model import Change, Stored, time_us
from gateway.server.broker.query import Query
from gateway.server.broker.transient import load
from gateway.server.errors import Problem
from gateway.server.storage.base import Reader, Storage
from gateway.server.subscriptions.matching import Matching, State, States
from gateway.server.subscriptions.model import Subscription

log = logging.getLogger(__name__)
TICK_S = 0.5
ENTITIES_MAX = 10_000  # of one notification


class Intervals:
    """Use ``run`` as a task while the server runs."""

    def __init__(self, storage: Storage, states: States, matching: Matching, wake: Callable[[], None]) -> None:
        self._storage = storage
        self._states = states
        self._matching = matching
        self._wake = wake
        self._next_us: dict[tuple[str, str], int] = {}

    async def run(self) -> None:
        """Until cancelled. A period that passed while the server was down is not made up for."""
        while True:
            await asyncio.sleep(TICK_S)
            now = now_us()
            if not self._storage.leads():
                continue
            for key, state in list(self._states.items()):
                if state.subscription.interval_s:
                    await self._look(key, state, now)
            self._next_us = {key: due for key, due in self._next_us.items() if key in self._states}

    async def _look(self, key: tuple[str, str], state: State, now: int) -> None:
        subscription = state.subscription
        period_us = int(subscription.interval_s * 1e6)
        due = self._next_us.setdefault(key, max(state.notified_us, time_us(subscription.modified)) + period_us)
        if now < due:
            return
        self._next_us[key] = max(due + period_us, now)
        if subscription.status(now) != "active":
            return
        try:
            found = await self._storage.read(lambda reader: _meant(reader, subscription, now))
            if found:
                changes = [Change(subscription.tenant, entity, ()) for entity in found]
                await self._storage.write(lambda writer: self._matching.queue(writer, subscription, changes, now))
                self._wake()
        except Problem as problem:
            log.warning("subscription %s waits for its next period: %s", subscription.id, problem)


def _meant(reader: Reader, subscription: Subscription, now: int) -> list[Stored]:
    query = Query(selectors=subscription.selectors, q=subscription.conditions.q, geo=subscription.conditions.geo)
    links = Links(reader, subscription.tenant)
    found: list[Stored] = []
    for document in reader.entities(subscription.tenant, query.selection):
        entity = load(document, now)
        if entity is not None and subscription.means(entity, links):
            found.append(entity)
            if len(found) == ENTITIES_MAX:
                break
    return found
