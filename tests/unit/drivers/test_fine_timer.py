"""Short waits: never early, and none left behind."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from drivers.buses.fine_timer import FineTimer


async def test_never_early() -> None:
    timer = FineTimer()
    for wait_s in (0.0, 0.0001, 0.00175, 0.0042):
        for _ in range(5):
            begin = time.monotonic()
            await timer.sleep(wait_s)
            assert time.monotonic() - begin >= wait_s
    timer.close()


async def test_cancelled_and_used_again() -> None:
    timer = FineTimer()
    waiting = asyncio.create_task(timer.sleep(5))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(10):
        await timer.sleep(0.002)
    timer.close()


async def test_closed_one_waits_with_the_loop() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    timer = FineTimer()
    timer.close()
    timer.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    begin = time.monotonic()
    await timer.sleep(0.003)
    assert time.monotonic() - begin >= 0.003
