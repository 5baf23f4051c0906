"""The outbox's SQLite file. Synchronous: only the outbox's writer thread calls it.

WAL with synchronous = FULL: a commit is on the disk when it returns. Acknowledgements alone are written without an
fsync: what a power cut brings back is sent again, and replaces itself in the history.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, replace
from pathlib import Path

from gateway.errors import OutboxError
from gateway.model import Range, Reading
from gateway.outbox import dating, retention
from gateway.outbox.codec import DamagedError, Entry, decode, encode
from gateway.outbox.dating import Boot
from gateway.outbox.records import Figures, Load, Moment, State

SCHEMA_DIR = Path(__file__).parent / "schema"
SCHEMA_VERSION = 1
APPLICATION_ID = 0x4C616D70  # "Lamp"
BLOCK_READINGS_MAX = 1000
CHECK_BYTES_MAX = 64 * 2**20  # a bigger file is checked block by block as it is read: a start must not take minutes
PAGE = 4096
ROW_BYTES = 64  # of a block's row besides its body, generously
SPARE_BYTES = 16 * PAGE  # for the inner pages of the tables
RECLAIM_PAGES = 256  # free pages that are kept for reuse, and given back at a time
SYNCHRONOUS = "FULL"

Row = tuple[int, int, int, int, int, int, int, bytes]  # of the table block
Block = tuple[list[Entry], bytes]


class Database:
    """One outbox file, opened. Raises sqlite3.Error, OSError, DamagedError and OutboxError."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._number = 0
        self._shown_to = 0  # last sequence number of the latest peek
        self._state = State("", 0, 0, 0, 0, 0, 0, 0, 0)
        self._made: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._boots: dict[str, Boot] = {}
        self._boot_ids: dict[int, str] = {}
        self.db = self._connect()

    @property
    def stream(self) -> str:
        """The random id of this outbox's life."""
        return self._state.stream

    def check(self) -> None:
        """Look at the file before it is trusted. Raises DamagedError, or OutboxError where a newer version wrote it."""
        if not self._int("SELECT count(*) FROM sqlite_master WHERE type = 'table'"):
            return
        if self._int("PRAGMA application_id") != APPLICATION_ID:
            raise DamagedError("not an outbox")
        if self._int("PRAGMA user_version") > SCHEMA_VERSION:
            fix = "Install the newer version again, or move the file away: what it holds is then not sent."
            raise OutboxError(f"{self.path} was written by a newer version of Lamppost", code="outbox.newer", fix=fix)
        small = self.path.stat().st_size <= CHECK_BYTES_MAX
        for part in ["1"] if small else ["state", "boot", "made", "dropped"]:
            (verdict,) = self.db.execute(f"PRAGMA quick_check({part})").fetchone()
            if verdict != "ok":
                raise DamagedError(str(verdict))

    def migrate(self) -> None:
        """Bring the schema up to date; each step is a transaction."""
        version = self._int("PRAGMA user_version")
        for number in range(version + 1, SCHEMA_VERSION + 1):
            step = (SCHEMA_DIR / f"{number:04}.sql").read_text(encoding="utf-8")
            marks = f"PRAGMA user_version = {number}; PRAGMA application_id = {APPLICATION_ID};"
            self.db.executescript(f"BEGIN IMMEDIATE; {step} {marks} COMMIT;")
        stream = secrets.token_hex(8)
        self.db.execute("INSERT OR IGNORE INTO state VALUES (1, ?, 0, 0, 0, 0, 0, 0, 0, 0)", (stream,))
        sync_directory(self.path.parent)  # the file's name must survive a power cut, too

    def begin(self, now: Moment, crashed: bool) -> None:
        """Load the state and enter this boot. What was reserved and never written is counted as a crash's cost."""
        state = State(*self.db.execute("SELECT * FROM state").fetchone()[1:])
        lost = state.reserved_to - state.last_seq
        if crashed and lost > 0:
            cost, crashes = state.crash_cost + lost, state.crashes + 1
            state = replace(state, crash_cost=cost, crashes=crashes, last_seq=state.reserved_to)
        with self._transaction():
            ended = (state.mono_ns, state.boot)
            self.db.execute("UPDATE boot SET last_mono_ns = max(last_mono_ns, ?) WHERE id = ?", ended)
            enter = "INSERT OR IGNORE INTO boot (boot_id, placed, last_mono_ns) VALUES (?, 0, ?)"
            self.db.execute(enter, (now.boot_id, now.mono_ns))
            boot = self._int("SELECT id FROM boot WHERE boot_id = ?", now.boot_id)
            state = self._write(replace(state, boot=boot, mono_ns=now.mono_ns))
            self._forget_boots()
        self._state = state
        rows = self.db.execute("SELECT id, boot_id, offset_ns, placed, last_mono_ns FROM boot ORDER BY id").fetchall()
        self._boots = {row[1]: Boot(row[1], row[2], bool(row[3]), row[4]) for row in rows}
        self._boot_ids = {row[0]: row[1] for row in rows}
        self._made = Counter(dict(self.db.execute("SELECT device, readings FROM made")))
        self._dropped = Counter(dict(self.db.execute("SELECT reason, readings FROM dropped")))

    def commit(self, load: Load, reserve: int, now: Moment) -> None:
        """Write a load, durably when this returns, and reserve ``reserve`` numbers beyond it.

        Raises OverflowError, UnicodeError or TypeError for readings that no block can hold; nothing is written then.
        """
        blocks = [(part, encode(part)) for part in _parts(load.observations, self._state.last_seq + 1)]
        last_seq = self._state.last_seq + load.readings
        self._learn(now)
        made, dropped = self._made + load.made, self._dropped + load.dropped
        with self._transaction():
            depth, given_up, reason = self._make_room(blocks)
            dropped[reason] += given_up
            for part, body in blocks:
                self._insert(part, body, self._state.boot, now.mono_ns)
                depth += part[-1].last_seq - part[0].seq + 1
            self._upsert("made", ((device, made[device]) for device in load.made))
            self._upsert("dropped", (item for item in dropped.items() if item[1] != self._dropped[item[0]]))
            state = replace(self._state, last_seq=last_seq, reserved_to=last_seq + reserve, mono_ns=now.mono_ns)
            state = self._write(replace(state, depth=depth))
        self._state, self._made, self._dropped, self._number = state, made, dropped, load.number

    def peek(self, limit: int, now: Moment) -> list[Entry]:
        """The oldest entries, dated, about ``limit`` readings; empty where the oldest cannot be dated yet."""
        entries: list[Entry] = []
        room = limit
        with closing(self.db.execute("SELECT * FROM block ORDER BY first_seq")) as rows:
            for entry in (entry for row in rows for entry in open_block(row)):
                room -= len(entry.readings)
                if room < 0 and entries:
                    break
                entries.append(entry)
        self._shown_to = entries[-1].last_seq if entries else 0
        return self._dated(entries, now)

    def ack(self, ranges: Iterable[Range]) -> None:
        """Forget what the server has. A block that is covered in part is written again without that part."""
        depth = self._state.depth
        with self._transaction(durable=False):
            for part in ranges:
                whole = "DELETE FROM block WHERE first_seq >= ? AND last_seq <= ? RETURNING count"
                depth -= sum(count for (count,) in self.db.execute(whole, (part.first, part.last)).fetchall())
                cut = "SELECT * FROM block WHERE first_seq <= ? AND last_seq >= ?"
                for row in self.db.execute(cut, (part.last, part.first)).fetchall():
                    depth -= self._trim(row, part)
            state = self._write(replace(self._state, depth=depth))
        self._state = state
        if self._int("PRAGMA freelist_count") > 2 * RECLAIM_PAGES:
            # a script, because execute() stops at the first row and this pragma steps once a page
            self.db.executescript(f"PRAGMA incremental_vacuum({RECLAIM_PAGES})")

    def close(self) -> None:
        """Close the file as it is; safe to call twice."""
        self.db.close()

    def restart_log(self) -> None:
        """Move the write-ahead log into the database so that its space is used again: a full disk has no other."""
        with suppress(sqlite3.Error):
            self.db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def figures(self) -> Figures:
        """What the file holds now."""
        head = self.db.execute("SELECT boot, mono_ns FROM block ORDER BY first_seq LIMIT 1").fetchone()
        boot = self._boots.get(self._boot_ids.get(head[0], "")) if head else None
        return Figures(
            stream=self._state.stream,
            number=self._number,
            depth=self._state.depth,
            bytes=_size(self.path) + _size(self.path.with_name(self.path.name + "-wal")),
            made=dict(self._made),
            dropped=dict(+self._dropped),
            crash_cost=self._state.crash_cost,
            crashes=self._state.crashes,
            placed=self._state.placed,
            head_boot_id=boot.boot_id if boot else "",
            head_mono_ns=head[1] if head else 0,
            head_offset_ns=boot.offset_ns if boot else None,
        )

    def _connect(self) -> sqlite3.Connection:
        self.path.touch(mode=0o600)
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5.0)
        log_bytes = retention.wal_budget(self._max_bytes)
        try:
            for pragma in (
                f"page_size = {PAGE}",
                "auto_vacuum = INCREMENTAL",
                "journal_mode = WAL",
                "cache_size = -1024",
                "temp_store = MEMORY",
                f"journal_size_limit = {log_bytes}",
                f"wal_autocheckpoint = {log_bytes // PAGE // 2}",
            ):
                db.execute(f"PRAGMA {pragma}").fetchall()
        except sqlite3.Error:
            db.close()
            raise
        return db

    @contextmanager
    def _transaction(self, durable: bool = True) -> Iterator[None]:
        self.db.execute(f"PRAGMA synchronous = {SYNCHRONOUS if durable else 'NORMAL'}")
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        finally:
            with suppress(sqlite3.Error):
                if self.db.in_transaction:  # whatever went wrong
                    self.db.execute("ROLLBACK")

    def _int(self, sql: str, *values: object) -> int:
        return int(self.db.execute(sql, values).fetchone()[0])

    def _write(self, state: State) -> State:
        self.db.execute("REPLACE INTO state VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)", astuple(state))
        return state

    def _upsert(self, table: str, rows: Iterable[tuple[str, int]]) -> None:
        self.db.executemany(f"REPLACE INTO {table} VALUES (?, ?)", rows)  # noqa: S608 - our own table names

    def _insert(self, part: Sequence[Entry], body: bytes, boot: int, mono_ns: int) -> None:
        readings = [reading for entry in part for reading in entry.readings]
        undated = sum(reading.clock is not None for reading in readings)
        row = (part[0].seq, part[-1].last_seq, len(readings), undated, boot, mono_ns, zlib.crc32(body), body)
        self.db.execute("INSERT INTO block VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _trim(self, row: Row, acked: Range) -> int:
        """Take the acknowledged observations out of a block; how many readings that were."""
        rest = [e for e in open_block(row) if e.seq < acked.first or e.last_seq > acked.last]
        self.db.execute("DELETE FROM block WHERE first_seq = ?", (row[0],))
        if rest:
            self._insert(rest, encode(rest), row[4], row[5])
        return row[2] - sum(len(entry.readings) for entry in rest)

    def _make_room(self, blocks: list[Block]) -> tuple[int, int, str]:
        """Drop the oldest blocks until ``blocks`` fit, at last from their own head.

        Returns the depth that is left, how many readings were given up, and the reason.
        """
        pages, free = self._int("PRAGMA page_count"), self._int("PRAGMA freelist_count")
        disk = os.statvfs(self.path.parent)
        room = disk.f_bavail * disk.f_frsize
        limit, reason = retention.allowance(self._max_bytes, pages * PAGE, room, disk.f_blocks * disk.f_frsize)
        excess = (pages - free) * PAGE + SPARE_BYTES - limit
        excess += sum(len(body) + ROW_BYTES for _, body in blocks)
        given_up = 0
        while excess > 0:
            # what was shown last may be on its way: dropped, it would count as lost and arrive all the same
            oldest = "SELECT first_seq, count, length(body) FROM block ORDER BY first_seq <= ?, first_seq LIMIT 1"
            row = self.db.execute(oldest, (self._shown_to,)).fetchone()
            if row is None:
                break
            self.db.execute("DELETE FROM block WHERE first_seq = ?", (row[0],))
            given_up += row[1]
            excess -= row[2] + ROW_BYTES
        depth = self._state.depth - given_up
        while excess > 0 and blocks:
            part, body = blocks.pop(0)
            given_up += part[-1].last_seq - part[0].seq + 1
            excess -= len(body) + ROW_BYTES
        return depth, given_up, reason

    def _learn(self, now: Moment) -> None:
        """Keep this boot's offset once it is known, and place the boots before it that never learned theirs."""
        this = self._boots[now.boot_id]
        if this.offset_ns is not None or now.offset_ns is None:
            return
        boots = dict(self._boots)
        boots[now.boot_id] = replace(this, offset_ns=dating.whole_microseconds(now.offset_ns))
        ordered = [boots[self._boot_ids[number]] for number in sorted(self._boot_ids)]
        for boot_id, offset_ns in dating.place(ordered).items():
            boots[boot_id] = replace(boots[boot_id], offset_ns=offset_ns, placed=True)
        placed = self._state.placed
        with self._transaction():
            for number, boot_id in self._boot_ids.items():
                boot = boots[boot_id]
                if boot == self._boots[boot_id]:
                    continue
                if boot.placed:
                    placed += self._int("SELECT coalesce(sum(undated), 0) FROM block WHERE boot = ?", number)
                fields = (boot.offset_ns, boot.placed, number)
                self.db.execute("UPDATE boot SET offset_ns = ?, placed = ? WHERE id = ?", fields)
            state = self._write(replace(self._state, placed=placed))
        self._boots, self._state = boots, state

    def _forget_boots(self) -> None:
        """Only the boots of what is still here count, and the last dated one before them."""
        oldest = self._int(
            "SELECT coalesce((SELECT boot FROM block ORDER BY first_seq LIMIT 1), (SELECT max(id) FROM boot))"
        )
        before = "SELECT coalesce(max(id), ?) FROM boot WHERE id < ? AND offset_ns IS NOT NULL"
        self.db.execute("DELETE FROM boot WHERE id < ?", (self._int(before, oldest, oldest),))

    def _dated(self, entries: list[Entry], now: Moment) -> list[Entry]:
        """The entries up to the first that has no date yet. Offsets are on the disk before they are used."""
        self._learn(now)
        dated: list[Entry] = []
        for entry in entries:
            readings = []
            for reading in entry.readings:
                boot = self._boots.get(reading.clock.boot_id) if reading.clock else None
                if reading.clock and (boot is None or boot.offset_ns is None):
                    return dated
                offset_ns, placed = (boot.offset_ns or 0, boot.placed) if boot else (0, False)
                readings.append(dating.redate(reading, offset_ns, placed))
            dated.append(Entry(entry.seq, tuple(readings)))
        return dated


def open_block(row: Row) -> list[Entry]:
    """The entries of a row of the table ``block``. Raises DamagedError."""
    first_seq, last_seq, count, _, _, _, crc, body = row
    if not isinstance(body, bytes) or zlib.crc32(body) != crc:
        raise DamagedError(f"block {first_seq} fails its checksum")
    entries = decode(body)
    sizes = sum(len(entry.readings) for entry in entries)
    if not entries or (entries[0].seq, entries[-1].last_seq, sizes) != (first_seq, last_seq, count):
        raise DamagedError(f"block {first_seq} is not what its row says")
    return entries


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _parts(observations: Iterable[Sequence[Reading]], seq: int) -> Iterator[list[Entry]]:
    """Observations, numbered from ``seq`` on, in runs of about BLOCK_READINGS_MAX readings at most."""
    part: list[Entry] = []
    for readings in observations:
        part.append(Entry(seq, tuple(readings)))
        seq += len(readings)
        if seq - part[0].seq >= BLOCK_READINGS_MAX:
            yield part
            part = []
    if part:
        yield part


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
