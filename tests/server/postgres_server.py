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

from gateway.server.storage.postgres.session import Database
from gateway.server.storage.postgres.storage import PostgresStorage

USER = "lamppost"
START_S = 60.0


def programs() -> Path | None:
    """The folder of Debian's newest PostgreSQL; None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return found[-1].parent if found else None


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database. PostgreSQL refuses to run as root: it is then run as nobody."""
    where = programs()
    assert where is not None, "PostgreSQL is missing: ./dev test installs it"
    folder = Path(tempfile.mkdtemp(prefix="lamppost-postgres-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    other = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
    if other:
        os.chown(folder, 65534, 65534)
    data, environment = folder / "data", {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(folder)}
    make = [where / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(make, check=True, capture_output=True, env=environment, cwd=folder, **other)  # type: ignore[call-overload]
    run = [where / "postgres", "-D", data, "-k", folder, "-h", "127.0.0.1", "-p", str(port)]
    run += ["-c", "shared_buffers=32MB", "-c", "max_connections=60"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(run, stdout=log, stderr=log, env=environment, cwd=folder, **other)  # type: ignore[call-overload]
    try:
        ready = [where / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        deadline = time.monotonic() + START_S
        while subprocess.run(ready, check=False).returncode:
            assert server.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


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
