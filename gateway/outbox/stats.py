"""What the outbox says of itself."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.outbox.records import Figures, Moment

SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """What the outbox holds and what became of what it was given; all counts are readings.

    ``made`` by device: all that were appended, as far as the file knows of them or memory holds them; what a crash took
    is not in it but, as an upper bound, in ``crash_cost``. ``dropped`` by reason: appended, and given up before they
    were acknowledged; those of `memory` nothing could write in time. ``placed``: dated by estimate because their boot
    never knew the time. ``kept_bytes``: of acknowledged readings that stay for a server that lacks them. ``deferred``:
    live readings that a link whose budget runs out passed over since the start; they wait, and go as what waited does.
    ``volatile``: readings that only memory holds because the disk takes nothing. ``problem``: why the file cannot be
    written now, else empty. ``last_commit_mono_ns`` is 0 before the first.
    """

    stream: str
    depth: int
    oldest_age_s: float
    bytes: int
    kept_bytes: int
    made: dict[str, int]
    dropped: dict[str, int]
    crash_cost: int
    crashes: int
    placed: int
    deferred: int
    volatile: int
    last_commit_mono_ns: int
    writer_alive: bool
    problem: str


def age_s(figures: Figures, now: Moment) -> float:
    """Age of the oldest block that waits; of one from a boot that knows no time yet, at least the time of this boot."""
    if figures.head_boot_id == now.boot_id:
        return max(0, now.mono_ns - figures.head_mono_ns) / SECOND
    if now.offset_ns is None or figures.head_offset_ns is None:
        return now.mono_ns / SECOND
    return max(0, now.mono_ns + now.offset_ns - figures.head_mono_ns - figures.head_offset_ns) / SECOND
