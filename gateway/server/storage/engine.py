"""The writer's side of the file: loading, commits, write-behind. One thread."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson
import zstandard

from gateway.server.errors import StorageFailed, StorageFull
from gateway.server.outcome import Outcome
from gateway.server.storage import log, opening, zstd
from gateway.server.storage.changes import Change
from gateway.server.storage.draft import Draft, Edit, Name
from gateway.server.storage.indexes import Indexes
from gateway.server.storage.opening import damaged, translate
from gateway.server.storage.state import State, Subject, Version
from gateway.server.storage.write_behind import SLICE_SECONDS, WriteBehind

logger = logging.getLogger(__name__)
LAG_SECONDS = 5.0  # so long a change may be only in the log: what changes again in that time is moved once
LAG_BYTES = 128 * 2**20  # of the log before it is compressed: so much is held in memory, once more as objects
LONGER_MAX = 8.0  # times a slice, where the log is so many times as long as wanted: new entities cost most to move
RETRY_SECONDS = 5.0
Work = Callable[[Draft], Any]


class Readers:
    """Which commits readers look at."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._lock = threading.Condition()
        self._active: dict[int, int] = {}
        self._next = 0

    def enter(self) -> int:
        """A reader begins; what it may see stays until ``leave``."""
        with self._lock:
            self._next += 1
            self._active[self._next] = self._state.seq
            return self._next

    def publish(self, seq: int) -> None:
        """What commit ``seq`` made may be seen."""
        with self._lock:
            self._state.seq = seq
            self._lock.notify_all()

    def wait_for(self, seq: int) -> None:
        """Until a commit that is in the file is in memory too: microseconds."""
        with self._lock:
            self._lock.wait_for(lambda: self._state.seq >= seq)

    def leave(self, reader: int) -> None:
        """A reader ends."""
        with self._lock:
            del self._active[reader]

    def floor(self) -> int:
        """Nobody looks at what was before this commit."""
        with self._lock:
            return min(self._active.values(), default=self._state.seq)


