"""An outage and what comes after it, in a town of network namespaces: 50 units x 10 registers each second over WiFi.

The link (20 ms each way) goes down for BENCH_SECONDS and comes back. Lamppost in both languages, then
thingsboard-gateway with its SQLite store and a broker where Lamppost's server stands. Then a stall, a return and a
flapping WiFi with a GSM link beside it, judged by where the bytes go; and the memory of an edge whose outbox holds
BENCH_DAYS of 30 values/s. BENCH_PARTS chooses parts by the start of their names. Needs root.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import yaml

from drivers.quantities import QUANTITIES
from firmware_sim.net.link import EmulatedLink
from firmware_sim.net.namespace import missing
from firmware_sim.net.town import HOST, INNER, SERVER, URL, Town
from gateway.cli.children import Child, lamppost
from gateway.cli.control import ControlClient
from gateway.cli.demo_count import Api
from gateway.errors import LamppostError
from tests.bench.bench_gateway import TEMPLATE
from tests.bench.peer_thingsboard import ThingsBoard

UNITS, VALUES_S = 50, 500
OUTAGE_S = float(os.environ.get("BENCH_SECONDS", "120"))
DAYS = float(os.environ.get("BENCH_DAYS", "0.25"))
PARTS = tuple(os.environ.get("BENCH_PARTS", "").split(","))
WARM_S = 20.0
DRAIN_S_MAX = 600.0
STEADY = 4 * VALUES_S  # readings that wait while all is well
MODBUS, MQTT = 5020, 1883
DELAY_S = 0.02
FLAP_S, FLAPS = 20.0, 8
BATCH = 1000  # bytes a second that no probes have
BACKLOG_SPEED = 300.0  # 9000 values/s: more than the writer of the outbox keeps up with would be dropped, counted
LINKS = {
    "wifi": {"name": "wifi", "interface": "wifi0", "dns": ["10.82.1.1"]},
    "gsm": {"name": "gsm", "interface": "gsm0", "cost": "metered", "dns": ["10.82.2.1"]},
}


def main() -> None:
    """Print one line of JSON a part."""
    if missing():
        sys.exit(missing())
    for language in ("ngsi-ld", "compact"):
        _part(f"lamppost, {language}", lambda language=language: _outage(language))
    _part("thingsboard-gateway", _their_outage)
    _part("two links", _two_links)
    _part("memory", _memory)


def _part(name: str, measure: Callable[[], dict[str, Any]]) -> None:
    if name.startswith(PARTS):
        print(json.dumps({"part": name, **measure()}), flush=True)


class Box:
    """Units and edge in the box, the server at its place; this thread is there, too."""

    def __init__(self, language: str, links: list[str]) -> None:
        self._stack = ExitStack()
        self.town = self._stack.enter_context(Town())
        self.run = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="lamppost-bench-")))
        self._stack.enter_context(self.town.server.inside())
        self._configure(language, links)
        environment = {**os.environ, "LAMPPOST_TEMPLATES": str(self.run)}
        config = str(self.run / "server.yaml")
        where = ["--listen", INNER, "--data", str(self.run / "server")]
        inside = self.town.box.command
        commands = {
            "units": inside(sys.executable, "-m", "tests.bench.tcp_units", str(MODBUS)),
            "server": lamppost("run", "--role", "server", "--config", config, *where),
            "edge": inside(*lamppost("run", "--role", "edge", "--config", str(self.run / "lamppost.yaml"))),
        }
        self._children = {}
        for name, command in commands.items():
            child = Child(name, command, self.run / f"{name}.log", environment)
            self._stack.callback(child.stop)
            self._children[name] = child
            time.sleep(2.0)
            child.check()

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def outbox(self) -> dict[str, Any]:
        """Of the edge's status."""
        deadline = time.monotonic() + 30
        while True:
            try:
                return ControlClient(self.run / "edge" / "lamppost.sock").ask("status")["outbox"]
            except LamppostError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def pss_mib(self) -> float:
        """Of the edge."""
        return psutil.Process(self._children["edge"].pid).memory_full_info().pss / 2**20

    def newest_ns(self) -> int:
        """When the current value of a unit at the server was observed."""
        entity = Api(f"http://{INNER}").get(
            f"/ngsi-ld/v1/entities/urn:ngsi-ld:ThreePhaseAcMeasurement:bench:unit-{UNITS}"
        )
        dates = [value["observedAt"] for value in (entity or {}).values() if "observedAt" in value]
        return max((int(datetime.fromisoformat(date).timestamp() * 1e9) for date in dates), default=0)

    def _configure(self, language: str, links: list[str]) -> None:
        (self.run / "bench-ten.yaml").write_text(yaml.safe_dump(TEMPLATE))
        nowhere = {"latitude": 52.0, "longitude": 5.0}
        server = {"site": {"id": "platform", "location": nowhere}, "server": {"hosts": [HOST]}}
        (self.run / "server.yaml").write_text(yaml.safe_dump(server))
        config = {
            "site": {"id": "bench", "location": nowhere},
            "uplink": {"url": URL, "language": language, "interval": 1},
            "links": [LINKS[name] for name in links],
            "buses": {"tcp": {"type": "modbus-tcp", "host": "127.0.0.1", "port": MODBUS, "timeout": 0.5}},
            "devices": {
                f"unit-{unit}": {"template": "bench-ten", "bus": "tcp", "address": unit, "period": 1}
                for unit in range(1, UNITS + 1)
            },
            "clock": {"trusted": True},
            "storage": {"path": str(self.run / "edge")},
            "local": {"listen": {"port": 0}},
        }
        (self.run / "lamppost.yaml").write_text(yaml.safe_dump(config))


