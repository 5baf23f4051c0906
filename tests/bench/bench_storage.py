"""The storage of the server alone: batches of entities with history, questions to a long history, starts.

BENCH_ENTITIES (default 20,000), BENCH_SERIES (default 200) of BENCH_SAMPLES (default 10,000) each. BENCH_POSTGRES=1:
then the same over PostgreSQL on this machine; its CPU (to 10 ms) counts too, and the wall time is what a client sees.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import psutil

from gateway.server.storage.base import Reader, Sample, Selection, Span, Storage, Writer
from gateway.server.storage.sqlite import SqliteStorage
from tests.server.postgres_server import Databases, postgres

BATCH, ATTRIBUTES, ROUNDS = 100, 5, 4
START_US, MINUTE_US, DAY_US = 1_767_225_600_000_000, 60_000_000, 86_400_000_000
TYPE = "https://smartdatamodels.org/dataModel.Energy/ACMeasurement"
NAMES = [f"https://smartdatamodels.org/dataModel.Energy/power{n}" for n in range(ATTRIBUTES)]


def cpu_s() -> float:
    """Of this process, and of the database that it has started."""
    others = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return time.process_time() + sum(times.user + times.system for times in others)


def instance(value: float) -> bytes:
    return orjson.dumps({"type": "Property", "value": value, "unitCode": "WTT"})


def put(writer: Writer, numbers: range, turn: int) -> None:
    """One batch, as the broker does it; what is made here for it counts too."""
    writer.prefetch("", [f"urn:ngsi-ld:ACMeasurement:bench:{number}" for number in numbers])
    for number in numbers:
        name, value = f"urn:ngsi-ld:ACMeasurement:bench:{number}", (number * 7 + turn) % 10_000 / 10
        document = {"id": name, "type": [TYPE], **{a: {"type": "Property", "value": value} for a in NAMES}}
        writer.entity("", name)
        writer.put_entity("", name, [TYPE], orjson.dumps(document))
        one = instance(value)
        writer.put_history("", name, [Sample(a, "", START_US + turn * MINUTE_US, one) for a in NAMES], START_US)


async def batches(storage: Storage, entities: int) -> dict[str, Any]:
    """Four clients send batches."""
    took: list[float] = []
    firsts = iter([(turn, first) for turn in range(ROUNDS) for first in range(0, entities, BATCH)])

    async def client() -> None:
        for turn, first in firsts:
            began = time.monotonic()
            await storage.write(lambda w, r=range(first, first + BATCH), t=turn: put(w, r, t), weight=BATCH)
            took.append(time.monotonic() - began)

    cpu, own, began = cpu_s(), time.process_time(), time.monotonic()
    await asyncio.gather(*(client() for _ in range(4)))
    cpu, own, took_s = cpu_s() - cpu, time.process_time() - own, time.monotonic() - began
    return {
        "cpu_us_per_entity": round(cpu * 1e6 / entities / ROUNDS, 1),
        "cpu_us_per_entity_own": round(own * 1e6 / entities / ROUNDS, 1),
        "entities_per_s": round(entities * ROUNDS / took_s),
        "p99_ms": round(sorted(took)[-len(took) // 100] * 1e3, 1),
        "rss_mib": psutil.Process().memory_info().rss >> 20,
    }


async def fill(storage: Storage, series: int, samples: int) -> None:
    """A long history, a thousand samples of a series at once."""
    for first in range(0, samples, 1_000):
        for number in range(series):
            some = [
                Sample(NAMES[0], "", START_US + n * MINUTE_US, instance((n * number) % 1_000 / 10))
                for n in range(first, min(first + 1_000, samples))
            ]

            def work(writer: Writer, name: str = f"urn:long:{number}", some: list[Sample] = some) -> None:
                writer.put_subject("", name, [TYPE])
                writer.put_history("", name, some, START_US)

            await storage.write(work, weight=200)


async def timed(storage: Storage, work: Any) -> list[float]:
    """CPU milliseconds of this process and wall milliseconds, the best of three each."""
    cpu, wall = [], []
    for _ in range(3):
        began, clock = time.process_time(), time.monotonic()
        await storage.read(work)
        cpu.append((time.process_time() - began) * 1e3)
        wall.append((time.monotonic() - clock) * 1e3)
    return [round(min(cpu), 2), round(min(wall), 2)]


async def questions(storage: Storage, series: int, entities: int) -> dict[str, list[float]]:
    def day(reader: Reader, number: int) -> None:
        found = reader.numbers("", f"urn:long:{number}", NAMES[0], "", START_US + DAY_US, START_US + 2 * DAY_US)
        assert found is not None and len(found.values) == 1_440

    one = Span((NAMES[0],), START_US + DAY_US, START_US + 2 * DAY_US)
    last = Span((NAMES[0],), last_n=10)
    name = f"urn:ngsi-ld:ACMeasurement:bench:{entities - 1}"
    return {
        "one_series_one_day_numbers_ms": await timed(storage, lambda r: day(r, 7)),
        "one_series_one_day_samples_ms": await timed(storage, lambda r: r.history("", "urn:long:7", one)),
        "one_series_last_10_ms": await timed(storage, lambda r: r.history("", "urn:long:7", last)),
        "100_series_one_day_numbers_ms": await timed(storage, lambda r: [day(r, n % series) for n in range(100)]),
        "entity_ms": await timed(storage, lambda r: r.entity("", name)),
        "page_of_100_ms": await timed(storage, lambda r: list(r.entities("", Selection(types=(TYPE,)), 100, 500))),
        "count_ms": await timed(storage, lambda r: r.count("", Selection(types=(TYPE,)))),
    }


async def bench(folder: Path, make: Callable[[Path], Storage]) -> dict[str, Any]:
    entities, series, samples = (
        int(os.environ.get(f"BENCH_{name}", default))
        for name, default in (("ENTITIES", "20000"), ("SERIES", "200"), ("SAMPLES", "10000"))
    )
    storage = make(folder)
    await storage.start()
    figures: dict[str, Any] = {"entities": entities, "samples": series * samples}
    figures["batches"] = await batches(storage, entities)
    began = time.monotonic()
    await fill(storage, series, samples)
    figures["fill_s"] = round(time.monotonic() - began, 2)
    began = time.monotonic()
    await storage.close()
    figures["close_s"] = round(time.monotonic() - began, 2)
    storage = make(folder)
    began = time.monotonic()
    await storage.start()
    figures["start_s"] = round(time.monotonic() - began, 2)
    figures["questions_cpu_and_wall"] = await questions(storage, series, entities)
    figures["rss_mib"] = psutil.Process().memory_info().rss >> 20
    await storage.write(lambda writer: None)
    figures["file_mib"] = storage.stats().bytes >> 20
    await storage.close()
    return figures


def main() -> None:
    """Print the figures as JSON, a line for each storage."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        print(json.dumps({"storage": "SQLite"} | asyncio.run(bench(folder, SqliteStorage))), flush=True)
        if os.environ.get("BENCH_POSTGRES"):
            databases = Databases(stack.enter_context(postgres()))
            print(json.dumps({"storage": "PostgreSQL"} | asyncio.run(bench(folder, databases.storage))))


if __name__ == "__main__":
    main()
