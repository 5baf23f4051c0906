"""Outages and what comes after them, in a town of network namespaces: 50 units x 10 registers each second over WiFi.

The link (20 ms each way) is switched off, and then stalls, for BENCH_SECONDS each; Lamppost in both languages, then
thingsboard-gateway with its SQLite store and a broker where Lamppost's server stands. Each register counts the reads of
its unit, so what history lacks or has twice is counted for both in the same way. Then a day without link by the
accelerated clock, and failover, return and a flapping WiFi with a GSM link beside it: times are those at which the
server has a value that can only have come by then. BENCH_PARTS chooses parts by the start of their names. Needs root.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import yaml

from firmware_sim.net.link import EmulatedLink
from firmware_sim.net.namespace import missing
from firmware_sim.net.town import HOST, INNER, SERVER, URL, Town
from gateway.cli.children import Child, lamppost
from gateway.cli.control import ControlClient
from gateway.cli.demo_count import Api
from gateway.errors import LamppostError
from gateway.mapping.mapper import iso
from tests.bench.bench_gateway import TEMPLATE
from tests.bench.peer_thingsboard import ThingsBoard

UNITS, VALUES_S = 50, 500
OUTAGE_S = float(os.environ.get("BENCH_SECONDS", "60"))
PARTS = tuple(os.environ.get("BENCH_PARTS", "").split(","))
WARM_S = 20.0
SETTLE_S = 10.0
DRAIN_S_MAX, THEIR_DRAIN_S_MAX = 600.0, 120.0
STEADY = 4 * VALUES_S  # readings that wait while all is well
MODBUS, MQTT = 5020, 1883
DELAY_S = 0.02
DAY_S, DAY_SPEED = 86_400, 1000.0
DAY_VALUES = {"voltage_l1": 220.0, "current_l1": 1.0, "active_power_l1": 300.0, "frequency": 1.0}
HOUSE = "house"
FLAP_S, FLAPS = 45.0, 3  # longer than a stall takes to be seen
LOOK_S = 0.2
WINDOW_NS = 300 * 10**9  # of history at a time
IRI = "https://smartdatamodels.org/dataModel.Energy/"
FREQUENCY = f"{IRI}frequency"
CURRENT = f"/ngsi-ld/v1/entities?type={quote(f'{IRI}ThreePhaseAcMeasurement')}&attrs={quote(FREQUENCY)}&local=true"
UNIT = "urn:ngsi-ld:ThreePhaseAcMeasurement:bench:unit-"
LINKS = {
    "wifi": {"name": "wifi", "interface": "wifi0", "dns": ["10.82.1.1"]},
    "gsm": {"name": "gsm", "interface": "gsm0", "cost": "metered", "dns": ["10.82.2.1"]},
}


def main() -> None:
    """Print one line of JSON a part."""
    if missing():
        sys.exit(missing())
    for fault in ("down", "stall"):
        for language in ("ngsi-ld", "compact"):
            _part(f"{fault}, lamppost, {language}", lambda fault=fault, language=language: _outage(fault, language))
        _part(f"{fault}, thingsboard-gateway", lambda fault=fault: _their_outage(fault))
    _part("a day down, lamppost", _day)
    _part("two links", _two_links)


def _part(name: str, measure: Callable[[], dict[str, Any]]) -> None:
    if name.startswith(PARTS):
        print(json.dumps({"part": name, **measure(), "load_1min": round(os.getloadavg()[0], 1)}), flush=True)


class Box:
    """Units and edge in the box, the server at its place; this thread is there, too."""

    def __init__(self, language: str, links: list[str], units: int = UNITS) -> None:
        """``units`` 0: nothing is read; the outbox may be filled before ``begin``."""
        self._units = units
        self._stack = ExitStack()
        self.town = self._stack.enter_context(Town())
        self.run = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="lamppost-bench-")))
        self._stack.enter_context(self.town.server.inside())
        self._configure(language, links)
        self._children: dict[str, Child] = {}
        config = str(self.run / "server.yaml")
        where = ["--listen", INNER, "--data", str(self.run / "server")]
        self._begin("units", self.town.box.command(sys.executable, "-m", "tests.bench.tcp_units", str(MODBUS)))
        self._begin("server", lamppost("run", "--role", "server", "--config", config, *where))
        if units:
            self.begin()

    def begin(self) -> None:
        """Start the edge."""
        edge = lamppost("run", "--role", "edge", "--config", str(self.run / "lamppost.yaml"))
        self._begin("edge", self.town.box.command(*edge))

    def _begin(self, name: str, command: list[str]) -> None:
        child = Child(name, command, self.run / f"{name}.log", {**os.environ, "LAMPPOST_TEMPLATES": str(self.run)})
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
        found: dict[str, Any] = self._ask("status")["outbox"]
        return found

    def used(self) -> str:
        """The link that the edge uses, empty where there is none."""
        return next((link["name"] for link in self._ask("links") if link["used"]), "")

    def _ask(self, what: str) -> Any:
        deadline = time.monotonic() + 30
        while True:
            try:
                return ControlClient(self.run / "edge" / "lamppost.sock").ask(what)
            except LamppostError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def pss_mib(self) -> float:
        """Of the edge."""
        return psutil.Process(self._children["edge"].pid).memory_full_info().pss / 2**20

    def newest_ns(self) -> int:
        """When the newest of the units' current values at the server was observed."""
        dates = [unit[FREQUENCY]["observedAt"] for unit in self.api.get(f"{CURRENT}&limit={UNITS}")]
        return max((int(datetime.fromisoformat(date).timestamp() * 1e9) for date in dates), default=0)

    def records(self, since_ns: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """(unit, one value of history) of one register of each unit."""
        for unit in range(1, UNITS + 1):
            path = f"/ngsi-ld/v1/temporal/entities/{UNIT}{unit}?attrs={quote(FREQUENCY)}&timerel=between"
            for start in range(since_ns, time.time_ns(), WINDOW_NS):
                found = self.api.get(f"{path}&timeAt={iso(start)}&endTimeAt={iso(start + WINDOW_NS)}") or {}
                instances = found.get(FREQUENCY, [])
                for instance in instances if isinstance(instances, list) else [instances]:
                    yield str(unit), {"values": {"frequency": instance["value"]}}

    @property
    def api(self) -> Api:
        """The server's."""
        return Api(f"http://{INNER}")

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
                for unit in range(1, self._units + 1)
            },
            "clock": {"trusted": True},
            "storage": {"path": str(self.run / "edge")},
            "local": {"listen": {"port": 0}},
        }
        (self.run / "lamppost.yaml").write_text(yaml.safe_dump(config))


