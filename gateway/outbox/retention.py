"""How much the outbox may hold. Pure functions of sizes in bytes."""

from __future__ import annotations

from typing import Literal

DropReason = Literal["outbox-full", "disk-full", "memory", "damaged", "unencodable", "refused-by-server", "unmapped"]
KEEP_FREE_MAX = 64 * 2**20  # of a big disk ...
KEEP_FREE_SHARE = 20  # ... and a twentieth of a small one stay free for the rest of the box
WAL_MAX = 4 * 2**20
WAL_MIN = 128 * 2**10


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


def reservation(recent_commits: list[int]) -> int:
    """How many sequence numbers to reserve beyond those in use: about two windows of the present rate."""
    return max(64, min(20_000, 2 * max(recent_commits, default=0)))
