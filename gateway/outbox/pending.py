"""The loop's side of the outbox: what is in memory, its numbers, what is on its way. No I/O.

An observation gets its numbers when it is appended, and may be sent at once. Where the numbers that are reserved run
out it waits for the next reservation, a few milliseconds. Where the disk takes no reservation, numbering goes on in a
*volatile* stream, which has a random id and lives in memory only: so readings leave over a link that works. What is not
acknowledged when the disk is back gets numbers of the real stream.
"""

from __future__ import annotations

import secrets
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.compact.ranges import Ranges, merged, subtract
from gateway.model import Priority, Range, Reading
from gateway.outbox.codec import Entry
from gateway.outbox.fresh import Fresh, Item
from gateway.outbox.numbers import Numbers
from gateway.outbox.records import Load
from gateway.outbox.retention import DropReason, sparse

READINGS_MAX = 100_000  # in memory, while nothing can be written
OPEN_MAX = 10_000  # readings that wait for the end of a window; more are committed at once
TAIL_READINGS = 10_000  # acknowledged before they were written: so many, or ...
TAIL_S = 60.0  # ... for so long they gather before they are written, for the tail
COUNTS_S = 5.0  # counts alone may be written so late


@dataclass(frozen=True, slots=True)
class Waiting:
    """An observation that has no numbers yet."""

    readings: tuple[Reading, ...]
    priority: Priority
    since_s: float


