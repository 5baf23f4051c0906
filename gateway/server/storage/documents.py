"""The SQL of documents that are no entities, and of notifications that wait."""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from collections.abc import Sequence

from gateway.server.storage.base import Kind, Note

NOTE = "id, tenant, subscription, due_us, attempts, body, why"


class Documents:
    """Part of ``Tables``."""

    _sql: sqlite3.Connection

    @abstractmethod
    def _tenant(self, tenant: str) -> int: ...

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

    def put_document(self, kind: Kind, tenant: str, document_id: str, document: bytes) -> None:
        """Insert or replace."""
        self._sql.execute(
            "INSERT INTO document (kind, tenant, id, document) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (kind, tenant, id) DO UPDATE SET document = excluded.document",
            (kind, self._tenant(tenant), document_id, document),
        )

    def delete_document(self, kind: Kind, tenant: str, document_id: str) -> bool:
        """Returns whether it was there."""
        done = self._sql.execute(
            "DELETE FROM document WHERE kind = ? AND tenant = (SELECT key FROM tenant WHERE name = ?) AND id = ?",
            (kind, tenant, document_id),
        )
        if kind == "subscription":
            self._sql.execute("DELETE FROM note WHERE tenant = ? AND subscription = ?", (tenant, document_id))
        return done.rowcount > 0

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

    def put_notes(self, notes: Sequence[Note]) -> None:
        """Add, or replace by id."""
        self._sql.executemany(
            f"INSERT INTO note ({NOTE}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "  # noqa: S608
            "due_us = excluded.due_us, attempts = excluded.attempts, why = excluded.why, "
            "held_by = '', held_until_us = 0",
            notes,
        )

    def claim_notes(self, node: str, now_us: int, until_us: int, limit: int) -> list[Note]:
        """What is due and free is this node's."""
        rows = self._sql.execute(
            f"SELECT key, {NOTE} FROM note WHERE dead = 0 AND due_us <= ? AND held_until_us <= ? "  # noqa: S608
            "ORDER BY due_us, key LIMIT ?",
            (now_us, now_us, limit),
        ).fetchall()
        self._sql.executemany(
            "UPDATE note SET held_by = ?, held_until_us = ? WHERE key = ?", [(node, until_us, row[0]) for row in rows]
        )
        return [Note(*row[1:]) for row in rows]

    def settle_notes(self, ids: Sequence[str]) -> None:
        """Delivered."""
        self._sql.executemany("DELETE FROM note WHERE id = ?", [(note_id,) for note_id in ids])

    def bury_notes(self, ids: Sequence[str], why: str) -> None:
        """Given up."""
        self._sql.executemany(
            "UPDATE note SET dead = 1, why = ?, held_by = '', held_until_us = 0 WHERE id = ?",
            [(why, note_id) for note_id in ids],
        )

    def revive_notes(self, tenant: str, subscription: str, now_us: int, ids: Sequence[str] | None = None) -> int:
        """Due again."""
        known = [note.id for note in self.notes(tenant, subscription, dead=True, limit=-1)]
        wanted = known if ids is None else [note_id for note_id in known if note_id in set(ids)]
        self._sql.executemany(
            "UPDATE note SET dead = 0, attempts = 0, due_us = ? WHERE id = ?", [(now_us, i) for i in wanted]
        )
        return len(wanted)

    def drop_notes(self, tenant: str, subscription: str, *, dead: bool, keep: int) -> int:
        """Only the newest stay."""
        done = self._sql.execute(
            "DELETE FROM note WHERE key IN (SELECT key FROM note WHERE tenant = ? AND subscription = ? AND dead = ? "
            "ORDER BY key DESC LIMIT -1 OFFSET ?)",
            (tenant, subscription, dead, keep),
        )
        return done.rowcount
