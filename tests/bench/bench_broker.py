"""Batch upserts of 100 entities into a real server process: figures per second and CPU-second.

With history and fsync; then latency at half that load, reads and single changes. Also a control: an empty handler.

BENCH_SECONDS (default 15), BENCH_ENTITIES distinct entities (default 20,000), BENCH_CLIENTS connections (default 4).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil

from gateway.server.broker.model import time_text
from tests.bench.http_load import load, request
from tests.server.support import ROOT

NAME = "urn:ngsi-ld:ACMeasurement:bench:"
CONTEXT = "https://raw.githubusercontent.com/smart-data-models/dataModel.Energy/master/context.jsonld"
LINK = f'<{CONTEXT}>; rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'
BATCH = 100
START_US = 1_767_225_600_000_000
NAMES = ("totalActivePower", "totalReactivePower", "totalActiveEnergyImport", "totalActiveEnergyExport", "frequency")


def entity(number: int, second: int) -> dict[str, Any]:
    at = time_text(START_US + second * 1_000_000)
    values = {
        name: {"type": "Property", "value": round(random.random() * 1000, 1), "unitCode": "WTT", "observedAt": at}
        for name in NAMES
    }
    return {"@context": CONTEXT, "id": f"{NAME}{number}", "type": "ACMeasurement", **values}


def bodies(entities: int, rounds: int) -> list[bytes]:
    return [
        orjson.dumps([entity(number, second) for number in range(first, first + BATCH)])
        for second in range(rounds)
        for first in range(0, entities, BATCH)
    ]


LD = {"Content-Type": "application/ld+json"}
MERGE = {"Content-Type": "application/json", "Link": LINK}
UPSERT = f"{ROOT}/entityOperations/upsert?options=update"


def upserts(address: str, batches: list[bytes]) -> Iterator[bytes]:
    """Requests of these batches."""
    return (request("POST", address, UPSERT, LD, body) for body in batches)


def per_cpu_s(server: psutil.Process, address: str, requests: Iterator[bytes], clients: int, seconds: float) -> int:
    """Answers per CPU-second of the server, after a second to get warm."""
    asyncio.run(load(address, requests, clients, 1))
    cpu = sum(server.cpu_times()[:2])
    answers = len(asyncio.run(load(address, requests, clients, seconds)).took)
    return round(answers / (sum(server.cpu_times()[:2]) - cpu))


def reads(server: psutil.Process, address: str, entities: int, seconds: float) -> dict[str, int]:
    """Answers per CPU-second of the server, 8 connections."""
    query = f"{ROOT}/entities?type=ACMeasurement&limit=20"
    questions = {
        "control": ["/api/time"],  # an empty handler of the same server
        "retrieve": [f"{ROOT}/entities/{NAME}{number}" for number in range(0, entities, 17)],
        "query_20": [query],
        "query_20_pages": [f"{query}&offset={at}" for at in range(0, 2000, 20)],
        "query_q_20": [f"{query}&q=totalActivePower%3E500"],
    }
    figures = {}
    for name, targets in questions.items():
        asked = itertools.cycle([request("GET", address, target, {"Link": LINK}) for target in targets])
        figures[f"{name}_per_cpu_s"] = per_cpu_s(server, address, asked, 8, seconds)
    return figures


def patches(server: psutil.Process, address: str, entities: int, seconds: float) -> dict[str, int]:
    """Change one attribute of entities in turn, each on the disk before it is answered; 32 connections."""

    def requests() -> Iterator[bytes]:
        for number in itertools.count():
            where = f"{ROOT}/entities/{NAME}{number * 17 % entities}/attrs/totalActivePower"
            body = orjson.dumps({"type": "Property", "value": number, "unitCode": "WTT"})
            yield request("PATCH", address, where, MERGE, body)

    return {"patch_per_cpu_s": per_cpu_s(server, address, requests(), 32, seconds)}


@contextmanager
def serving(folder: str) -> Iterator[tuple[psutil.Process, str]]:
    """The server as it is installed, with its defaults; its process and address."""
    lamppost = Path(sys.executable).with_name("lamppost")
    command = [lamppost, "run", "--role", "server", "--listen", "127.0.0.1:0", "--data", folder]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        yield psutil.Process(process.pid), process.stderr.readline().strip().removeprefix("lamppost is ready: ")
    finally:
        process.terminate()
        process.wait(120)


def main() -> None:
    """Print the figures as JSON."""
    seconds = float(os.environ.get("BENCH_SECONDS", "15"))
    entities = int(os.environ.get("BENCH_ENTITIES", "20000"))
    clients = int(os.environ.get("BENCH_CLIENTS", "4"))
    with tempfile.TemporaryDirectory() as folder, serving(folder) as (server, address):
        idle = server.memory_full_info()
        created = time.monotonic()
        asyncio.run(load(address, upserts(address, bodies(entities, 1)), clients, 600))
        created = time.monotonic() - created
        batches = upserts(address, bodies(entities, 12)[entities // BATCH :])
        cpu, began = sum(server.cpu_times()[:2]), time.monotonic()
        run = asyncio.run(load(address, batches, clients, seconds))
        wall, cpu = time.monotonic() - began, sum(server.cpu_times()[:2]) - cpu
        half = asyncio.run(load(address, batches, clients, seconds, rate=len(run.took) / wall / 2))
        busy = server.memory_full_info()
        answered = reads(server, address, entities, min(seconds, 5))
        answered |= patches(server, address, entities, min(seconds, 5))
        metrics = httpx.get(f"{address}/metrics").text
    counters = {line.split()[0]: float(line.split()[1]) for line in metrics.splitlines() if line[:1] not in ("#", "")}
    print(
        json.dumps(
            {
                "entities": entities,
                "created_per_s": round(entities / created),
                "batches": len(run.took),
                **answered,
                "entities_per_s": round(len(run.took) * BATCH / wall),
                "entities_per_cpu_s": round(len(run.took) * BATCH / cpu),
                "history_rows_per_s": round(len(run.took) * BATCH * len(NAMES) / wall),
                "latency_ms": {"p50": run.percentile_ms(0.5), "p99": run.percentile_ms(0.99)},
                "latency_half_load_ms": {"p50": half.percentile_ms(0.5), "p99": half.percentile_ms(0.99)},
                "commits": counters["lamppost_server_commits_total"],
                "commit_ms_mean": round(
                    1000 * counters["lamppost_server_commit_seconds_total"] / counters["lamppost_server_commits_total"],
                    1,
                ),
                "storage_mib": round(counters["lamppost_server_storage_bytes"] / 2**20, 1),
                "pss_mib": {"idle": round(idle.pss / 2**20, 1), "after": round(busy.pss / 2**20, 1)},
            }
        )
    )


if __name__ == "__main__":
    main()
