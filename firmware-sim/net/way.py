"""One direction of an emulated link: when a packet arrives, or that it never does. Pure but for the random numbers."""

from __future__ import annotations

import random
from dataclasses import dataclass

QUEUE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Impairments:
    """How a direction behaves. Times in s, ``rate`` in bit/s (0: no limit), ``loss`` and ``reorder`` as shares 0..1.

    ``jitter_s`` is the most that a packet is late or early, evenly spread; order is kept, but a share ``reorder`` of
    the packets is not delayed at all and so overtakes. ``queue_bytes`` wait for the rate, what is beyond is dropped.
    ``stalled``: packets vanish, and nothing says so.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    reorder: float = 0.0
    rate: float = 0.0
    queue_bytes: int = QUEUE_BYTES
    stalled: bool = False

    def __post_init__(self) -> None:
        if min(self.delay_s, self.jitter_s, self.rate, self.queue_bytes) < 0:
            raise ValueError("delay, jitter, rate and queue are not negative")
        if not (0 <= self.loss <= 1 and 0 <= self.reorder <= 1):
            raise ValueError("loss and reorder are shares of 0..1")


@dataclass(slots=True)
class Counts:
    """What became of the packets: ``packets`` and ``bytes`` arrived, the rest did not."""

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    overflowed: int = 0
    vanished: int = 0


class Way:
    """The queue of one direction."""

    def __init__(self, seed: int) -> None:
        self.impairments = Impairments()
        self.counts = Counts()
        self._random = random.Random(seed)
        self._free_at = 0.0  # when the packets before have left at the set rate
        self._last_due = 0.0

    def admit(self, now: float, size: int) -> float | None:
        """When a packet of ``size`` bytes that comes now arrives at the other end; None: never, and it is counted."""
        impairments, counts = self.impairments, self.counts
        if impairments.stalled:
            counts.vanished += 1
            return None
        if impairments.loss and self._random.random() < impairments.loss:
            counts.lost += 1
            return None
        left = now
        if impairments.rate:
            wait_s = max(0.0, self._free_at - now)
            if wait_s * impairments.rate / 8 + size > max(impairments.queue_bytes, size):
                counts.overflowed += 1
                return None
            left = self._free_at = now + wait_s + size * 8 / impairments.rate
        if impairments.reorder and self._random.random() < impairments.reorder:
            return left
        jitter = self._random.uniform(-impairments.jitter_s, impairments.jitter_s) if impairments.jitter_s else 0.0
        self._last_due = max(self._last_due, left + max(0.0, impairments.delay_s + jitter))
        return self._last_due

    def change(self, impairments: Impairments) -> None:
        """From now on; a shorter delay holds at once, packets that come now may overtake those under way."""
        self.impairments = impairments
        self._free_at = self._last_due = 0.0
