"""Batch upserts of 100 entities into a real server process: figures per second and CPU-second.

With history and fsync; then reads.

BENCH_SECONDS (default 15), BENCH_ENTITIES distinct entities (default 20,000), BENCH_CLIENTS connections (default 4).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil

from gateway.server.broker.model import time_text

SERVER = Path(__file__).parents[1] / "server" / "server_process.py"
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
    return {"@context": CONTEXT, "id": f"urn:ngsi-ld:ACMeasurement:bench:{number}", "type": "ACMeasurement", **values}


def bodies(entities: int, rounds: int) -> list[bytes]:
    return [
        orjson.dumps([entity(number, second) for number in range(first, first + BATCH)])
        for second in range(rounds)
        for first in range(0, entities, BATCH)
    ]


async def load(address: str, batches: list[bytes], clients: int, seconds: float) -> list[float]:
    """Send until the time is over; the latencies of the answers."""
    took: list[float] = []
    waiting = iter(batches)
    end = time.monotonic() + seconds
    url = f"{address}/ngsi-ld/v1/entityOperations/upsert?options=update"

    async def one() -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            for body in waiting:
                began = time.monotonic()
                if began > end:
                    return
                answer = await client.post(url, content=body, headers={"Content-Type": "application/ld+json"})
                answer.raise_for_status()
                took.append(time.monotonic() - began)

    await asyncio.gather(*(one() for _ in range(clients)))
    return took


async def read(address: str, targets: list[str], clients: int, seconds: float) -> int:
    """Ask for these in turn until the time is over; how many answers."""
    end, answers = time.monotonic() + seconds, 0

    async def one(first: int) -> None:
        nonlocal answers
        async with httpx.AsyncClient(base_url=f"{address}/ngsi-ld/v1", timeout=60) as client:
            number = first
            while time.monotonic() < end:
                answer = await client.get(targets[number % len(targets)], headers={"Link": LINK})
                answer.raise_for_status()
                answers += 1
                number += clients

    await asyncio.gather(*(one(number) for number in range(clients)))
    return answers


def reads(server: psutil.Process, address: str, entities: int, clients: int, seconds: float) -> dict[str, int]:
    """Answers per CPU-second of the server."""
    ids = [f"/entities/urn:ngsi-ld:ACMeasurement:bench:{number}" for number in range(0, entities, 17)]
    questions = {
        "control": [f"{address}/api/time"],  # an empty handler of the same server
        "retrieve": ids,
        "query_20": ["/entities?type=ACMeasurement&limit=20"],
        "query_20_pages": [f"/entities?type=ACMeasurement&limit=20&offset={at}" for at in range(0, 2000, 20)],
        "query_q_20": ["/entities?type=ACMeasurement&q=totalActivePower%3E500&limit=20"],
    }
    figures = {}
    for name, targets in questions.items():
        asyncio.run(read(address, targets, clients, 1))
        cpu = sum(server.cpu_times()[:2])
        answers = asyncio.run(read(address, targets, clients, seconds))
        figures[f"{name}_per_cpu_s"] = round(answers / (sum(server.cpu_times()[:2]) - cpu))
    return figures


async def patch(address: str, ids: list[str], clients: int, seconds: float) -> int:
    """Change one attribute of these in turn, each on the disk before it is answered; how many answers."""
    end, answers = time.monotonic() + seconds, 0

    async def one(first: int) -> None:
        nonlocal answers
        async with httpx.AsyncClient(base_url=f"{address}/ngsi-ld/v1", timeout=60) as client:
            number = first
            while time.monotonic() < end:
                body = {"type": "Property", "value": number, "unitCode": "WTT"}
                where = f"{ids[number % len(ids)]}/attrs/totalActivePower"
                answer = await client.patch(where, json=body, headers={"Link": LINK})
                answer.raise_for_status()
                answers += 1
                number += clients

    await asyncio.gather(*(one(number) for number in range(clients)))
    return answers


def patches(server: psutil.Process, address: str, entities: int, seconds: float) -> dict[str, int]:
    """Answers per CPU-second of the server, 32 connections."""
    ids = [f"/entities/urn:ngsi-ld:ACMeasurement:bench:{number}" for number in range(0, entities, 17)]
    cpu = sum(server.cpu_times()[:2])
    answers = asyncio.run(patch(address, ids, 32, seconds))
    return {"patch_per_cpu_s": round(answers / (sum(server.cpu_times()[:2]) - cpu))}


def main() -> None:
    """Print the figures as JSON."""
    seconds = float(os.environ.get("BENCH_SECONDS", "15"))
    entities = int(os.environ.get("BENCH_ENTITIES", "20000"))
    clients = int(os.environ.get("BENCH_CLIENTS", "4"))
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([sys.executable, SERVER, folder], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            server = psutil.Process(process.pid)
            idle = server.memory_full_info()
            created = time.monotonic()
            asyncio.run(load(address, bodies(entities, 1), clients, 600))
            created = time.monotonic() - created
            batches = bodies(entities, 5)
            cpu, began = sum(server.cpu_times()[:2]), time.monotonic()
            took = sorted(asyncio.run(load(address, batches[entities // BATCH :], clients, seconds)))
            wall, cpu = time.monotonic() - began, sum(server.cpu_times()[:2]) - cpu
            busy = server.memory_full_info()
            answered = reads(server, address, entities, clients, min(seconds, 5))
            answered |= patches(server, address, entities, min(seconds, 5))
            metrics = httpx.get(f"{address}/metrics").text
        finally:
            process.terminate()
            process.wait(10)
    counters = {line.split()[0]: float(line.split()[1]) for line in metrics.splitlines() if line[:1] not in ("#", "")}
    print(
        json.dumps(
            {
                "entities": entities,
                "created_per_s": round(entities / created),
                "batches": len(took),
                **answered,
                "entities_per_s": round(len(took) * BATCH / wall),
                "entities_per_cpu_s": round(len(took) * BATCH / cpu),
                "history_rows_per_s": round(len(took) * BATCH * len(NAMES) / wall),
                "latency_ms": {
                    "p50": round(took[len(took) // 2] * 1000, 1),
                    "p99": round(took[-len(took) // 100] * 1000, 1),
                },
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
