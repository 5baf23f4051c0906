"""Readers of one database: the sessions that its reader threads share. And those of a replica, which may be behind."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from typing import TypeVar

from gateway.server.outcome import Outcome
from gateway.server.storage.base import Reader
from gateway.server.storage.postgres.reader import PostgresReader
from gateway.server.storage.postgres.session import BUSY, FAILURES, Database, Session, is_away, translate

log = logging.getLogger(__name__)
T = TypeVar("T")
READ_SECONDS_MAX = 10.0
REPLICA_AGAIN_S = 10.0  # until one that did not answer is asked again
WRITTEN = "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"
REPLAYED = "SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint"


class Readers:
    """See the module. Called from several threads."""

    def __init__(self, database: Database, patience_s: float | None = None) -> None:
        self._database = database
        self._patience = {} if patience_s is None else {"patience_s": patience_s}
        self._idle: queue.SimpleQueue[Session] = queue.SimpleQueue()

    def run(self, work: Callable[[Reader], T], ready: Callable[[Session], None] | None = None) -> T:
        """Run work in a transaction of one state, after ``ready`` let it. Raises what they do, and FAILURES."""
        try:
            session = self._idle.get_nowait()
        except queue.Empty:
            session = Session(self._database, READ_SECONDS_MAX, **self._patience)
        done = False
        try:
            if ready is not None:
                ready(session)
            session.begin("ISOLATION LEVEL REPEATABLE READ READ ONLY")
            found = work(PostgresReader(session))
            session.execute("ROLLBACK")
            done = True
            return found
        finally:
            if not done:
                session.close()  # its transaction ends with it
            self._idle.put(session)

    def end(self) -> None:
        """No thread reads any more."""
        while not self._idle.empty():
            self._idle.get().end()


class NotNowError(Exception):
    """The replica does not have what must be seen, or does not answer."""


class Replica:
    """A hot standby. A read sees all that this server has written and all that was there seconds before, or is refused.

    Places in the write-ahead log only grow. ``must_have`` and ``run`` are called from several threads.
    """

    def __init__(self, database: Database) -> None:
        self._readers = Readers(database, patience_s=0.0)
        self._needed: int | None = None  # None: not known
        self._has = 0
        self._again_at = 0.0

    def must_have(self, written: int | None) -> None:
        """What was written up to this place of the log must be seen from now on; None: nobody knows how far it is."""
        self._needed = written if written is None or self._needed is None else max(self._needed, written)

    def run(self, work: Callable[[Reader], T]) -> T:
        """Run work there. Raises NotNowError, and what the work does."""
        needed = self._needed
        if needed is None or time.monotonic() < self._again_at:
            raise NotNowError
        try:
            return self._readers.run(work, lambda session: self._check(session, needed))
        except FAILURES as error:
            if is_away(error):
                self._again_at = time.monotonic() + REPLICA_AGAIN_S
                log.warning("the replica of the database does not answer: %s", error or type(error).__name__)
            elif getattr(error, "sqlstate", None) not in BUSY:  # busy: what it replays is in the way of what is read
                raise
            raise NotNowError from error

    def _check(self, session: Session, needed: int) -> None:
        """In a transaction of its own: the state that is read afterwards has this at least."""
        if self._has < needed:
            session.begin()
            self._has = max(self._has, session.value(REPLAYED) or 0)
            session.execute("COMMIT")
        if self._has < needed:
            raise NotNowError

    def end(self) -> None:
        """No thread reads any more."""
        self._readers.end()


def read(work: Callable[[Reader], T], readers: Readers, replica: Replica | None) -> T:
    """Run work at the replica if it can, else at the database itself. Raises what a client may see."""
    with Outcome(translate) as outcome:
        try:
            outcome.value = readers.run(work) if replica is None else replica.run(work)
        except NotNowError:
            outcome.value = readers.run(work)
    if outcome.error is not None:
        raise outcome.error
    found: T = outcome.value
    return found
