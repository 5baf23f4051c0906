"""Appends one observation after the other to an outbox and prints each number once it is known to be committed.

``python -m tests.durability.appender PATH FIRST [SYNCHRONOUS] [online]``: a line "committed N" says how many readings
were, since the file is. With "online" a server takes what is handed out: "acked V ..." lists the values that it has.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from gateway.clock import SystemClock
from gateway.model import Ack, Reading
from gateway.outbox import file
from gateway.outbox.retention import Limits
from gateway.outbox.store import Outbox

READINGS = 4


async def server(outbox: Outbox) -> None:
    """Takes the newest, else the backlog; what it prints it has."""
    while True:
        batch = await outbox.live(random.randint(4, 60)) or await outbox.backlog(random.randint(4, 400))
        await asyncio.sleep(random.choice((0, 0.001, 0.01, 0.05)))
        if batch is None:
            continue
        if random.random() < 0.1:
            outbox.release(batch)
            continue
        print("acked", *sorted({reading.value for reading in batch.readings}), flush=True)
        await outbox.ack(Ack(batch.stream, batch.ranges))


async def main(path: Path, first: int, online: bool) -> None:
    clock = SystemClock(configured=True)
    outbox = Outbox(path, limits=Limits(64 * 2**20), commit_interval_s=0.02, clock=clock)
    await outbox.start()
    stats = outbox.stats()
    print(f"open {stats.stream} {stats.crash_cost} {stats.crashes} {sum(stats.made.values())}", flush=True)
    outbox.fresh_s = 0.05 if online else 10.0
    tasks = [asyncio.create_task(server(outbox))] if online else []
    value, committed = first, 0
    while not any(task.done() for task in tasks):
        for _ in range(3):
            now = clock.mono_ns()
            utc = clock.utc_ns(now)
            assert utc is not None
            outbox.append([Reading("meter", f"q{n}", value, "W", utc) for n in range(READINGS)])
            value += 1
        await asyncio.sleep(0.002)
        figures = outbox._writer.figures
        if figures.number > committed:
            committed = figures.number
            print(f"committed {sum(figures.made.values())}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 3:  # of SQLite
        file.SYNCHRONOUS = sys.argv[3]
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), "online" in sys.argv))
