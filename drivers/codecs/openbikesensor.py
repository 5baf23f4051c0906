"""OpenBikeSensor: distances to the left and right of a bicycle, and passes that the rider found too close.

Layout: the documentation of the OpenBikeSensor firmware, Bluetooth service 1FE7FAF9-CE63-4236-0004: "Sensor Distance"
(..0002) and "Close Pass" (..0003) notify u32 milliseconds of the sensor's clock, then u16 left and u16 right in
centimetres, 0xFFFF where nothing was measured; "Offset" (..0004) holds u16 left and u16 right, the centimetres from the
sensors to the ends of the handlebar, which are not taken off what is notified.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from drivers.base import Measurement, Observation
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame

_UUID = "1fe7faf9-ce63-4236-0004-{:012x}"
SERVICE, DISTANCE, CLOSE_PASS, OFFSET = (_UUID.format(number) for number in (0, 2, 3, 4))
Side = Literal["left", "right"]

_NONE = 0xFFFF
_FARTHEST_CM = 1000  # beyond what its ultrasonic sensors can hear
_OFFSET_MAX_CM = 100


@dataclass(frozen=True, slots=True)
class Distances:
    """Metres from the sensors; None where nothing was measured. ``clock_ms`` is the sensor's own, from its start."""

    clock_ms: int
    left: float | None
    right: float | None


def parse(data: bytes) -> Distances:
    """Decode Sensor Distance or Close Pass. Raises BadFrame for another length or an impossible distance."""
    if len(data) != 8:
        raise BadFrame(f"distances of an OpenBikeSensor have 8 bytes, not {len(data)}")
    clock_ms, left, right = struct.unpack("<IHH", data)
    if any(cm != _NONE and cm > _FARTHEST_CM for cm in (left, right)):
        raise BadFrame(f"an OpenBikeSensor measures up to {_FARTHEST_CM} cm, not {left} and {right}")
    return Distances(clock_ms, *(None if cm == _NONE else cm / 100 for cm in (left, right)))


def parse_offset(data: bytes) -> tuple[float, float]:
    """Decode Offset: metres from the left and the right sensor to the ends of the handlebar. Raises BadFrame."""
    if len(data) != 4:
        raise BadFrame(f"offsets of an OpenBikeSensor have 4 bytes, not {len(data)}")
    left, right = struct.unpack("<HH", data)
    if left > _OFFSET_MAX_CM or right > _OFFSET_MAX_CM:
        raise BadFrame(f"a handlebar that reaches {left} and {right} cm to the sides")
    return left / 100, right / 100


class Sensor:
    """One OpenBikeSensor. See drivers.codecs.gatt.

    It measures many times a second: told is the smallest distance of each ``spacing_s``, from the end of the handlebar,
    and how many close passes there were since this process began. ``overtaken_on`` is the side on which traffic passes.
    """

    service = SERVICE
    asked: tuple[str, ...] = (OFFSET,)
    notified: tuple[str, ...] = (DISTANCE, CLOSE_PASS)

    def __init__(self, spacing_s: float, overtaken_on: Side) -> None:
        self._spacing_ns = int(spacing_s * 1e9)
        self._side = overtaken_on
        self._offset = (0.0, 0.0)
        self._since_ns: int | None = None
        self._least: dict[str, float] = {}
        self._passes = 0

    def take(self, uuid: str, value: bytes, mono_ns: int) -> tuple[Observation, ...]:
        """A value of one of the three characteristics. Raises BadFrame."""
        if uuid == OFFSET:
            self._offset = parse_offset(value)
            return ()
        measured = self._at_the_handlebar(parse(value))
        if uuid == CLOSE_PASS:
            self._passes += 1
            return (Observation(self._passed(measured), mono_ns),)
        return self._collect(measured, mono_ns)

    def _at_the_handlebar(self, distances: Distances) -> dict[str, float]:
        rows = zip(("left", "right"), (distances.left, distances.right), self._offset, strict=True)
        return {side: round(max(0.0, metres - offset), 2) for side, metres, offset in rows if metres is not None}

    def _passed(self, measured: dict[str, float]) -> tuple[Measurement, ...]:
        found = [Measurement("overtake_count", self._passes)]
        if self._side in measured:
            found.append(Measurement("overtaker_distance", measured[self._side]))
            found.append(Measurement("overtaker_side", self._side))
        return tuple(found)

    def _collect(self, measured: dict[str, float], mono_ns: int) -> tuple[Observation, ...]:
        if self._since_ns is None:
            self._since_ns = mono_ns
        for side, metres in measured.items():
            self._least[side] = min(metres, self._least.get(side, metres))
        if mono_ns - self._since_ns < self._spacing_ns:
            return ()
        least, self._least, self._since_ns = self._least, {}, mono_ns
        found = tuple(Measurement(f"distance_{side}", metres) for side, metres in sorted(least.items()))
        return (Observation((*found, Measurement("overtake_count", self._passes)), mono_ns),)


def decode_frame(data: bytes, hints: Hints) -> tuple[Measurement, ...]:
    """The distances in one Sensor Distance or Close Pass, from the sensors. Raises BadFrame."""
    del hints
    distances = parse(data)
    found = (("distance_left", distances.left), ("distance_right", distances.right))
    return tuple(Measurement(quantity, metres) for quantity, metres in found if metres is not None)
