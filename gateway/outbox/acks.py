"""What is acknowledged and not yet marked so in the file. Reads the file, never writes it: that is done in groups."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from gateway.compact.ranges import Ranges, covers, intersect, merged
from gateway.model import Range
from gateway.outbox import blocks
from gateway.outbox.blocks import ROW_BYTES, Head
from gateway.outbox.codec import Entry

HEADS = f"SELECT first_seq, last_seq, count, length(body) + {ROW_BYTES} FROM block"  # noqa: S608
KEPT = 4  # blocks that are kept decoded: those that were read last are acknowledged next


class Acks:
    """``done``: blocks that are acknowledged as a whole. ``parts``: of others, the numbers and how many readings.

    What is lost of it in a crash is sent again, so it needs no fsync of its own.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self.done: dict[int, Head] = {}
        self.parts: dict[int, tuple[Ranges, int]] = {}
        self._db = db
        self._opened: dict[int, list[Entry]] = {}

    @property
    def readings(self) -> int:
        """How many they are together."""
        return sum(head.count for head in self.done.values()) + sum(count for _, count in self.parts.values())

    @property
    def scattered(self) -> int:
        """How many ranges memory holds of blocks that are acknowledged in part."""
        return sum(len(ranges) for ranges, _ in self.parts.values())

    def add(self, ranges: Ranges, span: int) -> None:
        """Take acknowledged numbers; ``span`` is that of the widest block in the file. Raises DamagedError."""
        for part in ranges:
            near = f"{HEADS} WHERE first_seq > ? AND first_seq <= ? AND last_seq >= ? AND acked = 0"
            rows = self._db.execute(near, (part.first - span, part.last, part.first)).fetchall()
            for head in (Head(*row) for row in rows):
                if head.first_seq not in self.done:
                    self._add(head, part)

    def waiting(self, head: Head, entries: Sequence[Entry]) -> list[Entry]:
        """Those entries of a block that are not acknowledged."""
        ranges, _ = self.parts.get(head.first_seq, ((), 0))
        return [entry for entry in entries if not covers(ranges, Range(entry.seq, entry.last_seq))]

    def open(self, first_seq: int) -> list[Entry]:
        """A block's entries; the last few are remembered. Raises DamagedError."""
        if first_seq not in self._opened:
            while len(self._opened) >= KEPT:
                self._opened.pop(next(iter(self._opened)))
            self._opened[first_seq] = blocks.open_block(blocks.read(self._db, first_seq))
        return self._opened[first_seq]

    def close(self, first_seq: int) -> None:
        """The block is about to change: what is remembered of its entries is stale."""
        self._opened.pop(first_seq, None)

    def put_back(self, head: Head, ranges: Ranges) -> int:
        """A block waits again, but for the numbers in ``ranges``; how many readings those are."""
        known = intersect(ranges, (head.numbers,))
        count = _covered(self.open(head.first_seq), known)
        if count:
            self.parts[head.first_seq] = (known, count)
        return count

    def only(self, ranges: Ranges) -> int:
        """Of blocks that are acknowledged in part, what is not in ``ranges`` waits again; how many readings that is."""
        before = self.readings
        for first_seq, (known, _) in list(self.parts.items()):
            left = intersect(known, ranges)
            count = _covered(self.open(first_seq), left)
            self.parts[first_seq] = (left, count)
        return before - self.readings

    def forget(self, first_seq: int) -> int:
        """The block is gone, or marked. Returns how many of its readings were acknowledged in part."""
        self.close(first_seq)
        self.done.pop(first_seq, None)
        return self.parts.pop(first_seq, ((), 0))[1]

    def _add(self, head: Head, part: Range) -> None:
        ranges, before = self.parts.get(head.first_seq, ((), 0))
        ranges = merged((*ranges, *intersect((part,), (head.numbers,))))
        whole = head.count == len(head.numbers) and covers(ranges, head.numbers)
        count = head.count if whole else _covered(self.open(head.first_seq), ranges)
        if count == head.count:
            self.parts.pop(head.first_seq, None)
            self.done[head.first_seq] = head
        elif count > before:
            self.parts[head.first_seq] = (ranges, count)


def _covered(entries: Sequence[Entry], ranges: Ranges) -> int:
    return sum(len(entry.readings) for entry in entries if covers(ranges, Range(entry.seq, entry.last_seq)))
