"""50 units x 10 registers each second over one Modbus TCP connection: the edge role beside thingsboard-gateway.

Both run at the same time against the same units, with their stores on disk and their upstream on this machine. Then
both at a period of 60 s: what it costs to be idle. CPU is of the gateway's process, without its upstream.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

from gateway.cli.children import Child, lamppost
from gateway.cli.control import ControlClient
from gateway.cli.demo import _free_port
from gateway.errors import LamppostError
from tests.bench.peer_thingsboard import ThingsBoard

UNITS = 50
WARM_S, WINDOW_S = 20.0, 60.0
QUANTITIES = [f"{stem}_{phase}" for stem in ("voltage", "current", "active_power") for phase in ("l1", "l2", "l3")]
TEMPLATE = {
    "vendor": "bench",
    "model": "ten registers",
    "protocol": "modbus",
    "data_model": "ThreePhaseAcMeasurement",
    "evidence": "manual",
    "modbus": {"function": 3},
    "points": [{"quantity": q, "address": at, "type": "u16"} for at, q in enumerate([*QUANTITIES, "frequency"])],
    "frames": [],
}


class Ours:
    """Both roles of Lamppost in processes of their own."""

    def __init__(self, run: Path, modbus_port: int, period_s: float, units: int = UNITS) -> None:
        self._children: list[Child] = []
        port = _free_port("127.0.0.1")
        templates = run / "templates.d"
        templates.mkdir(parents=True)
        (templates / "bench-ten.yaml").write_text(yaml.safe_dump(TEMPLATE))
        config = {
            "site": {"id": "bench", "location": {"latitude": 52.0, "longitude": 5.0}},
            "uplink": {"url": f"http://127.0.0.1:{port}", "interval": 1},
            "buses": {"tcp": {"type": "modbus-tcp", "host": "127.0.0.1", "port": modbus_port, "timeout": 0.5}},
            "devices": {
                f"unit-{unit}": {"template": "bench-ten", "bus": "tcp", "address": unit, "period": period_s}
                for unit in range(1, units + 1)
            },
            "clock": {"trusted": True},
            "storage": {"path": str(run / "edge")},
            "local": {"listen": {"port": 0}},
        }
        (run / "lamppost.yaml").write_text(yaml.safe_dump(config))
        environment = {**os.environ, "LAMPPOST_TEMPLATES": str(templates)}
        server = lamppost("run", "--role", "server", "--listen", f"127.0.0.1:{port}", "--data", str(run / "server"))
        edge = lamppost("run", "--role", "edge", "--config", str(run / "lamppost.yaml"))
        self._children.append(Child("server", server, run / "server.log", environment))
        time.sleep(2)
        self._children.append(Child("edge", edge, run / "edge.log", environment))
        self._control = ControlClient(run / "edge" / "lamppost.sock")

    def __enter__(self) -> Ours:
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self._children):
            child.stop()

    def process(self) -> psutil.Process:
        """The edge role's own."""
        return psutil.Process(self._children[-1].pid)

    def status(self) -> dict[str, Any]:
        """Of the edge role."""
        for _ in range(100):
            try:
                return self._control.ask("status")
            except LamppostError:
                time.sleep(0.1)
        return self._control.ask("status")

    @property
    def values(self) -> int:
        """Readings of devices made so far."""
        return sum(made for name, made in self.status()["outbox"]["made"].items() if name.startswith("unit-"))


def main() -> None:
    """Print CPU, memory and values a second of both, at 1 s and at 60 s."""
    window = float(os.environ.get("BENCH_SECONDS", WINDOW_S))
    for period_s in (1.0, 60.0):
        print(json.dumps({"period_s": period_s, "window_s": window, **measure(period_s, window)}, indent=1))


def measure(period_s: float, window: float) -> dict[str, Any]:
    """Both in one run."""
    modbus_port = _free_port("127.0.0.1")
    units = subprocess.Popen([sys.executable, "-m", "tests.bench.tcp_units", str(modbus_port)])
    try:
        with tempfile.TemporaryDirectory() as folder:
            theirs = ThingsBoard(Path(folder) / "tb", modbus_port, _free_port("127.0.0.1"), UNITS, period_s)
            with Ours(Path(folder) / "ours", modbus_port, period_s) as ours, theirs:
                time.sleep(WARM_S)
                before = {"lamppost": _look(ours), "thingsboard": _look(theirs)}
                time.sleep(window)
                after = {"lamppost": _look(ours), "thingsboard": _look(theirs)}
    finally:
        units.kill()
        units.wait()
    return {name: _difference(before[name], after[name], window) for name in before}


def _look(gateway: Ours | ThingsBoard) -> tuple[float, int, float]:
    process = gateway.process()
    return sum(process.cpu_times()[:2]), gateway.values, process.memory_full_info().pss / 2**20


def _difference(before: tuple[float, int, float], after: tuple[float, int, float], window: float) -> dict[str, float]:
    return {
        "cpu_percent": round(100 * (after[0] - before[0]) / window, 2),
        "values_per_s": round((after[1] - before[1]) / window, 1),
        "pss_mib": round(after[2], 1),
    }


if __name__ == "__main__":
    main()
