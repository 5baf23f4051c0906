"""What a transaction of the Writer holds: locks, what it has read ahead, and the documents that wait to be put.

Who writes holds the lock of the tenant until the commit, whichever node it is on: what a work has read stays true until
it is done, as with one writer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.server.storage.base import Kind
from gateway.server.storage.postgres.reader import PostgresReader
from gateway.server.storage.postgres.session import Session

Name = tuple[str, str]


class BusyError(Exception):
    """Another node writes to this tenant, and to wait for it here could be to wait for ever: in a transaction anew."""


class Held(PostgresReader):
    """See the module. ``node``: whose notifications of changed documents these are."""

    def __init__(self, session: Session, node: str) -> None:
        super().__init__(session)
        self._node = node
        self._locks: set[str] = set()
        self._tenants: set[str] = set()
        self._first = True
        self._undos: list[Callable[[], None]] = []
        self._ahead: dict[str, dict[str, None]] = {}
        self._entities: dict[Name, bytes | None] = {}
        self._documents: dict[tuple[Kind, str, str], bytes | None] = {}

    # locks

    def _lock(self, name: str) -> None:
        """Only a transaction that holds nothing of its kind yet may wait: so no two ever wait for each other."""
        if name in self._locks:
            return
        kind = name[0]
        if self._first and not any(held[0] >= kind for held in self._locks):
            self._sql.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", name)
        elif not self._sql.value("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))", name):
            raise BusyError(name)
        self._locks.add(name)

    def _own(self, tenant: str) -> None:
        self._lock(f"t{tenant}")

    def _see(self, tenant: str) -> None:
        self._own(tenant)
        self._flush()

    def _flush(self) -> None:
        """What waits goes to the tables."""
        raise NotImplementedError

    def _touch(self, tenant: str) -> None:
        """It is written to: it comes into being."""
        self._own(tenant)
        if tenant and tenant not in self._tenants:
            self._sql.execute("INSERT INTO tenant (name) VALUES ($1) ON CONFLICT DO NOTHING", tenant)
            self._tenants.add(tenant)

    def on_undo(self, undo: Callable[[], None]) -> None:
        """For when this work is not kept."""
        self._undos.append(undo)

    def undo(self, since: int = 0) -> None:
        """Nothing is kept of what was done since."""
        while len(self._undos) > since:
            self._undos.pop()()

    # reading: the first that is asked of some who were announced brings all of them

    def prefetch(self, tenant: str, ids: Iterable[str]) -> None:
        """Entities and documents of these ids are going to be read."""
        self._ahead[tenant] = dict.fromkeys(ids)

    def entity(self, tenant: str, entity_id: str) -> bytes | None:
        """The document of an entity."""
        self._own(tenant)
        name = (tenant, entity_id)
        if name not in self._entities:
            ahead = self._ahead.get(tenant, {})
            ids = [one for one in ahead if (tenant, one) not in self._entities] if entity_id in ahead else [entity_id]
            rows = self._sql.rows(
                "SELECT id, document FROM subject WHERE tenant = $1 AND id = ANY($2::text[])", tenant, ids
            )
            found = {row["id"]: row["document"] for row in rows}
            self._entities.update({(tenant, one): found.get(one) for one in ids})
        return self._entities[name]

    def document(self, kind: Kind, tenant: str, document_id: str) -> bytes | None:
        """One document."""
        self._own(tenant)
        name = (kind, tenant, document_id)
        if name not in self._documents:
            ahead = self._ahead.get(tenant, {})
            ids = [document_id]
            if document_id in ahead:
                ids = [one for one in ahead if (kind, tenant, one) not in self._documents]
            rows = self._sql.rows(
                "SELECT id, document FROM document WHERE kind = $1 AND tenant = $2 AND id = ANY($3::text[])",
                kind,
                tenant,
                ids,
            )
            found = {row["id"]: row["document"] for row in rows}
            self._documents.update({(kind, tenant, one): found.get(one) for one in ids})
        return self._documents[name]

    def _forget(self) -> None:
        """What was read may have been written by a work that is not kept, or under a lock that is given back."""
        self._ahead, self._entities, self._documents = {}, {}, {}
