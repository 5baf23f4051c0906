"""A whole site in real processes, with the faults that a site meets: built on the demo that visitors run."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from gateway.cli.children import Child, lamppost
from gateway.cli.demo import Demo, _free_port
from gateway.cli.demo_count import Api, until
from gateway.errors import LamppostError


class Site(Demo):
    """A running demo whose processes can be killed, restarted and disturbed."""

    def __init__(self, run: Path, **options: Any) -> None:
        port = _free_port("127.0.0.1")
        settings = {"scenario": "school", "speed": 10.0, "seed": 7, "loads": "model"} | options
        super().__init__(run, f"127.0.0.1:{port}", **settings)

    def __enter__(self) -> Site:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def kill(self, name: str) -> None:
        """kill -9."""
        os.kill(self.pid(name), signal.SIGKILL)
        self._children.pop(name).stop()

    def begin(self, name: str, environment: dict[str, str] | None = None) -> None:
        """Start a role again with the same files."""
        if name == "server":
            command = lamppost("run", "--role", "server", "--listen", self._address, "--data", str(self.run / "server"))
        else:
            command = lamppost("run", "--role", "edge", "--config", str(self.run / "lamppost.yaml"))
        env = {**self._environment, **(environment or {})}
        self._children[name] = Child(name, command, self.run / f"{name}.log", env)

    def fault(self, **request: Any) -> Any:
        """Ask the simulator for a fault."""
        from firmware_sim.control import SimControl

        with SimControl(self.run) as control:
            return control.ask(**request)

    def state(self, device: str) -> str:
        return str(self.status()["devices"][device]["state"])

    def wait(self, condition: Callable[[], bool], timeout_s: float, what: str) -> float:
        """Seconds until the condition holds; fails the test when it does not."""

        def holds() -> bool:
            try:
                return condition()
            except LamppostError:  # a role that is just starting does not answer yet
                return False

        began = time.monotonic()
        assert until(holds, timeout_s, 0.1), f"{what}: not within {timeout_s} s; see {self.run}"
        return time.monotonic() - began

    def all_up(self) -> bool:
        devices = self.status()["devices"]
        silent = {name for name, device in self.scenario.devices.items() if device.silent}
        return bool(devices) and all(device["state"] == "up" for name, device in devices.items() if name not in silent)

    def api(self) -> Api:
        return Api(self.url)

    def edge_log(self) -> str:
        return (self.run / "edge.log").read_text(encoding="utf-8", errors="replace")

    def usage(self, name: str) -> tuple[float, float]:
        """(CPU seconds so far, PSS in MiB) of a role's own process, without its children."""
        process = psutil.Process(self.pid(name))
        cpu = process.cpu_times()
        return cpu.user + cpu.system, process.memory_full_info().pss / 2**20

    def change_config(self, change: Callable[[dict[str, Any]], None]) -> None:
        path = self.run / "lamppost.yaml"
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        change(config)
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def hangup(self) -> None:
        os.kill(self.pid("edge"), signal.SIGHUP)


def report(name: str, **figures: Any) -> None:
    """Print a figure so that a run with -s shows it; tests assert, this tells."""
    print(f"\nFIGURE {name} {json.dumps(figures)}")
