"""Room in the file: acknowledged blocks give way first, then live readings, alarms last. Synchronous: writer thread.

Everything here runs inside the caller's transaction and changes a ``Work``, which counts only once it is committed.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from gateway.compact.ranges import Ranges
from gateway.model import Priority, Range
from gateway.outbox import blocks, retention
from gateway.outbox.acks import HEADS, Acks
from gateway.outbox.blocks import Block, Head
from gateway.outbox.boots import Boots
from gateway.outbox.codec import Entry
from gateway.outbox.fresh import touches
from gateway.outbox.records import Moment
from gateway.outbox.retention import KEEP_ACKED_S, DropReason, Limits

PAGE = 4096
SPARE_BYTES = 16 * PAGE  # for the inner pages of the tables
SECOND = 1_000_000_000
THIN_READINGS = 2 * blocks.READINGS_MAX  # neighbours that are thinned together
THIN_ROWS = 64
THIN_SPAN = 64_000  # numbers in a block of thinned readings
SCATTERED_MAX = 2000  # ranges of blocks that are acknowledged in part: about 250 kB of memory
PART_BLOCKS = 16  # that are parted by one commit
THIN_TRIES = 8  # neighbours of which none can be thinned are passed over


@dataclass(slots=True)
class Work:
    """What a transaction makes of the state.

    ``gone``: blocks that are marked or deleted by it. ``lost``: spans in which all of a priority is given up.
    """

    depth: int
    tail_bytes: int
    floor: int
    span: int
    dropped: Counter[str]
    gone: list[int] = field(default_factory=list)
    lost: list[tuple[Priority, Range]] = field(default_factory=list)


class Room:
    """Keeps one file within its limits. ``flight``: numbers on their way, which are not given up: they may arrive."""

    def __init__(self, db: sqlite3.Connection, path: Path, limits: Limits, acks: Acks, boots: Boots) -> None:
        self.flight: Ranges = ()
        self._db = db
        self._path = path
        self._limits = limits
        self._acks = acks
        self._boots = boots
        self._thin_from = 0
        self._thin_left = 0

    def mark(self, work: Work, now: Moment) -> None:
        """Write down what is acknowledged."""
        utc_s = 1 if now.offset_ns is None else max(1, (now.mono_ns + now.offset_ns) // SECOND)
        for head in self._acks.done.values():
            if self._limits.acked_max:
                self._db.execute("UPDATE block SET acked = ? WHERE first_seq = ?", (utc_s, head.first_seq))
                work.tail_bytes += head.size
            else:
                blocks.delete(self._db, head.first_seq)
            work.depth -= head.count
            work.gone.append(head.first_seq)

    def part(self, work: Work, boot: int) -> list[Entry]:
        """Where many blocks of this boot are acknowledged in part, as thinned ones are: what waits in them is written
        anew, so that memory need not hold which it is. Returns what is acknowledged of them, for the tail.
        """
        sent: list[Entry] = []
        ours = (row for row in map(partial(blocks.read, self._db), sorted(self._acks.parts)) if row[4] == boot)
        for row in islice(ours, PART_BLOCKS if self._acks.scattered > SCATTERED_MAX else 0):
            first_seq = row[0]
            head, entries = Head(*row[:3], len(row[7]) + blocks.ROW_BYTES), self._acks.open(first_seq)
            waiting = self._acks.waiting(head, entries)
            stay = {entry.seq for entry in waiting}
            sent += [entry for entry in entries if entry.seq not in stay]
            (priority,) = self._db.execute("SELECT priority FROM block WHERE first_seq = ?", (first_seq,)).fetchone()
            blocks.delete(self._db, first_seq)
            work.depth -= head.count
            work.gone.append(first_seq)
            for block in blocks.make(waiting, []):
                blocks.insert(self._db, block, boot, row[5], Priority(priority))
                work.depth += block.readings
        return sent if self._limits.acked_max else []

    def keep(self, work: Work, tail: list[Block], boot: int, now: Moment) -> None:
        """Add blocks that are acknowledged already, and let go of those that were kept long enough."""
        utc_s = 1 if now.offset_ns is None else max(1, (now.mono_ns + now.offset_ns) // SECOND)
        for block in tail:
            blocks.insert(self._db, block, boot, now.mono_ns, Priority.LIVE, utc_s)
            work.tail_bytes += block.size
        oldest = (
            "SELECT first_seq, last_seq, count, length(body) + ?, acked FROM block WHERE acked > 0 ORDER BY first_seq"
        )
        while work.tail_bytes > 0:
            row = self._db.execute(f"{oldest} LIMIT 1", (blocks.ROW_BYTES,)).fetchone()
            old = row and row[4] > 1 and utc_s - row[4] > KEEP_ACKED_S
            if row is None or not (old or work.tail_bytes > self._limits.acked_max):
                break
            self._let_go(work, Head(*row[:4]))

    def expire(self, work: Work, now: Moment) -> None:
        """Give up what is older than it may become, as far as trusted times say so."""
        keep_for_s = self._limits.keep_for_s
        if keep_for_s is None or now.offset_ns is None:
            return
        for priority in (Priority.LIVE, Priority.ALARM):
            for head in self._waiting(work, priority):
                boot, mono_ns = self._db.execute(
                    "SELECT boot, mono_ns FROM block WHERE first_seq = ?", (head.first_seq,)
                ).fetchone()
                age_s = self._boots.age_s(boot, mono_ns, now)
                if age_s is None or age_s <= keep_for_s:
                    break
                self._drop(work, head, priority, "expired")

    def make(self, work: Work, live: list[Block], alarms: list[Block], tail: list[Block]) -> None:
        """Make room for new blocks; where nothing else is left these themselves lose their first ones."""
        excess, reason = self._excess()
        excess += sum(block.size for block in (*live, *alarms))
        while tail and excess + sum(block.size for block in tail) > 0:
            tail.pop(0)
        excess += sum(block.size for block in tail)
        while excess > 0 and (head := self._oldest_acked()) is not None:
            excess -= self._let_go(work, head)
        while excess > 0 and (freed := self._give_way(work, reason)):
            excess -= freed
        for new, priority in ((live, Priority.LIVE), (alarms, Priority.ALARM)):
            while excess > 0 and new:
                block = new.pop(0)
                work.dropped[reason] += block.readings
                work.lost.append((priority, Range(block.entries[0].seq, block.entries[-1].last_seq)))
                excess -= block.size

    def _excess(self) -> tuple[int, DropReason]:
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        disk = os.statvfs(self._path.parent)
        limit, reason = retention.allowance(
            self._limits.max_bytes, pages * PAGE, disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        )
        return (pages - free) * PAGE + SPARE_BYTES - limit, reason

    def _oldest_acked(self) -> Head | None:
        row = self._db.execute(f"{HEADS} WHERE acked > 0 ORDER BY first_seq LIMIT 1").fetchone()
        return Head(*row) if row else None

    def _waiting(self, work: Work, priority: Priority) -> Iterator[Head]:
        """Blocks that wait, oldest first, without those on their way. The caller may delete what it got."""
        after = work.floor - 1 if priority is Priority.LIVE else -1
        live = f"{HEADS} WHERE acked = 0 AND priority = 1 AND first_seq > ? ORDER BY first_seq LIMIT 1"
        alarm = f"{HEADS} WHERE acked = 0 AND priority = 0 AND first_seq > ? ORDER BY first_seq LIMIT 1"
        while row := self._db.execute(live if priority is Priority.LIVE else alarm, (after,)).fetchone():
            head = Head(*row)
            after = head.first_seq
            if not touches(self.flight, head.numbers):
                yield head

    def _give_way(self, work: Work, reason: DropReason) -> int:
        """Free some bytes of what waits; 0 where all that is left is on its way."""
        for _ in range(THIN_TRIES if self._limits.thin else 0):
            if freed := self._thin(work):
                return freed
        for priority in (Priority.LIVE, Priority.ALARM):
            for head in self._waiting(work, priority):
                return self._drop(work, head, priority, reason)
        return 0

    def _thin(self, work: Work) -> int:
        """Thin the next neighbours of the older half of all readings, round and round; 0: these cannot be thinned."""
        if self._thin_left <= 0:
            self._thin_from, self._thin_left = 0, work.depth // 2
        group = self._neighbours(work)
        self._thin_left -= sum(head.count for head in group)
        if not group:
            self._thin_left = 0
            return 0
        self._thin_from = group[-1].last_seq + 1
        waiting = [entry for head in group for entry in self._acks.waiting(head, self._acks.open(head.first_seq))]
        kept = retention.thin(waiting)
        if len(kept) == len(waiting):
            return 0
        row = blocks.read(self._db, group[0].first_seq)
        freed = 0
        for head in group:
            self._acks.close(head.first_seq)
            blocks.delete(self._db, head.first_seq)
            work.gone.append(head.first_seq)
            work.depth -= head.count
            freed += head.size
        for block in blocks.make(kept, [], span_max=THIN_SPAN):
            blocks.insert(self._db, block, row[4], row[5], Priority.LIVE)
            work.depth += block.readings
            work.span = max(work.span, block.span)
            freed -= block.size
        stay = {entry.seq for entry in kept}
        work.lost += [(Priority.LIVE, Range(e.seq, e.last_seq)) for e in waiting if e.seq not in stay]
        work.dropped["thinned"] += sum(len(e.readings) for e in waiting) - sum(len(e.readings) for e in kept)
        return max(1, freed)

    def _neighbours(self, work: Work) -> list[Head]:
        """Blocks one after the other from where thinning stands, of one boot."""
        older = (
            "SELECT first_seq, last_seq, count, length(body) + ?, boot FROM block"
            " WHERE acked = 0 AND priority = 1 AND first_seq >= ? ORDER BY first_seq LIMIT ?"
        )
        first = max(work.floor, self._thin_from)
        group: list[Head] = []
        boot = readings = 0
        for row in self._db.execute(older, (blocks.ROW_BYTES, first, THIN_ROWS)).fetchall():
            head = Head(*row[:4])
            if touches(self.flight, head.numbers):
                if group:
                    break
                continue
            if group and (row[4] != boot or readings + head.count > THIN_READINGS):
                break
            group.append(head)
            boot, readings = row[4], readings + head.count
        return group

    def _drop(self, work: Work, head: Head, priority: Priority, reason: DropReason) -> int:
        _, acked = self._acks.parts.get(head.first_seq, ((), 0))
        blocks.delete(self._db, head.first_seq)
        work.depth -= head.count
        work.dropped[reason] += head.count - acked
        work.gone.append(head.first_seq)
        work.lost.append((priority, head.numbers))
        return head.size

    def _let_go(self, work: Work, head: Head) -> int:
        blocks.delete(self._db, head.first_seq)
        work.tail_bytes -= head.size
        return head.size
