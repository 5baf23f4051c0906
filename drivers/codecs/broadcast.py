"""What every codec of broadcast advertisements returns."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.base import Measurement


@dataclass(frozen=True, slots=True)
class Broadcast:
    """The measurements of one advertisement.

    ``sequence`` is the sender's own count of what it measured, None where it states none. Radios send each count
    several times; two broadcasts of one sender with equal, stated counts are the same measurement.
    """

    measurements: tuple[Measurement, ...]
    sequence: int | None = None
