"""Subscriptions at sources: what should be there is, what should not is not, whatever fails in between (clause 5.8.1).

A subscription here that is not ``localOnly`` is made at each source that has a part in it and takes subscriptions;
``settle`` compares what is there with what should be. It runs when a subscription or a registration changes, and again
for what failed, with back-off. What a source was told is on the disk before it is told.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, unquote
from weakref import WeakValueDictionary

from gateway.server.broker.model import NULL
from gateway.server.broker.query import Selector
from gateway.server.contexts import Context
from gateway.server.distributed.client import Reply
from gateway.server.distributed.forward import Forward, Forwarder
from gateway.server.distributed.forwarded import (
    Forwarded,
    Json,
    Kept,
    Key,
    Placement,
    new_placement,
    new_token,
    source_of,
    spoken_to,
)
from gateway.server.distributed.gate import Gate
from gateway.server.distributed.headers import Caller
from gateway.server.distributed.limits import limits_of
from gateway.server.distributed.telling import body_for, names_of, wanted_names
from gateway.server.errors import Problem, ResourceNotFound
from gateway.server.sources.model import Registration
from gateway.server.sources.record import Record
from gateway.server.sources.registry import Match, Wanted, part_of
from gateway.server.storage.base import Storage, Writer
from gateway.server.subscriptions.model import Subscription
from gateway.server.subscriptions.service import Subscriptions

log = logging.getLogger(__name__)
LOOK_S = 0.5
WAIT_S = 1.0  # for the sources, before a client gets its answer; they are told in any case
BACK_OFF_S, BACK_OFF_S_MAX = 0.5, 600.0
ENDING_ATTEMPTS_MAX = 30  # then a source keeps what it is told to delete; what it sends is refused
SLICE = 200  # subscriptions that are looked at without a pause
PLACES_MAX = 100  # sources of one subscription
AT_ONCE = 16
RETRIED = frozenset({408, 425, 429})
PATH = "/api/forwarded"
Found = dict[str, list[tuple[Selector | None, Match]]]


class Remotes:
    """Use ``running`` while the server runs, within that of the subscriptions and registrations."""

    def __init__(
        self,
        kept: Kept,
        gate: Gate,
        forwarder: Forwarder,
        subscriptions: Subscriptions,
        storage: Storage,
        core: Context,
    ) -> None:
        """``core``: in which sources are told to delete something."""
        self._kept = kept
        self._core = core
        self._gate = gate
        self._forwarder = forwarder
        self._subscriptions = subscriptions
        self._storage = storage
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._bases: dict[str, str] = {}
        self._pending: deque[tuple[str, Registration]] = deque()  # registrations of a write that is not yet on the disk
        self._changed: list[tuple[str, Registration]] = []
        self._again: set[Key] = set()
        self._wake = asyncio.Event()
        self._telling: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load, and settle what failed or has changed, until the block ends."""
        await self._kept.load()
        self._again |= {one.key for one in self._kept.all()}
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            ending = [task, *self._telling]
            for one in ending:
                one.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    def on_registration(self, writer: Writer, tenant: str, before: Record | None, now: Record | None) -> None:
        """A registration came, changed or went."""
        self._pending += [(tenant, record.registration) for record in (before, now) if record is not None]

    def wake(self) -> None:
        """That is on the disk."""
        while self._pending:
            self._changed.append(self._pending.popleft())
        self._wake.set()

    def called(self, tenant: str, base: str) -> None:
        """By which address others may know this server."""
        self._bases[tenant] = base

    def concerns(self, key: Key) -> bool:
        """Whether there can be anything to settle for a subscription: a cheap look."""
        return self._gate.any(key[0]) or self._kept.get(key) is not None

    async def told(self, key: Key, via: Sequence[str] | None = None) -> None:
        """``settle``, which goes on by itself where a source is slow: the change is made here already."""
        task = asyncio.create_task(self.settle(key, via))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        await asyncio.wait({task}, timeout=WAIT_S)

    async def settle(self, key: Key, via: Sequence[str] | None = None) -> None:
        """Make what is at the sources what it should be, or try again later; ``via``: what a request has just said."""
        try:
            await self._settle(key, via)
        except Problem as problem:  # a full disk, say
            log.warning("subscriptions at sources are not settled: %s", problem.cause)
            self._again.add(key)

    async def _settle(self, key: Key, via: Sequence[str] | None) -> None:
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            try:
                subscription: Subscription | None = self._subscriptions.get(*key)
            except ResourceNotFound:
                subscription = None
            one = self._kept.get(key)
            passed = list(via) if via is not None else one.via if one is not None else []
            found = {} if subscription is None else self._found(subscription, passed)
            if one is None and (found or passed) and (base := self._bases.get(key[0])):
                token = new_token()
                one = Forwarded(token, *key, f"{base}{PATH}/{token}", passed)
            if one is None:
                return
            one.via = passed
            await self._carried_out(one, subscription, found)

    async def _carried_out(self, one: Forwarded, subscription: Subscription | None, found: Found) -> None:
        for name, parts in list(found.items())[:PLACES_MAX]:
            registration = parts[0][1].registration
            place = one.placements.get(name) or new_placement(registration)
            names = names_of(parts)
            place.names = None if names is None else sorted(names)
            place.source, place.ending = spoken_to(registration), False
            one.placements[name] = place
        for name, place in one.placements.items():
            place.ending = name not in found
        await self._kept.save(one)
        works = []
        for name, place in one.placements.items():
            if place.due_us <= _now_us():
                works.append(self._place(one, place, subscription, found.get(name, [])))
        await asyncio.gather(*works)
        one.placements = {name: place for name, place in one.placements.items() if place.remote}
        if subscription is None and not one.placements:
            await self._kept.remove(one)
        else:
            await self._kept.save(one)

    def _found(self, subscription: Subscription, via: list[str]) -> Found:
        """Sources that have a part in a subscription and take it."""
        found: Found = {}
        if subscription.raw.get("localOnly") is True or subscription.status(_now_us()) == "expired":
            return found
        caller = self._caller(subscription.tenant, subscription.context, via)
        asked: dict[str, str] = {name: subscription.raw[name] for name in ("csf", "scopeQ") if name in subscription.raw}
        asked["splitEntities"] = "true" if subscription.raw.get("splitEntities") is True else "false"
        limits = limits_of(asked, subscription.context)
        for selector, wanted in _wanted(subscription):
            for match in self._gate.matching(caller, wanted, limits):
                if "createSubscription" in match.registration.operations and not caller.passed(match.registration):
                    found.setdefault(match.registration.id, []).append((selector, match))
        return found

    def _caller(self, tenant: str, context: Context, via: list[str]) -> Caller:
        return Caller(tenant, self._gate.alias(tenant), tuple(via), [], context)

    # one source

    async def _place(
        self, one: Forwarded, place: Placement, subscription: Subscription | None, parts: list[tuple[Any, Match]]
    ) -> None:
        """Tell a source what it does not know; ``remote`` is "" once nothing is there any more."""
        registration = source_of(place)
        try:
            if place.ending or subscription is None:
                core = await self._forwarder.context_for(registration, self._caller(one.tenant, self._core, one.via))
                reply = await self._ended(one, place, registration, core)
            else:
                caller = self._caller(one.tenant, subscription.context, one.via)
                target = await self._forwarder.context_for(registration, caller)
                body = body_for(subscription, place.remote, one.callback, parts, target)
                if body in (place.sent, place.refused):
                    return
                reply = await self._told(caller, target, parts[0][1].registration, place, body)
        except Problem as problem:
            reply = Reply(0, failure="broken", why=problem.cause)
        if reply.good:
            place.attempts, place.due_us = 0, 0
            return
        place.attempts += 1
        back_off_s = min(BACK_OFF_S * 2 ** (place.attempts - 1), BACK_OFF_S_MAX)
        place.due_us = _now_us() + int(back_off_s * 1e6)
        if place.ending and place.attempts >= ENDING_ATTEMPTS_MAX:
            log.warning("a source keeps the subscription %s: %s", place.remote, reply.why or reply.status)
            place.remote = ""

    async def _ended(self, one: Forwarded, place: Placement, registration: Registration, context: Context) -> Reply:
        if place.sent is None and place.refused is not None:  # it has never taken it
            place.remote = ""
            return Reply(204)
        caller = self._caller(one.tenant, context, one.via)
        reply = await self._forwarder.send(caller, context, Forward(registration, "DELETE", _path(place), {}))
        if reply.good or (not reply.failure and reply.status in (404, 410)):
            place.remote = ""
            return Reply(204)
        return reply

    async def _told(
        self, caller: Caller, target: Context, registration: Registration, place: Placement, body: Json
    ) -> Reply:
        """Created or changed, whichever it needs; again created where the source has forgotten it."""
        reply = Reply(404)
        if place.sent is not None:
            reply = await self._changed_there(caller, target, registration, place, body)
        if not reply.failure and reply.status == 404:
            forward = Forward(registration, "POST", "/subscriptions", {}, body)
            reply = await self._forwarder.send(caller, target, forward)
            location = (reply.headers or {}).get("location", "")
            if reply.good and location:
                place.remote = unquote(location.rstrip("/").rpartition("/")[2]) or place.remote
            elif not reply.failure and reply.status == 409:  # it was made, and the answer was lost
                reply = await self._changed_there(caller, target, registration, place, body)
        if reply.good:
            place.sent, place.refused = body, None
        elif reply.failure == "loop" or (400 <= reply.status < 500 and reply.status not in RETRIED):
            place.refused = body  # it will say so again
            return Reply(200)
        return reply

    async def _changed_there(
        self, caller: Caller, target: Context, registration: Registration, place: Placement, body: Json
    ) -> Reply:
        if "updateSubscription" not in registration.operations:
            await self._forwarder.send(caller, target, Forward(registration, "DELETE", _path(place), {}))
            return Reply(404)
        gone = {name: NULL for name in (place.sent or {}) if name not in body}
        fragment = {name: value for name, value in body.items() if name not in ("id", "type")} | gone
        return await self._forwarder.send(caller, target, Forward(registration, "PATCH", _path(place), {}, fragment))

    # again, and later

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            keys = self._waiting() | await self._touched()
            limit = asyncio.Semaphore(AT_ONCE)
            await asyncio.gather(*(self._in_turn(limit, key) for key in keys))

    async def _touched(self) -> set[Key]:
        """Subscriptions that registrations which changed have a part in, or had."""
        found, self._again = self._again, set()
        changed, self._changed = self._changed, []
        for tenant, registration in changed:
            found |= {one.key for one in self._kept.all() if registration.id in one.placements}
            for number, subscription in enumerate(self._subscriptions.all(tenant)):
                if number % SLICE == 0:
                    await asyncio.sleep(0)
                if any(part_of(registration, wanted) is not None for _, wanted in _wanted(subscription)):
                    found.add((tenant, subscription.id))
        return found

    def _waiting(self) -> set[Key]:
        """What failed and is due again, and what has ended by itself. One server of several does it."""
        if not self._storage.leads():
            return set()
        now_us, found = _now_us(), set()
        for one in self._kept.all():
            try:
                over = self._subscriptions.get(*one.key).status(now_us) == "expired"
            except ResourceNotFound:
                over = True
            places = one.placements.values()
            if any((over or place.attempts) and place.due_us <= now_us for place in places):
                found.add(one.key)
        return found

    async def _in_turn(self, limit: asyncio.Semaphore, key: Key) -> None:
        async with limit:
            await self.settle(key)


def _wanted(subscription: Subscription) -> list[tuple[Selector | None, Wanted]]:
    """What a subscription is about, selector by selector."""
    names = wanted_names(subscription)
    found: list[tuple[Selector | None, Wanted]] = []
    for selector in subscription.selectors:
        pattern = selector.id_pattern.text if selector.id_pattern is not None else None
        found.append((selector, Wanted(selector.ids, pattern, selector.types, names)))
    return found or [(None, Wanted(attributes=names))]


def _path(place: Placement) -> str:
    return f"/subscriptions/{quote(place.remote, safe=':')}"


def _now_us() -> int:
    return time.time_ns() // 1000
