"""Versioned schema: the files NNNN.sql of this folder, applied in order; ``user_version`` says how far a file is."""

from __future__ import annotations

import sqlite3
from importlib import resources
from pathlib import Path

from gateway.server.errors import ServerError


def versions() -> dict[int, str]:
    """Number -> SQL."""
    files = (f for f in resources.files(__name__).iterdir() if f.name.endswith(".sql"))
    return dict(sorted((int(f.name.removesuffix(".sql")), f.read_text(encoding="utf-8")) for f in files))


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest version, each step in one transaction. Raises ServerError for a newer file."""
    steps = versions()
    current = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if current > max(steps):
        raise ServerError(
            f"{path} was written by a newer version of Lamppost (schema {current}, this one knows {max(steps)})",
            code="server.storage-newer",
            fix="Install that version again, or start with another data folder.",
        )
    for number, sql in steps.items():
        if number > current:
            connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")
