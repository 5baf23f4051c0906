"""Govee sensors: the manufacturer data of their advertisements.

Layouts are not published; they are those that govee-ble and bleparser (both MIT) read. The company number is Govee's
own convention or a piece of the address: a sensor is known by 0xEC88 or 0x8801, or by its name or claimed service.
Thermometers with probes leave out a probe that is not plugged in (negative); alarm limits are no measurements.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from drivers.base import Measurement, Value
from drivers.codecs.ad_structures import frame_decoder
from drivers.codecs.broadcast import Advert, Broadcast, uuid
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame

COMPANY, COMPANY_5179, COMPANY_NOKIA = 0xEC88, 0x8801, 0x0001
_APPLE = 0x004C
_GLUED, _GLUED_BYTES = b"INTELLI_ROCKS", 25  # an iBeacon that some firmware hangs onto the end
_CELSIUS_LOW, _CELSIUS_HIGH = -40, 100
_MODEL = re.compile(r"(?:GVH|GV|H|B)(5\d{3})")
_PREFIX = b"\x01\x01"  # of thermometers under Nokia's number
_PREFIX_5179 = b"\xec\x00\x01\x01"
_PRESENCE_PREFIXES = (b"\xec\x00\x01\x01", b"\xec\x00\x02\x01")
_PRESENCE_COMPANIES = (0x8803, 0x8843)
_MOVING = 17

Pairs = list[tuple[str, Value]]
Reader = Callable[[bytes], Pairs]


def decode(company: int, data: bytes, model: str = "") -> Broadcast | None:
    """Decode manufacturer data; ``model`` are the four digits, where known. None for what is not Govee's.

    Raises BadFrame where it is Govee's and not whole.
    """
    if len(data) > _GLUED_BYTES and _GLUED in data:
        data = data[:-_GLUED_BYTES]
    size, reader = _MODELS.get(model, (0, None))
    if reader is None or len(data) != size:
        reader = _COMPANIES.get((company, len(data)))
        if reader is _packed_2 and not data.startswith(_PREFIX) and not model:
            reader = None
    if reader is None:
        if company in (COMPANY, COMPANY_5179):
            raise BadFrame(f"{len(data)} bytes that are of no known Govee model")
        return None
    return Broadcast(tuple(Measurement(quantity, value) for quantity, value in reader(data)))


def decode_advert(advert: Advert, key: bytes) -> Broadcast | None:
    """The Govee part of an advertisement, None where there is none. Raises BadFrame."""
    del key
    model = next((_SERVICES[one] for one in advert.uuids if one in _SERVICES), "")
    if not model and advert.name:
        match = _MODEL.search(advert.name)
        model = match[1] if match else ""
    for company, data in advert.manufacturer.items():
        found = None if company == _APPLE else decode(company, data, model)
        if found is not None:
            return found
    return None


def _packed(data: bytes) -> Pairs:
    """Temperature and humidity in 24 bits, then battery and a flag that says they are not valid."""
    number, battery = int.from_bytes(data[:3], "big"), data[3]
    found: Pairs = [("battery_level", battery & 0x7F)]
    if battery & 0x80:
        return _checked(found)
    magnitude = number & 0x7FFFFF
    tenths = magnitude // 1000
    celsius = (-tenths if number & 0x800000 else tenths) / 10
    return _checked([("temperature", celsius), ("relative_humidity", magnitude % 1000 / 10), *found])


def _packed_1(data: bytes) -> Pairs:
    return _packed(data[1:5])


def _packed_2(data: bytes) -> Pairs:
    return _packed(data[2:6])


def _plain_1(data: bytes) -> Pairs:
    return _plain(data[1:6])


def _plain(data: bytes) -> Pairs:
    temperature, humidity, battery = struct.unpack("<hHB", data)
    rows = [("temperature", temperature / 100), ("relative_humidity", humidity / 100), ("battery_level", battery)]
    return _checked(rows)


def _h5179(data: bytes) -> Pairs:
    if not data.startswith(_PREFIX_5179):
        raise BadFrame("a Govee frame that does not begin like one of an H5179")
    return _plain(data[4:9])


def _h5178(data: bytes) -> Pairs:
    """A thermometer and its outdoor part, which take turns under one address."""
    if data[2] > 1:
        raise BadFrame(f"part {data[2]} of a Govee H5178, which has two")
    found = _packed(data[3:7])
    if data[2] == 0:
        return found
    return [(f"{quantity}_2", value) for quantity, value in found if quantity != "battery_level"]


def _h5112(data: bytes) -> Pairs:
    """Two probes take turns; only the first one measures humidity."""
    found = dict(_packed(data[2:6]))
    probe = {0x41: 1, 0x82: 2}.get(data[7])
    if probe is None:
        raise BadFrame(f"probe {data[7]:#04x} of a Govee H5112, which has two")
    if probe == 1:
        return list(found.items())
    return [("temperature_2", found["temperature"])] if "temperature" in found else []


def _h5140(data: bytes) -> Pairs:
    if data[7]:
        return []
    climate = _packed(data[2:5] + b"\x00")[:2]
    return [*climate, ("co2", int.from_bytes(data[5:7], "big"))]


def _h5106(data: bytes) -> Pairs:
    number = int.from_bytes(data[2:6], "big")
    magnitude = number & 0x7FFFFFFF
    tenths = magnitude // 1_000_000
    rows: Pairs = [
        ("temperature", (-tenths if number & 0x80000000 else tenths) / 10),
        ("relative_humidity", magnitude // 1000 % 1000 / 10),
        ("pm25", magnitude % 1000),
    ]
    return _checked(rows)


def _h5127(data: bytes) -> Pairs:
    if not data.startswith(_PRESENCE_PREFIXES):
        raise BadFrame("a Govee frame that does not begin like one of an H5127")
    return [("occupancy", data[4] == 1), ("motion", data[5] == _MOVING)]


def _one_probe(data: bytes) -> Pairs:
    return _probes((1, data[8:10]))


def _two_probes(data: bytes) -> Pairs:
    return _probes((1, data[8:10]), (2, data[13:15]))


def _two_probes_wide(data: bytes) -> Pairs:
    return _probes((1, data[8:10]), (2, data[14:16]))


def _four_probes(data: bytes) -> Pairs:
    first = _first_of_four(data[6])
    return _probes((first, data[8:10]), (first + 1, data[13:15]))


def _four_probes_wide(data: bytes) -> Pairs:
    first = _first_of_four(data[6])
    return _probes((first, data[8:10]), (first + 1, data[14:16]))


def _first_of_four(group: int) -> int:
    if group & 0x3F not in (1, 2):
        raise BadFrame(f"probes {group:#04x} of a Govee thermometer that has four")
    return 2 * (group & 0x3F) - 1


def _probe_and_air(data: bytes) -> Pairs:
    (ambient,) = struct.unpack(">h", data[14:16])
    return [*_probes((1, data[8:10])), *_checked([("temperature", ambient / 100)])]


def _h5055(data: bytes) -> Pairs:
    """Six probes, two a frame, whole degrees; a bit says whether a probe is plugged in."""
    first = {0x00: 1, 0x40: 3, 0x80: 5}.get(data[3] & 0xC0)
    if first is None:
        raise BadFrame(f"probes {data[3]:#04x} of a Govee H5055, which has six")
    found: Pairs = [("battery_level", data[2] & 0x7F)]
    for number, raw in ((first, data[5:7]), (first + 1, data[12:14])):
        if data[3] >> (number - 1) & 1:
            found.append((f"probe_temperature_{number}", int.from_bytes(raw, "little", signed=True)))
    return _checked(found)


def _probes(*rows: tuple[int, bytes]) -> Pairs:
    found: Pairs = []
    for number, raw in rows:
        (hundredths,) = struct.unpack(">h", raw)
        if hundredths >= 0:
            found.append((f"probe_temperature_{number}", hundredths / 100))
    return found


def _checked(rows: Pairs) -> Pairs:
    for quantity, value in rows:
        low, high = (_CELSIUS_LOW, _CELSIUS_HIGH) if quantity == "temperature" else (0, 100)
        if quantity in ("temperature", "relative_humidity", "battery_level") and not low <= float(str(value)) <= high:
            raise BadFrame(f"a Govee sensor that says {value} as {quantity}")
    return rows


# By model: (bytes, reader)
_MODELS: dict[str, tuple[int, Reader]] = {
    **dict.fromkeys(("5072", "5075", "5129"), (6, _packed_1)),
    **dict.fromkeys(("5100", "5101", "5102", "5103", "5104", "5105", "5110", "5174", "5177"), (6, _packed_2)),
    "5108": (8, _packed_2),
    "5074": (7, _plain_1),
    **dict.fromkeys(("5051", "5052", "5071"), (9, _plain_1)),
    "5106": (6, _h5106),
    "5112": (8, _h5112),
    "5127": (6, _h5127),
    "5140": (8, _h5140),
    "5178": (9, _h5178),
    "5179": (9, _h5179),
    **dict.fromkeys(("5181", "5183"), (14, _one_probe)),
    "5182": (17, _two_probes),
    "5184": (17, _four_probes),
    "5185": (20, _two_probes_wide),
    "5191": (20, _probe_and_air),
    "5198": (20, _four_probes_wide),
    "5055": (20, _h5055),
}
# Without a name: (company, bytes)
_COMPANIES: dict[tuple[int, int], Reader] = {
    (COMPANY, 6): _packed_1,
    (COMPANY, 7): _plain_1,
    (COMPANY, 9): _plain_1,
    (COMPANY_5179, 9): _h5179,
    (COMPANY_NOKIA, 6): _packed_2,
    (COMPANY_NOKIA, 9): _h5178,
    **dict.fromkeys(((company, 6) for company in _PRESENCE_COMPANIES), _h5127),
}
# Grills claim a service whose number is their model's, bytes swapped.
_SERVICES: dict[str, str] = {
    uuid(int(model[2:] + model[:2], 16)): model for model in ("5181", "5182", "5183", "5184", "5185", "5191", "5198")
} | {uuid(0x5550): "5055"}


def _bare(data: bytes, hints: Hints) -> Broadcast:
    """Manufacturer data with the company number before it: without it nobody knows whose they are."""
    del hints
    found = decode(int.from_bytes(data[:2], "little"), data[2:]) if len(data) > 2 else None
    if found is None:
        raise BadFrame("no manufacturer data of a Govee sensor")
    return found


decode_frame = frame_decoder(decode_advert, _bare)
