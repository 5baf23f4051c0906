"""Waiting for bytes on a descriptor, until a time."""

from __future__ import annotations

import asyncio


async def readable(fd: int, until: float) -> bool:
    """Wait until there is something to read, or the loop's time ``until``. Returns whether there is."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bool] = loop.create_future()

    def done(there: bool) -> None:
        if not ready.done():
            ready.set_result(there)

    loop.add_reader(fd, done, True)
    timer = loop.call_at(until, done, False)
    try:
        return await ready
    finally:
        timer.cancel()
        loop.remove_reader(fd)
