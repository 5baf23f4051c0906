"""Cycling speed and cadence: characteristic CSC Measurement (0x2A5B), and what two of them say about the ride.

Layout: Bluetooth SIG, GATT Specification Supplement, "CSC Measurement": flags, then cumulative wheel revolutions (u32)
with the last wheel event time, cumulative crank revolutions (u16) with the last crank event time; event times are u16
of 1/1024 s and wrap at 64 s. Standing still repeats the last event. Sensors start again at 0 after a sleep.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from drivers.base import Measurement, Observation
from drivers.codecs.framing import Hints
from drivers.codecs.gatt import uuid16
from drivers.errors import BadFrame

SERVICE = uuid16(0x1816)
MEASUREMENT = uuid16(0x2A5B)

_WHEEL, _CRANK = 0x01, 0x02
_TICKS_PER_S = 1024
_TIME_MODULUS = 0x10000
_WHEEL_MODULUS, _CRANK_MODULUS = 0x1_0000_0000, 0x10000
PER_S_MAX = 20.0  # revolutions a second: 150 km/h on a 2.1 m wheel; more is a counter that began again
STILL_S = 4.0  # no turn for so long is standing still


@dataclass(frozen=True, slots=True)
class Event:
    """A cumulative count and the time of its last step in ticks of the sensor's clock, wrapping at 16 bits."""

    count: int
    ticks: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What one measurement says of wheel and crank; a part that the sensor does not have is None."""

    wheel: Event | None
    crank: Event | None


@dataclass(frozen=True, slots=True)
class Turning:
    """One counter as followed over time.

    ``total``: the count, going on beyond the wrap of the sensor's number. ``per_s``: revolutions a second, None while
    unknown. ``still_s``: seconds since the last turn was reported.
    """

    event: Event
    total: int
    per_s: float | None = None
    still_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ride:
    """What is known about wheel and crank so far."""

    wheel: Turning | None = None
    crank: Turning | None = None


def parse(data: bytes) -> Sample:
    """Decode a CSC Measurement. Raises BadFrame where its length does not fit its flags or it says nothing."""
    if not data:
        raise BadFrame("an empty CSC measurement")
    flags = data[0] & (_WHEEL | _CRANK)  # the other bits are reserved
    if not flags:
        raise BadFrame("a CSC measurement with neither wheel nor crank")
    size = 1 + (6 if flags & _WHEEL else 0) + (4 if flags & _CRANK else 0)
    if len(data) != size:
        raise BadFrame(f"CSC measurement with flags {flags:#04x} has {size} bytes, not {len(data)}")
    wheel = Event(*struct.unpack_from("<IH", data, 1)) if flags & _WHEEL else None
    crank = Event(*struct.unpack_from("<HH", data, size - 4)) if flags & _CRANK else None
    return Sample(wheel, crank)


def follow(ride: Ride, sample: Sample, elapsed_s: float, wheel_ticks_per_s: int = _TICKS_PER_S) -> Ride:
    """The ride after one more sample, ``elapsed_s`` seconds after the one before.

    ``wheel_ticks_per_s`` is 2048 for power meters, whose wheel clock is twice as fast.
    """
    return Ride(
        _turn(ride.wheel, sample.wheel, elapsed_s, _WHEEL_MODULUS, wheel_ticks_per_s) if sample.wheel else None,
        _turn(ride.crank, sample.crank, elapsed_s, _CRANK_MODULUS, _TICKS_PER_S) if sample.crank else None,
    )


def _turn(before: Turning | None, event: Event, elapsed_s: float, modulus: int, ticks_per_s: int) -> Turning:
    if before is None:
        return Turning(event, event.count)
    turns = (event.count - before.event.count) % modulus
    since_s = elapsed_s + before.still_s
    if turns == 0:
        return Turning(event, before.total, _slowing(before.per_s, since_s), since_s)
    if turns > min(PER_S_MAX * (elapsed_s + STILL_S), modulus / 2):
        return Turning(event, event.count)
    total = before.total + turns
    ticks = (event.ticks - before.event.ticks) % _TIME_MODULUS
    if ticks == 0 or since_s > _TIME_MODULUS / ticks_per_s - STILL_S:
        return Turning(event, total)  # the event times do not say how long these turns took
    per_s = turns * ticks_per_s / ticks
    return Turning(event, total, per_s if per_s <= PER_S_MAX else None)


def _slowing(per_s: float | None, since_s: float) -> float | None:
    """With no turn for ``since_s`` the wheel makes less than one turn in that time; after STILL_S it stands."""
    if since_s >= STILL_S:
        return 0.0
    return per_s if per_s is None else min(per_s, 1 / since_s) if since_s > 0 else per_s


def measurements(ride: Ride, wheel_m: float) -> tuple[Measurement, ...]:
    """Counts, speed in km/h, cadence in 1/min and distance in m, for a wheel of ``wheel_m`` metres around."""
    found: list[Measurement] = []
    if ride.wheel:
        found.append(Measurement("wheel_revolutions", ride.wheel.total))
        found.append(Measurement("distance", round(ride.wheel.total * wheel_m, 3)))
        if ride.wheel.per_s is not None:
            found.append(Measurement("speed", round(ride.wheel.per_s * wheel_m * 3.6, 2)))
    if ride.crank:
        found.append(Measurement("crank_revolutions", ride.crank.total))
        if ride.crank.per_s is not None:
            found.append(Measurement("cadence", round(ride.crank.per_s * 60, 1)))
    return tuple(found)


class Sensor:
    """A cycling speed and cadence sensor; ``wheel_m`` is the wheel around, in metres. See drivers.codecs.gatt."""

    service = SERVICE
    asked: tuple[str, ...] = ()
    notified: tuple[str, ...] = (MEASUREMENT,)

    def __init__(self, wheel_m: float) -> None:
        self._wheel_m = wheel_m
        self._ride = Ride()
        self._last_ns: int | None = None

    def take(self, uuid: str, value: bytes, mono_ns: int) -> tuple[Observation, ...]:
        """One CSC Measurement. Raises BadFrame."""
        del uuid
        sample = parse(value)
        elapsed_s = 0.0 if self._last_ns is None else (mono_ns - self._last_ns) / 1e9
        self._ride, self._last_ns = follow(self._ride, sample, elapsed_s), mono_ns
        return (Observation(measurements(self._ride, self._wheel_m), mono_ns),)


def decode_frame(data: bytes, hints: Hints) -> tuple[Measurement, ...]:
    """The counts in one CSC Measurement; speed takes two, distance the size of the wheel. Raises BadFrame."""
    del hints
    sample = parse(data)
    if data[0] & ~(_WHEEL | _CRANK):
        raise BadFrame(f"CSC measurement with reserved flags {data[0]:#04x}")
    return counts(sample)


def counts(sample: Sample) -> tuple[Measurement, ...]:
    """The counts as the sensor gives them."""
    found = (("wheel_revolutions", sample.wheel), ("crank_revolutions", sample.crank))
    return tuple(Measurement(quantity, event.count) for quantity, event in found if event)
