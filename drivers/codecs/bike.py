"""Lamppost's open format for bicycle sensors, version 1: advertised, and notified over a connection.

The format with its test vectors: docs/reference/bicycle-format.md. A header (version, sequence number), then objects: a
tag that holds length and id, and a little-endian number. Objects that are not known are skipped by their length. An
event record travels alone. All bits of a number set mean that there is no value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from drivers.base import Measurement, Observation, Position, Value
from drivers.codecs.ad_structures import frame_decoder
from drivers.codecs.broadcast import Advert, Broadcast
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame

_UUID = "24f1{:04x}-934a-4abe-bb1b-f393dc42c0a5"
SERVICE, MEASUREMENT = _UUID.format(1), _UUID.format(2)
VERSION = 1
ADVERTISED_BYTES_MAX = 10  # 31 of a legacy advertisement, less 3 of flags, 2 of length and type, 16 of the UUID
NOTIFIED_BYTES_MAX = 20  # what fits into the smallest ATT_MTU of 23

_LONG = 0x30  # ids from here on have a byte with their length behind the tag; the tag's bits for it are 0
_EVENT = 0x3F
_AGE_S = 0.1
_MOUNTS = {1: "handlebar", 2: "saddle", 3: "frame", 4: "fork", 5: "hub"}
_SIDES = {1: "left", 2: "right"}


@dataclass(frozen=True, slots=True)
class _Number:
    """An object that is one number of ``size`` bytes: value = raw x scale."""

    quantity: str
    size: int
    scale: float
    digits: int = 0


_NUMBERS: Mapping[int, _Number] = {
    1: _Number("battery_level", 1, 1),
    2: _Number("speed", 1, 0.5, 1),
    3: _Number("swerve_count", 3, 1),
    4: _Number("hard_braking_count", 3, 1),
    5: _Number("impact_count", 3, 1),
    6: _Number("overtake_count", 3, 1),
    8: _Number("illuminance", 3, 0.01, 2),
    9: _Number("distance_left", 2, 0.001, 3),
    10: _Number("distance_right", 2, 0.001, 3),
}
_IDS = {row.quantity: number for number, row in _NUMBERS.items()}
_VIBRATION, _MOUNT = 7, 11


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of event: the quantities of its count and of its peak."""

    name: str
    count: str
    peak: str


_KINDS: Mapping[int, _Kind] = {
    1: _Kind("swerve", "swerve_count", "lateral_acceleration_peak"),
    2: _Kind("hard braking", "hard_braking_count", "deceleration_peak"),
    3: _Kind("impact", "impact_count", "impact_peak"),
    4: _Kind("overtake", "overtake_count", "overtaker_distance"),
}

_OVERTAKE = _KINDS[4]


@dataclass(frozen=True, slots=True)
class Event:
    """One event. ``peak`` is in m/s2; of an overtake it is the distance in metres, on the ``side`` named.

    ``count`` is the number of this event among those of its kind; only its last 8 bits are sent in the short form.
    """

    kind: str
    count: int
    age_s: float
    peak: float | None = None
    side: str = ""
    duration_s: float | None = None
    speed: float | None = None


def decode(data: bytes) -> Broadcast:
    """Decode a payload, advertised or notified. Raises BadFrame."""
    if len(data) < 2:
        raise BadFrame(f"a bicycle sensor's payload of {len(data)} bytes")
    if data[0] >> 5 != VERSION:
        raise BadFrame(f"a bicycle sensor's payload of version {data[0] >> 5}, known is {VERSION}")
    objects = list(_objects(data[2:]))
    numbers = [number for number, _ in objects]
    if not objects or len(set(numbers)) < len(numbers) or (_EVENT in numbers and len(numbers) > 1):
        raise BadFrame("a bicycle sensor's payload that is empty, says a thing twice, or more beside an event")
    if _EVENT in numbers:
        return _event(objects[0][1], data[1])
    found = [measured for number, raw in objects for measured in _values(number, raw)]
    return Broadcast(tuple(found), data[1])


def decode_advert(advert: Advert, key: bytes) -> Broadcast | None:
    """The format's part of an advertisement, None where there is none. Raises BadFrame."""
    del key
    data = advert.services.get(SERVICE)
    return None if data is None else decode(data)


