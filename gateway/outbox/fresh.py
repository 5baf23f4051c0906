"""The newest part of the stream, in memory and in order: what is sent before, or without, being written."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from enum import Enum

from gateway.compact.ranges import Ranges, covers
from gateway.model import Priority, Range
from gateway.outbox.codec import Entry

READINGS_MAX = 20_000  # that stay after their commit


class Phase(Enum):
    """How far the commit of an item is."""

    OPEN = 0
    TAKEN = 1
    STORED = 2


@dataclass(slots=True, eq=False)
class Item:
    """One observation with its numbers. ``since_s``: when it was appended, on the event loop's clock."""

    entry: Entry
    priority: Priority
    since_s: float
    phase: Phase = Phase.OPEN
    acked: bool = False  # or given up: done with
    deferred: bool = False  # it goes as backlog
    size: int = field(init=False)
    span: Range = field(init=False)

    def __post_init__(self) -> None:
        self.size = len(self.entry.readings)
        self.span = Range(self.entry.seq, self.entry.last_seq)

    def stored(self) -> None:
        """It is in the file."""
        self.phase = Phase.STORED


class Fresh:
    """Items of one stream, oldest first. ``open_readings``: neither acknowledged nor given to a commit."""

    def __init__(self) -> None:
        self.readings = 0
        self.open_readings = 0
        self._items: deque[Item] = deque()
        self._open: deque[Item] = deque()

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def first_seq(self) -> int | None:
        """The first number that is held here."""
        return self._items[0].entry.seq if self._items else None

    def oldest_open(self) -> Item | None:
        """The item that has waited longest for its commit."""
        while self._open and self._open[0].acked:
            self._open.popleft()
        return self._open[0] if self._open else None

    def add(self, item: Item) -> None:
        """Take an item with numbers behind all others."""
        self._items.append(item)
        self._open.append(item)
        self.readings += item.size
        self.open_readings += item.size

    def show(self, limit: int, priority: Priority, flight: Ranges) -> list[Entry]:
        """Entries of a priority that wait and are not on the way, about ``limit`` readings."""
        shown: list[Entry] = []
        room = limit
        for item in self._items:
            if item.acked or item.deferred or item.priority is not priority or touches(flight, item.span):
                continue
            room -= item.size
            if room < 0 and shown:
                break
            shown.append(item.entry)
        return shown

    def defer(self, numbers: Set[int]) -> None:
        """Show the items that begin with these numbers no more: they are left to the file."""
        for item in self._items:
            item.deferred = item.deferred or item.entry.seq in numbers

    def ack(self, ranges: Ranges) -> list[Item]:
        """Mark what is acknowledged as a whole; returns the items that now need no commit."""
        spared = []
        for item in self._items:
            if ranges and item.entry.seq > ranges[-1].last:
                break
            if item.acked or not covers(ranges, item.span):
                continue
            item.acked = True
            if item.phase is Phase.OPEN:
                self.open_readings -= item.size
                spared.append(item)
        while self._items and self._items[0].acked:
            self._pop()
        return spared

    def take(self) -> list[Item]:
        """All open items, for a commit."""
        taken = [item for item in self._open if not item.acked]
        self._open.clear()
        self.open_readings = 0
        for item in taken:
            item.phase = Phase.TAKEN
        return taken

    def give_back(self, items: Sequence[Item]) -> list[Item]:
        """Their commit failed. Returns those that were acknowledged meanwhile."""
        for item in items:
            item.phase = Phase.OPEN
        left = [item for item in items if not item.acked]
        self._open.extendleft(reversed(left))
        self.open_readings += sum(item.size for item in left)
        return [item for item in items if item.acked]

    def retire(self, before_s: float) -> None:
        """Leave to the file what it has and what is older than ``before_s`` or too much."""
        while self._items:
            item = self._items[0]
            old = item.since_s < before_s or self.readings > READINGS_MAX
            if not item.acked and not (item.phase is Phase.STORED and old):
                return
            self._pop()

    def shed(self, readings: int, flight: Ranges) -> Counter[str]:
        """Give up the oldest open items, alarms last, until about ``readings`` are gone; how many by device."""
        gone: set[int] = set()
        lost: Counter[str] = Counter()
        for priority in (Priority.LIVE, Priority.ALARM):
            for item in self._open:
                if lost.total() >= readings:
                    break
                if item.acked or item.priority is not priority or touches(flight, item.span):
                    continue
                gone.add(item.entry.seq)
                lost.update(reading.device for reading in item.entry.readings)
        if gone:
            self._open = deque(item for item in self._open if item.entry.seq not in gone)
            self._items = deque(item for item in self._items if item.entry.seq not in gone)
            self.readings -= lost.total()
            self.open_readings -= lost.total()
        return lost

    def forget(self, lost: Iterable[tuple[Priority, Range]]) -> None:
        """Let go of items that were given up in the file."""
        for priority, span in lost:
            for item in self._items:
                if item.span.first > span.last:
                    break
                if item.phase is Phase.STORED and item.priority is priority and item.span.first >= span.first:
                    item.acked = True

    def reclaim(self, flight: Ranges) -> list[Item]:
        """Take out all open items that are not on the way."""
        out = [item for item in self._open if not item.acked and not touches(flight, item.span)]
        gone = {item.entry.seq for item in out}
        self._open = deque(item for item in self._open if item.entry.seq not in gone and not item.acked)
        self._items = deque(self._open)
        self.readings = self.open_readings = sum(item.size for item in self._open)
        return out

    def _pop(self) -> None:
        self.readings -= self._items.popleft().size


def touches(ranges: Iterable[Range], span: Range) -> bool:
    """Whether any number of ``span`` is in one of few ranges."""
    return any(part.first <= span.last and part.last >= span.first for part in ranges)


def ranges_of(entries: Iterable[Entry]) -> Ranges:
    """The numbers of entries in order."""
    ranges: list[Range] = []
    for entry in entries:
        if ranges and ranges[-1].last + 1 == entry.seq:
            ranges[-1] = Range(ranges[-1].first, entry.last_seq)
        else:
            ranges.append(Range(entry.seq, entry.last_seq))
    return tuple(ranges)