class Pending:
    """Everything that is not in the file, or is and not yet old. Times are monotonic seconds.

    ``appended``: readings by device since the start; ``made``: those of them that are dealt with and are to be counted
    in the file with the next load. ``deferred``: live readings that were left to the backlog.
    """

    def __init__(self, window_s: float, keep_tail: bool) -> None:
        self.stream = ""
        self.numbers = Numbers()
        self.fresh = Fresh()
        self.volatile = Fresh()
        self.volatile_stream = ""
        self.appended: Counter[str] = Counter()
        self.made: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.deferred = 0
        self.load: Load | None = None
        self._items: list[Item] = []
        self._taken = 0
        self._window_s = window_s
        self._keep_tail = keep_tail
        self._unnumbered: deque[Waiting] = deque()
        self._volatile_next = 1
        self._flight: dict[str, Ranges] = {}
        self._tail: list[Entry] = []
        self._tail_readings = 0
        self._tail_since_s = 0.0
        self._counted_s = 0.0
        self._alarm = False
        self._loads = 0

    @property
    def depth(self) -> int:
        """Readings that are neither acknowledged nor given to a commit."""
        waiting = sum(len(found.readings) for found in self._unnumbered)
        return self.fresh.open_readings + self.volatile.open_readings + waiting

    def opened(self, stream: str, last_seq: int, reserved_to: int) -> None:
        """The file is open; or it was damaged and goes on, with the same numbers, as another stream."""
        if not self.stream:
            self.numbers.start(last_seq, reserved_to)
        self._flight.pop(self.stream, None)
        self.stream = stream

    def flight(self, stream: str) -> Ranges:
        """The numbers of a stream that are on their way."""
        return self._flight.get(stream, ())

    def depart(self, stream: str, ranges: Ranges) -> None:
        """These are on their way now."""
        self._flight[stream] = merged((*self.flight(stream), *ranges))

    def arrive(self, stream: str, ranges: Sequence[Range]) -> None:
        """These are on their way no more."""
        self._flight[stream] = subtract(self.flight(stream), merged(ranges))

    def append(self, waiting: Waiting, broken: bool) -> None:
        """Take one observation; ``broken``: the disk takes no reservation now."""
        self.appended.update(reading.device for reading in waiting.readings)
        self._unnumbered.append(waiting)
        self._alarm = self._alarm or waiting.priority is Priority.ALARM
        self.give_numbers(broken)
        if (excess := self.depth_in_memory - READINGS_MAX) > 0:
            self._shed(excess)

    @property
    def depth_in_memory(self) -> int:
        """Readings that only memory holds."""
        return self.depth + self._taken

    def give_numbers(self, broken: bool) -> None:
        """Number what waits for it, as far as numbers go."""
        while self._unnumbered:
            waiting = self._unnumbered[0]
            seq = self.numbers.take(len(waiting.readings)) if self.stream else None
            if seq is None and not broken:
                return
            self._unnumbered.popleft()
            if seq is not None:
                self.fresh.add(Item(Entry(seq, waiting.readings), waiting.priority, waiting.since_s))
            else:
                self._add_volatile(waiting)

    def count(self, readings: Sequence[Reading], reason: DropReason, now_s: float) -> None:
        """Count readings that are made and not kept."""
        devices = Counter(reading.device for reading in readings)
        self.appended += devices
        self.made += devices
        self.count_dropped(len(readings), reason, now_s)

    def count_dropped(self, readings: int, reason: DropReason, now_s: float) -> None:
        """Count readings that were kept and then given up."""
        self.dropped[reason] += readings
        self._counted_s = self._counted_s or now_s

    @property
    def at_once(self) -> bool:
        """Whether something has to be written now."""
        short = self.numbers.short and bool(self.stream)
        return self._alarm or short or bool(self._unnumbered) or self.fresh.open_readings > OPEN_MAX

    def due_s(self) -> float | None:
        """When something has to be written, 0 for now, None for never as it looks."""
        if self.at_once:
            return 0.0
        times = []
        oldest = self.fresh.oldest_open()
        if oldest is not None:
            times.append(oldest.since_s + self._window_s)
        if self._tail:
            times.append(0.0 if self._tail_readings >= TAIL_READINGS else self._tail_since_s + TAIL_S)
        if self._counted_s:
            times.append(self._counted_s + COUNTS_S)
        return min(times, default=None)

    def take(self, now_s: float, final: bool = False) -> Load:
        """What to write now; until ``done`` or ``give_back`` it is under way."""
        if final:
            self._number_all()
        oldest = self.fresh.oldest_open()
        commit = final or self._alarm or self.fresh.open_readings > OPEN_MAX
        commit = commit or (oldest is not None and oldest.since_s + self._window_s <= now_s)
        self._items = self.fresh.take() if commit else []
        self._taken = sum(item.size for item in self._items)
        oldest = None if commit else oldest
        wanted = self.numbers.reserved_to
        if final:
            wanted = self.numbers.next - 1
        elif self._items or self.numbers.short or self._unnumbered:
            wanted = self.numbers.wanted(now_s, self._window_s, quiet=not self._items)
        self._loads += 1
        self.load = Load(
            number=self._loads,
            entries=[item.entry for item in self._items if item.priority is not Priority.ALARM],
            alarms=[item.entry for item in self._items if item.priority is Priority.ALARM],
            tail=self._tail,
            made=self.made + Counter(r.device for item in self._items for r in item.entry.readings),
            dropped=self.dropped,
            last_seq=self.numbers.next - 1 if oldest is None else oldest.entry.seq - 1,
            reserved_to=wanted,
            durable=bool(self._items) or wanted != self.numbers.reserved_to or final,
        )
        self._tail, self._tail_readings = [], 0
        self.made, self.dropped, self._counted_s, self._alarm = Counter(), Counter(), 0.0, False
        return self.load

    def done(self, lost: Iterable[tuple[Priority, Range]]) -> None:
        """The load is on the disk, but for what was given up."""
        assert self.load is not None
        for item in self._items:
            item.stored()
        if self.load.reserved_to != self.numbers.reserved_to:
            self.numbers.reserved(self.load.reserved_to)
        self._items, self._taken, self.load = [], 0, None
        self.fresh.forget(lost)
        self.come_back()
        self.give_numbers(broken=False)

    def give_back(self, now_s: float) -> None:
        """The load could not be written."""
        assert self.load is not None
        load, self.load = self.load, None
        items, self._items, self._taken = self._items, [], 0
        self.made += load.made
        self.made.subtract(Counter(r.device for item in items for r in item.entry.readings))
        self.made = +self.made
        self.dropped += load.dropped
        self._counted_s = now_s if self.dropped else 0.0
        for entry in load.tail:
            self._keep(entry, now_s)
        for item in self.fresh.give_back(items):
            self._spare(item, now_s)
        if (excess := self.depth_in_memory - READINGS_MAX) > 0:
            self._shed(excess)

    def ack(self, stream: str, ranges: Ranges, now_s: float) -> Ranges:
        """Take acknowledged numbers; returns those that the file has to be told."""
        self.arrive(stream, ranges)
        if stream == self.stream:
            spared = self.fresh.ack(ranges)
            for item in spared:
                self._spare(item, now_s)
            return subtract(ranges, merged(item.span for item in spared))
        if stream == self.volatile_stream:
            for item in self.volatile.ack(ranges):
                self.made.update(reading.device for reading in item.entry.readings)
        return ()

    def show(self, limit: int, priority: Priority) -> tuple[str, list[Entry]]:
        """What waits in memory of a priority, with its stream."""
        entries = self.fresh.show(limit, priority, self.flight(self.stream))
        if entries or not self.volatile:
            return self.stream, entries
        return self.volatile_stream, self.volatile.show(limit, priority, self.flight(self.volatile_stream))

    def defer(self, entries: Sequence[Entry], every: int, limit: int) -> list[Entry]:
        """Of live entries of the real stream those to send, about ``limit`` readings; those between are backlog."""
        wanted = {entry.seq for entry in sparse(entries, every)}
        shown: list[Entry] = []
        passed: dict[int, int] = {}
        for entry in entries:
            if entry.seq not in wanted:
                passed[entry.seq] = len(entry.readings)
                continue
            limit -= len(entry.readings)
            if limit < 0 and shown:
                break
            shown.append(entry)
        self.fresh.defer(passed.keys())
        self.deferred += sum(passed.values())
        return shown

    def _spare(self, item: Item, now_s: float) -> None:
        self.made.update(reading.device for reading in item.entry.readings)
        if self._keep_tail:
            self._keep(item.entry, now_s)

    def _keep(self, entry: Entry, now_s: float) -> None:
        if not self._tail:
            self._tail_since_s = now_s
        if self._tail_readings < 2 * TAIL_READINGS:  # while the disk takes nothing the tail does not grow
            self._tail.append(entry)
            self._tail_readings += len(entry.readings)

    def _add_volatile(self, waiting: Waiting) -> None:
        self.volatile_stream = self.volatile_stream or secrets.token_hex(8)
        entry = Entry(self._volatile_next, waiting.readings)
        self._volatile_next = entry.last_seq + 1
        self.volatile.add(Item(entry, waiting.priority, waiting.since_s))

    def come_back(self) -> None:
        """The disk takes what it is given: the volatile stream ends, as far as nothing of it is on its way."""
        if not self.volatile:
            return
        items = self.volatile.reclaim(self.flight(self.volatile_stream))
        self._unnumbered.extendleft(Waiting(i.entry.readings, i.priority, i.since_s) for i in reversed(items))

    def _number_all(self) -> None:
        """For the last commit, which makes the numbers safe together with their readings."""
        self._flight.pop(self.volatile_stream, None)
        self.come_back()
        size = sum(len(waiting.readings) for waiting in self._unnumbered)
        self.numbers.reserved_to = max(self.numbers.reserved_to, self.numbers.next + size - 1)
        self.give_numbers(broken=False)

    def _shed(self, readings: int) -> None:
        for fresh, stream in ((self.volatile, self.volatile_stream), (self.fresh, self.stream)):
            lost = fresh.shed(readings, self.flight(stream))
            for device, count in lost.items():
                self.made[device] += count
            readings -= lost.total()
            self.dropped["memory"] += lost.total()
        while readings > 0 and self._unnumbered:
            waiting = self._unnumbered.popleft()
            self.made.update(reading.device for reading in waiting.readings)
            self.dropped["memory"] += len(waiting.readings)
            readings -= len(waiting.readings)
