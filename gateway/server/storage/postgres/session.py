"""One connection to PostgreSQL for one thread: its calls block that thread, on an event loop of its own.

Works read and write step by step, while the driver is asynchronous; the only synchronous ones are LGPL or slow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from gateway.server.errors import Problem, ServerError, StorageFailed, StorageFull, TooComplexQuery

T = TypeVar("T")
CONNECT_S = 10.0
FULL = ("53100", "53200", "53300")  # disk full, out of memory, too many connections
CANCELED = "57014"


@dataclass(frozen=True, slots=True)
class Database:
    """Where it is. ``url`` has no password in it, so that it may be shown."""

    url: str
    password: str | None = field(default=None, repr=False)

    async def connect(self, statement_s: float = 0.0) -> asyncpg.Connection[Any]:
        """A connection; ``statement_s`` bounds each statement (0: not). Raises OSError, PostgresError."""
        settings = {"application_name": "lamppost", "statement_timeout": str(int(statement_s * 1000))}
        return await asyncpg.connect(
            self.url, password=self.password, timeout=CONNECT_S, server_settings=settings, statement_cache_size=256
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

    def __init__(self, database: Database, statement_s: float = 0.0) -> None:
        self._loop = asyncio.new_event_loop()
        self._database = database
        self._statement_s = statement_s
        self._connection: asyncpg.Connection[Any] | None = None

    def open(self) -> None:
        """Connect, where that is not so. Raises OSError, PostgresError."""
        if self._connection is None or self._connection.is_closed():
            self._connection = self._run(self._database.connect(self._statement_s))

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


def translate(error: Exception) -> Exception:
    """What a user may see of an error of the driver; other errors stay what they are."""
    if isinstance(error, Problem) or not isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | OSError):
        return error
    code = getattr(error, "sqlstate", None) or ""
    if code == CANCELED:
        return TooComplexQuery("the query took too long for the database")
    if code in FULL:
        return StorageFull(f"the database has no room: {error}")
    return StorageFailed(f"PostgreSQL: {error or type(error).__name__}", fix="Send it again; see the database's log.")


def unusable(database: Database, error: Exception) -> ServerError:
    """At the start."""
    return ServerError(
        f"the database {database.url} cannot be used: {error or type(error).__name__}",
        code="server.database-unusable",
        fix="Check that PostgreSQL runs, and the address, user, password and rights in server.database.",
    )
