"""One connection to PostgreSQL for one thread: its calls block that thread, on an event loop of its own.

Works read and write step by step, while the driver is asynchronous; the only synchronous ones are LGPL or slow.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from gateway.server.errors import (
    Overloaded,
    Problem,
    ServerError,
    StorageAway,
    StorageFailed,
    StorageFull,
    TooComplexQuery,
)

T = TypeVar("T")
CONNECT_S = 10.0
AGAIN_S, BACK_OFF_S, BACK_OFF_S_MAX = 2.0, 0.05, 0.5  # how long a database that does not answer is tried
ANSWER_S = 60.0  # of one statement, over a connection that may be dead
LOCK_S, IDLE_S = 10, 60  # for a lock that another node holds; of a node that stands still within a transaction
FULL = ("53100", "53200")  # disk full, out of memory
BUSY = ("40001", "40P01", "53300", "55P03")  # serialization, deadlock, too many connections, lock not available
AWAY = ("57P01", "57P02", "57P03")  # shut down, crashed, starting; all of class 08 too
CANCELED = "57014"
FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Database:
    """Where it is. ``url`` has no password in it, so that it may be shown."""

    url: str
    password: str | None = field(default=None, repr=False)

    async def connect(self, statement_s: float = 0.0) -> asyncpg.Connection[Any]:
        """A connection; ``statement_s`` bounds each statement (0: not). Raises OSError, PostgresError."""
        settings = {
            "application_name": "lamppost",
            "statement_timeout": str(int(statement_s * 1000)),
            "lock_timeout": f"{LOCK_S}s",
            "idle_in_transaction_session_timeout": f"{IDLE_S}s",
        }
        return await asyncpg.connect(
            self.url,
            password=self.password,
            timeout=CONNECT_S,
            command_timeout=ANSWER_S,
            server_settings=settings,
            statement_cache_size=256,
        )


def database_of(url: str, password_file: Path | None) -> Database:
    """Raises ServerError where the password cannot be read."""
    if password_file is None:
        return Database(url)
    try:
        return Database(url, password_file.read_text(encoding="utf-8").strip())
    except (OSError, ValueError) as error:
        raise ServerError(
            f"the password file {password_file} cannot be read: {error}",
            code="server.database-unusable",
            fix="Check server.database_password_file and its permissions.",
        ) from error


class Session:
    """See the module. ``run`` of anything but this thread is an error of its caller."""

    def __init__(self, database: Database, statement_s: float = 0.0, patience_s: float = AGAIN_S) -> None:
        self._loop = asyncio.new_event_loop()
        self._patience_s = patience_s
        self._database = database
        self._statement_s = statement_s
        self._connection: asyncpg.Connection[Any] | None = None

    def begin(self, how: str = "") -> None:
        """Start a transaction; connect where that is not so, and again where the connection has died meanwhile.

        Raises OSError, PostgresError where the database does not answer for ``patience_s``.
        """
        deadline, wait_s = time.monotonic() + self._patience_s, BACK_OFF_S
        while True:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = self._run(self._database.connect(self._statement_s))
                self.execute(f"BEGIN {how}")
                return
            except FAILURES as error:
                self.close()
                if not is_away(error) or time.monotonic() + wait_s > deadline:
                    raise
            self._run(asyncio.sleep(wait_s * random.uniform(0.5, 1.0)))
            wait_s = min(2 * wait_s, BACK_OFF_S_MAX)

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
            self._run(asyncio.sleep(0))

    def end(self) -> None:
        """It is not used again."""
        self.close()
        self._loop.close()

    def execute(self, sql: str, *arguments: Any) -> str:
        """Run; returns the tag of the command, such as ``DELETE 3``."""
        return str(self._run(self._open.execute(sql, *arguments)))

    def rows(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """All rows."""
        return self._run(self._open.fetch(sql, *arguments))

    def row(self, sql: str, *arguments: Any) -> asyncpg.Record | None:
        """The first row."""
        return self._run(self._open.fetchrow(sql, *arguments))

    def value(self, sql: str, *arguments: Any) -> Any:
        """The first column of the first row."""
        return self._run(self._open.fetchval(sql, *arguments))

    @property
    def _open(self) -> asyncpg.Connection[Any]:
        if self._connection is None:
            raise asyncpg.InterfaceError("there is no connection")
        return self._connection

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)


def count_of(tag: str) -> int:
    """How many rows a command was about."""
    return int(tag.rsplit(" ", 1)[1])


def is_away(error: BaseException) -> bool:
    """Whether the database could not be reached, or went away: it may be back in a moment."""
    code = getattr(error, "sqlstate", None) or ""
    if isinstance(error, asyncpg.DataError):
        return False
    return isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError) or code in AWAY or code[:2] == "08"


def translate(error: Exception) -> Exception:
    """What a user may see of an error of the driver; other errors stay what they are."""
    if isinstance(error, Problem) or not isinstance(error, FAILURES):
        return error
    code = getattr(error, "sqlstate", None) or ""
    said = f"PostgreSQL: {error or type(error).__name__}"
    if is_away(error):
        return StorageAway(said)
    if code == CANCELED:
        return TooComplexQuery("the query took too long for the database")
    if code in BUSY:
        return Overloaded(said)
    if code in FULL:
        return StorageFull(f"the database has no room: {error}", fix="Free disk space where PostgreSQL has its data.")
    return StorageFailed(said, fix="Send it again; see the log of the database.")


def unusable(database: Database, error: Exception) -> ServerError:
    """At the start."""
    return ServerError(
        f"the database {database.url} cannot be used: {error or type(error).__name__}",
        code="server.database-unusable",
        fix="Check that PostgreSQL runs, and the address, user, password and rights in server.database.",
    )
