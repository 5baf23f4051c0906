"""How much at once and how often. Pure functions; seconds."""

from __future__ import annotations

EXCHANGE_S = 0.5  # what a backlog batch should take: so long does a new value wait at most, in the middle of a drain
SIZE_FIRST = 500  # readings, before anything is known of the link
SIZE_MIN = 50
INTERVAL_S = 0.5  # half a commit window: what is acknowledged within it is never written to the card
BACKLOG_SHARE = 0.8


def next_size(size: int, readings: int, spent_s: float, floor_s: float, most: int) -> int:
    """How many readings the next backlog batch should have, after one of ``readings`` that took ``spent_s``.

    ``floor_s`` is the shortest exchange seen: what even an empty one costs. Only what is above it grows with the size.
    It changes to a half or to the double at most; a batch that was not full says nothing of larger ones.
    """
    room_s = max(EXCHANGE_S - floor_s, EXCHANGE_S / 2)
    wanted = int(readings * room_s / max(spent_s - floor_s, 1e-3))
    if wanted > size and readings < size // 2:
        return size
    return max(min(SIZE_MIN, most), min(wanted, 2 * size, most), min(size // 2, most))


def rest_s(spent_s: float, share: float) -> float:
    """How long the backlog rests after an exchange, so that it has ``share`` (above 0, up to 1) of the time."""
    return spent_s * (1 / share - 1)
