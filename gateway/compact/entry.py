"""What a block or a batch is made of."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.model import Quality, Reading, Reason

READINGS_MAX = 20_000  # and entries, of one body
LIMIT = 2**63  # of sequence numbers and of nanoseconds
EXPONENT_MAX = 9  # of ten, of the unit of a column of instants in nanoseconds
_REASONS = (
    Reason.NONE,
    Reason.RANGE,
    Reason.JUMP,
    Reason.FLATLINE,
    Reason.STALE,
    Reason.CLOCK,
    Reason.COMMS,
    Reason.CALIBRATION,
)
MARKS = {(quality, reason): 16 * quality + n for quality in Quality for n, reason in enumerate(_REASONS)}

Shape = tuple[tuple[str, str], ...]
"""The quantities of a run, each with its unit. A run is readings that stand together in an entry, of one device at one
instant; a series is all runs of one device with one shape."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One observation in the stream; its readings have the numbers ``seq``, ``seq`` + 1, ..."""

    seq: int
    readings: tuple[Reading, ...]

    @property
    def last_seq(self) -> int:
        """The number of its last reading."""
        return self.seq + len(self.readings) - 1
