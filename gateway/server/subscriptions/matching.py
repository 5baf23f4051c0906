"""From changes to notifications that wait: runs in the storage's writer, in the commit of the change itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from gateway.server.broker.links import Links
from gateway.server.broker.model import Change, time_text
from gateway.server.errors import Problem
from gateway.server.storage.base import Note, Writer
from gateway.server.subscriptions.index import Index
from gateway.server.subscriptions.model import Counters, Json, Subscription
from gateway.server.subscriptions.notification import note_of, note_with

WAITING_MAX = 1_000  # notifications of one subscription; beyond it the oldest go, and are counted


@dataclass(slots=True)
class State:
    """What is remembered of a subscription beside its counters. ``waiting`` may be a little more than there is."""

    subscription: Subscription
    waiting: int = 0
    dropped: int = 0
    notified_us: int = 0
    blocked_us: int = 0
    dirty: bool = False
    written: Counters = field(default_factory=Counters)  # as they were in the storage when it was last seen

    def __post_init__(self) -> None:
        self.written = replace(self.subscription.counters)


States = dict[tuple[str, str], State]


class Matching:
    """The hook of the broker; ``clock_us`` is the system clock, ``shared``: other servers match, too."""

    def __init__(
        self, states: States, indexes: dict[str, Index], clock_us: Callable[[], int], *, shared: bool = False
    ) -> None:
        self._states = states
        self._indexes = indexes
        self._clock_us = clock_us
        self._shared = shared

    def on_changes(self, writer: Writer, changes: Sequence[Change]) -> None:
        """All changes of one operation that a subscription is about make one notification."""
        tenant = changes[0].tenant
        index = self._indexes.get(tenant)
        if index is None:
            return
        now_us = self._clock_us()
        links = Links(writer, tenant)
        found: dict[str, tuple[Subscription, list[Change]]] = {}
        for change in changes:
            for key, subscription in index.candidates(change).items():
                if subscription.status(now_us) == "active" and subscription.concerns(change, links):
                    found.setdefault(key, (subscription, []))[1].append(change)
        for subscription, concerned in found.values():
            self.queue(writer, subscription, concerned, now_us)

    def queue(self, writer: Writer, subscription: Subscription, changes: Sequence[Change], now_us: int) -> None:
        """Put one notification into the queue, unless throttled."""
        state = self._states.get((subscription.tenant, subscription.id))
        if state is None or self.throttled(writer, state, subscription, now_us):
            return
        due_us = max(now_us, state.blocked_us)  # behind those that wait for the next try
        try:
            note = note_of(subscription, changes, writer, time_text(now_us), due_us)
        except Problem:  # more linked entities than a notification may have
            state.dropped += 1
            return
        if note is not None:
            self.put(writer, state, note, now_us)

    def pass_on(self, writer: Writer, state: State, data: list[Json], now_us: int) -> None:
        """The same for entities that another broker has notified of, as the subscriber wants to see them."""
        subscription = state.subscription
        if not self.throttled(writer, state, subscription, now_us):
            note = note_with(subscription, data, time_text(now_us), max(now_us, state.blocked_us))
            self.put(writer, state, note, now_us)

    def throttled(self, writer: Writer, state: State, subscription: Subscription, now_us: int) -> bool:
        """Where servers share the storage the last notification may be another one's."""
        if not subscription.throttling_s:
            return False
        last_us = state.notified_us
        if self._shared:
            stored = writer.document("throttle", subscription.tenant, subscription.id)
            last_us = max(last_us, int(stored or 0))
        return now_us - last_us < subscription.throttling_s * 1e6

    def put(self, writer: Writer, state: State, note: Note, now_us: int) -> None:
        """Put a note into the queue, which is bounded: the oldest go."""
        subscription, before_us = state.subscription, state.notified_us

        def undo() -> None:
            state.notified_us = before_us  # else the same change, sent again, would be throttled
            state.waiting = max(0, state.waiting - 1)

        writer.on_undo(undo)
        writer.put_notes([note])
        if self._shared and subscription.throttling_s:
            writer.put_document("throttle", subscription.tenant, subscription.id, b"%d" % now_us)
        state.notified_us = now_us
        state.waiting += 1
        if state.waiting > WAITING_MAX:
            gone = writer.drop_notes(subscription.tenant, subscription.id, dead=False, keep=WAITING_MAX)
            state.dropped += gone
            state.waiting = min(state.waiting, WAITING_MAX)
