"""What passes between the outbox's two sides, the loop's and the writer thread's."""

from __future__ import annotations

import errno
import sqlite3
from collections import Counter
from dataclasses import dataclass, field

from gateway.outbox.codec import DamagedError, Entry


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, as the loop's side sees it: this boot, its monotonic time, its offset to UTC where the clock is trusted."""

    boot_id: str
    mono_ns: int
    offset_ns: int | None


@dataclass(slots=True)
class Load:
    """What one commit takes.

    ``entries`` and ``alarms`` are written durably; ``tail`` is acknowledged already. ``last_seq``: what is not in the
    file up to it has been dealt with. ``reserved_to``: up to here numbers may be used. ``durable``: an fsync is wanted.
    """

    number: int = 0
    entries: list[Entry] = field(default_factory=list)
    alarms: list[Entry] = field(default_factory=list)
    tail: list[Entry] = field(default_factory=list)
    made: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    last_seq: int = 0
    reserved_to: int = 0
    durable: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """The row of the table ``state``, in its order, as it is in the file; counts as JSON."""

    stream: str = ""
    last_seq: int = 0
    reserved_to: int = 0
    crash_cost: int = 0
    crashes: int = 0
    depth: int = 0
    placed: int = 0
    boot: int = 0
    mono_ns: int = 0
    made: str = "{}"
    dropped: str = "{}"
    gaps: str = "[]"
    tail_bytes: int = 0
    floor: int = 0
    span: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """What the file holds after a job. ``number`` is the last load that is in it; ``head_*`` date its oldest block.

    ``alarms``: whether alarms wait in it. ``unmarked``: blocks that are acknowledged and not yet marked so.
    ``offset_ns`` of this boot, as it is kept in the file.
    """

    stream: str = ""
    number: int = 0
    depth: int = 0
    alarms: bool = False
    unmarked: int = 0
    bytes: int = 0
    tail_bytes: int = 0
    last_seq: int = 0
    reserved_to: int = 0
    made: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    crash_cost: int = 0
    crashes: int = 0
    placed: int = 0
    offset_ns: int | None = None
    head_boot_id: str = ""
    head_mono_ns: int = 0
    head_offset_ns: int | None = None


def is_damage(error: BaseException) -> bool:
    """Whether the error says that the file is broken, not that the disk is full or the file is busy."""
    if isinstance(error, sqlite3.DatabaseError):
        return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return isinstance(error, DamagedError)


def is_damage_at_start(error: BaseException) -> bool:
    """The same while opening, where whatever is not the disk's or the system's fault is the file's."""
    return isinstance(error, DamagedError) or (
        isinstance(error, sqlite3.DatabaseError) and _code(error) not in _NOT_OURS
    )


def is_full(error: BaseException) -> bool:
    """Whether the error says that there is no room."""
    if isinstance(error, sqlite3.Error):
        return _code(error) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def may_heal(error: BaseException) -> bool:
    """Whether the error is the disk's and may pass: full, read-only, failing; not a wrong path or a missing right."""
    if isinstance(error, sqlite3.Error):
        return _code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


_NOT_OURS = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
