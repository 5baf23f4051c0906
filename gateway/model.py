"""Core types shared by edge and server; those of the device side live in ``drivers.base`` and are re-exported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from drivers.base import BootTime, Frame, Measurement, Observation, Position, Quality, Reading, Reason, Value

__all__ = [
    "Ack",
    "Attribute",
    "Batch",
    "BootTime",
    "Entity",
    "Frame",
    "Link",
    "LinkState",
    "Measurement",
    "Observation",
    "Position",
    "Priority",
    "Quality",
    "Range",
    "Reading",
    "Reason",
    "Value",
]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute instance. ``kind`` is the NGSI-LD attribute type; ``value`` is JSON (a URI for a Relationship)."""

    value: object
    kind: str = "Property"
    unit_code: str | None = None
    observed_ns: int | None = None
    quality: Quality = Quality.GOOD
    reason: Reason = Reason.NONE
    dataset_id: str | None = None


@dataclass(frozen=True, slots=True)
class Entity:
    """An NGSI-LD entity as ``gateway.mapping`` makes it: short names, to be read with that model's @context."""

    id: str
    type: str
    attributes: dict[str, Attribute] = field(default_factory=dict)


class Priority(IntEnum):
    """What goes first and is dropped last: events, then the newest readings, then those that waited."""

    ALARM = 0
    LIVE = 1
    HISTORY = 2


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """Sequence numbers first..last, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Batch:
    """What the uplink sends: readings of one gateway and stream."""

    gateway: str
    stream: str
    ranges: tuple[Range, ...]
    readings: tuple[Reading, ...]
    priority: Priority = Priority.LIVE


@dataclass(frozen=True, slots=True)
class Ack:
    """Ranges that are now on the server's disk."""

    stream: str
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """One way out, as configured. ``interface`` None: whatever the routing table says."""

    name: str
    interface: str | None = None
    metered: bool = False


@dataclass(frozen=True, slots=True)
class LinkState:
    """One way out, as measured; ``rtt_s`` of the last exchange, ``since_mono_ns`` of the last change of ``up``."""

    link: Link
    up: bool
    rtt_s: float | None
    bytes_sent: int
    bytes_received: int
    since_mono_ns: int
    error: str = ""
