"""What is written straight to small tables: documents, notes, streams and profiles, tenants and names."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import orjson

from gateway.model import Range
from gateway.server.storage.base import Kind, Note
from gateway.server.storage.documents import NOTE, Documents


def put_tenant(sql: sqlite3.Connection, tenant: str) -> int:
    """Its key; it comes into being."""
    row = sql.execute("SELECT key FROM tenant WHERE name = ?", (tenant,)).fetchone()
    return int(row[0] if row else sql.execute("INSERT INTO tenant (name) VALUES (?)", (tenant,)).lastrowid or 0)


def put_name(sql: sqlite3.Connection, iri: str) -> int:
    """Key of an attribute or datasetId; 0: none."""
    if not iri:
        return 0
    row = sql.execute("SELECT key FROM name WHERE iri = ?", (iri,)).fetchone()
    return int(row[0] if row else sql.execute("INSERT INTO name (iri) VALUES (?)", (iri,)).lastrowid or 0)


class Queues(Documents):
    """Part of the Writer (``Draft``)."""

    def put_document(self, kind: Kind, tenant: str, document_id: str, document: bytes) -> None:
        """Insert or replace."""
        self._sql.execute(
            "INSERT INTO document (kind, tenant, id, document) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (kind, tenant, id) DO UPDATE SET document = excluded.document",
            (kind, put_tenant(self._sql, tenant), document_id, document),
        )

    def delete_document(self, kind: Kind, tenant: str, document_id: str) -> bool:
        """Returns whether it was there."""
        done = self._sql.execute(
            "DELETE FROM document WHERE kind = ? AND tenant = (SELECT key FROM tenant WHERE name = ?) AND id = ?",
            (kind, tenant, document_id),
        )
        if kind in ("subscription", "csource-subscription"):
            self._sql.execute("DELETE FROM note WHERE tenant = ? AND subscription = ?", (tenant, document_id))
        return done.rowcount > 0

    # notes

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

    def free_notes(self) -> None:
        """Nobody holds any."""
        self._sql.execute("UPDATE note SET held_by = '', held_until_us = 0 WHERE held_until_us > 0")

    def extend_notes(self, node: str, until_us: int) -> None:
        """A node goes on holding what it holds."""
        self._sql.execute("UPDATE note SET held_until_us = ? WHERE held_by = ? AND dead = 0", (until_us, node))

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

    # the compact protocol

    def put_received(self, gateway: str, stream: str, ranges: Sequence[Range], used_us: int, keep: int) -> None:
        """Insert or replace the ranges of a stream."""
        document = orjson.dumps([(one.first, one.last) for one in ranges])
        self._sql.execute(
            "INSERT OR REPLACE INTO stream (gateway, id, used_us, ranges) VALUES (?, ?, ?, ?)",
            (gateway, stream, used_us, document),
        )
        self._sql.execute(
            "DELETE FROM stream WHERE gateway = ? AND id IN "
            "(SELECT id FROM stream WHERE gateway = ? ORDER BY id = ? DESC, used_us DESC LIMIT -1 OFFSET ?)",
            (gateway, gateway, stream, keep),
        )

    def put_profiles(self, gateway: str, digest: str, document: bytes, put_us: int, keep: int) -> None:
        """Insert or replace a gateway's profiles."""
        self._sql.execute(
            "INSERT OR REPLACE INTO profiles (gateway, hash, put_us, document) VALUES (?, ?, ?, ?)",
            (gateway, digest, put_us, document),
        )
        self._sql.execute(
            "DELETE FROM profiles WHERE gateway = ? AND hash IN "
            "(SELECT hash FROM profiles WHERE gateway = ? ORDER BY hash = ? DESC, put_us DESC LIMIT -1 OFFSET ?)",
            (gateway, gateway, digest, keep),
        )
