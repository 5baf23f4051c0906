"""Cycling power: characteristic Cycling Power Measurement (0x2A63).

Layout: Bluetooth SIG, GATT Specification Supplement, "Cycling Power Measurement": flags (u16) and the power of the
moment (i16, W), then those fields whose flag is set, in the order of the flags. Wheel event times are u16 of 1/2048 s,
not of 1/1024 s as in the speed and cadence service; crank event times are u16 of 1/1024 s.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from drivers.base import Measurement, Observation
from drivers.codecs import csc
from drivers.codecs.framing import Hints
from drivers.codecs.gatt import uuid16
from drivers.errors import BadFrame

SERVICE = uuid16(0x1818)
MEASUREMENT = uuid16(0x2A63)
WHEEL_TICKS_PER_S = 2048

_BALANCE, _BALANCE_IS_LEFT, _TORQUE = 0x0001, 0x0002, 0x0004
_WHEEL, _CRANK = 0x0010, 0x0020
_FORCES, _TORQUES, _ANGLES = 0x0040, 0x0080, 0x0100
_RESERVED = 0xE000
# flag and size of each field that may follow, in the order on the wire; the other flags add no bytes
_FIELDS = (
    *((_BALANCE, 1), (_TORQUE, 2), (_WHEEL, 6), (_CRANK, 4), (_FORCES, 4), (_TORQUES, 4), (_ANGLES, 3)),
    *((0x0200, 2), (0x0400, 2), (0x0800, 2)),
)
_WHOLE = {0x0200: "top_dead_spot", 0x0400: "bottom_dead_spot", 0x0800: "rider_energy"}  # u16 in deg, deg and kJ
_TORQUE_MODULUS = 0x10000


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. ``torque`` is the accumulated torque in 1/32 Nm, wrapping at 16 bits; None where not sent.

    ``plain`` are the values that need no second measurement to make sense.
    """

    turns: csc.Sample
    torque: int | None
    plain: tuple[Measurement, ...]


def parse(data: bytes) -> Sample:
    """Decode a Cycling Power Measurement. Raises BadFrame where its length does not fit its flags."""
    if len(data) < 4:
        raise BadFrame(f"a cycling power measurement of {len(data)} bytes")
    flags, power = struct.unpack_from("<Hh", data)
    parts: dict[int, bytes] = {}
    at = 4
    for flag, size in _FIELDS:
        if flags & flag:
            parts[flag] = data[at : at + size]
            at += size
    if len(data) != at:
        raise BadFrame(f"cycling power measurement with flags {flags:#06x} has {at} bytes, not {len(data)}")
    wheel = csc.Event(*struct.unpack("<IH", parts[_WHEEL])) if _WHEEL in parts else None
    crank = csc.Event(*struct.unpack("<HH", parts[_CRANK])) if _CRANK in parts else None
    torque = int.from_bytes(parts[_TORQUE], "little") if _TORQUE in parts else None
    plain = (Measurement("rider_power", power), *_plain(flags, parts))
    return Sample(csc.Sample(wheel, crank), torque, plain)


def _plain(flags: int, parts: dict[int, bytes]) -> list[Measurement]:
    found: list[Measurement] = []
    if _BALANCE in parts and flags & _BALANCE_IS_LEFT:  # without the second flag nobody knows whose share it is
        found.append(Measurement("pedal_balance_left", parts[_BALANCE][0] / 2))
    if _FORCES in parts:
        high, low = struct.unpack("<hh", parts[_FORCES])
        found += [Measurement("pedal_force_max", high), Measurement("pedal_force_min", low)]
    if _TORQUES in parts:
        high, low = struct.unpack("<hh", parts[_TORQUES])
        found += [Measurement("pedal_torque_max", high / 32), Measurement("pedal_torque_min", low / 32)]
    if _ANGLES in parts:
        both = int.from_bytes(parts[_ANGLES], "little")  # two numbers of 12 bits, the maximum first
        found += [Measurement("crank_angle_max", both & 0xFFF), Measurement("crank_angle_min", both >> 12)]
    for flag, quantity in _WHOLE.items():
        if flag in parts:
            found.append(Measurement(quantity, int.from_bytes(parts[flag], "little")))
    return found


class Sensor:
    """A cycling power meter; ``wheel_m`` is the wheel around, in metres. See drivers.codecs.gatt."""

    service = SERVICE
    asked: tuple[str, ...] = ()
    notified: tuple[str, ...] = (MEASUREMENT,)

    def __init__(self, wheel_m: float) -> None:
        self._wheel_m = wheel_m
        self._ride = csc.Ride()
        self._torque: tuple[int, int] | None = None  # as sent, and going on beyond 16 bits
        self._last_ns: int | None = None

    def take(self, uuid: str, value: bytes, mono_ns: int) -> tuple[Observation, ...]:
        """One Cycling Power Measurement. Raises BadFrame."""
        del uuid
        sample = parse(value)
        elapsed_s = 0.0 if self._last_ns is None else (mono_ns - self._last_ns) / 1e9
        self._ride = csc.follow(self._ride, sample.turns, elapsed_s, WHEEL_TICKS_PER_S)
        self._last_ns = mono_ns
        found = (*sample.plain, *csc.measurements(self._ride, self._wheel_m), *self._accumulate(sample.torque))
        return (Observation(found, mono_ns),)

    def _accumulate(self, torque: int | None) -> tuple[Measurement, ...]:
        if torque is None:
            return ()
        before, total = self._torque or (torque, torque)
        step = (torque - before) % _TORQUE_MODULUS
        total = torque if step > _TORQUE_MODULUS // 2 else total + step  # backwards: the meter began again
        self._torque = torque, total
        return (Measurement("torque_accumulated", total / 32),)


def decode_frame(data: bytes, hints: Hints) -> tuple[Measurement, ...]:
    """What one Cycling Power Measurement says by itself. Raises BadFrame, also where reserved flags are set."""
    del hints
    sample = parse(data)
    if data[1] << 8 & _RESERVED:
        raise BadFrame(f"cycling power measurement with reserved flags {data[1] << 8:#06x}")
    torque = () if sample.torque is None else (Measurement("torque_accumulated", sample.torque / 32),)
    return (*sample.plain, *csc.counts(sample.turns), *torque)
