"""BTHome version 2: the service data (UUID 0xFCD2) of advertisements, plain and encrypted.

Format and object ids: bthome.io/format; encryption: bthome.io/encryption. One byte of device information, then objects:
an id of one byte and a little-endian value whose length the id gives. What follows an unknown id cannot be read and is
left out, as the format prescribes. Encrypted: information, sealed objects, counter (u32), tag (4 bytes); AES-CCM with
the nonce address, UUID, information, counter.
"""

from __future__ import annotations

from collections.abc import Iterator

from drivers.base import Measurement, Value
from drivers.codecs import ccm
from drivers.codecs.ad_structures import frame_decoder
from drivers.codecs.broadcast import Advert, Broadcast, address_bytes, uuid
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES

SERVICE = uuid(0xFCD2)
VERSION = 2
POUND = 0.45359237  # kg, the international avoirdupois pound
KMH = 3.6  # km/h in one m/s

_UUID_BYTES = b"\xd2\xfc"
_ENCRYPTED, _WITH_ADDRESS, _RESERVED = 0x01, 0x02, 0x18
_ADDRESS_BYTES = 6
_COUNTER_BYTES = 4
_PACKET_ID, _COMMAND, _TEXT, _RAW = 0x00, 0x3B, 0x53, 0x54
_BUTTON, _DIMMER, _LOCK = 0x3A, 0x3C, 0x1F
_FIRMWARE = (0xF1, 0xF2)
_COMMAND_LENGTH = 0x1F

# id: (quantity, bytes, signed, scale, digits)
_NUMBERS: dict[int, tuple[str, int, bool, float, int]] = {
    0x01: ("battery_level", 1, False, 1, 0),
    0x02: ("temperature", 2, True, 0.01, 2),
    0x03: ("relative_humidity", 2, False, 0.01, 2),
    0x04: ("pressure", 3, False, 0.01, 2),
    0x05: ("illuminance", 3, False, 0.01, 2),
    0x06: ("mass", 2, False, 0.01, 2),
    0x07: ("mass", 2, False, 0.01 * POUND, 4),
    0x08: ("dew_point", 2, True, 0.01, 2),
    0x09: ("count", 1, False, 1, 0),
    0x0A: ("energy_import_total", 3, False, 0.001, 3),
    0x0B: ("active_power_total", 3, False, 0.01, 2),
    0x0C: ("battery_voltage", 2, False, 0.001, 3),  # "voltage": a fine one is that of the sensor's own battery
    0x0D: ("pm25", 2, False, 1, 0),
    0x0E: ("pm10", 2, False, 1, 0),
    0x12: ("co2", 2, False, 1, 0),
    0x13: ("voc_mass", 2, False, 1, 0),
    0x14: ("soil_moisture", 2, False, 0.01, 2),
    0x2E: ("relative_humidity", 1, False, 1, 0),
    0x2F: ("soil_moisture", 1, False, 1, 0),
    0x3D: ("count", 2, False, 1, 0),
    0x3E: ("count", 4, False, 1, 0),
    0x3F: ("rotation", 2, True, 0.1, 1),
    0x40: ("object_distance", 2, False, 0.001, 3),
    0x41: ("object_distance", 2, False, 0.1, 1),
    0x42: ("duration", 3, False, 0.001, 3),
    0x43: ("current_l1", 2, False, 0.001, 3),
    0x44: ("speed", 2, False, 0.01 * KMH, 3),
    0x45: ("temperature", 2, True, 0.1, 1),
    0x46: ("uv_index", 1, False, 0.1, 1),
    0x47: ("volume_total", 2, False, 1e-4, 4),
    0x48: ("volume_total", 2, False, 1e-6, 6),
    0x49: ("flow_rate", 2, False, 0.001, 3),
    0x4A: ("voltage_l1", 2, False, 0.1, 1),
    0x4B: ("gas_volume_total", 3, False, 0.001, 3),
    0x4C: ("gas_volume_total", 4, False, 0.001, 3),
    0x4D: ("energy_import_total", 4, False, 0.001, 3),
    0x4E: ("volume_total", 4, False, 1e-6, 6),
    0x4F: ("water_volume_total", 4, False, 1e-6, 6),
    0x51: ("acceleration", 2, False, 0.001, 3),
    0x52: ("angular_velocity", 2, False, 0.001, 3),
    0x55: ("stored_volume", 4, False, 1e-6, 6),
    0x56: ("soil_conductivity", 2, False, 1, 0),
    0x57: ("temperature", 1, True, 1, 0),
    0x58: ("temperature", 1, True, 0.35, 2),
    0x59: ("count", 1, True, 1, 0),
    0x5A: ("count", 2, True, 1, 0),
    0x5B: ("count", 4, True, 1, 0),
    0x5C: ("active_power_total", 4, True, 0.01, 2),
    0x5D: ("current_l1", 2, True, 0.001, 3),
    0x5E: ("wind_direction", 2, False, 0.01, 2),
    0x5F: ("precipitation", 2, False, 0.1, 1),
    0x60: ("channel", 1, False, 1, 0),
    0x61: ("rotational_speed", 2, False, 1, 0),
    0x62: ("speed", 4, True, 1e-6 * KMH, 6),
    0x63: ("acceleration", 4, True, 1e-6, 6),
    0x64: ("light_level", 1, False, 1, 0),
}

