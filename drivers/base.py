"""Core types of the device side: quality, measurements, observations, readings, frames; the Bus and Driver protocols.

A codec turns bytes into :class:`Measurement` values. A driver adds the monotonic instant: an :class:`Observation`.
The edge adds name, unit, quality and date: a :class:`Reading`. Times are integer nanoseconds; ``*_ns`` names UTC since
the epoch unless it says ``mono`` (``time.monotonic_ns()``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Literal, Protocol, runtime_checkable


class Quality(IntEnum):
    """How far a reading may be trusted; ``max()`` of several is the worst."""

    GOOD = 0
    SUSPECT = 1
    BAD = 2


class Reason(StrEnum):
    """Why a reading is not GOOD; empty for GOOD ones."""

    NONE = ""
    RANGE = "range"
    JUMP = "jump"
    FLATLINE = "flatline"
    STALE = "stale"
    CLOCK = "clock"
    COMMS = "comms"
    CALIBRATION = "calibration"


@dataclass(frozen=True, slots=True)
class Position:
    """A WGS84 position: degrees, degrees, metres above the ellipsoid where known."""

    latitude: float
    longitude: float
    altitude: float | None = None


Value = float | int | bool | str | Position


@dataclass(frozen=True, slots=True)
class Measurement:
    """One value as a codec decodes it, in the unit that ``drivers.quantities`` gives for the quantity."""

    quantity: str
    value: Value


@dataclass(frozen=True, slots=True)
class Observation:
    """What a device said at one instant; never split on the way upstream.

    ``mono_ns`` is the middle of the request's round trip, or the arrival of a frame that came unasked.
    ``device_ns`` is the device's own UTC time where it states one with a zone (P1), else None. ``time_trusted``: that
    time is good enough to set the box's clock by (a GNSS receiver with a fix).
    """

    measurements: tuple[Measurement, ...]
    mono_ns: int
    device_ns: int | None = None
    time_trusted: bool = False


@dataclass(frozen=True, slots=True)
class BootTime:
    """A date that is not trusted yet: the boot it belongs to and that boot's monotonic time."""

    boot_id: str
    mono_ns: int


@dataclass(frozen=True, slots=True)
class Reading:
    """One quantity of one device at one instant, with unit and quality.

    ``clock`` is None where ``observed_ns`` is a trusted UTC time; else ``clock`` says how to re-date it and
    ``observed_ns`` is 0.
    ``seq`` is the outbox's sequence number in its stream, 0 before the outbox has it.
    """

    device: str
    quantity: str
    value: Value
    unit: str
    observed_ns: int
    clock: BootTime | None = None
    quality: Quality = Quality.GOOD
    reason: Reason = Reason.NONE
    seq: int = 0


Direction = Literal["tx", "rx"]


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes seen on a bus: what ``capture`` records and ``replay`` plays. ``at_ns`` is UTC by the box's clock."""

    bus: str
    direction: Direction
    data: bytes
    at_ns: int


Tap = Callable[[Frame], None]


@runtime_checkable
class Bus(Protocol):
    """One medium with one owner. It opens on first use and heals itself: a vanished port is tried again when next used.

    Methods that talk raise ``drivers.errors.DriverError`` and nothing else.
    """

    name: str
    tap: Tap | None

    async def open(self) -> None:
        """Open the medium now. Raises NoPort, NoPermission or Disconnected. Opening an open bus does nothing."""

    async def close(self) -> None:
        """Close it; safe to call twice."""


@runtime_checkable
class Driver(Protocol):
    """One device on a bus.

    ``period_s`` is the wanted time between polls, None for a device that speaks by itself.
    ``silence_s`` is how long a device that speaks by itself may be quiet before ``read`` raises Timeout.
    """

    period_s: float | None
    silence_s: float

    async def read(self) -> tuple[Observation, ...]:
        """Poll once, or wait for what comes next. Raises a Transient or NeedsHuman of ``drivers.errors``."""

    async def close(self) -> None:
        """Let go of the bus (unsubscribe, disconnect); safe to call twice."""


_REASONS = {"bad_frames": "damaged", "dropped": "dropped", "thinned": "thinned", "flooded": "flooded"}


def passed_over(part: Driver | Bus) -> dict[str, int]:
    """What came and gave no reading, by reason, as far as a driver or a bus counts it; without what never happened.

    What counts at all does so in attributes of these names, and in a mapping ``passed`` by reasons of its own.
    """
    counts = Counter(getattr(part, "passed", {}))
    for attribute, reason in _REASONS.items():
        counts[reason] += getattr(part, attribute, 0)
    return dict(+counts)
