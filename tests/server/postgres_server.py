"""A PostgreSQL of the tests' own: made in a folder, on a Unix socket and a private port, durable, gone at the end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.server.storage.postgres.session import Database
from gateway.server.storage.postgres.storage import PostgresStorage

USER = "lamppost"
START_S = 60.0


def programs() -> Path | None:
    """The folder of Debian's newest PostgreSQL; None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return found[-1].parent if found else None


class Postgres:
    """One database server in a folder. It refuses to run as root: it is then run as nobody."""

    def __init__(self, folder: Path, primary: Postgres | None = None) -> None:
        """``primary``: it is a hot standby of that one."""
        where = programs()
        assert where is not None, "PostgreSQL is missing: ./dev test installs it"
        self._where, self._folder = where, folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._other: dict[str, Any] = {}
        if os.getuid() == 0:
            self._other = {"user": 65534, "group": 65534, "extra_groups": []}
            os.chown(folder, 65534, 65534)
        self._environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(folder)}
        make = [where / "initdb", "-D", folder / "data", "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"]
        if primary is not None:
            make = [where / "pg_basebackup", "-D", folder / "data", "-R", "-d", primary.url, "-c", "fast", "--no-sync"]
        subprocess.run(make, check=True, capture_output=True, env=self._environment, cwd=folder, **self._other)
        self.url = f"postgresql://{USER}@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Run it until it answers. What is left of one that was killed may be in the way for a moment."""
        ready = [self._where / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        deadline = time.monotonic() + START_S
        self._run()
        while subprocess.run(ready, check=False).returncode:
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.1)
            if self.server.poll() is not None:
                self._run()

    def _run(self) -> None:
        run = [self._where / "postgres", "-D", self._folder / "data", "-k", self._folder, "-h", "127.0.0.1"]
        run += ["-p", str(self._port), "-c", "shared_buffers=32MB", "-c", "max_connections=60"]
        with (self._folder / "log").open("ab") as log:
            self.server = subprocess.Popen(
                run, stdout=log, stderr=log, env=self._environment, cwd=self._folder, **self._other
            )

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """At once, without writing out anything."""
        self.server.send_signal(how)
        self.server.wait(10)


@contextmanager
def cluster(primary: Postgres | None = None) -> Iterator[Postgres]:
    """A database server that a test may stop and start; or a hot standby of another one."""
    folder = Path(tempfile.mkdtemp(prefix="lamppost-postgres-"))
    try:
        found = Postgres(folder, primary)
        found.start()
        try:
            yield found
        finally:
            found.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database."""
    with cluster() as found:
        yield found.url


class Databases:
    """Empty databases (schemas of one) by the name of a folder: the same folder again is the same database again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._known: dict[Path, str] = {}

    def url(self, folder: Path) -> str:
        if folder not in self._known:
            where = programs()
            assert where is not None
            self._known[folder] = name = f"test_{os.getpid()}_{len(self._known)}"
            subprocess.run([where / "psql", "-q", "-c", f"CREATE SCHEMA {name}", self._url], check=True)
        return f"{self._url}?search_path={self._known[folder]}"

    def storage(self, folder: Path) -> PostgresStorage:
        return PostgresStorage(Database(self.url(folder)))
