"""The SQL: Reader and Writer over one connection of SQLite. Not thread-safe: one thread at a time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gateway.model import Range
from gateway.server.storage.base import Selection, Subject
from gateway.server.storage.documents import Documents
from gateway.server.storage.samples import Samples

DEFAULT_DATASET = 0
CACHE_MAX = 100_000  # keys remembered of each kind, about 15 MB together at worst


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


class _Subject(NamedTuple):
    """What has or had an entity id; ``live``: there is a current state."""

    key: int
    types: list[str]
    live: bool


class Tables(Samples, Documents):
    """All statements. The caches hold keys of committed and own rows: call ``forget`` after a rollback."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection
        self._names: dict[str, int] = {}
        self._tenants: dict[str, int] = {}
        self._subjects: dict[tuple[str, str], _Subject] = {}
        self._series: dict[tuple[int, str, str], int] = {}

    def forget(self) -> None:
        """Drop all remembered keys."""
        for cache in (self._names, self._tenants, self._subjects, self._series):
            cache.clear()

    def forget_surplus(self) -> None:
        """Keep the caches within their bound."""
        for cache in (self._names, self._tenants, self._subjects, self._series):
            if len(cache) > CACHE_MAX:
                cache.clear()

    # reading

    def tenants(self) -> list[str]:
        """Every tenant."""
        return [name for (name,) in self._sql.execute("SELECT name FROM tenant ORDER BY key")]

    def entity(self, tenant: str, entity_id: str) -> bytes | None:
        """The document of an entity."""
        found = self._find_subject(tenant, entity_id)
        if found is None or not found.live:
            return None
        document: bytes = self._sql.execute("SELECT document FROM entity WHERE subject = ?", (found.key,)).fetchone()[0]
        return document

    def entities(self, tenant: str, selection: Selection, limit: int | None = None, offset: int = 0) -> Iterator[bytes]:
        """Documents in the order of creation."""
        source, parameters = self._selected(tenant, selection)
        rows = self._sql.execute(
            f"SELECT document FROM entity WHERE subject IN ({source}) ORDER BY subject LIMIT ? OFFSET ?",  # noqa: S608
            (*parameters, -1 if limit is None else limit, offset),
        )
        return (document for (document,) in rows)

    def count(self, tenant: str, selection: Selection) -> int:
        """How many entities the selection has."""
        source, parameters = self._selected(tenant, selection)
        row = self._sql.execute(
            f"SELECT count(*) FROM entity WHERE subject IN ({source})",  # noqa: S608
            parameters,
        ).fetchone()
        return int(row[0])

    def expired(self, now_us: int, limit: int) -> list[tuple[str, str]]:
        """(tenant, id) of what has expired."""
        return self._sql.execute(
            "SELECT name, id FROM entity JOIN subject ON subject.key = entity.subject "
            "JOIN tenant ON tenant.key = subject.tenant WHERE expires_us <= ? LIMIT ?",
            (now_us, limit),
        ).fetchall()

    def subject(self, tenant: str, entity_id: str) -> Subject | None:
        """What is known."""
        found = self._find_subject(tenant, entity_id)
        return None if found is None else Subject(entity_id, found.types, found.live)

    def subjects(self, tenant: str, selection: Selection) -> Iterator[Subject]:
        """All that exist or left history."""
        wanted, ids = frozenset(selection.types), frozenset(selection.ids)
        rows = self._sql.execute(
            "SELECT id, types, entity.subject IS NOT NULL FROM subject LEFT JOIN entity ON entity.subject = key "
            "WHERE tenant = (SELECT key FROM tenant WHERE name = ?) ORDER BY key",
            (tenant,),
        )
        for subject_id, encoded, live in rows:
            types = json.loads(encoded)
            if (not wanted or wanted & set(types)) and (not ids or subject_id in ids):
                yield Subject(subject_id, types, bool(live))

    def types(self, tenant: str) -> list[str]:
        """Type IRIs in use."""
        rows = self._sql.execute(
            "SELECT DISTINCT iri FROM entity_type JOIN name ON name.key = entity_type.type "
            "WHERE tenant = (SELECT key FROM tenant WHERE name = ?) ORDER BY iri",
            (tenant,),
        )
        return [iri for (iri,) in rows]

    def received(self, gateway: str, stream: str) -> list[Range]:
        """What is here of a stream."""
        row = self._sql.execute("SELECT ranges FROM stream WHERE gateway = ? AND id = ?", (gateway, stream)).fetchone()
        return [] if row is None else _ranges(row[0])

    def streams(self, gateway: str) -> list[tuple[str, list[Range]]]:
        """All streams of a gateway."""
        rows = self._sql.execute("SELECT id, ranges FROM stream WHERE gateway = ? ORDER BY used_us", (gateway,))
        return [(stream, _ranges(document)) for stream, document in rows]

    def profiles(self, gateway: str, digest: str) -> bytes | None:
        """The document of that hash."""
        row = self._sql.execute(
            "SELECT document FROM profiles WHERE gateway = ? AND hash = ?", (gateway, digest)
        ).fetchone()
        return None if row is None else bytes(row[0])

    # writing

    def put_entity(
        self, tenant: str, entity_id: str, types: Sequence[str], document: bytes, expires_us: int | None = None
    ) -> None:
        """Insert or replace an entity with its types."""
        found = self._find_subject(tenant, entity_id)
        if found is None or not found.live or found.types != types:
            found = self._put_subject(tenant, entity_id, found, list(types))
        self._sql.execute(
            "INSERT OR REPLACE INTO entity (subject, document, expires_us) VALUES (?, ?, ?)",
            (found.key, document, expires_us),
        )

    def put_subject(self, tenant: str, entity_id: str, types: Sequence[str]) -> None:
        """Something of which there is history only."""
        found = self._find_subject(tenant, entity_id)
        known = [] if found is None else found.types
        added = [*known, *(iri for iri in types if iri not in known)]
        if found is None or added != known:
            self._put_subject(tenant, entity_id, found, added, live=found is not None and found.live)

    def delete_entity(self, tenant: str, entity_id: str) -> bool:
        """Delete the current state."""
        found = self._find_subject(tenant, entity_id)
        if found is None or not found.live:
            return False
        self._put_types(self._tenant(tenant), found.key, found.types, [])
        self._sql.execute("DELETE FROM entity WHERE subject = ?", (found.key,))
        self._subjects[tenant, entity_id] = found._replace(live=False)
        if not self._has_history(tenant, entity_id):
            self._drop_subject(tenant, entity_id)
        return True

    def put_received(self, gateway: str, stream: str, ranges: Sequence[Range], used_us: int, keep: int) -> None:
        """Insert or replace the ranges of a stream."""
        document = json.dumps([(one.first, one.last) for one in ranges], separators=(",", ":")).encode("ascii")
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

    # keys

    def _selected(self, tenant: str, selection: Selection) -> tuple[str, tuple[object, ...]]:
        owner = "(SELECT key FROM tenant WHERE name = ?)"
        parts: list[str] = []
        parameters: list[object] = []
        if selection.types:
            names = f"(SELECT key FROM name WHERE iri IN ({_marks(selection.types)}))"  # noqa: S608
            parts.append(f"SELECT subject FROM entity_type WHERE tenant = {owner} AND type IN {names}")  # noqa: S608
            parameters += [tenant, *selection.types]
        if selection.ids or not selection.types:
            ids = f"AND id IN ({_marks(selection.ids)})" if selection.ids else ""
            parts.append(f"SELECT key FROM subject WHERE tenant = {owner} {ids}")  # noqa: S608
            parameters += [tenant, *selection.ids]
        return " INTERSECT ".join(parts), tuple(parameters)

    def _insert(self, statement: str, parameters: tuple[object, ...]) -> int:
        key = self._sql.execute(statement, parameters).lastrowid
        return int(key or 0)

    def _tenant(self, tenant: str) -> int:
        key = self._tenants.get(tenant)
        if key is None:
            row = self._sql.execute("SELECT key FROM tenant WHERE name = ?", (tenant,)).fetchone()
            key = row[0] if row else self._insert("INSERT INTO tenant (name) VALUES (?)", (tenant,))
            self._tenants[tenant] = key
        return key

    def _name(self, iri: str) -> int:
        key = self._names.get(iri)
        if key is None:
            row = self._sql.execute("SELECT key FROM name WHERE iri = ?", (iri,)).fetchone()
            key = row[0] if row else self._insert("INSERT INTO name (iri) VALUES (?)", (iri,))
            self._names[iri] = key
        return key

    def _find_subject(self, tenant: str, entity_id: str) -> _Subject | None:
        known = self._subjects.get((tenant, entity_id))
        if known is not None:
            return known
        row = self._sql.execute(
            "SELECT key, types, entity.subject IS NOT NULL FROM subject LEFT JOIN entity ON entity.subject = key "
            "WHERE id = ? AND tenant = (SELECT key FROM tenant WHERE name = ?)",
            (entity_id, tenant),
        ).fetchone()
        if row is None:
            return None
        found = _Subject(row[0], json.loads(row[1]), bool(row[2]))
        self._subjects[tenant, entity_id] = found
        return found

    def _put_subject(
        self, tenant: str, entity_id: str, found: _Subject | None, types: list[str], *, live: bool = True
    ) -> _Subject:
        owner, encoded = self._tenant(tenant), json.dumps(types)
        if found is None:
            key = self._insert("INSERT INTO subject (tenant, id, types) VALUES (?, ?, ?)", (owner, entity_id, encoded))
        else:
            key = found.key
            self._sql.execute("UPDATE subject SET types = ? WHERE key = ?", (encoded, key))
        if live:
            self._put_types(owner, key, found.types if found is not None and found.live else [], types)
        made = _Subject(key, types, live=live)
        self._subjects[tenant, entity_id] = made
        return made

    def _put_types(self, owner: int, subject: int, before: Sequence[str], after: Sequence[str]) -> None:
        for iri in set(before) - set(after):
            self._sql.execute(
                "DELETE FROM entity_type WHERE tenant = ? AND type = ? AND subject = ?",
                (owner, self._name(iri), subject),
            )
        for iri in after:
            self._sql.execute(
                "INSERT OR IGNORE INTO entity_type (tenant, type, subject) VALUES (?, ?, ?)",
                (owner, self._name(iri), subject),
            )

    def _drop_subject(self, tenant: str, entity_id: str) -> None:
        """What has neither a state nor history. Its series go with it."""
        found = self._subjects.pop((tenant, entity_id), None) or self._find_subject(tenant, entity_id)
        if found is not None:
            self._sql.execute("DELETE FROM series WHERE subject = ?", (found.key,))
            self._sql.execute("DELETE FROM subject WHERE key = ?", (found.key,))
            self._series.clear()
            self._subjects.pop((tenant, entity_id), None)

    def _series_key(self, subject: int, attribute: str, dataset: str) -> int:
        key = self._series.get((subject, attribute, dataset))
        if key is None:
            parts = (subject, self._name(attribute), self._name(dataset) if dataset else DEFAULT_DATASET)
            row = self._sql.execute(
                "SELECT key FROM series WHERE subject = ? AND attribute = ? AND dataset = ?", parts
            ).fetchone()
            key = (
                row[0]
                if row
                else self._insert("INSERT INTO series (subject, attribute, dataset) VALUES (?, ?, ?)", parts)
            )
            self._series[subject, attribute, dataset] = key
        return key


def _ranges(document: bytes) -> list[Range]:
    return [Range(first, last) for first, last in json.loads(document)]
