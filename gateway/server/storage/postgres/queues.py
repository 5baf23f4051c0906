"""The Writer's part about what is no entity: documents, notes, streams and profiles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson

from gateway.model import Range
from gateway.server.storage.base import Kind, Note
from gateway.server.storage.postgres.held import Held
from gateway.server.storage.postgres.reader import NOTE
from gateway.server.storage.postgres.session import Session, count_of

CHANNEL = "lamppost"
UNTOLD = (
    "quality",
    "entity-map",
    "throttle",
)  # kinds that no node keeps in memory for what others change, and there are many


class Queues(Held):
    """Part of the Writer."""

    def __init__(self, session: Session, node: str) -> None:
        super().__init__(session, node)
        self._waiting: dict[tuple[Kind, str, str], bytes] = {}
        self._told: list[tuple[Kind, str, str]] = []

    # documents and notes

    def put_document(self, kind: Kind, tenant: str, document_id: str, document: bytes) -> None:
        """Insert or replace."""
        self._touch(tenant)
        name = (kind, tenant, document_id)
        self._documents[name] = self._waiting[name] = document

    def delete_document(self, kind: Kind, tenant: str, document_id: str) -> bool:
        """Returns whether it was there."""
        self._own(tenant)
        self._put_documents()
        done = self._sql.execute(
            "DELETE FROM document WHERE kind = $1 AND tenant = $2 AND id = $3", kind, tenant, document_id
        )
        if kind in ("subscription", "csource-subscription"):
            self._sql.execute("DELETE FROM note WHERE tenant = $1 AND subscription = $2", tenant, document_id)
            self.delete_document("throttle", tenant, document_id)
        self._documents[kind, tenant, document_id] = None
        self._tell([(kind, tenant, document_id)])
        return count_of(done) > 0

    def documents(self, kind: Kind, tenant: str | None = None) -> list[tuple[str, str, bytes]]:
        """(tenant, id, document) in the order of creation."""
        self._put_documents()
        return super().documents(kind, tenant)

    def _put_documents(self) -> None:
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        self._sql.execute(
            "INSERT INTO document (kind, tenant, id, document) SELECT kind, tenant, id, document FROM unnest("
            "$1::text[], $2::text[], $3::text[], $4::bytea[]) WITH ORDINALITY AS put (kind, tenant, id, document, n) "
            "ORDER BY n ON CONFLICT (kind, tenant, id) DO UPDATE SET document = excluded.document",
            *map(list, zip(*waiting, strict=True)),
            list(waiting.values()),
        )
        self._tell(waiting)

    def _tell(self, names: Iterable[tuple[Kind, str, str]]) -> None:
        """The other nodes, with the commit."""
        self._told += [name for name in names if name[0] not in UNTOLD]

    def finish(self) -> None:
        """Before the commit. A payload has at most 8,000 bytes: a long name is told without its id."""
        if not self._told:
            return
        revision = self._sql.value("UPDATE revision SET value = value + 1 RETURNING value")
        told: list[str] = []
        for kind, tenant, document_id in dict.fromkeys(self._told):
            said = orjson.dumps([self._node, revision, kind, tenant, document_id])
            told.append((said if len(said) < 8_000 else orjson.dumps([self._node, revision, kind, "", ""])).decode())
        self._sql.execute("SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload", CHANNEL, told)

    def put_notes(self, notes: Sequence[Note]) -> None:
        """Add, or replace by id."""
        unique = {note.id: note for note in notes}
        columns = [list(column) for column in zip(*unique.values(), strict=True)] if unique else []
        if columns:
            self._sql.execute(
                f"INSERT INTO note ({NOTE}) SELECT {NOTE} FROM unnest($1::text[], $2::text[], $3::text[], "  # noqa: S608
                f"$4::bigint[], $5::int[], $6::bytea[], $7::text[]) WITH ORDINALITY AS put ({NOTE}, n) ORDER BY n "
                "ON CONFLICT (id) DO UPDATE SET due_us = excluded.due_us, attempts = excluded.attempts, "
                "why = excluded.why, held_by = '', held_until_us = 0",
                *columns,
            )

    def claim_notes(self, node: str, now_us: int, until_us: int, limit: int) -> list[Note]:
        """What is due and free is this node's."""
        rows = self._sql.rows(
            "UPDATE note SET held_by = $1, held_until_us = $3 WHERE key IN (SELECT key FROM note WHERE NOT dead "
            "AND due_us <= $2 AND held_until_us <= $2 ORDER BY due_us, key LIMIT $4 FOR UPDATE SKIP LOCKED) "
            "RETURNING key, id, tenant, subscription, due_us, attempts, body, why",
            node,
            now_us,
            until_us,
            limit,
        )
        return [Note(*row[1:]) for row in sorted(rows, key=lambda row: (row["due_us"], row["key"]))]

    def free_notes(self) -> None:
        """Nobody holds any."""
        self._sql.execute("UPDATE note SET held_by = '', held_until_us = 0 WHERE held_until_us > 0")

    def extend_notes(self, node: str, until_us: int) -> None:
        """A node goes on holding what it holds."""
        self._sql.execute("UPDATE note SET held_until_us = $2 WHERE held_by = $1 AND NOT dead", node, until_us)

    def settle_notes(self, ids: Sequence[str]) -> None:
        """Delivered."""
        self._sql.execute("DELETE FROM note WHERE id = ANY($1::text[])", list(ids))

    def bury_notes(self, ids: Sequence[str], why: str) -> None:
        """Given up."""
        self._sql.execute(
            "UPDATE note SET dead = true, why = $2, held_by = '', held_until_us = 0 WHERE id = ANY($1::text[])",
            list(ids),
            why,
        )

    def revive_notes(self, tenant: str, subscription: str, now_us: int, ids: Sequence[str] | None = None) -> int:
        """Due again."""
        done = self._sql.execute(
            "UPDATE note SET dead = false, attempts = 0, due_us = $3 WHERE tenant = $1 AND subscription = $2 "
            "AND dead AND ($4::text[] IS NULL OR id = ANY($4::text[]))",
            tenant,
            subscription,
            now_us,
            None if ids is None else list(ids),
        )
        return count_of(done)

    def drop_notes(self, tenant: str, subscription: str, *, dead: bool, keep: int) -> int:
        """Only the newest stay."""
        done = self._sql.execute(
            "DELETE FROM note WHERE key IN (SELECT key FROM note WHERE tenant = $1 AND subscription = $2 AND dead = $3 "
            "ORDER BY key DESC OFFSET $4)",
            tenant,
            subscription,
            dead,
            keep,
        )
        return count_of(done)

    # the compact protocol

    def received(self, gateway: str, stream: str) -> list[Range]:
        """What is here of a stream; nobody else changes it meanwhile."""
        self._lock(f"g{gateway}")
        return super().received(gateway, stream)

    def put_received(self, gateway: str, stream: str, ranges: Sequence[Range], used_us: int, keep: int) -> None:
        """Insert or replace the ranges of a stream."""
        self._lock(f"g{gateway}")
        self._sql.execute(
            "INSERT INTO stream (gateway, id, used_us, ranges) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (gateway, id) DO UPDATE SET used_us = excluded.used_us, ranges = excluded.ranges",
            gateway,
            stream,
            used_us,
            orjson.dumps([(one.first, one.last) for one in ranges]),
        )
        self._sql.execute(
            "DELETE FROM stream WHERE gateway = $1 AND id IN (SELECT id FROM stream WHERE gateway = $1 "
            "ORDER BY (id = $2) DESC, used_us DESC OFFSET $3)",
            gateway,
            stream,
            keep,
        )

    def put_profiles(self, gateway: str, digest: str, document: bytes, put_us: int, keep: int) -> None:
        """Insert or replace a gateway's profiles."""
        self._lock(f"g{gateway}")
        self._sql.execute(
            "INSERT INTO profiles (gateway, hash, put_us, document) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (gateway, hash) DO UPDATE SET put_us = excluded.put_us, document = excluded.document",
            gateway,
            digest,
            put_us,
            document,
        )
        self._sql.execute(
            "DELETE FROM profiles WHERE gateway = $1 AND hash IN (SELECT hash FROM profiles WHERE gateway = $1 "
            "ORDER BY (hash = $2) DESC, put_us DESC OFFSET $3)",
            gateway,
            digest,
            keep,
        )