def _fails(link: EmulatedLink, fault: str, fails: bool) -> None:
    if fault == "stall":
        link.stall(fails)
    else:
        (link.down if fails else link.up)()


def _outage(fault: str, language: str) -> dict[str, Any]:
    with Box(language, ["wifi"]) as box:
        began_ns = time.time_ns()
        box.town.wifi.set(delay_s=DELAY_S)
        box.town.gsm.down()
        time.sleep(WARM_S)
        _fails(box.town.wifi, fault, True)
        at_first, failed = box.outbox(), time.monotonic()
        time.sleep(OUTAGE_S)
        before, up_ns, began = box.outbox(), time.time_ns(), time.monotonic()
        made_s = _made(at_first, before) / (began - failed)
        _fails(box.town.wifi, fault, False)
        first_live_s = _after(began, lambda: box.newest_ns() >= up_ns, 0.02)
        drained_s = _after(began, lambda: box.outbox()["depth"] < STEADY, 0.05)
        after = box.outbox()
        if drained_s is None:
            return {"outage_s": OUTAGE_S, "first_live_s": first_live_s, "waiting": after["depth"], "drained_s": None}
        sent = before["depth"] - after["depth"] + _made(before, after)
        time.sleep(SETTLE_S)
        lost, twice = _gaps(list(box.records(began_ns)))
        return {
            "outage_s": OUTAGE_S,
            "made_values_s": round(made_s),
            "first_live_s": first_live_s,
            "waiting": before["depth"],
            "drained_s": drained_s,
            "drain_values_s": round(sent / drained_s),
            "x_real_time": round(sent / drained_s / made_s, 1),
            "reads_lost": lost,
            "values_twice": twice,
            "dropped": sum(after["dropped"].values()),
            "pss_mib": round(box.pss_mib(), 1),
        }


def _made(before: dict[str, Any], after: dict[str, Any]) -> int:
    return sum(after["made"].values()) - sum(before["made"].values())


def _their_outage(fault: str) -> dict[str, Any]:
    with ExitStack() as stack:
        town = stack.enter_context(Town())
        run = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lamppost-bench-")))
        stack.enter_context(town.server.inside())
        command = town.box.command(sys.executable, "-m", "tests.bench.tcp_units", str(MODBUS))
        units = Child("units", command, run / "units.log", dict(os.environ))
        stack.callback(units.stop)
        places = {"gateway": town.box.command}
        theirs = stack.enter_context(ThingsBoard(run / "tb", MODBUS, MQTT, UNITS, 1.0, SERVER, places))
        town.wifi.set(delay_s=DELAY_S)
        town.gsm.down()
        time.sleep(2 * WARM_S)
        _fails(town.wifi, fault, True)
        time.sleep(OUTAGE_S)
        up_ms, began, had, values = time.time_ns() // 10**6, time.monotonic(), len(theirs.records), theirs.values
        _fails(town.wifi, fault, False)
        first_live_s = _after(began, lambda: _newest_ms(theirs, had) >= up_ms, 0.02)
        drained_s = _after(began, lambda: _came(theirs, had), 0.2, THEIR_DRAIN_S_MAX)
        sent = theirs.values - values
        time.sleep(3 * SETTLE_S)
        lost, twice = _gaps(theirs.records)
        return {
            "outage_s": OUTAGE_S,
            "first_live_s": first_live_s,
            "drained_s": drained_s,
            "drain_values_s": round(sent / drained_s) if drained_s else None,
            "reads_lost": lost,
            "values_twice": twice,
            "pss_mib": round(theirs.process().memory_full_info().pss / 2**20, 1),
        }


