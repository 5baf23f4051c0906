"""A damaged outbox is moved aside; what reads of it is carried into a new one, which begins a new stream.

The new file is built beside the damaged one and takes its name only when it is whole, so a crash in between costs
nothing: the next start does it again.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any

from gateway.outbox.blocks import COLUMNS, Row, open_block
from gateway.outbox.codec import DamagedError, Entry
from gateway.outbox.database import Database
from gateway.outbox.file import sync_directory
from gateway.outbox.records import is_full
from gateway.outbox.retention import Limits

KEPT = 3
SUFFIXES = ("", "-wal", "-shm", "-journal")
CHUNK_BLOCKS = 256
BOOT = (int, str, int | None, int, int)  # the types of the table's columns: a damaged file may hold anything
STATE = ("last_seq", "reserved_to", "crash_cost", "crashes", "depth", "placed", "boot", "mono_ns")


@dataclass(slots=True)
class Salvage:
    """What a damaged file still told. ``lost``: readings known to be missing; of a very broken file more may be."""

    aside: Path
    readings: int = 0
    lost: int = 0
    first_seq: int = 0
    last_seq: int = 0
    span: int = 0
    boots_known: bool = False
    devices: Counter[str] = field(default_factory=Counter)
    boots: dict[str, int] = field(default_factory=dict)


def settle(path: Path) -> None:
    """Finish or undo what a crash interrupted; call it before the outbox is opened."""
    building = _building(path)
    if not path.exists() and building.exists():
        building.rename(path)
    for suffix in SUFFIXES:
        _beside(building, suffix).unlink(missing_ok=True)


def rescue(path: Path, limits: Limits) -> Salvage:
    """Replace a damaged file by a new one with what reads of it. Raises sqlite3.Error and OSError."""
    settle(path)
    building = _building(path)
    found = Salvage(aside=_next_aside(path))
    with closing(Database(building, limits)) as target:
        target.open()
        with closing(_read_only(path)) as source:
            _carry(source, target.file.db, found)
    for suffix in SUFFIXES:
        with suppress(FileNotFoundError):
            _beside(path, suffix).rename(_beside(found.aside, suffix))
    building.rename(path)
    _prune(path, limits.max_bytes)
    sync_directory(path.parent)
    return found


def _carry(source: sqlite3.Connection, target: sqlite3.Connection, found: Salvage) -> None:
    boots = [row for row in _rows(source, "SELECT * FROM boot ORDER BY id") if _fits(row, BOOT)]
    found.boots_known = bool(boots)
    bad = _copy_blocks(source, target, found)
    states = [row for row in _rows(source, f"SELECT {', '.join(STATE)} FROM state") if _fits(row, (int,) * len(STATE))]  # noqa: S608
    last_seq, reserved_to, cost, crashes, depth, placed, boot, mono_ns = states[0] if states else (0,) * 8
    found.lost = max(bad, depth - found.readings)
    last_seq = max(last_seq, found.last_seq)
    made = _counts(source, "made") or found.devices
    dropped = _counts(source, "dropped") + Counter({"damaged": found.lost})
    target.execute("BEGIN IMMEDIATE")
    target.executemany("INSERT OR IGNORE INTO boot VALUES (?, ?, ?, ?, ?)", boots)
    unknown = "INSERT OR IGNORE INTO boot (boot_id, placed, last_mono_ns) VALUES (?, 0, ?)"
    target.executemany(unknown, found.boots.items())
    values = (last_seq, max(reserved_to, last_seq), cost, crashes, found.readings, placed, boot, mono_ns)
    counts = (json.dumps(made), json.dumps(dropped), found.span)
    target.execute(f"UPDATE state SET {' = ?, '.join(STATE)} = ?, made = ?, dropped = ?, span = ?", (*values, *counts))  # noqa: S608
    target.execute("COMMIT")


def _copy_blocks(source: sqlite3.Connection, target: sqlite3.Connection, found: Salvage) -> int:
    """Copy the good blocks; the number of readings in blocks that are there and not good."""
    bad = 0
    insert = f"INSERT OR IGNORE INTO block ({COLUMNS}, priority) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    try:
        for number, (row, priority) in enumerate(_blocks(source)):
            if number % CHUNK_BLOCKS == 0:
                _commit(target)
                target.execute("BEGIN IMMEDIATE")
            try:
                entries = open_block(row)
            except DamagedError:
                bad += row[2] if isinstance(row[2], int) else 0
                continue
            kept = row if found.boots_known else (*row[:4], 0, *row[5:])
            if target.execute(insert, (*kept, priority)).rowcount:
                _note(entries, found)
    except sqlite3.OperationalError as error:
        if not is_full(error):
            raise
    _commit(target)
    return bad


def _blocks(source: sqlite3.Connection) -> Iterator[tuple[Row, int]]:
    """All that waits and can be reached, with its priority: from the front as far as it goes, then from the back."""
    waiting = "SELECT *, 1, 0 FROM block WHERE first_seq > ?"  # as version 1 has it
    if ("acked",) in _rows(source, "SELECT name FROM pragma_table_info('block')"):
        waiting = f"SELECT {COLUMNS}, priority, acked FROM block WHERE first_seq > ? AND +acked = 0"  # noqa: S608
    reached = -1
    try:
        for row in source.execute(f"{waiting} ORDER BY first_seq", (reached,)):
            yield row[:8], int(row[8] != 0)
            reached = row[0]
    except sqlite3.DatabaseError:
        with suppress(sqlite3.DatabaseError):
            for row in source.execute(f"{waiting} ORDER BY first_seq DESC", (reached,)):
                yield row[:8], int(row[8] != 0)


def _note(entries: list[Entry], found: Salvage) -> None:
    found.last_seq = max(found.last_seq, entries[-1].last_seq)
    found.span = max(found.span, entries[-1].last_seq - entries[0].seq + 1)
    for entry in entries:
        found.readings += len(entry.readings)
        for reading in entry.readings:
            found.devices[reading.device] += 1
            if reading.clock is not None:
                latest = max(found.boots.get(reading.clock.boot_id, 0), reading.clock.mono_ns)
                found.boots[reading.clock.boot_id] = latest


def _fits(row: Sequence[Any], types: Sequence[type | UnionType]) -> bool:
    return len(row) == len(types) and all(isinstance(value, kind) for value, kind in zip(row, types, strict=True))


def _counts(source: sqlite3.Connection, name: str) -> Counter[str]:
    """Readings by device or reason: a column of JSON, in files of version 1 a table."""
    found = _rows(source, f"SELECT key, value FROM state, json_each(state.{name})")  # noqa: S608
    rows = found or _rows(source, f"SELECT * FROM {name}")  # noqa: S608
    return Counter({row[0]: row[1] for row in rows if _fits(row, (str, int))})


def _rows(source: sqlite3.Connection, sql: str) -> list[Any]:
    try:
        return source.execute(sql).fetchall()
    except sqlite3.DatabaseError:
        return []


def _commit(target: sqlite3.Connection) -> None:
    if target.in_transaction:
        target.execute("COMMIT")


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=1.0)


def _building(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _kept(path: Path) -> dict[int, Path]:
    marked = {file.name.rpartition("-")[2]: file for file in path.parent.glob(f"{path.name}.damaged-*")}
    return {int(number): file for number, file in sorted(marked.items()) if number.isdigit()}


def _next_aside(path: Path) -> Path:
    return _beside(path, f".damaged-{max(_kept(path), default=0) + 1}")


def _prune(path: Path, max_bytes: int) -> None:
    """Keep the newest, and of the others as many as are few and together no bigger than an outbox may be."""
    total = 0
    for rank, (_, file) in enumerate(sorted(_kept(path).items(), reverse=True)):
        total += file.stat().st_size
        if rank and (rank >= KEPT or total > max_bytes):
            for suffix in SUFFIXES:
                _beside(file, suffix).unlink(missing_ok=True)
