"""Looking into an outbox file from beside: read only, in short reads, so that the daemon that owns it never waits.

A read transaction that stays open keeps SQLite's write-ahead log from being used again; so rows are fetched a few at a
time, each fetch its own transaction. What the daemon writes or acknowledges meanwhile may be seen or not.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import sqlite_utils

from gateway.errors import OutboxError
from gateway.model import Position, Range, Reading
from gateway.outbox import dating
from gateway.outbox.blocks import COLUMNS, Row, open_block
from gateway.outbox.codec import DamagedError
from gateway.outbox.file import APPLICATION_ID, CHECK_BYTES_MAX, SCHEMA_VERSION

ROWS_AT_A_TIME = 32
FAULTS_MAX = 20
BUSY_S = 2.0


@dataclass(slots=True)
class Contents:
    """What a file holds; counts are readings. ``undated``: of a boot that does not know the time (yet)."""

    stream: str
    schema: int
    bytes: int
    blocks: int = 0
    readings: int = 0
    undated: int = 0
    ranges: list[Range] = field(default_factory=list)
    first_ns: int | None = None
    last_ns: int | None = None
    by_device: dict[str, int] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    crash_cost: int = 0
    crashes: int = 0
    damaged_files: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Inspection:
    """One outbox file, opened for reading. Raises OutboxError where it is not there or no outbox."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            fix = "Give the file or the daemon's folder (storage.path)."
            raise OutboxError(f"there is no outbox at {path}", code="outbox.none", fix=fix)
        try:
            uri = f"{path.absolute().as_uri()}?mode=ro"
            self._sql = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S)
            self._db = sqlite_utils.Database(self._sql)
            self._check_kind()
            self._offsets = self._boots()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def close(self) -> None:
        """Close the file."""
        self._sql.close()

    @property
    def blocks(self) -> int:
        """How many blocks it has now."""
        return int(self._db["block"].count)

    def rows(self) -> Iterator[Row]:
        """The rows of blocks that wait, in the order of the stream. Raises OutboxError where the file is damaged."""
        reached = -1
        waits = "" if self._version < 2 else "AND acked = 0"  # in version 1 all that is there waits
        query = f"SELECT {COLUMNS} FROM block WHERE first_seq > ? {waits} ORDER BY first_seq LIMIT {ROWS_AT_A_TIME}"  # noqa: S608
        try:
            while rows := self._sql.execute(query, (reached,)).fetchall():
                yield from rows
                reached = rows[-1][0]
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def readings(self, faults: list[str] | None = None) -> Iterator[list[Reading]]:
        """The readings block by block, dated where their boot knows the time. A damaged block is left out and told."""
        for row in self.rows():
            try:
                entries = open_block(row)
            except DamagedError as error:
                if faults is not None and len(faults) < FAULTS_MAX:
                    faults.append(str(error))
                yield []
                continue
            yield [self._dated(reading) for entry in entries for reading in entry.readings]

    def contents(self) -> Contents:
        """Read all of it, verifying every block."""
        state = next(iter(self._db["state"].rows))
        found = Contents(str(state["stream"]), self._version, self._bytes())
        found.crash_cost, found.crashes = int(state["crash_cost"]), int(state["crashes"])
        found.made, found.dropped = self._counts(state, "made"), self._counts(state, "dropped")
        found.damaged_files = sorted(file.name for file in self._set_aside())
        for readings in self.readings(found.faults):
            found.blocks += 1
            for reading in readings:
                _note(reading, found)
        return found

    def verify(self) -> list[str]:
        """What is wrong with the file, as text: with its pages, its blocks, its counts. Empty: nothing."""
        faults = self._page_faults()
        contents = self.contents()
        faults += contents.faults
        ranges = sorted(contents.ranges)  # alarms have blocks of their own, in between
        overlaps = [
            f"sequence numbers {later.first} to {earlier.last} are there twice"
            for earlier, later in pairwise(ranges)
            if later.first <= earlier.last
        ]
        return (faults + overlaps)[:FAULTS_MAX]

    def _page_faults(self) -> list[str]:
        """SQLite's own check; of a big file only the small tables: it would keep a read open for minutes."""
        small = self.path.stat().st_size <= CHECK_BYTES_MAX
        parts = [str(FAULTS_MAX)] if small else [name for name in self._db.table_names() if name != "block"]
        try:
            verdicts = [row[0] for part in parts for row in self._sql.execute(f"PRAGMA quick_check({part})")]
        except sqlite3.Error as error:
            return [str(error)]
        return [str(verdict) for verdict in verdicts if verdict != "ok"]

    def _check_kind(self) -> None:
        if self._sql.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            fix = "Give the file outbox.sqlite in the daemon's folder."
            raise OutboxError(f"{self.path} is not an outbox", code="outbox.none", fix=fix)
        self._version = int(self._sql.execute("PRAGMA user_version").fetchone()[0])
        if self._version > SCHEMA_VERSION:
            fix = "Use the command of the version that runs on this box."
            raise OutboxError(f"{self.path} was written by a newer version of Lamppost", code="outbox.newer", fix=fix)

    def _boots(self) -> dict[str, tuple[int, bool]]:
        rows = self._db["boot"].rows_where("offset_ns IS NOT NULL")
        return {row["boot_id"]: (row["offset_ns"], bool(row["placed"])) for row in rows}

    def _counts(self, state: dict[str, Any], name: str) -> dict[str, int]:
        """Readings by device or reason: of the one row, in version 1 a table."""
        if self._version >= 2:
            return {str(key): int(readings) for key, readings in json.loads(state[name]).items()}
        rows = self._sql.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608 - our own table names
        return {str(key): int(readings) for key, readings in rows}

    def _dated(self, reading: Reading) -> Reading:
        known = self._offsets.get(reading.clock.boot_id) if reading.clock else None
        return reading if known is None else dating.redate(reading, *known)

    def _bytes(self) -> int:
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def _set_aside(self) -> Iterator[Path]:
        suffixes = ("-wal", "-shm", "-journal")
        found = self.path.parent.glob(f"{self.path.name}.damaged-*")
        return (file for file in found if not file.name.endswith(suffixes))

    def _unreadable(self, error: sqlite3.Error) -> OutboxError:
        fix = "May this user read it, and write in its folder? If it is damaged, the daemon mends it when it starts."
        return OutboxError(f"{self.path} cannot be read: {error}", code="outbox.unreadable", fix=fix)


