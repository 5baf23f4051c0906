"""The outbox as benchmarks use it, by the interface that it has here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.clock import Clock
from gateway.model import Batch
from gateway.outbox import retention
from gateway.outbox.store import Outbox


def open_outbox(path: Path, window_s: float, clock: Clock, max_bytes: int) -> Outbox:
    """An outbox that is not started yet."""
    limits = getattr(retention, "Limits", None)
    bounds: dict[str, Any] = {"limits": limits(max_bytes)} if limits else {"max_bytes": max_bytes}
    return Outbox(path, commit_interval_s=window_s, clock=clock, gateway="bench", **bounds)


async def take(outbox: Any, limit: int) -> Batch | None:
    """What a sender would send next: the newest, else what waited."""
    if not hasattr(outbox, "live"):
        return await outbox.peek(limit)
    return await outbox.live(limit) or await outbox.backlog(limit)