# one byte, 0 or 1; several ids are one question here: doors, windows and other things that open
_BINARIES: dict[int, str] = {
    0x0F: "binary_state",
    0x10: "power_state",
    0x11: "opening",
    0x15: "battery_low",
    0x16: "battery_charging",
    0x17: "co_alarm",
    0x18: "cold",
    0x19: "connectivity",
    0x1A: "opening",
    0x1B: "opening",
    0x1C: "gas_alarm",
    0x1D: "heat",
    0x1E: "light",
    0x20: "moisture",
    0x21: "motion",
    0x22: "moving",
    0x23: "occupancy",
    0x24: "plug",
    0x25: "occupancy",
    0x26: "problem",
    0x27: "running",
    0x28: "safety",
    0x29: "smoke",
    0x2A: "sound",
    0x2B: "tamper",
    0x2C: "vibration",
    0x2D: "opening",
}
_LOCKED = {0: "locked", 1: "unlocked"}

_PRESSES = {
    0x01: "press",
    0x02: "double_press",
    0x03: "triple_press",
    0x04: "long_press",
    0x05: "long_double_press",
    0x06: "long_triple_press",
    0x80: "hold_press",
    0x81: "hold_release",
}

# Bytes of each object's value; packet id, timestamp, device type and settings revision are no measurements.
_LENGTHS: dict[int, int] = {
    _PACKET_ID: 1,
    _LOCK: 1,
    _BUTTON: 1,
    _DIMMER: 2,
    0x50: 4,
    0x65: 1,
    0xF0: 2,
    0xF1: 4,
    0xF2: 3,
    **dict.fromkeys(_BINARIES, 1),
    **{number: row[1] for number, row in _NUMBERS.items()},
}


def decode(data: bytes, address: str = "", key: bytes = b"") -> Broadcast:
    """Decode service data without the UUID. Raises BadFrame where it is damaged or another version, Sealed.

    Of several values of one quantity the second is ``<quantity>_2`` and so on where there is such a quantity.
    """
    if not data:
        raise BadFrame("empty BTHome service data")
    if data[0] >> 5 != VERSION or data[0] & _RESERVED:
        raise BadFrame(f"BTHome device information {data[0]:#04x} is not that of version {VERSION}")
    if data[0] & _ENCRYPTED:
        return _decrypt(data, address, ccm.need(key))
    if key:
        raise BadFrame("a plain frame of a BTHome sensor that encrypts: somebody else may have sent it")
    body = data[1 + (_ADDRESS_BYTES if data[0] & _WITH_ADDRESS else 0) :]
    if data[0] & _WITH_ADDRESS and len(data) < 1 + _ADDRESS_BYTES:
        raise BadFrame("a BTHome frame that ends within the sender's address")
    return _broadcast(body)


