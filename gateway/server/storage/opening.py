"""Opening the file: folder, lock, check, schema; and what a user is told where that fails."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import ExitStack
from pathlib import Path

from gateway.server.errors import Problem, ServerError, StorageFailed, StorageFull, TooComplexQuery
from gateway.server.storage import schema

FILE = "server.db"
LOCK = "server.lock"
SYNCHRONOUS = "FULL"
BUSY_MS = 5_000
JOURNAL_BYTES = 64 * 2**20
PAGE_BYTES = 4096
READ_SECONDS_MAX = 10.0


def open_folder(folder: Path, bytes_max: int) -> tuple[sqlite3.Connection, int]:
    """The connection of the writer and the lock of the folder. Raises ServerError."""
    path = folder / FILE
    with ExitStack() as undo:
        try:
            make_folder(folder)
            lock = lock_folder(folder / LOCK)
            undo.callback(os.close, lock)
            connection = connect(folder)
            undo.callback(connection.close)
            _check(connection, path)
            connection.execute(f"PRAGMA max_page_count = {max(bytes_max // PAGE_BYTES, 64)}")
            schema.migrate(connection, path)
        except (sqlite3.Error, OSError) as error:
            raise _unusable(folder, path, error) from error
        undo.pop_all()
    return connection, lock


def connect(folder: Path) -> sqlite3.Connection:
    """A connection to the file."""
    connection = sqlite3.connect(folder / FILE, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
    connection.execute("PRAGMA cache_size = -8192")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def make_folder(folder: Path) -> None:
    """Make the folder so that it is there after a power cut: its entry in the folder above is on the disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    for path in missing:
        above = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(above)
        os.close(above)


def lock_folder(path: Path) -> int:
    """One server per data folder: the lock lasts as long as the process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ServerError(
            f"another server works in {path.parent}",
            code="server.data-in-use",
            fix="Stop the other one, or give this one another folder (--data).",
        ) from error
    return descriptor


def _check(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, found)


def _unusable(folder: Path, path: Path, error: Exception) -> ServerError:
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return damaged(path, str(error))
    return ServerError(
        f"the data folder {folder} cannot be used: {error}",
        code="server.data-unusable",
        fix="Check that the folder exists, that the user of the service may write there, and free space.",
    )


def damaged(path: Path, what: str) -> ServerError:
    """The file is left as it is: what is in it may be all there is."""
    return ServerError(
        f"the database {path} is damaged: {what}",
        code="server.storage-damaged",
        fix=f"Nothing was deleted. Copy {path}* to a safe place, then save what is readable with "
        f"`sqlite3 {path} .recover | sqlite3 recovered.db` and put recovered.db in its place, "
        "or restore a backup; check the disk.",
    )


def translate(error: Exception) -> Exception:
    """What a user may see of an error of SQLite; other errors stay what they are."""
    if isinstance(error, Problem) or not isinstance(error, sqlite3.Error):
        return error
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StorageFull(f"no more can be written: {error}")
    if code == sqlite3.SQLITE_INTERRUPT:
        return TooComplexQuery(f"the query took more than {READ_SECONDS_MAX:.0f} s")
    return StorageFailed(f"SQLite: {error}")
