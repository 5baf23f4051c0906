"""DSMR P1 telegrams: the customer port of Dutch, Belgian, Luxembourg, Hungarian and Swedish electricity meters.

Source: DSMR P1 companion standard 5.0.2, sections 5 and 6: lines of OBIS codes between ``/`` and ``!``, then CRC-16/ARC
(polynomial 0xA001 reflected, start 0) over ``/`` to ``!`` as four hexadecimal digits. Versions 2 and 3 have no CRC.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from drivers.base import Measurement
from drivers.codecs.framing import BUFFER_BYTES_MAX, Decoded
from drivers.errors import BadFrame

_END = re.compile(rb"!([^\r\n]{0,8})\r?\n")
_LINE = re.compile(rb"^1-0:(\d{1,2}\.\d{1,2}\.\d{1,2})\((\d{1,12}(?:\.\d{1,6})?)\*(\w{1,8})\)\r?$", re.MULTILINE)
_TIME = re.compile(rb"^0-0:1\.0\.0\((\d{12})([SW])\)\r?$", re.MULTILINE)
_ZONE_H: Mapping[bytes, int] = MappingProxyType({b"W": 1, b"S": 2})  # central European winter and summer time

# OBIS code -> quantity for what the meter states as it is: energies in kWh, volts, amperes, hertz
_DIRECT: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "1.8.0": ("energy_import_total", "kWh"),
        "2.8.0": ("energy_export_total", "kWh"),
        "1.8.1": ("energy_import_t1", "kWh"),
        "1.8.2": ("energy_import_t2", "kWh"),
        "2.8.1": ("energy_export_t1", "kWh"),
        "2.8.2": ("energy_export_t2", "kWh"),
        "32.7.0": ("voltage_l1", "V"),
        "52.7.0": ("voltage_l2", "V"),
        "72.7.0": ("voltage_l3", "V"),
        "31.7.0": ("current_l1", "A"),
        "51.7.0": ("current_l2", "A"),
        "71.7.0": ("current_l3", "A"),
        "14.7.0": ("frequency", "Hz"),
    }
)
# quantity -> (code drawn from the grid, code given to it, unit): the net value is the difference, in W or var
_NET: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "active_power_total": ("1.7.0", "2.7.0", "kW"),
        "active_power_l1": ("21.7.0", "22.7.0", "kW"),
        "active_power_l2": ("41.7.0", "42.7.0", "kW"),
        "active_power_l3": ("61.7.0", "62.7.0", "kW"),
        "reactive_power_total": ("3.7.0", "4.7.0", "kvar"),
        "reactive_power_l1": ("23.7.0", "24.7.0", "kvar"),
        "reactive_power_l2": ("43.7.0", "44.7.0", "kvar"),
        "reactive_power_l3": ("63.7.0", "64.7.0", "kvar"),
    }
)


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def crc16(data: bytes) -> int:
    """CRC-16/ARC."""
    crc = 0
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


def take(buffer: bytearray, *, crc: bool = True) -> Decoded | None:
    """Cut the next telegram out of the buffer and decode it; see ``framing.Take``. Raises BadFrame."""
    start = buffer.find(b"/")
    del buffer[: start if start >= 0 else len(buffer)]
    end = _END.search(buffer)
    begun_again = buffer.find(b"\n/", 1, end.start() if end else len(buffer))
    if begun_again >= 0:
        del buffer[: begun_again + 1]
        raise BadFrame("a telegram without an end")
    if end is None:
        if len(buffer) > BUFFER_BYTES_MAX:
            buffer.clear()
            raise BadFrame(f"no end of the telegram within {BUFFER_BYTES_MAX} bytes")
        return None
    telegram = bytes(buffer[: end.end()])
    del buffer[: end.end()]
    return decode(telegram, crc=crc)


def decode(telegram: bytes, *, crc: bool = True) -> Decoded:
    """Decode one telegram, ``/`` to the end of the ``!`` line. Raises BadFrame.

    Net power is what is drawn minus what is given back. ``device_ns`` is the telegram's time, resolution 1 s, where it
    carries the letter for summer or winter time.
    """
    end = _END.search(telegram)
    if not telegram.startswith(b"/") or end is None:
        raise BadFrame("not a whole telegram")
    if crc:
        _check(telegram[: end.start() + 1], end[1])
    found = {m[1].decode(): (float(m[2]), m[3].decode("ascii", "replace")) for m in _LINE.finditer(telegram)}
    values = {
        quantity: found[code][0] for code, (quantity, unit) in _DIRECT.items() if found.get(code, (0, ""))[1] == unit
    }
    for total in ("energy_import", "energy_export"):
        if f"{total}_total" not in values and f"{total}_t1" in values and f"{total}_t2" in values:
            values[f"{total}_total"] = round(values[f"{total}_t1"] + values[f"{total}_t2"], 3)
    for quantity, (drawn, given, unit) in _NET.items():
        parts = [found[code][0] if found.get(code, (0, ""))[1] == unit else None for code in (drawn, given)]
        if parts[0] is not None:
            values[quantity] = round((parts[0] - (parts[1] or 0.0)) * 1000, 3)
    if not values:
        raise BadFrame("a telegram without any value of electricity")
    return Decoded(tuple(Measurement(q, v) for q, v in values.items()), _device_ns(telegram))


def _check(body: bytes, stated: bytes) -> None:
    try:
        expected = int(stated, 16)
    except ValueError:
        raise BadFrame("no CRC behind the `!`: a meter of DSMR 2 or 3 needs the option `crc: false`") from None
    if crc16(body) != expected:
        raise BadFrame("CRC of the telegram is wrong")


def _device_ns(telegram: bytes) -> int | None:
    match = _TIME.search(telegram)
    if match is None:
        return None
    try:
        local = datetime.strptime(match[1].decode(), "%y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int((local - timedelta(hours=_ZONE_H[match[2]])).timestamp()) * 1_000_000_000