def _note(reading: Reading, found: Contents) -> None:
    found.readings += 1
    found.by_device[reading.device] = found.by_device.get(reading.device, 0) + 1
    if reading.clock is None:
        found.first_ns = min(found.first_ns or reading.observed_ns, reading.observed_ns)
        found.last_ns = max(found.last_ns or reading.observed_ns, reading.observed_ns)
    else:
        found.undated += 1
    if found.ranges and found.ranges[-1].last + 1 == reading.seq:
        found.ranges[-1] = Range(found.ranges[-1].first, reading.seq)
    else:
        found.ranges.append(Range(reading.seq, reading.seq))


def flat(reading: Reading) -> dict[str, Any]:
    """A reading as one row of a table: the value as number or as text, the instant as UTC or as a boot's time."""
    value, text = reading.value, None
    if isinstance(value, Position):
        height = "" if value.altitude is None else f" {value.altitude!r}"
        text = f"POINT{' Z' * bool(height)} ({value.longitude!r} {value.latitude!r}{height})"  # OGC well-known text
    elif isinstance(value, str):
        text = value
    boot = reading.clock
    return {
        "seq": reading.seq,
        "observed_ns": reading.observed_ns if boot is None else None,
        "device": reading.device,
        "quantity": reading.quantity,
        "value": None if isinstance(value, str | Position) else value + 0,  # true is 1
        "text": text,
        "unit": reading.unit,
        "quality": reading.quality.name.lower(),
        "reason": str(reading.reason),
        "boot_id": None if boot is None else boot.boot_id,
        "monotonic_ns": None if boot is None else boot.mono_ns,
    }
