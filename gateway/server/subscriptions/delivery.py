"""Sending what waits: claimed from storage, sent in order of each subscription, then settled in slices.

A receiver that is slow or down delays nobody else: one notification of a subscription is under way at a time, few of
one receiver, and what cannot be sent yet goes back into the storage with the date of the next try.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

from drivers.http1 import HttpError
from gateway.server.broker.model import time_text
from gateway.server.egress import Egress
from gateway.server.errors import Problem
from gateway.server.pool import Pool
from gateway.server.storage.base import Note, Storage, Writer
from gateway.server.subscriptions.matching import State, States
from gateway.server.subscriptions.model import Subscription
from gateway.server.subscriptions.mqtt import Publisher
from gateway.server.subscriptions.notification import headers_of

log = logging.getLogger(__name__)
ATTEMPTS_MAX = 12
BACK_OFF_S, BACK_OFF_S_MAX = 0.5, 120.0
ANSWER_BYTES_MAX = 64 * 1024
AT_ONCE, AT_ONCE_PER_RECEIVER = 64, 8
HELD_MAX = 2_000  # claimed and not yet settled
HELD_PER_SUBSCRIPTION = 100
HELD_PER_RECEIVER = 500  # of one host and port: one that hangs leaves room for the others
LEASE_S = 20.0
POLL_S, SLICE_S = 0.25, 0.02
OTHERS_S = 2.0
DEAD_MAX = 1_000
FULL_S = 0.5


class Endpoints:
    """Sends one body to an endpoint. What carries it (HTTP, MQTT) is the matter of the URL."""

    def __init__(self, egress: Egress) -> None:
        self._pool = Pool(egress, body_max=ANSWER_BYTES_MAX)
        self._publisher = Publisher(egress)

    async def send(self, subscription: Subscription, body: bytes) -> str:
        """Returns why it failed, "" for success."""
        endpoint = subscription.endpoint
        headers = headers_of(subscription)
        try:
            if endpoint.mqtt:
                await self._publisher.publish(endpoint, headers, body)
                return ""
            answer = await self._pool.request(endpoint.url, "POST", headers, body, timeout_s=endpoint.timeout_s)
        except (OSError, HttpError) as error:
            return str(error) or type(error).__name__
        return "" if 200 <= answer.status < 300 else f"status {answer.status}"

    async def close(self) -> None:
        """Let go of connections and threads."""
        self._publisher.close()
        await self._pool.close()


class Delivery:
    """Use ``run`` as a task while the server runs; ``wake`` when something was queued."""

    def __init__(self, storage: Storage, states: States, egress: Egress, clock_us: Callable[[], int]) -> None:
        self._storage = storage
        self._states = states
        self._endpoints = Endpoints(egress)
        self._clock_us = clock_us
        self._node = uuid.uuid4().hex
        self._held: dict[str, tuple[Note, str]] = {}  # with the receiver
        self._per_receiver: Counter[str] = Counter()
        self._queues: dict[tuple[str, str], deque[Note]] = {}
        self._settled: list[str] = []
        self._looked_us = 0
        self._wake = asyncio.Event()
        self._all = asyncio.Semaphore(AT_ONCE)
        self._receivers: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE_PER_RECEIVER))

    def wake(self) -> None:
        """Look at the queue now."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled; what is under way is then sent again after the next start, with the same id."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), POLL_S)
                    self._wake.clear()
                    await asyncio.sleep(SLICE_S)
                    try:
                        await self._step(group)
                    except Problem as error:  # a full disk: what is settled stays so, and is written later
                        log.warning("notifications wait: %s", error)
                        await asyncio.sleep(1.0)
        finally:
            await self._endpoints.close()

    async def flush(self) -> None:
        """Write what was delivered."""
        settled, self._settled = self._settled, []
        if settled:
            await self._storage.write(lambda writer: writer.settle_notes(settled))

    async def _step(self, group: asyncio.TaskGroup) -> None:
        """Settle what was delivered and claim what is due, in one commit, where there is anything to do."""
        now_us = self._clock_us()
        room = HELD_MAX - len(self._held)
        waiting = any(state.waiting for state in list(self._states.values()))
        if self._storage.shared and now_us - self._looked_us > OTHERS_S * 1e6:
            waiting, self._looked_us = True, now_us  # for what a server that died has left
        settled = self._settled
        if not settled and (not waiting or room <= 0):
            return
        until_us = now_us + int(LEASE_S * 1e6)

        def work(writer: Writer) -> list[Note]:
            writer.settle_notes(settled)
            if self._storage.shared and self._held:
                writer.extend_notes(self._node, until_us)
            if room <= 0:
                return []
            return writer.claim_notes(self._node, now_us, until_us, room)

        self._settled = []
        try:
            claimed = await self._storage.write(work)
        except Problem:
            self._settled = settled + self._settled
            raise
        surplus: dict[tuple[str, str], list[Note]] = {}
        for note in claimed:
            if not self._take(note, group):
                surplus.setdefault((note.tenant, note.subscription), []).append(note)
        await self._wait_elsewhere(surplus)

    def _take(self, note: Note, group: asyncio.TaskGroup) -> bool:
        """False where so much waits for its receiver that it must not wait here."""
        key = (note.tenant, note.subscription)
        if note.id in self._held:
            return True  # its lease ran out while it waits here
        state = self._states.get(key)
        if state is None:
            if not self._storage.shared:
                self._settled.append(note.id)
            return True  # of a subscription that was made elsewhere just now: it comes again when the lease is over
        receiver = _receiver(state.subscription)
        if self._per_receiver[receiver] >= HELD_PER_RECEIVER:
            return False
        self._per_receiver[receiver] += 1
        self._held[note.id] = note, receiver
        queue = self._queues.get(key)
        if queue is not None:
            queue.append(note)
            return True
        self._queues[key] = deque([note])
        group.create_task(self._send_all(key))
        return True

    def _let_go(self, note: Note) -> None:
        """It is not held any more."""
        _, receiver = self._held.pop(note.id, (note, ""))
        if receiver:
            self._per_receiver[receiver] -= 1
            if not self._per_receiver[receiver]:
                del self._per_receiver[receiver]

    async def _wait_elsewhere(self, surplus: dict[tuple[str, str], list[Note]]) -> None:
        """Back into the storage, in one write; what comes later of these subscriptions waits behind."""
        if not surplus:
            return
        due_us = self._clock_us() + int(FULL_S * 1e6)
        put: list[Note] = []
        for key, notes in surplus.items():
            state = self._states.get(key)
            if state is not None:
                state.blocked_us = max(state.blocked_us, due_us)
                put += [note._replace(due_us=due_us) for note in notes]
        await self._storage.write(lambda writer: writer.put_notes(put))

    async def _send_all(self, key: tuple[str, str]) -> None:
        """The notifications of one subscription, until there are none or one fails."""
        queue = self._queues[key]
        try:
            while queue:
                state = self._states.get(key)
                if state is None:
                    return
                if len(queue) > HELD_PER_SUBSCRIPTION:
                    extra = [queue.pop() for _ in range(len(queue) - HELD_PER_SUBSCRIPTION)][::-1]
                    await self._put_back(state, extra, FULL_S)
                note = queue[0]
                why = await self._attempt(state, note)
                if why:
                    await self._failed(state, note, why, queue)
                    return
                queue.popleft()
                self._done(state, note)
        except Problem as problem:  # what is held comes again when its lease is over
            log.warning("notifications wait: %s", problem)
        finally:
            for note in queue:
                self._let_go(note)
            del self._queues[key]

    def _done(self, state: State, note: Note) -> None:
        self._let_go(note)
        state.waiting = max(0, state.waiting - 1)
        self._settled.append(note.id)
        self._wake.set()

    async def _attempt(self, state: State, note: Note) -> str:
        subscription = state.subscription
        counters = subscription.counters
        async with self._receivers[_receiver(subscription)], self._all:
            counters.sent += 1
            counters.last_notification = time_text(self._clock_us())
            why = await self._endpoints.send(subscription, note.body)
        now = time_text(self._clock_us())
        if why:
            counters.failed += 1
            counters.last_failure = now
            if counters.ok:  # once when it goes; the counters tell the rest
                log.warning("subscription %s cannot be notified: %s", subscription.id, why)
        else:
            counters.last_success = now
        counters.ok = not why
        state.dirty = True
        return why

    async def _failed(self, state: State, note: Note, why: str, queue: deque[Note]) -> None:
        """All of the subscription waits for the next try, so that the order stays; too many tries: a dead letter."""
        subscription = state.subscription
        back_off_s = min(BACK_OFF_S * 2**note.attempts, BACK_OFF_S_MAX) * random.uniform(0.5, 1.0)
        delay_s = max(back_off_s, subscription.endpoint.cooldown_s)
        held = list(queue)
        if note.attempts + 1 < ATTEMPTS_MAX:
            held[0] = note._replace(attempts=note.attempts + 1, why=why)
            await self._put_back(state, held, delay_s)
            return

        def work(writer: Writer) -> None:
            writer.bury_notes([note.id], why)
            writer.drop_notes(note.tenant, note.subscription, dead=True, keep=DEAD_MAX)

        await self._storage.write(work)
        state.waiting = max(0, state.waiting - 1)
        await self._put_back(state, held[1:], delay_s)

    async def _put_back(self, state: State, notes: list[Note], delay_s: float) -> None:
        """They are due together, before anything that is queued from now on."""
        due_us = self._clock_us() + int(delay_s * 1e6)
        state.blocked_us = due_us
        put = [note._replace(due_us=due_us) for note in notes]
        known = (state.subscription.tenant, state.subscription.id)
        if put:
            await self._storage.write(lambda writer: writer.put_notes(put) if known in self._states else None)
        for note in notes:
            self._let_go(note)


def _receiver(subscription: Subscription) -> str:
    """Host and port."""
    return urlsplit(subscription.endpoint.url).netloc
