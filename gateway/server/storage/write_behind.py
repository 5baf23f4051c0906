"""Moves what the log has into the tables, in small slices, and then shortens the log."""

from __future__ import annotations

import sqlite3
import time
from bisect import bisect_right
from collections.abc import Sequence
from itertools import islice

import orjson

from gateway.server.storage import changes as ch
from gateway.server.storage import chunks
from gateway.server.storage.changes import Change, Row, Rows, Series
from gateway.server.storage.history import FIRST, History
from gateway.server.storage.queues import put_name, put_tenant
from gateway.server.storage.state import Pending, State, Subject, Version

SLICE_SECONDS = 0.010
SLICE_SUBJECTS = 64
COMPACT_CHANGES = 2_000  # of one subject: then they go into chunks


class WriteBehind:
    """Works in the writer thread, on its connection, in a transaction of its own."""

    def __init__(self, connection: sqlite3.Connection, state: State) -> None:
        self._sql = connection
        self._state = state
        self._history = History(connection)
        self.forget()

    def forget(self) -> None:
        """After a rollback: keys may not be there."""
        self._tenants: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._stored: dict[int, tuple[list[str], bool]] = {}

    def slice(self, seq: int, seconds: float = SLICE_SECONDS) -> list[tuple[Subject, Version | None, list[Pending]]]:
        """Move the oldest; what was moved, for ``done`` after the commit."""
        deadline = time.monotonic() + seconds
        waiting = iter(list(islice(self._state.dirty, 4096)))
        moved: list[tuple[Subject, Version | None, list[Pending]]] = []
        while part := list(islice(waiting, SLICE_SUBJECTS)):
            moved += self._move(part)
            if time.monotonic() > deadline:
                break
        gone = {one[0] for one in moved}
        first = next((since for subject, since in self._state.dirty.items() if subject not in gone), seq)
        self._sql.execute("DELETE FROM log WHERE seq < ?", (first,))
        return moved

    def done(self, seq: int, moved: Sequence[tuple[Subject, Version | None, list[Pending]]]) -> None:
        """The commit has succeeded."""
        for subject, head, pending in moved:
            del self._state.dirty[subject]
            for one in pending:
                one.moved = seq
            if head is not None:
                self._state.cache(seq, head)
        self._state.later(seq, [one[0] for one in moved])

    def _move(self, subjects: Sequence[Subject]) -> list[tuple[Subject, Version | None, list[Pending]]]:
        documents: list[tuple[int, int, int | None, bytes | None]] = []
        recent: list[tuple[int, int, bytes, int]] = []
        moved: list[tuple[Subject, Version | None, list[Pending]]] = []
        for subject in subjects:
            head, pending = subject.head, [one for one in subject.pending if not one.moved]
            moved.append((subject, head, pending))
            if head is None or head.types is None:
                self._delete(subject)
                continue
            seq = max([head.seq, *(one.seq for one in pending)])
            self._put_subject(subject, head)
            if head.live and head.document is None:
                self._sql.execute("UPDATE current SET seq = ? WHERE subject = ?", (seq, subject.key))
            else:
                documents.append((subject.key, seq, head.expires_us, head.document))
            fresh = [change for one in pending for change in one.changes]
            trimmed = any(one[0] == ch.TRIM for one in fresh)
            if fresh and not trimmed and subject.recent + len(fresh) < COMPACT_CHANGES:
                first_us = min(FIRST if one[0] == ch.DROP else one[3] for one in fresh)
                recent.append((subject.key, len(fresh), ch.encode(fresh), first_us))
                subject.recent += len(fresh)
            elif fresh:
                self._compact(subject, fresh)
        self._sql.executemany(
            "INSERT OR REPLACE INTO current (subject, seq, expires_us, document) VALUES (?, ?, ?, ?)", documents
        )
        self._sql.executemany("INSERT INTO recent (subject, size, body, first_us) VALUES (?, ?, ?, ?)", recent)
        return moved

    def _put_subject(self, subject: Subject, head: Version) -> None:
        types = head.types or []
        if self._stored.get(subject.key) == (types, head.live):
            return
        tenant = self._tenants.get(subject.tenant)
        if tenant is None:
            tenant = self._tenants[subject.tenant] = put_tenant(self._sql, subject.tenant)
        self._sql.execute(
            "INSERT INTO subject (key, tenant, id, types, live) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET types = excluded.types, live = excluded.live",
            (subject.key, tenant, subject.id, orjson.dumps(types).decode(), head.live),
        )
        if len(self._stored) > 200_000:
            self._stored.clear()
        self._stored[subject.key] = (types, head.live)

    def _delete(self, subject: Subject) -> None:
        for table, column in (("subject", "key"), ("current", "subject"), ("recent", "subject"), ("chunk", "subject")):
            self._sql.execute(f"DELETE FROM {table} WHERE {column} = ?", (subject.key,))  # noqa: S608
        self._stored.pop(subject.key, None)
        subject.recent = 0

    # chunks

    def _compact(self, subject: Subject, fresh: Sequence[Change]) -> None:
        """All changes of a subject into its chunks."""
        changes = self._history.changes(subject.key, fresh)
        known = dict.fromkeys(self._history.stored_series(subject.key))
        known.update(dict.fromkeys((one[1], one[2]) for one in changes if one[0] not in ch.TAKE_AWAY))
        for series in known:
            mine = [one for one in changes if ch.names(one, series)]
            if mine:
                self._merge(subject.key, series, mine)
        self._sql.execute("DELETE FROM recent WHERE subject = ?", (subject.key,))
        subject.recent = 0

    def _merge(self, subject: int, series: Series, changes: Sequence[Change]) -> None:
        place = (subject, self._name(series[0]), self._name(series[1]))
        trims = [one[3] for one in changes if one[0] == ch.TRIM]
        if trims:  # without opening them
            self._sql.execute(
                "DELETE FROM chunk WHERE subject = ? AND attribute = ? AND dataset = ? AND last_us < ?",
                (*place, max(trims)),
            )
        index: list[tuple[int, int, int]] = self._sql.execute(
            "SELECT key, first_us, size FROM chunk WHERE subject = ? AND attribute = ? AND dataset = ? "
            "ORDER BY first_us",
            place,
        ).fetchall()
        if any(one[0] == ch.DROP for one in changes) or not index:
            touched = [(index, list(changes))] if index else [([], list(changes))]
        else:
            touched = [([part], mine) for part, mine in _by_chunk(index, changes)]
        for parts, mine in touched:
            rows: Rows = {}
            for key, _, _ in parts:
                body = self._sql.execute("SELECT body FROM chunk WHERE key = ?", (key,)).fetchone()[0]
                rows.update({(row[0], row[1]): row for row in chunks.decode(body)})
                self._sql.execute("DELETE FROM chunk WHERE key = ?", (key,))
            ch.apply(rows, mine, series)
            self._insert(place, sorted(rows.values()))

    def _insert(self, place: tuple[int, int, int], rows: Sequence[Row]) -> None:
        self._sql.executemany(
            "INSERT INTO chunk (subject, attribute, dataset, first_us, last_us, size, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(*place, part[0][0], part[-1][0], len(part), chunks.encode(part)) for part in chunks.split(rows)],
        )

    def _name(self, iri: str) -> int:
        key = self._names.get(iri)
        if key is None:
            key = self._names[iri] = put_name(self._sql, iri)
        return key


def _by_chunk(
    index: Sequence[tuple[int, int, int]], changes: Sequence[Change]
) -> list[tuple[tuple[int, int, int], list[Change]]]:
    """Each change with the chunk whose time it belongs to, what is before the first one with the first one."""
    borders = [FIRST, *(first for _, first, _ in index[1:])]
    found: dict[int, list[Change]] = {}
    for change in changes:
        found.setdefault(bisect_right(borders, change[3]) - 1, []).append(change)
        if change[0] == ch.TRIM and change not in found.setdefault(0, []):
            found[0].append(change)  # what is too old and comes late goes there
    return [(index[place], mine) for place, mine in found.items()]
