"""Appends one observation after the other to an outbox and prints each number once it is known to be committed.

``python -m tests.durability.appender PATH FIRST [SYNCHRONOUS]``: a line "committed N" says that all values up to N are.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gateway.clock import SystemClock
from gateway.model import Reading
from gateway.outbox import file
from gateway.outbox.retention import Limits
from gateway.outbox.store import Outbox

READINGS = 4


async def main(path: Path, first: int) -> None:
    clock = SystemClock(configured=True)
    outbox = Outbox(path, limits=Limits(64 * 2**20), commit_interval_s=0.02, clock=clock)
    await outbox.start()
    stats = outbox.stats()
    print(f"open {stats.stream} {stats.crash_cost} {stats.crashes} {sum(stats.made.values())}", flush=True)
    value, committed = first, 0
    while True:
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
    if len(sys.argv) > 3:
        file.SYNCHRONOUS = sys.argv[3]
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
