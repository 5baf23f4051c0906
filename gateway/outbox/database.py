"""The jobs of the outbox on its file: begin, commit, hand out, acknowledge. Synchronous: the writer thread."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import suppress
from dataclasses import astuple, replace
from pathlib import Path

from gateway.compact.ranges import Ranges, covers, merged, subtract, total
from gateway.model import Priority, Range
from gateway.outbox import blocks
from gateway.outbox.acks import HEADS, Acks
from gateway.outbox.blocks import Block, Head
from gateway.outbox.boots import Boots
from gateway.outbox.codec import Entry
from gateway.outbox.file import File
from gateway.outbox.fresh import touches
from gateway.outbox.records import Figures, Load, Moment, State
from gateway.outbox.retention import Limits
from gateway.outbox.room import Room, Work

MERGE_READINGS = 500  # a block of fewer grows with the next commit ...
MERGE_BYTES = 3000  # ... as long as it is part of one page
MERGE_NS = 60 * 10**9  # ... and its readings are of about one age
GAPS_MAX = 64  # ranges that crashes may have cost and the server may still speak for

Lost = list[tuple[Priority, Range]]

_FIELDS = tuple(State.__dataclass_fields__)
_READ = f"SELECT {', '.join(_FIELDS)} FROM state"  # noqa: S608
_WRITE = f"UPDATE state SET {', '.join(f'{name} = ?' for name in _FIELDS)}"  # noqa: S608


class Database:
    """One outbox file, opened. Raises sqlite3.Error, OSError, DamagedError and OutboxError."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.file = File(path, limits.max_bytes)
        self._db = self.file.db
        self._state = State()
        self._number = 0
        self._made: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._floor = 0
        self._open: Block | None = None
        self._open_since_ns = 0
        self._boots = Boots(self._db)
        self._acks = Acks(self._db)
        self._room = Room(self._db, path, limits, self._acks, self._boots)

    @property
    def stream(self) -> str:
        """The random id of this outbox's life."""
        return self._state.stream

    def open(self) -> None:
        """Check the file and bring it up to date."""
        self.file.check()
        self.file.migrate()
        self.file.lengthen_log()

    def begin(self, now: Moment, crashed: bool, reserve: int = 0, held: int = 0) -> None:
        """Load the state, enter this boot, reserve numbers. What was reserved and never written is a crash's cost, and
        so is what only memory ``held``.
        """
        state = State(*self._db.execute(_READ).fetchone())
        lost = Range(state.last_seq + 1, state.reserved_to)
        if crashed and held:
            crashes = state.crashes + (len(lost) == 0)  # else it is counted below
            state = replace(state, crash_cost=state.crash_cost + held, crashes=crashes)
        if crashed and len(lost) > 0:
            gaps = [*json.loads(state.gaps), [lost.first, lost.last]]
            state = replace(
                state,
                crash_cost=state.crash_cost + len(lost),
                crashes=state.crashes + 1,
                gaps=json.dumps(gaps[-GAPS_MAX:]),
                last_seq=lost.last,
            )
        state = replace(state, reserved_to=max(state.reserved_to, state.last_seq + reserve))
        with self.file.transaction():
            boot = self._boots.enter(now, state.boot, state.mono_ns)
            state = self._write(replace(state, boot=boot, mono_ns=now.mono_ns))
        self._state, self._floor = state, state.floor
        self._boots.load()
        self._made, self._dropped = Counter(json.loads(state.made)), Counter(json.loads(state.dropped))

    def commit(self, load: Load, flight: Ranges, now: Moment) -> Lost:
        """Write a load, with what has been acknowledged; on the disk when this returns where ``load.durable``.

        Returns in which spans all of a priority was given up for it.
        """
        self._learn(now)
        self._room.flight = flight
        open_ = self._open_block(now) if load.entries else None
        refused: list[Entry] = []
        live = blocks.make([*(open_.entries if open_ else ()), *load.entries], refused)
        alarms = blocks.make(load.alarms, refused)
        work, before = self._work(), self._state
        for entry in refused:
            work.dropped["unencodable"] += len(entry.readings)
            work.lost += [(priority, Range(entry.seq, entry.last_seq)) for priority in (Priority.LIVE, Priority.ALARM)]
        with self.file.transaction(load.durable):
            self._room.mark(work, now)
            acked = sorted([*self._room.part(work, before.boot), *load.tail], key=lambda entry: entry.seq)
            tail = blocks.make(acked, [], *[blocks.TAIL_READINGS_MAX] * 2)
            if open_ is not None:
                blocks.delete(self._db, open_.entries[0].seq)
                work.depth -= open_.readings
                work.gone.append(open_.entries[0].seq)
            self._room.expire(work, now)
            self._room.make(work, live, alarms, tail)
            for new, priority in ((live, Priority.LIVE), (alarms, Priority.ALARM)):
                for block in new:
                    blocks.insert(self._db, block, before.boot, now.mono_ns, priority)
                    work.depth += block.readings
                    work.span = max(work.span, block.span)
            self._room.keep(work, tail, before.boot, now)
            made, dropped = self._made + load.made, work.dropped + load.dropped
            state = self._write(
                replace(
                    self._worked(work),
                    last_seq=load.last_seq,
                    reserved_to=load.reserved_to,
                    mono_ns=now.mono_ns,
                    made=json.dumps(made, separators=(",", ":")),
                    dropped=json.dumps(dropped, separators=(",", ":")),
                )
            )
        self._done(work, state)
        if live and (open_ is None or live[-1].entries[0].seq != open_.entries[0].seq):
            self._open_since_ns = now.mono_ns
        self._open = live[-1] if live else self._open
        self._made, self._dropped, self._number = made, dropped, load.number
        self.file.reclaim()
        return work.lost

    def backlog(self, limit: int, before: int, flight: Ranges, now: Moment) -> list[Entry]:
        """The oldest live entries that wait before a number, dated; about ``limit`` readings."""
        sql = f"{HEADS} WHERE acked = 0 AND priority = 1 AND first_seq >= ? AND first_seq < ? ORDER BY first_seq"
        self._advance()
        return self._hand_out(sql, (self._floor, before), limit, before, flight, now)

    def alarms(self, limit: int, before: int, flight: Ranges, now: Moment) -> list[Entry]:
        """The same of alarms."""
        sql = f"{HEADS} WHERE acked = 0 AND priority = 0 AND first_seq < ? ORDER BY first_seq"
        return self._hand_out(sql, (before,), limit, before, flight, now)

    def ack(self, ranges: Ranges) -> None:
        """The server has these. It is written down with a later commit."""
        self._acks.add(ranges, self._state.span)

    def held(self, ranges: Ranges, now: Moment) -> int:
        """What the server has of this stream. Kept readings that it lacks wait again; returns how many."""
        gaps = merged(Range(*gap) for gap in json.loads(self._state.gaps))
        left = subtract(gaps, ranges)
        work = self._work()
        again: list[Head] = []
        with self.file.transaction():
            self._room.mark(work, now)
            rows = self._db.execute(f"{HEADS} WHERE acked > 0 ORDER BY first_seq").fetchall()
            for head in (Head(*row) for row in rows):
                if self._has(head, ranges):
                    continue
                self._db.execute("UPDATE block SET acked = 0 WHERE first_seq = ?", (head.first_seq,))
                again.append(head)
                work.depth += head.count
                work.tail_bytes -= head.size
                work.span = max(work.span, len(head.numbers))
                work.floor = min(work.floor, head.first_seq)
            state = replace(
                self._worked(work),
                gaps=json.dumps([[gap.first, gap.last] for gap in left]),
                crash_cost=self._state.crash_cost - total(gaps) + total(left),
            )
            self._write(state)
        self._done(work, state)
        return self._acks.only(ranges) + sum(head.count - self._acks.put_back(head, ranges) for head in again)

    def learn(self, now: Moment) -> None:
        """Keep this boot's offset to UTC once it is known: it is on the disk before it is used."""
        self._learn(now)

    def close(self) -> None:
        """Close the file as it is; safe to call twice."""
        self.file.close()

    def figures(self, now: Moment) -> Figures:
        """What the file holds now."""
        self._advance()
        waits = "SELECT boot, mono_ns FROM block WHERE acked = 0 AND {} ORDER BY first_seq LIMIT 1"
        alarm = self._db.execute(waits.format("priority = 0")).fetchone()
        head = self._db.execute(waits.format("priority = 1 AND first_seq >= ?"), (self._floor,)).fetchone()
        head = min((found for found in (alarm, head) if found), default=None)
        boot = self._boots.of(head[0]) if head else None
        state = self._state
        return Figures(
            stream=state.stream,
            number=self._number,
            depth=state.depth - self._acks.readings,
            alarms=alarm is not None,
            unmarked=len(self._acks.done),
            bytes=self.file.bytes,
            tail_bytes=state.tail_bytes,
            last_seq=state.last_seq,
            reserved_to=state.reserved_to,
            made=dict(self._made),
            dropped=dict(+self._dropped),
            crash_cost=state.crash_cost,
            crashes=state.crashes,
            placed=state.placed,
            offset_ns=self._boots.offset_ns(now.boot_id),
            head_boot_id=boot.boot_id if boot else "",
            head_mono_ns=head[1] if head else 0,
            head_offset_ns=boot.offset_ns if boot else None,
        )

    def _hand_out(
        self, sql: str, values: tuple[int, ...], limit: int, before: int, flight: Ranges, now: Moment
    ) -> list[Entry]:
        with suppress(sqlite3.OperationalError):  # a sick disk: what has its date goes all the same
            self._learn(now)
        entries: list[Entry] = []
        room = limit
        rows = self._db.execute(sql, values)
        try:
            for head in (Head(*row) for row in rows):
                if head.first_seq in self._acks.done or covers(flight, head.numbers):
                    continue
                for entry in self._acks.waiting(head, self._acks.open(head.first_seq)):
                    if entry.seq >= before or touches(flight, Range(entry.seq, entry.last_seq)):
                        continue
                    room -= len(entry.readings)
                    if room < 0 and entries:
                        return self._boots.dated(entries)
                    entries.append(entry)
                if room <= 0:
                    break
        finally:
            rows.close()
        return self._boots.dated(entries)

    def _open_block(self, now: Moment) -> Block | None:
        """The last block, where it is small and waits: it is written again with what comes, into the page it is in.

        So a second's readings do not cost a block of their own, with all its names.
        """
        found, self._open = self._open, None
        if found is None or found.readings >= MERGE_READINGS or len(found.body) >= MERGE_BYTES:
            return None
        if now.mono_ns - self._open_since_ns > MERGE_NS:
            return None
        first_seq = found.entries[0].seq
        if first_seq in self._acks.done or first_seq in self._acks.parts:
            return None
        still = "SELECT 1 FROM block WHERE first_seq = ? AND last_seq = ? AND acked = 0 AND priority = 1"
        return found if self._db.execute(still, (first_seq, found.entries[-1].last_seq)).fetchone() else None

    def _advance(self) -> None:
        """Move the floor to the first block of live readings that waits, or behind all that was written."""
        sql = (
            "SELECT first_seq FROM block WHERE acked = 0 AND priority = 1 AND first_seq >= ? ORDER BY first_seq LIMIT 1"
        )
        row = self._db.execute(sql, (self._floor,)).fetchone()
        self._floor = int(row[0]) if row else self._state.last_seq + 1

    def _has(self, head: Head, ranges: Ranges) -> bool:
        """Whether the server has a whole block."""
        if covers(ranges, head.numbers):
            return True
        if head.count == len(head.numbers):
            return False
        entries = self._acks.open(head.first_seq)
        return all(covers(ranges, Range(entry.seq, entry.last_seq)) for entry in entries)

    def _learn(self, now: Moment) -> None:
        if not self._boots.unlearned(now):
            return
        with self.file.transaction():
            placed = self._boots.learn(now)
            state = self._write(replace(self._state, placed=self._state.placed + placed))
        self._boots.load()
        self._state = state

    def _work(self) -> Work:
        state = self._state
        return Work(state.depth, state.tail_bytes, self._floor, state.span, Counter(self._dropped))

    def _worked(self, work: Work) -> State:
        return replace(self._state, depth=work.depth, tail_bytes=work.tail_bytes, floor=work.floor, span=work.span)

    def _done(self, work: Work, state: State) -> None:
        for first_seq in work.gone:
            self._acks.forget(first_seq)
        self._state, self._floor = state, work.floor

    def _write(self, state: State) -> State:
        self._db.execute(_WRITE, astuple(state))
        return state