def _came(theirs: ThingsBoard, had: int) -> bool:
    """Whether what waited is there, but for a hundredth, and what is new arrives; not always in this order."""
    live = _newest_ms(theirs, had) >= time.time_ns() // 10**6 - 4000
    return live and _gaps(list(theirs.records))[0] <= 0.01 * OUTAGE_S * VALUES_S


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


def _day() -> dict[str, Any]:
    """24 hours of a house at a thousand times the speed, in the real outbox; then the real edge sends it."""
    began_ns = time.time_ns() - (DAY_S + 600) * 10**9
    with Box("ngsi-ld", ["wifi"], units=0) as box:
        box.town.wifi.set(delay_s=DELAY_S)
        box.town.gsm.down()
        (box.run / "edge").mkdir()
        outbox = str(box.run / "edge" / "outbox.sqlite")
        command = [sys.executable, "-m", "tests.bench.offline", outbox, str(DAY_S), str(DAY_SPEED), HOUSE]
        subprocess.run([*command, json.dumps(DAY_VALUES)], check=True)
        began = time.monotonic()
        box.begin()
        drained_s = _after(began, lambda: box.outbox()["depth"] < STEADY, 0.1)
        _after(began, lambda: box.outbox()["depth"] == 0, 0.1, DRAIN_S_MAX + SETTLE_S)
        dropped = sum(box.outbox()["dropped"].values())
        (entity,) = (name for name in box.api.entity_ids() if name.endswith(f":{HOUSE}"))
        stored = box.api.stored(entity, began_ns)
        made = DAY_S * len(DAY_VALUES)
        return {
            "made": made,
            "drained_s": drained_s,
            "drain_values_s": round(made / drained_s) if drained_s else None,
            "lost": made - stored.readings,
            "values_twice": stored.twice,
            "dropped": dropped,
        }


def _two_links() -> dict[str, Any]:
    with Box("compact", ["wifi", "gsm"]) as box:
        began_ns = time.time_ns()
        wifi, gsm = box.town.wifi, box.town.gsm
        wifi.set(delay_s=DELAY_S)
        gsm.set(delay_s=3 * DELAY_S, rate=2e6)
        time.sleep(WARM_S)
        figures: dict[str, Any] = {"at_first": box.used()}
        for name, fail, mend in (
            ("stall", wifi.stall, lambda: wifi.stall(False)),
            ("carrier", lambda: wifi.carrier(False), lambda: wifi.carrier(True)),
        ):
            began, failed_ns = time.monotonic(), time.time_ns()
            fail()
            seen_s = _after(began, lambda: box.used() == "gsm", LOOK_S, 120)
            figures[f"{name}_seen_s"] = seen_s
            figures[f"{name}_failover_s"] = _after(began, lambda at=failed_ns: box.newest_ns() > at, LOOK_S, 120)  # type: ignore[misc]
            time.sleep(2 * WARM_S)
            began = time.monotonic()
            mend()
            figures[f"{name}_return_s"] = _after(began, lambda: box.used() == "wifi", LOOK_S, 600)
            time.sleep(WARM_S)
        figures |= _flap(box)
        figures["drained_after_s"] = _after(time.monotonic(), lambda: box.outbox()["depth"] < STEADY, LOOK_S)
        time.sleep(SETTLE_S)
        figures["reads_lost"], figures["values_twice"] = _gaps(list(box.records(began_ns)))
        return figures | {"dropped": sum(box.outbox()["dropped"].values())}


def _flap(box: Box) -> dict[str, Any]:
    """WiFi that stalls and works in turn: how often the edge changes between links."""
    used: list[tuple[float, str]] = []
    for number in range(2 * FLAPS):
        box.town.wifi.stall(number % 2 == 0)
        end = time.monotonic() + FLAP_S
        while time.monotonic() < end:
            used.append((time.monotonic(), box.used()))
            time.sleep(LOOK_S)
    box.town.wifi.stall(False)
    switches = [after[0] for before, after in pairwise(used) if before[1] != after[1]]
    most = max((sum(at <= other < at + 60 for other in switches) for at in switches), default=0)
    return {
        "flap_phase_s": FLAP_S,
        "flap_minutes": round(2 * FLAPS * FLAP_S / 60, 1),
        "flap_switches": len(switches),
        "flap_switches_most_in_a_minute": most,
    }


def _after(began: float, condition: Callable[[], bool], step_s: float, at_most_s: float = DRAIN_S_MAX) -> float | None:
    """Seconds from ``began`` until it holds; None: it did not."""
    while time.monotonic() < began + at_most_s:
        if condition():
            return round(time.monotonic() - began, 2)
        time.sleep(step_s)
    return None


if __name__ == "__main__":
    main()