def decode_advert(advert: Advert, key: bytes) -> Broadcast | None:
    """The BTHome part of an advertisement, None where there is none. Raises BadFrame."""
    data = advert.services.get(SERVICE)
    return None if data is None else decode(data, advert.address, key)


def _decrypt(data: bytes, address: str, key: bytes) -> Broadcast:
    if data[0] & _WITH_ADDRESS or len(data) < 1 + _COUNTER_BYTES + ccm.TAG_BYTES:
        raise BadFrame("a damaged encrypted BTHome frame")
    counter, tag = data[-8:-4], data[-4:]
    nonce = address_bytes(address) + _UUID_BYTES + data[:1] + counter
    plain = _broadcast(ccm.unseal(key, nonce, data[1:-8] + tag))
    return Broadcast(plain.measurements, int.from_bytes(counter, "little"), sealed=True, rising=True)


def _broadcast(objects: bytes) -> Broadcast:
    found: dict[str, Value | None] = {}
    sequence: int | None = None
    for number, raw in _objects(objects):
        if number == _PACKET_ID:
            sequence = raw[0]
            continue
        decoded = _value(number, raw)
        if decoded is None:
            continue
        quantity = _place(decoded[0], found)
        if quantity:
            found[quantity] = decoded[1]
    values = (Measurement(quantity, value) for quantity, value in found.items() if value is not None)
    return Broadcast(tuple(values), sequence)


def _place(quantity: str, found: dict[str, Value | None]) -> str:
    """The name under which one more value of a quantity goes, "" where there is none left."""
    place, number = quantity, 1
    while place in found:
        number += 1
        place = f"{quantity}_{number}"
    return place if place in QUANTITIES else ""


def _value(number: int, raw: bytes) -> tuple[str, Value | None] | None:
    """(quantity, value) of an object, the value None for a button that was not pressed. Raises BadFrame."""
    row = _NUMBERS.get(number)
    if row is not None:
        quantity, _, signed, scale, digits = row
        value = int.from_bytes(raw, "little", signed=signed)
        return quantity, value if scale == 1 else round(value * scale, digits)
    if number in _BINARIES or number == _LOCK:
        if raw[0] > 1:
            raise BadFrame(f"BTHome object {number:#04x} is {raw[0]}, neither 0 nor 1")
        return ("lock", _LOCKED[raw[0]]) if number == _LOCK else (_BINARIES[number], bool(raw[0]))
    if number == _BUTTON:
        return "button", _PRESSES.get(raw[0])
    if number == _DIMMER:
        return "dimmer", {1: -raw[1], 2: raw[1]}.get(raw[0])
    if number in _FIRMWARE:
        return "firmware_version", ".".join(str(part) for part in reversed(raw))
    return None


def _objects(data: bytes) -> Iterator[tuple[int, bytes]]:
    at, end = 0, len(data)
    while at < end:
        number, at = data[at], at + 1
        size = _LENGTHS.get(number)
        if number in (_TEXT, _RAW, _COMMAND):
            if at == end:
                raise BadFrame(f"BTHome object {number:#04x} ends before its length")
            size, at = 1 + (data[at] & _COMMAND_LENGTH) if number == _COMMAND else data[at], at + 1
        elif size is None:
            return
        if at + size > end:
            raise BadFrame(f"BTHome object {number:#04x} has {end - at} of {size} bytes")
        yield number, data[at : at + size]
        at += size


def _bare(data: bytes, hints: Hints) -> Broadcast:
    return decode(data, hints.address, hints.key)


decode_frame = frame_decoder(decode_advert, _bare)
