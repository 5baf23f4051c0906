"""Backup, restore and check of the database of the server. A backup is one file; the server goes on meanwhile."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import zstandard

from gateway.server.errors import ServerError
from gateway.server.storage import changes, chunks, log, schema
from gateway.server.storage.opening import FILE, LOCK, lock_folder, make_folder

FAULTS_MAX = 100
BODIES = (
    ("log", "SELECT seq, body FROM log", log.decode),
    ("recent", "SELECT key, body FROM recent", changes.decode),
    ("chunk", "SELECT key, body FROM chunk", chunks.decode),
)


def backup(folder: Path, target: Path) -> int:
    """Copy one state of the database to a new file; returns its bytes. Raises ServerError."""
    if target.exists():
        raise ServerError(f"{target} exists", code="server.backup-exists", fix="Choose another name, or remove it.")
    return _copy(folder / FILE, target)


def restore(source: Path, folder: Path) -> int:
    """Put a backup into a data folder that has no database; returns its bytes. Raises ServerError."""
    faults = list(verify(source))
    if faults:
        raise ServerError(
            f"{source} is damaged: {faults[0]}",
            code="server.backup-damaged",
            fix="Take another backup; nothing was done.",
        )
    try:
        make_folder(folder)
    except OSError as error:
        raise _failed(source, folder, error) from error
    lock = lock_folder(folder / LOCK)
    try:
        present = [path for path in folder.glob(f"{FILE}*") if path.suffix != ".part"]
        if present:
            raise ServerError(
                f"{folder} has a database already",
                code="server.restore-refused",
                fix=f"Move {folder / FILE}* somewhere else first, or give another folder.",
            )
        return _copy(source, folder / FILE)
    finally:
        os.close(lock)


def verify(path: Path) -> Iterator[str]:
    """What is wrong with a file: its pages, its schema, every compressed row. Raises ServerError without a file."""
    try:
        with closing(_reading(path)) as file:
            for (fault,) in file.execute(f"PRAGMA integrity_check({FAULTS_MAX})"):
                if fault != "ok":
                    yield str(fault)
            version = file.execute("PRAGMA user_version").fetchone()[0]
            newest = max(schema.versions())
            if not 0 < version <= newest:
                yield f"schema {version}, known are 1 to {newest}"
            elif version == newest:
                yield from _bodies(file)
    except sqlite3.DatabaseError as error:
        yield str(error)


def _bodies(file: sqlite3.Connection) -> Iterator[str]:
    for table, query, decode in BODIES:
        for key, body in file.execute(query):
            try:
                decode(body)
            except (zstandard.ZstdError, msgspec.MsgspecError, ValueError, IndexError, TypeError) as error:
                yield f"row {key} of {table}: {error}"


def _reading(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise ServerError(f"there is no file {path}", code="server.no-database", fix="Check the name of the folder.")
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def _copy(source: Path, target: Path) -> int:
    """Under another name until all of it is on the disk."""
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        with closing(_reading(source)) as file, closing(sqlite3.connect(part)) as copy:
            file.backup(copy)  # in one step: one state, and the writer goes on beside it
            copy.execute("PRAGMA journal_mode = DELETE")
        descriptor = os.open(part, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        part.rename(target)
        above = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(above)
        os.close(above)
    except (OSError, sqlite3.Error) as error:
        part.unlink(missing_ok=True)
        raise _failed(source, target, error) from error
    return target.stat().st_size


def _failed(source: Path, target: Path, error: Exception) -> ServerError:
    return ServerError(
        f"{source} could not be copied to {target}: {error}",
        code="server.copy-failed",
        fix="Check that the place exists and may be written, and free space.",
    )
