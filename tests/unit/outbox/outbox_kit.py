"""A clock that the test sets, and short ways to make readings and run an outbox."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.clock import Source, stamp
from gateway.model import Ack, Batch, BootTime, Reading, Value
from gateway.outbox.retention import Limits
from gateway.outbox.store import Outbox

SECOND = 1_000_000_000
LIMITS = Limits(64 * 2**20)
UTC_2026 = 1_780_000_000 * SECOND


class FakeClock:
    def __init__(self, boot_id: str = "boot-1", offset_ns: int | None = UTC_2026, mono_ns: int = SECOND) -> None:
        self.boot_id = boot_id
        self.offset_ns = offset_ns
        self.now_ns = mono_ns

    @property
    def source(self) -> Source:
        return "none" if self.offset_ns is None else "configured"

    def mono_ns(self) -> int:
        return self.now_ns

    def utc_ns(self, mono_ns: int) -> int | None:
        return None if self.offset_ns is None else mono_ns + self.offset_ns

    def pass_s(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND)

    def learn(self, server_ns: int, sent_mono_ns: int, received_mono_ns: int) -> bool:
        self.offset_ns = server_ns - (sent_mono_ns + received_mono_ns) // 2
        return True

    def refresh(self) -> None:
        pass


def observe(clock: FakeClock, values: Iterable[Value], device: str = "meter") -> list[Reading]:
    """One observation of now: value n is of quantity q<n>."""
    observed_ns, boot_time = stamp(clock, clock.mono_ns())
    return [Reading(device, f"q{number}", value, "W", observed_ns, boot_time) for number, value in enumerate(values)]


def noisy(numbers: Iterable[int]) -> list[float]:
    """Numbers with a fraction that no codec makes small."""
    return [number + random.random() for number in numbers]


@asynccontextmanager
async def running(
    path: Path, clock: FakeClock, *, limits: Limits = LIMITS, interval_s: float = 0.02
) -> AsyncIterator[Outbox]:
    outbox = Outbox(path, limits=limits, commit_interval_s=interval_s, clock=clock, gateway="box")
    await outbox.start()
    try:
        yield outbox
    finally:
        await outbox.close()


def all_of(batch: Batch) -> Ack:
    return Ack(batch.stream, batch.ranges)


async def drain(outbox: Outbox, limit: int = 500) -> list[Reading]:
    """Take and acknowledge until nothing is left, the oldest first."""
    taken: list[Reading] = []
    while batch := await oldest(outbox, limit):
        taken += batch.readings
        await outbox.ack(all_of(batch))
    return taken


async def peek(outbox: Outbox, limit: int) -> Batch | None:
    """The oldest that waits, in the file and in memory, without taking it."""
    batch = await outbox.backlog(limit)
    room = limit - len(batch.readings) if batch else limit
    live = await outbox.live(room) if room > 0 else None
    for found in (batch, live):
        if found is not None:
            outbox.release(found)
    if batch and live:
        return Batch(batch.gateway, batch.stream, batch.ranges + live.ranges, batch.readings + live.readings)
    return batch or live


async def oldest(outbox: Outbox, limit: int) -> Batch | None:
    """The backlog first, then the newest."""
    return await outbox.backlog(limit) or await outbox.live(limit)


def values(readings: Sequence[Reading]) -> list[object]:
    return [reading.value for reading in readings]


def at_boot(boot_id: str, mono_ns: int, value: float = 0.0) -> Reading:
    return Reading("meter", "q0", value, "W", 0, BootTime(boot_id, mono_ns))
