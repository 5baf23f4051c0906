"""The SQL of documents that are no entities, and of notifications that wait."""

from __future__ import annotations

import sqlite3

from gateway.server.storage.base import Kind, Note

NOTE = "id, tenant, subscription, due_us, attempts, body, why"


class Documents:
    """Part of the Reader (``View``): these tables are written as they are read, without memory between."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def document(self, kind: Kind, tenant: str, document_id: str) -> bytes | None:
        """One document."""
        row = self._sql.execute(
            "SELECT document FROM document WHERE kind = ? AND tenant = (SELECT key FROM tenant WHERE name = ?) "
            "AND id = ?",
            (kind, tenant, document_id),
        ).fetchone()
        return None if row is None else bytes(row[0])

    def documents(self, kind: Kind, tenant: str | None = None) -> list[tuple[str, str, bytes]]:
        """(tenant, id, document) in the order of creation."""
        return self._sql.execute(
            "SELECT name, id, document FROM document JOIN tenant ON tenant.key = document.tenant "
            "WHERE kind = ? AND (? IS NULL OR name = ?) ORDER BY document.key",
            (kind, tenant, tenant),
        ).fetchall()

    # notes

    def notes(self, tenant: str, subscription: str, *, dead: bool, limit: int) -> list[Note]:
        """Oldest first."""
        rows = self._sql.execute(
            f"SELECT {NOTE} FROM note WHERE tenant = ? AND subscription = ? AND dead = ? "  # noqa: S608
            "ORDER BY key LIMIT ?",
            (tenant, subscription, dead, limit),
        )
        return [Note(*row) for row in rows]

    def note_counts(self) -> dict[tuple[str, str], tuple[int, int, int]]:
        """Waiting, dead, the date of the oldest that waits."""
        rows = self._sql.execute(
            "SELECT tenant, subscription, sum(dead = 0), sum(dead), min(iif(dead, NULL, due_us)) FROM note "
            "GROUP BY tenant, subscription"
        )
        return {(tenant, name): (waiting, dead, due_us or 0) for tenant, name, waiting, dead, due_us in rows}
