"""The outbox as benchmarks use it."""

from __future__ import annotations

from pathlib import Path

from gateway.clock import Clock
from gateway.model import Batch
from gateway.outbox.retention import Limits
from gateway.outbox.store import Outbox


def open_outbox(path: Path, window_s: float, clock: Clock, max_bytes: int) -> Outbox:
    """An outbox that is not started yet."""
    return Outbox(path, limits=Limits(max_bytes), commit_interval_s=window_s, clock=clock, gateway="bench")


async def take(outbox: Outbox, limit: int) -> Batch | None:
    """What a sender would send next: the newest, else what waited."""
    return await outbox.live(limit) or await outbox.backlog(limit)
