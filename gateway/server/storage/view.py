"""The Reader: one commit's state, from memory and from the tables as they were then."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import NamedTuple

import orjson

from gateway.model import Range
from gateway.server.errors import TooComplexQuery
from gateway.server.storage import indexes, state
from gateway.server.storage.base import Area, Numbers, Sample, Selection, Span, Subject, Term
from gateway.server.storage.changes import Change
from gateway.server.storage.documents import Documents
from gateway.server.storage.history import History
from gateway.server.storage.indexes import Indexes
from gateway.server.storage.opening import READ_SECONDS_MAX
from gateway.server.storage.state import State

FETCH = 200  # documents read from the disk at once


BY_KEY = attrgetter("key")


class Entry(NamedTuple):
    """A subject as a reader sees it. ``document`` None of a live one: it is on the disk."""

    id: str
    key: int
    types: list[str]
    live: bool
    document: bytes | None
    expires_us: int | None


class View(Documents):
    """See ``base.Reader``. ``seq``: the commit that it sees; the connection must be in a transaction of that state."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        state: State,
        seq: int,
        deadline: float = float("inf"),
        columns: Indexes | None = None,
    ) -> None:
        super().__init__(connection)
        self._state = state
        self._seq = seq
        self._deadline = deadline
        self._indexes = columns
        self._history = History(connection)

    # what a Writer adds to

    def _find(self, tenant: str, entity_id: str) -> Entry | None:
        subject = self._state.subject(tenant, entity_id)
        version = None if subject is None else subject.at(self._seq)
        if subject is None or version is None:
            return None
        return Entry(entity_id, subject.key, version.types or [], version.live, version.document, version.expires_us)

    def _changes(self, tenant: str, entity_id: str) -> list[Change]:
        """Of history, not in the tables."""
        subject = self._state.subject(tenant, entity_id)
        return [] if subject is None else subject.changes(self._seq)

    def _entries(self, tenant: str, selection: Selection, skip: int = 0) -> Iterator[Entry]:
        """Of the types and ids, in the order of creation, without the first ``skip`` that live."""
        if tenant not in self._state.tenants:
            return
        seq, wanted = self._seq, frozenset(selection.types)
        for subject in self._subjects(tenant, selection):
            version = subject.at(seq)
            if version is None or (wanted and wanted.isdisjoint(version.types or ())):
                continue
            if skip and version.live:
                skip -= 1
                continue
            yield Entry(
                subject.id, subject.key, version.types or [], version.live, version.document, version.expires_us
            )

    def _subjects(self, tenant: str, selection: Selection) -> Iterable[state.Subject]:
        """All that may be meant, in the order of creation."""
        directory = self._state.tenants[tenant]
        if selection.ids:
            found = [directory.by_id[one] for one in set(selection.ids) if one in directory.by_id]
            return sorted(found, key=BY_KEY)
        hinted = self._hinted(tenant, selection)
        if hinted is not None:
            return sorted(hinted, key=BY_KEY)
        if len(selection.types) == 1:
            members = directory.by_type.get(selection.types[0])
            return members.list if members is not None else ()
        return directory.all.list

    def _hinted(self, tenant: str, selection: Selection) -> set[state.Subject] | None:
        """By terms and areas, where an index helps."""
        everybody = self._state.tenants[tenant].all
        hints: list[Term | Area] = [*selection.terms, *selection.areas]
        if not hints or self._indexes is None or len(everybody.list) < indexes.SUBJECTS_MIN:
            return None
        return self._indexes.hits(tenant, hints, self._seq, everybody, lambda: self._documents(tenant))

    def _documents(self, tenant: str) -> Iterator[tuple[state.Subject, bytes]]:
        """Every entity of a tenant."""
        by_id = self._state.tenants[tenant].by_id
        live = (one for one in self._entries(tenant, Selection()) if one.live)
        while part := list(islice(live, FETCH)):
            loaded = self._load([one.key for one in part if one.document is None])
            for one in part:
                yield by_id[one.id], one.document if one.document is not None else loaded[one.key]

    # entities

    def tenants(self) -> list[str]:
        """Every tenant."""
        return [name for (name,) in self._sql.execute("SELECT name FROM tenant ORDER BY key")]

    def entity(self, tenant: str, entity_id: str) -> bytes | None:
        """The document of an entity."""
        found = self._find(tenant, entity_id)
        if found is None or not found.live:
            return None
        return found.document if found.document is not None else self._load([found.key])[found.key]

    def entities(self, tenant: str, selection: Selection, limit: int | None = None, offset: int = 0) -> Iterator[bytes]:
        """Documents in the order of creation."""
        live = (one for one in self._entries(tenant, selection, offset) if one.live)
        wanted = islice(live, limit)
        while part := list(islice(wanted, FETCH)):
            if time.monotonic() > self._deadline:
                raise TooComplexQuery(f"the query took more than {READ_SECONDS_MAX:.0f} s")
            loaded = self._load([one.key for one in part if one.document is None])
            for one in part:
                yield one.document if one.document is not None else loaded[one.key]

    def _load(self, keys: Sequence[int]) -> dict[int, bytes]:
        if not keys:
            return {}
        marks = ",".join("?" * len(keys))
        rows = self._sql.execute(f"SELECT subject, document FROM current WHERE subject IN ({marks})", keys)  # noqa: S608
        return dict(rows.fetchall())

    def count(self, tenant: str, selection: Selection) -> int:
        """How many entities the selection has."""
        return sum(one.live for one in self._entries(tenant, selection))

    def types(self, tenant: str) -> list[str]:
        """Type IRIs in use."""
        directory = self._state.tenants.get(tenant)
        known = [] if directory is None else sorted(directory.by_type)
        return [iri for iri in known if any(one.live for one in self._entries(tenant, Selection(types=(iri,))))]

    def expired(self, now_us: int, limit: int) -> list[tuple[str, str]]:
        """(tenant, id) of what has expired."""
        due: list[tuple[int, str, str]] = []
        for subject in list(self._state.expiring):
            found = self._find(subject.tenant, subject.id)
            if found is not None and found.live and found.expires_us is not None and found.expires_us <= now_us:
                due.append((found.expires_us, subject.tenant, subject.id))
        return [(tenant, name) for _, tenant, name in sorted(due)[:limit]]

    def subject(self, tenant: str, entity_id: str) -> Subject | None:
        """What is known."""
        found = self._find(tenant, entity_id)
        return None if found is None else Subject(entity_id, list(found.types), found.live)

    def subjects(self, tenant: str, selection: Selection) -> Iterator[Subject]:
        """All that exist or left history."""
        return (Subject(one.id, list(one.types), one.live) for one in self._entries(tenant, selection))

    # history

    def history(self, tenant: str, entity_id: str, span: Span) -> list[Sample]:
        """Samples in the order of time."""
        found = self._find(tenant, entity_id)
        return [] if found is None else self._history.samples(found.key, self._changes(tenant, entity_id), span)

    def numbers(
        self, tenant: str, entity_id: str, attribute: str, dataset: str, since_us: int | None, until_us: int | None
    ) -> Numbers | None:
        """Columns of a series of plain numbers."""
        found = self._find(tenant, entity_id)
        key, changes = (0, []) if found is None else (found.key, self._changes(tenant, entity_id))
        return self._history.numbers(key, changes, (attribute, dataset), since_us, until_us)

    def sample(self, tenant: str, entity_id: str, attribute: str, number: int) -> Sample | None:
        """One sample."""
        span = Span((attribute,), limit=2**62, time_property="any")
        return next((one for one in self.history(tenant, entity_id, span) if one.number == number), None)

    def aged(self, before_us: int, limit: int) -> list[tuple[str, str]]:
        """Some with old samples in the tables."""
        return self._sql.execute(
            "SELECT name, id FROM (SELECT subject AS old FROM chunk WHERE first_us < ?1 "
            "UNION SELECT subject FROM recent WHERE first_us < ?1 LIMIT ?2) "
            "JOIN subject ON subject.key = old JOIN tenant ON tenant.key = subject.tenant",
            (before_us, limit),
        ).fetchall()

    # the compact protocol

    def received(self, gateway: str, stream: str) -> list[Range]:
        """What is here of a stream."""
        row = self._sql.execute("SELECT ranges FROM stream WHERE gateway = ? AND id = ?", (gateway, stream)).fetchone()
        return [] if row is None else _ranges(row[0])

    def gateways(self) -> list[str]:
        """Those of whom a stream was received."""
        return [gateway for (gateway,) in self._sql.execute("SELECT DISTINCT gateway FROM stream ORDER BY gateway")]

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


def _ranges(document: bytes) -> list[Range]:
    return [Range(first, last) for first, last in orjson.loads(document)]
