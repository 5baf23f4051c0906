"""How much the outbox may hold, and what gives way first. Pure functions of sizes in bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.outbox.codec import Entry

DropReason = Literal[
    "outbox-full",
    "disk-full",
    "thinned",
    "expired",
    "memory",
    "damaged",
    "unencodable",
    "refused-by-server",
    "unmapped",
]
KEEP_FREE_MAX = 64 * 2**20  # of a big disk ...
KEEP_FREE_SHARE = 20  # ... and a twentieth of a small one stay free for the rest of the box
WAL_MAX = 2 * 2**20  # a short log goes round in blocks that it has: it costs no change of its length on the disk
WAL_MIN = 128 * 2**10
KEEP_ACKED_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds an outbox.

    ``max_bytes``: file and log together. ``acked_max``: bytes of acknowledged readings that stay for a server that was
    restored from an older backup, 0 for none. ``thin``: where room is needed the older half of what waits is thinned
    to every second observation, instead of dropping the oldest. ``keep_for_s``: older readings are given up.
    """

    max_bytes: int
    acked_max: int = 16 * 2**20
    thin: bool = False
    keep_for_s: float | None = None


def wal_budget(max_bytes: int) -> int:
    """What of the outbox's bytes its write-ahead log may take: an eighth, within bounds."""
    return max(WAL_MIN, min(WAL_MAX, max_bytes // 8))


def allowance(max_bytes: int, file_bytes: int, free_bytes: int, disk_bytes: int) -> tuple[int, DropReason]:
    """How big the database file may become, and the reason to give for what is dropped because of it.

    On a full disk the outbox keeps what it has and goes round in it: it neither grows nor yields to whoever fills it.
    """
    own = max_bytes - wal_budget(max_bytes)
    keep_free = min(KEEP_FREE_MAX, disk_bytes // KEEP_FREE_SHARE)
    disk = file_bytes + max(0, free_bytes - keep_free)
    return (own, "outbox-full") if own <= disk else (disk, "disk-full")


def thin(entries: Sequence[Entry], every: int = 2) -> list[Entry]:
    """Every n-th observation of each device, the first of each included, in order."""
    seen: Counter[str] = Counter()
    kept = []
    for entry in entries:
        device = entry.readings[0].device
        if seen[device] % every == 0:
            kept.append(entry)
        seen[device] += 1
    return kept


def sparse(entries: Sequence[Entry], every: int) -> list[Entry]:
    """Every n-th observation of each series, back from the newest of each, which is always among them; in order.

    A series is what one device says together: a device that is read in several parts has as many.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    kept = []
    for entry in reversed(entries):
        series = entry.readings[0].device, *(reading.quantity for reading in entry.readings)
        if seen[series] % every == 0:
            kept.append(entry)
        seen[series] += 1
    return kept[::-1]