def _objects(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        number, size = data[at] & 0x3F, (data[at] >> 6) + 1
        at += 1
        if number >= _LONG:
            if size != 1 or at == len(data):
                raise BadFrame("a long object without its length")
            size = data[at]
            at += 1
        if at + size > len(data):
            raise BadFrame(f"object {number} of {size} bytes ends after {len(data) - at}")
        yield number, data[at : at + size]
        at += size


def _values(number: int, raw: bytes) -> Iterator[Measurement]:
    """The values of one object; none of an object that has another length than this version knows."""
    row = _NUMBERS.get(number)
    if row is not None:
        if len(raw) == row.size and raw.count(0xFF) < row.size:
            value = int.from_bytes(raw, "little") * row.scale
            yield Measurement(row.quantity, round(value, row.digits) if row.digits else round(value))
    elif number == _VIBRATION and len(raw) == 3 and raw[:2] != b"\xff\xff":
        yield Measurement("surface_vibration", int.from_bytes(raw[:2], "little") / 100)
        if raw[2] >> 4 < raw[2] & 0x0F:
            yield Measurement("speed_band", _band(raw[2]))
    elif number == _MOUNT and len(raw) == 1 and raw[0] in _MOUNTS:
        yield Measurement("sensor_mount", _MOUNTS[raw[0]])


def _band(raw: int) -> str:
    """Two limits of 4 bits in steps of 5 km/h, the lower one first; 15 above is no limit."""
    low, high = 5 * (raw >> 4), raw & 0x0F
    return f"{low}-" if high == 0x0F else f"{low}-{5 * high}"


def _distance(raw: int) -> tuple[float | None, str]:
    """(metres, side) of 14 bits of millimetres below 2 bits that name the side."""
    millimetres = raw & 0x3FFF
    return None if millimetres == 0x3FFF else millimetres / 1000, _SIDES.get(raw >> 14, "")


def _event(record: bytes, sequence: int) -> Broadcast:
    """An event record: 6 bytes, then others that may be missing. Of another kind, or without a date, it says nothing.

    The short form's count of 8 bits only tells events apart, so it is not delivered.
    """
    if len(record) < 6:
        raise BadFrame(f"an event record of {len(record)} bytes")
    number, _, age, peak = struct.unpack_from("<BBHH", record)
    kind = _KINDS.get(number)
    if kind is None or age == 0xFFFF:
        return Broadcast((), sequence)
    found = []
    metres, side = _distance(peak)
    if kind is not _OVERTAKE and peak != 0xFFFF:
        found.append(Measurement(kind.peak, peak / 100))
    elif kind is _OVERTAKE and metres is not None:
        found += [Measurement(kind.peak, metres)] + ([Measurement("overtaker_side", side)] if side else [])
    if len(record) >= 8 and record[6:8] != b"\xff\xff":
        found.append(Measurement("event_duration", int.from_bytes(record[6:8], "little") / 1000))
    if len(record) >= 9 and record[8] != 0xFF:
        found.append(Measurement("speed", record[8] / 2))
    if len(record) >= 12 and record[9:12] != b"\xff\xff\xff":
        found.append(Measurement(kind.count, int.from_bytes(record[9:12], "little")))
    return Broadcast(tuple(found), sequence, age_s=round(age * _AGE_S, 1))


def encode(sequence: int, measurements: Iterable[Measurement], bytes_max: int = ADVERTISED_BYTES_MAX) -> bytes:
    """A payload with these values. Raises ValueError where they do not fit, or the format has no place for one."""
    values = {measured.quantity: measured.value for measured in measurements}
    parts = [_header(sequence)]
    if "surface_vibration" in values:
        band = _band_raw(str(values.pop("speed_band"))) if "speed_band" in values else 0xFF
        rms = _raw(values.pop("surface_vibration"), 0.01, 2)
        parts.append(_tagged(_VIBRATION, rms + bytes((band,))))
    if "sensor_mount" in values:
        parts.append(_tagged(_MOUNT, bytes((_numbered(_MOUNTS, values.pop("sensor_mount")),))))
    for quantity, value in values.items():
        if quantity not in _IDS:
            raise ValueError(f"the bicycle format has no place for {quantity}")
        row = _NUMBERS[_IDS[quantity]]
        parts.append(_tagged(_IDS[quantity], _raw(value, row.scale, row.size)))
    return _fitting(b"".join(parts), bytes_max)


def encode_event(sequence: int, event: Event, bytes_max: int = NOTIFIED_BYTES_MAX) -> bytes:
    """A payload with one event: the long form where it fits, else the short one. Raises ValueError."""
    number = next((number for number, kind in _KINDS.items() if kind.name == event.kind), None)
    if number is None:
        raise ValueError(f"{event.kind!r} is no kind of event")
    passed = event.kind == _OVERTAKE.name
    peak = _distance_raw(event.peak, event.side) if passed else _raw(event.peak, 0.01, 2)
    record = bytes((number, event.count & 0xFF)) + _raw(event.age_s, _AGE_S, 2) + peak
    rest = _raw(event.duration_s, 0.001, 2) + _raw(event.speed, 0.5, 1) + _raw(event.count, 1, 3)
    head = _header(sequence)
    if len(head) + 2 + len(record + rest) <= bytes_max:
        record += rest
    return _fitting(head + bytes((_EVENT, len(record))) + record, bytes_max)


def _header(sequence: int) -> bytes:
    return bytes((VERSION << 5, sequence & 0xFF))


def _tagged(number: int, raw: bytes) -> bytes:
    return bytes(((len(raw) - 1) << 6 | number,)) + raw


def _raw(value: Value | None, scale: float, size: int) -> bytes:
    """``size`` bytes of value / scale, all bits set for None. Raises ValueError."""
    none = (1 << 8 * size) - 1
    if value is None:
        return none.to_bytes(size, "little")
    if isinstance(value, bool | str | Position):
        raise ValueError(f"{value!r} is no number")
    raw = round(value / scale)
    if not 0 <= raw < none:
        raise ValueError(f"{value:g} does not fit into {size} bytes of {scale:g}")
    return raw.to_bytes(size, "little")


def _distance_raw(metres: float | None, side: str) -> bytes:
    raw = 0x3FFF if metres is None else int.from_bytes(_raw(metres, 0.001, 2), "little")
    if metres is not None and raw >= 0x3FFF:
        raise ValueError(f"{metres} m do not fit into 14 bits of millimetres")
    return (raw | (_numbered(_SIDES, side) << 14 if side else 0)).to_bytes(2, "little")


def _band_raw(band: str) -> int:
    low, _, high = band.partition("-")
    if not low.isdecimal() or (high and not high.isdecimal()):
        raise ValueError(f"{band!r} is no speed band such as 15-20")
    steps = int(low) / 5, int(high) / 5 if high else 15
    if any(step != int(step) for step in steps) or not 0 <= steps[0] < steps[1] <= (14 if high else 15):
        raise ValueError(f"{band!r}: limits are multiples of 5 km/h, up to 70")
    return int(steps[0]) << 4 | int(steps[1])


def _numbered(words: Mapping[int, str], word: Value) -> int:
    found = next((number for number, known in words.items() if known == word), None)
    if found is None:
        raise ValueError(f"{word!r} is none of {', '.join(words.values())}")
    return found


def _fitting(payload: bytes, bytes_max: int) -> bytes:
    if len(payload) > bytes_max:
        raise ValueError(f"{len(payload)} bytes, and {bytes_max} is the most")
    return payload


class Sensor:
    """One bicycle sensor that is connected to. See drivers.codecs.gatt."""

    service = SERVICE
    asked: tuple[str, ...] = ()
    notified: tuple[str, ...] = (MEASUREMENT,)

    def __init__(self) -> None:
        self._sequence: int | None = None

    def take(self, uuid: str, value: bytes, mono_ns: int) -> tuple[Observation, ...]:
        """One notification; an event is dated back by its age. Raises BadFrame."""
        del uuid
        told = decode(value)
        if told.sequence == self._sequence:
            return ()
        self._sequence = told.sequence
        at_ns = mono_ns - int(told.age_s * 1e9)
        return (Observation(told.measurements, at_ns),) if told.measurements else ()


def _bare(data: bytes, hints: Hints) -> Broadcast:
    """A payload by itself, or behind the UUID as in service data."""
    del hints
    uuid = bytes.fromhex(SERVICE.replace("-", ""))[::-1]
    return decode(data.removeprefix(uuid))


decode_frame = frame_decoder(decode_advert, _bare)
