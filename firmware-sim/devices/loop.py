"""A counter behind inductive loops in a cycle track: two directions, 32 bits each, as Modbus input registers.

Its map is that of the template ``loop-counter-modbus``. It wraps at 2^32 and begins again from 0 when it restarts.
"""

from __future__ import annotations

from collections.abc import Callable

from firmware_sim.modbus import Registers, long_words

MODULUS = 2**32
SUPPLY_CV, TEMPERATURE_DC = 1241, 213  # 12.41 V and 21.3 degrees


class LoopCounter:
    """``passed`` gives how many have passed in and out since the world began, ``begin`` what it showed then."""

    def __init__(self, passed: Callable[[], tuple[int, int]], begin: tuple[int, int] = (0, 0)) -> None:
        self._passed = passed
        self._begin = begin

    def restart(self) -> None:
        """The power was off for a moment: both counts are 0."""
        inward, outward = self._passed()
        self._begin = -inward, -outward

    def registers(self) -> Registers:
        """Input registers 0 to 5: counts in and out, high word first, supply in 0.01 V, temperature in 0.1 degrees."""
        inward, outward = (
            (begin + passed) % MODULUS for begin, passed in zip(self._begin, self._passed(), strict=True)
        )
        words = (*long_words(inward, "high-first"), *long_words(outward, "high-first"), SUPPLY_CV, TEMPERATURE_DC)
        return dict(enumerate(words))
