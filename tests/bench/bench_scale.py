"""Many entities in many tenants: time and memory to load, to start again, and to answer. Reads are per CPU-second.

BENCH_ENTITIES (default 100,000) over BENCH_TENANTS (default 1), each with five attributes; BENCH_SECONDS a question.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator

import orjson
import psutil

from tests.bench.bench_broker import BATCH, LD, LINK, NAME, UPSERT, entity, per_cpu_s, serving
from tests.bench.http_load import load, request
from tests.server.support import ROOT


def placed(number: int) -> dict[str, object]:
    """An entity with a place: 1,000 along a line of longitude, as many lines as are needed."""
    point = {"type": "Point", "coordinates": [(number // 1000) * 0.01 % 180, (number % 1000) * 0.01]}
    return entity(number, 0) | {"location": {"type": "GeoProperty", "value": point}}


def requests(address: str, entities: int, tenants: int) -> Iterator[bytes]:
    """Batches, made as they are sent: a million entities would not fit."""
    for first in range(0, entities, BATCH):
        body = orjson.dumps([placed(number) for number in range(first, first + BATCH)])
        yield request("POST", address, UPSERT, LD | tenant_of(first, tenants), body)


def tenant_of(number: int, tenants: int) -> dict[str, str]:
    """The header of the tenant that an entity is in; the one tenant of a single one is the default."""
    return {"NGSILD-Tenant": f"city{number // BATCH % tenants}"} if tenants > 1 else {}


def answers(server: psutil.Process, address: str, entities: int, tenants: int, seconds: float) -> dict[str, int]:
    """Per CPU-second, each over entities of all tenants in turn."""
    query = f"{ROOT}/entities?type=ACMeasurement&limit=20"
    somewhere = list(range(0, entities, max(entities // 1000, 1)))
    near = "georel=near;maxDistance==1500&geometry=Point&coordinates="
    questions = {
        "control": [("/api/time", 0)],
        "retrieve": [(f"{ROOT}/entities/{NAME}{number}", number) for number in somewhere],
        "query_20": [(query, number) for number in somewhere],
        "query_q_selective": [(f"{query}&q=totalActivePower%3E999.8", number) for number in somewhere],
        "query_near": [(f"{query}&{near}%5B{(n // 1000) * 0.01 % 180},{n % 1000 * 0.01}%5D", n) for n in somewhere],
    }
    figures = {}
    for name, targets in questions.items():
        asked = [
            request("GET", address, target, {"Link": LINK} | tenant_of(number, tenants)) for target, number in targets
        ]
        figures[f"{name}_per_cpu_s"] = per_cpu_s(server, address, itertools.cycle(asked), 8, seconds)
    return figures


def main() -> None:
    """Print the figures as JSON."""
    entities = int(os.environ.get("BENCH_ENTITIES", "100000"))
    tenants = int(os.environ.get("BENCH_TENANTS", "1"))
    seconds = float(os.environ.get("BENCH_SECONDS", "5"))
    figures: dict[str, object] = {"entities": entities, "tenants": tenants}
    with tempfile.TemporaryDirectory() as folder:
        with serving(folder) as (server, address):
            began = time.monotonic()
            asyncio.run(load(address, requests(address, entities, tenants), 4, 7200))
            figures["loaded_per_s"] = round(entities / (time.monotonic() - began))
            figures["loaded_rss_mib"] = server.memory_info().rss >> 20
        began = time.monotonic()
        with serving(folder) as (server, address):
            figures["ready_s"] = round(time.monotonic() - began, 2)
            figures["ready_rss_mib"] = server.memory_info().rss >> 20
            figures |= answers(server, address, entities, tenants, seconds)
            figures["answered_rss_mib"] = server.memory_info().rss >> 20
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