class Engine:
    """One commit after the other."""

    def __init__(self, connection: sqlite3.Connection, path: Path, cache_bytes: int) -> None:
        self._sql = connection
        self._path = path
        self.state = State(cache_bytes)
        self.readers = Readers(self.state)
        self.indexes = Indexes()
        self.state.written = self.indexes.written
        self._behind = WriteBehind(connection, self.state)
        self._rows: deque[tuple[int, int, float]] = deque()  # of the log: seq, bytes, when
        self._log_bytes = 0
        self._not_before = 0.0

    # loading

    def load(self) -> None:
        """What is in the tables, then what the log has beyond them. Raises ServerError where a row is damaged."""
        state = self.state
        expires = dict(self._sql.execute("SELECT subject, expires_us FROM current WHERE expires_us IS NOT NULL"))
        rows = self._sql.execute(
            "SELECT subject.key, name, id, types, live FROM subject JOIN tenant ON tenant.key = tenant "
            "ORDER BY subject.key"
        )
        by_key: dict[int, Subject] = {}
        for key, tenant, subject_id, types, live in rows:
            head = Version(0, state.same_types(orjson.loads(types)), bool(live), None, expires.get(key))
            by_key[key] = Subject(tenant, subject_id, key, head)
            state.load(by_key[key])
        for key, size in self._sql.execute("SELECT subject, sum(size) FROM recent GROUP BY subject"):
            by_key[key].recent = size
        state.seq, state.next_subject, state.next_sample = self._sql.execute(
            "SELECT seq, next_subject, next_sample FROM state"
        ).fetchone()
        try:
            self._replay()
        except (zstandard.ZstdError, msgspec.MsgspecError) as error:
            raise damaged(self._path, f"a row of the log cannot be read: {error}") from error

    def _replay(self) -> None:
        stored: dict[int, int] = {}
        for seq, body in self._sql.execute("SELECT seq, body FROM log ORDER BY seq").fetchall():
            self._note_row(seq, zstd.plain_size(body))
            for tenant, subject_id, key, types, document, expires_us, new_state, changes in log.decode(body):
                subject = self.state.subject(tenant, subject_id)
                if subject is None:
                    if types is None:
                        continue
                    subject = Subject(tenant, subject_id, key)
                if subject.key not in stored:
                    row = self._sql.execute("SELECT seq FROM current WHERE subject = ?", (subject.key,)).fetchone()
                    stored[subject.key] = row[0] if row else 0
                if seq <= stored[subject.key]:
                    continue
                version = None
                if new_state:
                    same = None if types is None else self.state.same_types(types)
                    version = Version(seq, same, document is not None, document, expires_us)
                self.state.publish(seq, subject, version, changes)
            self.state.later(seq, list(self.state.dirty))
            self.state.settle(seq)

    # commits

    def commit(self, works: Sequence[Work]) -> list[Outcome]:
        """Run the works; all that did not raise is on the disk when this returns."""
        draft = Draft(self._sql, self.state)
        with Outcome(translate) as group:
            self._sql.execute("BEGIN IMMEDIATE")
            outcomes = [_attempt(self._sql, draft, work) for work in works]
            seq = self.state.seq + 1
            records = list(_records(draft.edits()))
            if records:
                body = log.encode(records)
                self._sql.execute("INSERT INTO log (seq, body) VALUES (?, ?)", (seq, body))
                self._note_row(seq, zstd.plain_size(body))
            self._finish(seq)
            self._publish(seq, draft.edits())
            return outcomes
        draft.undo(all_of_it=True)
        if self._sql.in_transaction:
            self._sql.execute("ROLLBACK")
        return [group] * len(works)

    def _finish(self, seq: int) -> None:
        self._sql.execute(
            "UPDATE state SET seq = ?, next_subject = ?, next_sample = ?",
            (seq, self.state.next_subject, self.state.next_sample),
        )
        self._sql.execute("COMMIT")

    def _publish(self, seq: int, edits: dict[Name, Edit]) -> None:
        touched: list[Subject] = []
        for (tenant, subject_id), edit in edits.items():
            subject = self.state.subject(tenant, subject_id)
            if not (edit.new_state or edit.changes) or (subject is None and edit.entry is None):
                continue
            if subject is None:
                subject = Subject(tenant, subject_id, edit.key)
            version = None
            if edit.new_state:
                entry = edit.entry
                version = (
                    Version(seq, None, False, None, None)
                    if entry is None
                    else Version(seq, entry.types, entry.live, entry.document, entry.expires_us)
                )
            self.state.publish(seq, subject, version, edit.changes)
            touched.append(subject)
        self.readers.publish(seq)
        self.state.later(seq, touched)

    def _note_row(self, seq: int, size: int) -> None:
        self._rows.append((seq, size, time.monotonic()))
        self._log_bytes += size

    # behind

    def idle_seconds(self) -> float | None:
        """When there is something to do though nobody writes; None: nothing."""
        return 0.2 if self.state.dirty else None

    def behind(self, *, all_of_it: bool = False) -> None:
        """A slice, where it is time. Failing, it is tried again later: all is in the log."""
        with Outcome() as outcome:
            self._behind_a_slice(all_of_it=all_of_it)
        if outcome.error is not None:  # whatever it is, writing goes on
            self._not_before = time.monotonic() + RETRY_SECONDS
            logger.error("tidying up behind the log failed (tried again)", exc_info=outcome.error)

    def _behind_a_slice(self, *, all_of_it: bool) -> None:
        floor = self.readers.floor()
        self.state.settle(floor)
        self.state.shrink(floor)
        now = time.monotonic()
        if not self.state.dirty or (now < self._not_before and not all_of_it):
            return
        old = bool(self._rows) and now - self._rows[0][2] > LAG_SECONDS
        if not (all_of_it or old or self._log_bytes > LAG_BYTES):
            return
        longer = LONGER_MAX if all_of_it else min(max(1.0, self._log_bytes / LAG_BYTES), LONGER_MAX)
        self._slice(SLICE_SECONDS * longer)

    def finish(self) -> None:
        """Everything into the tables, as far as the disk allows; then close."""
        while self.state.dirty:
            before = len(self.state.dirty)
            self.behind(all_of_it=True)
            if len(self.state.dirty) == before:
                break
        self._sql.close()

    def _slice(self, seconds: float) -> None:
        seq = self.state.seq + 1
        with Outcome() as outcome:
            self._sql.execute("PRAGMA synchronous = NORMAL")  # the next commit of a write syncs this too
            self._sql.execute("BEGIN IMMEDIATE")
            moved = self._behind.slice(seq, seconds)
            self._finish(seq)
            self._behind.done(seq, moved)
            self.readers.publish(seq)
            first = next(iter(self.state.dirty.values()), seq)
            while self._rows and self._rows[0][0] < first:
                self._log_bytes -= self._rows.popleft()[1]
        if outcome.error is not None:
            if self._sql.in_transaction:
                self._sql.execute("ROLLBACK")
            self._behind.forget()
            self._not_before = time.monotonic() + RETRY_SECONDS
            logger.warning("moving from the log to the tables failed (tried again): %s", outcome.error)
        self._sql.execute(f"PRAGMA synchronous = {opening.SYNCHRONOUS}")


def _attempt(connection: sqlite3.Connection, draft: Draft, work: Work) -> Outcome:
    """One work inside the transaction of its group. A failing disk ends the group: it is raised, not kept."""
    connection.execute("SAVEPOINT job")
    draft.begin()
    with Outcome(translate) as outcome:
        outcome.value = work(draft)
    if isinstance(outcome.error, StorageFailed | StorageFull):
        raise outcome.error
    if outcome.error is not None:
        connection.execute("ROLLBACK TO job")
        draft.undo()
        draft.begin()
    else:
        draft.keep()
    connection.execute("RELEASE job")
    return outcome


_Record = tuple[str, str, int, object, bytes | None, int | None, bool, Sequence[Change]]


def _records(edits: dict[Name, Edit]) -> list[_Record]:
    found: list[_Record] = []
    for (tenant, subject_id), edit in edits.items():
        entry = edit.entry
        if not (edit.new_state or edit.changes):
            continue
        types, document, expires_us = None, None, None
        if entry is not None:
            types, document, expires_us = entry.types, entry.document, entry.expires_us
        if not edit.new_state:
            document = None
        found.append((tenant, subject_id, edit.key, types, document, expires_us, edit.new_state, edit.changes))
    return found