def _outage(language: str) -> dict[str, Any]:
    with Box(language, ["wifi"]) as box:
        box.town.wifi.set(delay_s=DELAY_S)
        box.town.gsm.down()
        time.sleep(WARM_S)
        box.town.wifi.down()
        time.sleep(OUTAGE_S)
        before, up_ns, began = box.outbox(), time.time_ns(), time.monotonic()
        box.town.wifi.up()
        first_live_s = _after(began, lambda: box.newest_ns() >= up_ns, 0.02)
        drained_s = _after(began, lambda: box.outbox()["depth"] < STEADY, 0.1)
        after = box.outbox()
        sent = before["depth"] - after["depth"] + sum(after["made"].values()) - sum(before["made"].values())
        return {
            "outage_s": OUTAGE_S,
            "first_live_s": first_live_s,
            "waiting": before["depth"],
            "drained_s": drained_s,
            "drain_values_s": round(sent / drained_s),
            "x_real_time": round(sent / drained_s / VALUES_S, 1),
            "dropped": sum(after["dropped"].values()),
            "pss_mib": round(box.pss_mib(), 1),
        }


def _their_outage() -> dict[str, Any]:
    with ExitStack() as stack:
        town = stack.enter_context(Town())
        run = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lamppost-bench-")))
        stack.enter_context(town.server.inside())
        units = Child(
            "units",
            town.box.command(sys.executable, "-m", "tests.bench.tcp_units", str(MODBUS)),
            run / "units.log",
            dict(os.environ),
        )
        stack.callback(units.stop)
        places = {"gateway": town.box.command}
        theirs = stack.enter_context(ThingsBoard(run / "tb", MODBUS, MQTT, UNITS, 1.0, SERVER, places))
        town.wifi.set(delay_s=DELAY_S)
        town.gsm.down()
        time.sleep(2 * WARM_S)
        town.wifi.down()
        time.sleep(OUTAGE_S)
        up_ms, began, had = time.time_ns() // 10**6, time.monotonic(), len(theirs.records)
        town.wifi.up()
        first_live_s = _after(began, lambda: _newest_ms(theirs, had) >= up_ms, 0.02)
        sent = theirs.values
        drained_s = _after(began, lambda: _newest_ms(theirs, had) >= time.time_ns() // 10**6 - 4000, 0.1)
        time.sleep(10)
        lost, twice = _gaps(theirs.records)
        return {
            "outage_s": OUTAGE_S,
            "first_live_s": first_live_s,
            "values_until_then": sent,
            "drained_s": drained_s,
            "reads_lost": lost,
            "values_twice": twice,
            "pss_mib": round(theirs.process().memory_full_info().pss / 2**20, 1),
        }


def _newest_ms(theirs: ThingsBoard, since: int) -> int:
    return max((int(record.get("ts", 0)) for _, record in theirs.records[since:]), default=0)


def _gaps(records: list[tuple[str, dict[str, Any]]]) -> tuple[int, int]:
    """(reads whose values never came, values that came again): a register counts the reads of its unit."""
    seen: dict[str, Counter[tuple[str, int]]] = defaultdict(Counter)
    for device, record in records:
        seen[device].update((name, int(value)) for name, value in record.get("values", {}).items())
    lost = twice = 0
    for values in seen.values():
        reads = {number for _, number in values}
        lost += max(reads) - min(reads) + 1 - len(reads)
        twice += sum(values.values()) - len(values)
    return lost, twice


def _two_links() -> dict[str, Any]:
    with Box("ngsi-ld", ["wifi", "gsm"]) as box:  # in compact form batches look like probes
        wifi, gsm = box.town.wifi, box.town.gsm
        wifi.set(delay_s=DELAY_S)
        gsm.set(delay_s=3 * DELAY_S, rate=2e6)
        time.sleep(WARM_S)
        figures: dict[str, Any] = {"at_first": _carrier(wifi, gsm, 3.0)}
        for name, fail, mend in (
            ("stall", wifi.stall, lambda: wifi.stall(False)),
            ("carrier", lambda: wifi.carrier(False), lambda: wifi.carrier(True)),
        ):
            began = time.monotonic()
            fail()
            figures[f"{name}_failover_s"] = _after(began, lambda: _carrier(wifi, gsm, 0.5) == "gsm", 0, 120)
            time.sleep(1.5 * WARM_S)
            began = time.monotonic()
            mend()
            figures[f"{name}_return_s"] = _after(began, lambda: _carrier(wifi, gsm, 0.5) == "wifi", 0, 600)
            time.sleep(WARM_S)
        figures |= _flap(wifi, gsm)
        figures["waiting"] = box.outbox()["depth"]
        return figures


def _flap(wifi: EmulatedLink, gsm: EmulatedLink) -> dict[str, Any]:
    used = []
    for number in range(2 * FLAPS):
        wifi.stall(number % 2 == 0)
        end = time.monotonic() + FLAP_S
        while time.monotonic() < end:
            used.append(_carrier(wifi, gsm, 1.0))
    carriers = [name for name in used if name]
    switches = sum(a != b for a, b in pairwise(carriers))
    minutes = 2 * FLAPS * FLAP_S / 60
    return {"flap_minutes": round(minutes, 1), "flap_switches_a_minute": round(switches / minutes, 2)}


def _carrier(wifi: EmulatedLink, gsm: EmulatedLink, seconds: float) -> str:
    """The link that carries batches now; empty where none does."""
    before = wifi.traffic().up.bytes, gsm.traffic().up.bytes
    time.sleep(seconds)
    moved = wifi.traffic().up.bytes - before[0], gsm.traffic().up.bytes - before[1]
    if max(moved) < BATCH * seconds:
        return ""
    return "wifi" if moved[0] > moved[1] else "gsm"


def _memory() -> dict[str, Any]:
    """Of an edge that cannot reach its server, with a long backlog."""
    with tempfile.TemporaryDirectory(prefix="lamppost-bench-") as folder:
        run, seconds = Path(folder), int(DAYS * 86_400)
        (run / "edge").mkdir()
        names = [name for name, quantity in QUANTITIES.items() if quantity.kind == "gauge"][:30]
        command = [sys.executable, "-m", "tests.bench.offline", str(run / "edge" / "outbox.sqlite"), str(seconds)]
        began = time.monotonic()
        subprocess.run([*command, str(BACKLOG_SPEED), "meter", json.dumps(dict.fromkeys(names, 100.0))], check=True)
        filled_s = time.monotonic() - began
        config = {
            "site": {"id": "bench", "location": {"latitude": 52.0, "longitude": 5.0}},
            "uplink": {"url": "http://127.0.0.1:1"},
            "clock": {"trusted": True},
            "storage": {"path": str(run / "edge"), "outbox_max": 4 * 2**30},
            "local": {"listen": {"port": 0}},
        }
        (run / "lamppost.yaml").write_text(yaml.safe_dump(config))
        with _running("edge", lamppost("run", "--role", "edge", "--config", str(run / "lamppost.yaml")), run) as child:
            time.sleep(30)
            process = psutil.Process(child.pid)
            outbox = ControlClient(run / "edge" / "lamppost.sock").ask("status")["outbox"]
            return {
                "days": DAYS,
                "values": outbox["depth"],
                "dropped": sum(outbox["dropped"].values()),
                "on_disk_mb": round(outbox["bytes"] / 1e6, 1),
                "b_a_value": round(outbox["bytes"] / outbox["depth"], 2),
                "pss_mib": round(process.memory_full_info().pss / 2**20, 1),
                "filled_s": round(filled_s),
            }


@contextmanager
def _running(name: str, command: list[str], run: Path) -> Any:
    child = Child(name, command, run / f"{name}.log", dict(os.environ))
    try:
        yield child
    finally:
        child.stop()


def _after(began: float, condition: Callable[[], bool], step_s: float, at_most_s: float = DRAIN_S_MAX) -> float | None:
    """Seconds from ``began`` until it holds; None: it did not."""
    while time.monotonic() < began + at_most_s:
        if condition():
            return round(time.monotonic() - began, 2)
        time.sleep(step_s)
    return None


if __name__ == "__main__":
    main()
