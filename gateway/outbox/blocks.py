"""Rows of the table ``block``: a CRC-checked run of entries each. Synchronous: the writer thread only."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.model import Priority, Range
from gateway.outbox import codec
from gateway.outbox.codec import DamagedError, Entry, decode, encode

READINGS_MAX = 1000
TAIL_READINGS_MAX = 10_000  # acknowledged ones are hardly ever read again: big blocks fill their pages
SPAN_MAX = 2000  # numbers from first to last: how far back from a number its block may begin
ROW_BYTES = 64  # of a row besides its body, generously
COLUMNS = "first_seq, last_seq, count, undated, boot, mono_ns, crc, body"

Row = tuple[int, int, int, int, int, int, int, bytes]  # COLUMNS


@dataclass(frozen=True, slots=True)
class Block:
    """Entries and the row's body."""

    entries: list[Entry]
    body: bytes

    @property
    def size(self) -> int:
        """About how many bytes its row takes."""
        return len(self.body) + ROW_BYTES

    @property
    def readings(self) -> int:
        """How many readings it holds."""
        return sum(len(entry.readings) for entry in self.entries)

    @property
    def span(self) -> int:
        """Numbers from its first to its last."""
        return self.entries[-1].last_seq - self.entries[0].seq + 1


@dataclass(frozen=True, slots=True)
class Head:
    """A row without its body. ``size``: about its bytes."""

    first_seq: int
    last_seq: int
    count: int
    size: int

    @property
    def numbers(self) -> Range:
        """From its first to its last number; with holes where others' numbers lie between."""
        return Range(self.first_seq, self.last_seq)


def make(
    entries: Sequence[Entry], refused: list[Entry], readings_max: int = READINGS_MAX, span_max: int = SPAN_MAX
) -> list[Block]:
    """Blocks of about so many readings at most. Entries that no block can hold are added to ``refused``."""
    return [block for part in _parts(entries, readings_max, span_max) for block in _encoded(part, refused)]


def insert(db: sqlite3.Connection, block: Block, boot: int, mono_ns: int, priority: Priority, acked: int = 0) -> None:
    """Add a row."""
    entries = block.entries
    undated = sum(reading.clock is not None for entry in entries for reading in entry.readings)
    row = (entries[0].seq, entries[-1].last_seq, block.readings, undated, boot, mono_ns, zlib.crc32(block.body))
    sql = f"REPLACE INTO block ({COLUMNS}, priority, acked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    db.execute(sql, (*row, block.body, int(priority), acked))


def delete(db: sqlite3.Connection, first_seq: int) -> None:
    """Remove a row."""
    db.execute("DELETE FROM block WHERE first_seq = ?", (first_seq,))


def read(db: sqlite3.Connection, first_seq: int) -> Row:
    """One row."""
    row: Row = db.execute(f"SELECT {COLUMNS} FROM block WHERE first_seq = ?", (first_seq,)).fetchone()  # noqa: S608
    return row


def open_block(row: Row) -> list[Entry]:
    """The entries of a row. Raises DamagedError."""
    first_seq, last_seq, count, _, _, _, crc, body = row
    if not isinstance(body, bytes) or zlib.crc32(body) != crc:
        raise DamagedError(f"block {first_seq} fails its checksum")
    entries = decode(body)
    sizes = sum(len(entry.readings) for entry in entries)
    if not entries or (entries[0].seq, entries[-1].last_seq, sizes) != (first_seq, last_seq, count):
        raise DamagedError(f"block {first_seq} is not what its row says")
    return entries


def _encoded(part: list[Entry], refused: list[Entry]) -> list[Block]:
    """One block; more, where it would be too long; none of what cannot be encoded."""
    try:
        return [Block(part, encode(part))]
    except (OverflowError, UnicodeError, TypeError, ValueError):
        half = len(part) // 2
        if half:
            return _encoded(part[:half], refused) + _encoded(part[half:], refused)
        refused += part
        return []


def _parts(entries: Sequence[Entry], readings_max: int, span_max: int) -> Iterator[list[Entry]]:
    part: list[Entry] = []
    readings = 0
    for entry in entries:
        full = readings >= readings_max or readings + len(entry.readings) > codec.READINGS_MAX
        if part and (full or entry.last_seq - part[0].seq >= span_max):
            yield part
            part, readings = [], 0
        part.append(entry)
        readings += len(entry.readings)
    if part:
        yield part
