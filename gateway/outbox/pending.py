"""What has not been committed yet: bounded, in memory, in order."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from gateway.model import Reading
from gateway.outbox.records import Load
from gateway.outbox.retention import DropReason

READINGS_MAX = 100_000


class Pending:
    """Observations and counts on their way to the file. Beyond the bound the oldest observation is dropped."""

    def __init__(self) -> None:
        self.readings = 0
        self.urgent = False
        self.since_mono_ns = 0
        self.made: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.flight: Load | None = None
        self._observations: deque[tuple[Reading, ...]] = deque()
        self._loads = 0

    def __bool__(self) -> bool:
        return bool(self._observations or self.made or self.dropped)

    @property
    def at_risk(self) -> int:
        """Readings that a crash would cost now."""
        return self.readings + (self.flight.readings if self.flight else 0)

    def add(self, readings: tuple[Reading, ...], urgent: bool, mono_ns: int) -> None:
        """Take one observation of at least one reading."""
        if not self._observations:
            self.since_mono_ns = mono_ns
        self._observations.append(readings)
        self.readings += len(readings)
        self.made.update(reading.device for reading in readings)
        self.urgent = self.urgent or urgent
        self._shed()

    def refuse(self, readings: Sequence[Reading], reason: DropReason) -> None:
        """Count readings that are made and not kept."""
        self.made.update(reading.device for reading in readings)
        self.dropped[reason] += len(readings)

    def count(self, readings: int, reason: DropReason) -> None:
        """Count readings that were kept and then given up."""
        self.dropped[reason] += readings

    def take(self) -> Load:
        """Everything, for one commit; until ``done`` or ``give_back`` it counts as in flight."""
        self._loads += 1
        load = Load(self._loads, self.readings, list(self._observations), self.made, self.dropped, self.urgent)
        self._observations.clear()
        self.readings, self.made, self.dropped, self.urgent = 0, Counter(), Counter(), False
        self.flight = load
        return load

    def done(self) -> None:
        """The load in flight is on the disk."""
        self.flight = None

    def give_back(self, load: Load) -> None:
        """The commit failed: the load goes back to the front."""
        self._observations.extendleft(reversed(load.observations))
        self.readings += load.readings
        self.made += load.made
        self.dropped += load.dropped
        self.urgent = self.urgent or load.urgent
        self.flight = None
        self._shed()

    def _shed(self) -> None:
        while self.at_risk > READINGS_MAX and self._observations:
            lost = len(self._observations.popleft())
            self.readings -= lost
            self.dropped["memory"] += lost
