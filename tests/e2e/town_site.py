"""A site whose box and server stand in a town of network namespaces (firmware_sim/net), with links that fail."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from firmware_sim.net.town import HOST, INNER, URL, Town
from gateway.cli.children import Child, lamppost
from gateway.cli.demo_count import Stored
from tests.e2e.harness import Site

SCENARIO = Path(__file__).parent / "two-meters.yaml"
DAY_SPEED = 1000.0
IN_BOX = ("simulator", "edge")


class TownSite(Site):
    """Simulator and edge run in the box, the server at its place; so does this thread while the site is open.

    A child is told to stop when the thread that started it ends: open and close a site in one thread.
    """

    def __init__(
        self, run: Path, links: Sequence[dict[str, Any]] = (), language: str = "ngsi-ld", **options: Any
    ) -> None:
        super().__init__(run, **({"scenario": str(SCENARIO)} | options))
        self._address = INNER
        self.url = f"http://{INNER}"
        self._links, self._language = list(links), language
        self._open = ExitStack()

    def __enter__(self) -> TownSite:
        with ExitStack() as self._open:
            self.town = self._open.enter_context(Town())
            self._open.enter_context(self.town.server.inside())
            super().__enter__()
            self._open = self._open.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        with self._open:
            super().__exit__(*error)

    def begin(self, name: str, environment: dict[str, str] | None = None) -> None:
        if name == "server":
            command = lamppost("run", "--role", "server", "--listen", INNER, "--data", str(self.run / "server"))
        else:
            command = lamppost("run", "--role", "edge", "--config", str(self.run / "lamppost.yaml"))
        assert environment is None
        self._start(name, command)

    def end(self, name: str) -> None:
        """SIGTERM, and wait."""
        self._children.pop(name).stop()

    def keep_server(self) -> Path:
        """A copy of the server's files, taken while it is stopped."""
        copy = self.run / "server-backup"
        self.end("server")
        shutil.copytree(self.run / "server", copy)
        self.begin("server")
        return copy

    def restore_server(self, copy: Path) -> None:
        """The server forgets what came after the copy was taken."""
        self.end("server")
        shutil.rmtree(self.run / "server")
        shutil.copytree(copy, self.run / "server")
        self.begin("server")

    def offline_before(self, seconds: int, quantities: Mapping[str, float]) -> int:
        """While the edge is stopped its outbox lives through that time, with an observation of `house` each second.

        Returns the readings made.
        """
        self._began_ns -= (seconds + 60) * 1_000_000_000
        path = str(self.run / "edge" / "outbox.sqlite")
        command = [sys.executable, "-m", "tests.bench.offline", path, str(seconds), str(DAY_SPEED), "house"]
        subprocess.run([*command, json.dumps(quantities)], check=True)
        return seconds * len(quantities)

    def history(self, device: str) -> Stored:
        """What the server has of a device."""
        (entity,) = [name for name in self.api().entity_ids() if name.endswith(f":{device}")]
        return self.api().stored(entity, self._began_ns)

    def depth(self) -> int:
        return int(self.status()["outbox"]["depth"])

    def _start(self, name: str, command_line: list[str]) -> None:
        if name in IN_BOX:
            command_line = self.town.box.command(*command_line)
        elif name == "server":
            command_line = [*command_line, "--config", str(self._server_config())]
        self._children[name] = Child(name, command_line, self.run / f"{name}.log", self._environment)

    def _server_config(self) -> Path:
        """The server stands behind a reverse proxy and is called by its name there."""
        path = self.run / "server.yaml"
        site = {"id": "platform", "location": {"latitude": 0.0, "longitude": 0.0}}
        path.write_text(yaml.safe_dump({"site": site, "server": {"hosts": [HOST]}}), encoding="utf-8")
        return path

    def _configure(self) -> Path:
        path = super()._configure()
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        config["uplink"] |= {"url": URL, "language": self._language}
        config["links"] = self._links
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        return path
