"""Advertising data as bytes (Bluetooth Core 5.4, Vol 3, Part C, 11; Assigned Numbers 2.3), and as BlueZ shows it."""

from __future__ import annotations

import struct
from uuid import UUID

from dbus_fast import Variant

FLAGS, UUIDS_16, UUIDS_128, NAME = 0x01, 0x03, 0x07, 0x09
SERVICE_DATA_16, SERVICE_DATA_128, MANUFACTURER = 0x16, 0x21, 0xFF
LE_GENERAL_ONLY = 0x06  # LE General Discoverable Mode, BR/EDR not supported


def structure(kind: int, payload: bytes) -> bytes:
    """One AD structure: length, type, data."""
    return bytes((len(payload) + 1, kind)) + payload


def flags() -> bytes:
    """What nearly every peripheral begins with."""
    return structure(FLAGS, bytes((LE_GENERAL_ONLY,)))


def manufacturer(company: int, payload: bytes) -> bytes:
    """Manufacturer specific data of a company number."""
    return structure(MANUFACTURER, struct.pack("<H", company) + payload)


def service_data(uuid: int | str, payload: bytes) -> bytes:
    """Service data of a UUID of 16 or 128 bits."""
    if isinstance(uuid, str):
        return structure(SERVICE_DATA_128, UUID(uuid).bytes[::-1] + payload)
    return structure(SERVICE_DATA_16, struct.pack("<H", uuid) + payload)


def services(*uuids: int) -> bytes:
    """A complete list of 16-bit service UUIDs."""
    return structure(UUIDS_16, b"".join(struct.pack("<H", uuid) for uuid in uuids))


def services_128(*uuids: str) -> bytes:
    """A complete list of 128-bit service UUIDs."""
    return structure(UUIDS_128, b"".join(UUID(uuid).bytes[::-1] for uuid in uuids))


def name(text: str) -> bytes:
    """The complete local name."""
    return structure(NAME, text.encode())


def full_uuid(short: int | str) -> str:
    """The 128-bit form of a 16-bit UUID (Core, Vol 3, Part B, 2.5.1); one of 128 bits passes."""
    if isinstance(short, str):
        return short
    return f"{short:08x}-0000-1000-8000-00805f9b34fb"


def properties(data: bytes) -> dict[str, Variant]:
    """The properties of org.bluez.Device1 that these advertising bytes set. A truncated structure ends the reading."""
    makers: dict[int, Variant] = {}
    service: dict[str, Variant] = {}
    found: dict[str, Variant] = {}
    at = 0
    while at < len(data) and data[at] and at + data[at] < len(data):
        kind, payload = data[at + 1], data[at + 2 : at + 1 + data[at]]
        at += 1 + data[at]
        if kind == MANUFACTURER and len(payload) >= 2:
            makers[int.from_bytes(payload[:2], "little")] = Variant("ay", payload[2:])
        elif kind == SERVICE_DATA_16 and len(payload) >= 2:
            service[full_uuid(int.from_bytes(payload[:2], "little"))] = Variant("ay", payload[2:])
        elif kind == SERVICE_DATA_128 and len(payload) >= 16:
            service[str(UUID(bytes=payload[15::-1]))] = Variant("ay", payload[16:])
        elif kind == UUIDS_128:
            whole = [payload[at : at + 16] for at in range(0, len(payload) // 16 * 16, 16)]
            found["UUIDs"] = Variant("as", [str(UUID(bytes=part[::-1])) for part in whole])
        elif kind == UUIDS_16:
            pairs = struct.iter_unpack("<H", payload[: len(payload) // 2 * 2])
            found["UUIDs"] = Variant("as", [full_uuid(short) for (short,) in pairs])
        elif kind == NAME:
            found["Name"] = Variant("s", payload.decode(errors="replace"))
            found["Alias"] = found["Name"]
        elif kind == FLAGS:
            found["AdvertisingFlags"] = Variant("ay", payload)
    if makers:
        found["ManufacturerData"] = Variant("a{qv}", makers)
    if service:
        found["ServiceData"] = Variant("a{sv}", service)
    return found
