"""The outbox's SQLite file as such: opened, checked, migrated; one transaction at a time.

WAL with synchronous = FULL: a commit is on the disk when it returns. What need not survive a power cut (what the server
has is sent again, and replaces itself there) is committed without an fsync.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.errors import OutboxError
from gateway.outbox import retention
from gateway.outbox.codec import DamagedError

SCHEMA_DIR = Path(__file__).parent / "schema"
SCHEMA_VERSION = 2
APPLICATION_ID = 0x4C616D70  # "Lamp"
CHECK_BYTES_MAX = 64 * 2**20  # a bigger file is checked block by block as it is read: a start must not take minutes
PAGE = 4096  # smaller ones save a little in the log and cost more in the tree; bigger ones cost at every commit
RECLAIM_PAGES = 256  # free pages that are kept for reuse, and given back at a time
ROOM_TIMES = 16  # what its log takes has to be free for the log to get its length at once
SYNCHRONOUS = "FULL"


class File:
    """One outbox file. Raises sqlite3.Error, OSError, DamagedError and OutboxError."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self._log_bytes = retention.wal_budget(max_bytes)
        self.db = _connect(path, self._log_bytes)

    def check(self) -> None:
        """Look at the file before it is trusted. Raises DamagedError, or OutboxError where a newer version wrote it."""
        if not self.number("SELECT count(*) FROM sqlite_master WHERE type = 'table'"):
            return
        if self.number("PRAGMA application_id") != APPLICATION_ID:
            raise DamagedError("not an outbox")
        if self.number("PRAGMA user_version") > SCHEMA_VERSION:
            fix = "Install the newer version again, or move the file away: what it holds is then not sent."
            raise OutboxError(f"{self.path} was written by a newer version of Lamppost", code="outbox.newer", fix=fix)
        small = self.path.stat().st_size <= CHECK_BYTES_MAX
        for part in ["1"] if small else ["state", "boot"]:
            (verdict,) = self.db.execute(f"PRAGMA quick_check({part})").fetchone()
            if verdict != "ok":
                raise DamagedError(str(verdict))

    def migrate(self) -> None:
        """Bring the schema up to date; each step is a transaction."""
        version = self.number("PRAGMA user_version")
        for number in range(version + 1, SCHEMA_VERSION + 1):
            step = (SCHEMA_DIR / f"{number:04}.sql").read_text(encoding="utf-8")
            marks = f"PRAGMA user_version = {number}; PRAGMA application_id = {APPLICATION_ID};"
            try:
                self.db.executescript(f"BEGIN IMMEDIATE; {step} {marks} COMMIT;")
            finally:
                self._roll_back()
        stream = secrets.token_hex(8)
        first = (
            "INSERT OR IGNORE INTO state (id, stream, last_seq, reserved_to, crash_cost, crashes, depth, placed, boot,"
            " mono_ns) VALUES (1, ?, 0, 0, 0, 0, 0, 0, 0, 0)"
        )
        self.db.execute(first, (stream,))
        sync_directory(self.path.parent)  # the file's name must survive a power cut, too

    @contextmanager
    def transaction(self, durable: bool = True) -> Iterator[None]:
        """All of it or nothing."""
        self.db.execute(f"PRAGMA synchronous = {SYNCHRONOUS if durable else 'NORMAL'}")
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        finally:
            self._roll_back()  # whatever went wrong

    def number(self, sql: str, *values: object) -> int:
        """The answer of a query for one number."""
        return int(self.db.execute(sql, values).fetchone()[0])

    def reclaim(self) -> None:
        """Give unused pages back, some at a time, where that works."""
        with suppress(sqlite3.OperationalError):
            if self.number("PRAGMA freelist_count") > 2 * RECLAIM_PAGES:
                # a script, because execute() stops at the first row and this pragma steps once a page
                self.db.executescript(f"PRAGMA incremental_vacuum({RECLAIM_PAGES})")

    def restart_log(self) -> None:
        """Move the write-ahead log into the database so that its space is used again: a full disk has no other."""
        with suppress(sqlite3.Error):
            self.db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def lengthen_log(self) -> None:
        """Give the write-ahead log at once the length at which it goes round, where there is room.

        Else each of the first commits makes it longer, and with that the file system writes more than SQLite does.
        SQLite reads a log up to the first frame that is none, so zeros behind its end say nothing.
        """
        log = self.path.with_name(self.path.name + "-wal")
        disk = os.statvfs(self.path.parent)
        missing = self._log_bytes // 2 - _size(log)
        if missing <= 0 or disk.f_bavail * disk.f_frsize < ROOM_TIMES * self._log_bytes:
            return
        with suppress(OSError), log.open("ab") as file:
            file.write(bytes(missing))
            file.flush()
            os.fsync(file.fileno())

    @property
    def bytes(self) -> int:
        """The database and its log on the disk."""
        return _size(self.path) + _size(self.path.with_name(self.path.name + "-wal"))

    def close(self) -> None:
        """Close the file as it is; safe to call twice."""
        self.db.close()

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")


def refuses(directory: Path) -> bool:
    """Whether the disk takes no new file now: it is read-only, or has no inode left."""
    try:
        disk = os.statvfs(directory)
    except OSError:
        return False
    return bool(disk.f_flag & os.ST_RDONLY) or (disk.f_files > 0 and disk.f_favail == 0)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _connect(path: Path, log_bytes: int) -> sqlite3.Connection:
    path.touch(mode=0o600)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
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


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
