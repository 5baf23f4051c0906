"""A Sparkplug B edge node: births with aliases, data by alias, one counter for all its messages.

Source: Sparkplug 3.0.0, 6.4. Payloads are written here with an encoder of our own, a value a metric.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

INT32, UINT64, DOUBLE, BOOLEAN = 3, 8, 10, 11
REBIRTH = "Node Control/Rebirth"

Number = float | int | bool


def varint(number: int) -> bytes:
    """Seven bits a byte, low ones first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def chunk(number: int, data: bytes) -> bytes:
    """A field that holds bytes."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def metric(
    value: Number | None,
    *,
    name: str = "",
    alias: int | None = None,
    at_ms: int | None = None,
    historical: bool = False,
) -> bytes:
    """One metric, with its data type where it has its name. None is null."""
    out = chunk(1, name.encode()) if name else b""
    out += b"" if alias is None else b"\x10" + varint(alias)
    out += b"" if at_ms is None else b"\x18" + varint(at_ms)
    kind = (
        BOOLEAN
        if isinstance(value, bool)
        else UINT64
        if name == "bdSeq"
        else INT32
        if isinstance(value, int)
        else DOUBLE
    )
    out += b"\x20" + varint(kind) if name else b""
    out += b"\x28\x01" if historical else b""
    if value is None:
        return out + b"\x38\x01"
    if kind == BOOLEAN:
        return out + b"\x70" + varint(int(value))
    if kind == DOUBLE:
        return out + b"\x69" + struct.pack("<d", value)
    return out + (b"\x58" if kind == UINT64 else b"\x50") + varint(int(value) & 0xFFFFFFFF)


def payload(metrics: list[bytes], at_ms: int, seq: int | None = None) -> bytes:
    """A message."""
    body = b"".join(chunk(2, one) for one in metrics)
    return b"\x08" + varint(at_ms) + body + (b"" if seq is None else b"\x18" + varint(seq))


@dataclass(slots=True)
class EdgeNode:
    """``values`` of the node, ``devices`` by name with theirs. Every message is (topic, payload)."""

    group: str
    name: str
    values: dict[str, Number | None] = field(default_factory=dict)
    devices: dict[str, dict[str, Number | None]] = field(default_factory=dict)
    seq: int = 0
    bd_seq: int = 0

    def topic(self, kind: str, device: str = "") -> str:
        """The topic of a message."""
        return "/".join(("spBv1.0", self.group, kind, self.name, *([device] if device else [])))

    def will(self, at_ms: int) -> tuple[str, bytes]:
        """NDEATH: it belongs to the birth of the same session by its bdSeq."""
        return self.topic("NDEATH"), payload([metric(self.bd_seq, name="bdSeq")], at_ms)

    def birth(self, at_ms: int) -> list[tuple[str, bytes]]:
        """NBIRTH and a DBIRTH a device."""
        self.seq = 0
        own = [metric(self.bd_seq, name="bdSeq"), metric(False, name=REBIRTH)]
        out = [(self.topic("NBIRTH"), payload([*own, *self._named(self.values, 0, at_ms)], at_ms, 0))]
        for number, (device, values) in enumerate(self.devices.items(), start=1):
            out.append((self.topic("DBIRTH", device), self._next(self._named(values, 100 * number, at_ms), at_ms)))
        return out

    def data(self, device: str, changed: Mapping[str, Number | None], at_ms: int) -> tuple[str, bytes]:
        """NDATA (``device`` "") or DDATA: values that changed, by alias."""
        values = self.devices[device] if device else self.values
        first = 100 * (1 + list(self.devices).index(device)) if device else 0
        values.update(changed)
        metrics = [metric(values[name], alias=first + list(values).index(name), at_ms=at_ms) for name in changed]
        return self.topic("DDATA" if device else "NDATA", device), self._next(metrics, at_ms)

    def death(self, device: str, at_ms: int) -> tuple[str, bytes]:
        """DDEATH."""
        return self.topic("DDEATH", device), self._next([], at_ms)

    def _next(self, metrics: list[bytes], at_ms: int) -> bytes:
        self.seq = (self.seq + 1) % 256
        return payload(metrics, at_ms, self.seq)

    @staticmethod
    def _named(values: Mapping[str, Number | None], first: int, at_ms: int) -> list[bytes]:
        return [metric(v, name=name, alias=first + n, at_ms=at_ms) for n, (name, v) in enumerate(values.items())]
