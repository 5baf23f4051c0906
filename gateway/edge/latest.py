"""The newest reading of every quantity, and bounded queues for those who watch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from drivers.base import Position, Reading, Value
from gateway.errors import ControlError

WATCHERS_MAX = 32
BACKLOG_MAX = 1000


class Latest:
    """One entry a device and quantity; watchers that are too slow lose the oldest."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str], tuple[Reading, int]] = {}
        self._watchers: set[asyncio.Queue[tuple[Reading, int]]] = set()

    def put(self, readings: Sequence[Reading], mono_ns: int) -> None:
        """Take the readings of one observation; what is older than what is known (a late final value) is left out."""
        for reading in readings:
            known = self._newest.get((reading.device, reading.quantity))
            if known is not None and known[1] > mono_ns:
                continue
            self._newest[reading.device, reading.quantity] = (reading, mono_ns)
            for watcher in self._watchers:
                if watcher.full():
                    watcher.get_nowait()
                watcher.put_nowait((reading, mono_ns))

    def forget(self, device: str) -> None:
        """Drop what a removed device said, and its appliances."""
        for key in [key for key in self._newest if key[0] == device or key[0].startswith(f"{device}/")]:
            del self._newest[key]

    def items(self, device: str | None = None) -> list[tuple[Reading, int]]:
        """(reading, monotonic time of arrival) of one device or all."""
        return [entry for (name, _), entry in self._newest.items() if device in (None, name)]

    @contextmanager
    def watch(self) -> Iterator[asyncio.Queue[tuple[Reading, int]]]:
        """A queue of readings as they come. Raises ControlError when too many watch already."""
        if len(self._watchers) >= WATCHERS_MAX:
            raise ControlError(f"{WATCHERS_MAX} watch already", code="control.busy", fix="End one of the others.")
        queue: asyncio.Queue[tuple[Reading, int]] = asyncio.Queue(BACKLOG_MAX)
        self._watchers.add(queue)
        try:
            yield queue
        finally:
            self._watchers.discard(queue)


def as_json(reading: Reading, mono_ns: int, now_mono_ns: int) -> dict[str, Any]:
    """A reading as the control socket and ``--json`` show it (docs/reference/status.md)."""
    return {
        "device": reading.device,
        "quantity": reading.quantity,
        "value": json_value(reading.value),
        "unit": reading.unit,
        "observed_ns": reading.observed_ns or None,
        "quality": reading.quality.name.lower(),
        "reason": reading.reason.value,
        "age_s": round((now_mono_ns - mono_ns) / 1e9, 3),
    }


def json_value(value: Value) -> Any:
    """A value as JSON has it: a position becomes {latitude, longitude, altitude}."""
    if isinstance(value, Position):
        return {"latitude": value.latitude, "longitude": value.longitude, "altitude": value.altitude}
    return value
