"""The edge with a month of backlog on its disk: what the file takes, and the daemon, offline and while it drains.

BENCH_DAYS of 30 values a second of a household's meter are written as the outbox itself writes them: its commits, with
blocks as large as they grow offline; only the fsyncs are left out. Then the real edge runs on the file: PSS and CPU
without a server, then with one; and for control, in the same run, of an edge whose outbox is empty. Each is looked at
for BENCH_SECONDS.
"""

from __future__ import annotations

import gc
import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from firmware_sim.electricity import Meter
from firmware_sim.loads.model import household
from gateway.cli.children import Child, lamppost
from gateway.cli.control import ControlClient
from gateway.errors import LamppostError
from gateway.model import Reading
from gateway.outbox.codec import Entry
from gateway.outbox.database import Database
from gateway.outbox.records import Load, Moment
from gateway.outbox.retention import Limits
from tests.bench.bench_payload import THIRTY, rounded, thirty

DAYS = float(os.environ.get("BENCH_DAYS", "30"))
LOOK_S = float(os.environ.get("BENCH_SECONDS", "120"))
WARM_S = 20.0
OUTBOX_MAX = 512 * 2**20  # what storage.outbox_max is without a word in the configuration
OBSERVATIONS = 17  # of 30 values: a block takes no more once it has 500
DAY_S = 86_400
SECOND = 1_000_000_000
JITTER_NS = 1e6
SEED = 11
BOOT = "00000000-0000-4000-8000-000000000001"
NOWHERE = {"latitude": 52.0, "longitude": 5.0}


def main() -> None:
    """Print one line of JSON a part."""
    with tempfile.TemporaryDirectory(prefix="lamppost-bench-") as folder:
        run = Path(folder)
        _say("empty", _observe(run, "empty", "http://127.0.0.1:1"))
        (run / "full").mkdir()
        _say("written", _write(run / "full" / "outbox.sqlite", round(DAYS * DAY_S)))
        _say("offline", _observe(run, "full", "http://127.0.0.1:1"))
        with _server(run) as url:
            _say("draining", _observe(run, "full", url))


def _say(part: str, figures: dict[str, Any]) -> None:
    print(json.dumps({"part": part, **figures}), flush=True)


def _day() -> list[tuple[float, ...]]:
    """What a meter of three phases says each second of a day."""
    powers = {name: watts.tolist() for name, watts in household(SEED, 1, 1.0).items()}
    meter, rows = Meter("main", SEED, "all", 3), []
    for second in range(DAY_S):
        meter.advance(float(second), {name: watts[second] for name, watts in powers.items()})
        rows.append(rounded(thirty(meter.snapshot), THIRTY))
    return rows


def _write(path: Path, seconds: int) -> dict[str, Any]:
    """Commit after commit, as while there is no link; each takes the seconds of one full block."""
    began = time.monotonic()
    database = Database(path, Limits(OUTBOX_MAX))
    database.open()
    offset_ns = time.time_ns() - seconds * SECOND
    database.begin(Moment(BOOT, 0, offset_ns), crashed=False)
    rows, chance, seq = _day(), random.Random(SEED), 1
    gc.freeze()
    gc.disable()  # readings are in no cycles
    for number, first in enumerate(range(0, seconds, OBSERVATIONS), 1):
        entries = []
        for second in range(first, min(first + OBSERVATIONS, seconds)):
            at_ns = offset_ns + second * SECOND + round(chance.gauss(0, JITTER_NS) / 1000) * 1000
            values = zip(THIRTY, rows[second % DAY_S], strict=True)
            entries.append(
                Entry(seq, tuple(Reading("meter", name, value, unit, at_ns) for (name, unit, _), value in values))
            )
            seq += len(THIRTY)
        load = Load(
            number=number,
            entries=entries,
            made=Counter(meter=len(entries) * len(THIRTY)),
            last_seq=seq - 1,
            reserved_to=seq - 1,
            durable=False,
        )
        database.commit(load, (), Moment(BOOT, second * SECOND, offset_ns))
    gc.enable()
    figures = database.figures(Moment(BOOT, seconds * SECOND, offset_ns))
    database.file.restart_log()
    database.close()
    return {
        "days": round(seconds / DAY_S, 2),
        "values": figures.depth,
        "dropped": sum(figures.dropped.values()),
        "file_mb": round(path.stat().st_size / 1e6, 1),
        "b_a_value": round(path.stat().st_size / max(1, figures.depth), 2),
        "took_s": round(time.monotonic() - began),
    }


def _observe(run: Path, name: str, url: str) -> dict[str, Any]:
    """An edge on the outbox of a folder for a while."""
    config = {
        "site": {"id": "bench", "location": NOWHERE},
        "uplink": {"url": url},
        "clock": {"trusted": True},
        "storage": {"path": str(run / name), "outbox_max": OUTBOX_MAX},
        "local": {"listen": {"port": 0}},
    }
    (run / "edge.yaml").write_text(yaml.safe_dump(config))
    began = time.monotonic()
    with _running("edge", lamppost("run", "--role", "edge", "--config", str(run / "edge.yaml")), run) as child:
        client, process = ControlClient(run / name / "lamppost.sock"), psutil.Process(child.pid)
        before = _outbox(client)
        started_s = time.monotonic() - began
        time.sleep(WARM_S)
        seen, cpu, since = [], sum(process.cpu_times()[:2]), time.monotonic()
        while time.monotonic() < since + LOOK_S:
            seen.append(process.memory_full_info().pss / 2**20)
            time.sleep(1.0)
        child.check()
        spent, took = sum(process.cpu_times()[:2]) - cpu, time.monotonic() - since
        after = _outbox(client)
        return {
            "started_s": round(started_s, 1),
            "pss_mib_mean": round(sum(seen) / len(seen), 1),
            "pss_mib_most": round(max(seen), 1),
            "cpu_percent": round(100 * spent / took, 1),
            "waiting": after["depth"],
            "sent_a_second": round((before["depth"] - after["depth"]) / (time.monotonic() - began)),
            "dropped": sum(after["dropped"].values()) - sum(before["dropped"].values()),
        }


def _outbox(client: ControlClient) -> dict[str, Any]:
    for _ in range(600):
        with suppress(LamppostError):
            found: dict[str, Any] = client.ask("status")["outbox"]
            return found
        time.sleep(0.1)
    raise TimeoutError("the edge does not start")


@contextmanager
def _server(run: Path) -> Iterator[str]:
    (run / "server.yaml").write_text(yaml.safe_dump({"site": {"id": "platform", "location": NOWHERE}, "server": {}}))
    where = ["--config", str(run / "server.yaml"), "--listen", "127.0.0.1:9471", "--data", str(run / "server")]
    with _running("server", lamppost("run", "--role", "server", *where), run):
        yield "http://127.0.0.1:9471"


@contextmanager
def _running(name: str, command: list[str], run: Path) -> Iterator[Child]:
    child = Child(name, command, run / f"{name}.log", dict(os.environ))
    try:
        yield child
    finally:
        child.stop()


if __name__ == "__main__":
    main()
