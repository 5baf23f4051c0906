"""A German basic meter's optical port: an SML telegram each second at 9600 baud.

After BSI TR-03109-1, annex IV, and FNN *Lastenheft Basiszähler*: three messages (open, list of values, close) in
transport version 1. Written for the simulator alone, so that it can prove the gateway's own decoding wrong.
"""

from __future__ import annotations

from firmware_sim.electricity import Snapshot

BAUD = 9600
PERIOD_S = 1.0
_ESCAPE = b"\x1b\x1b\x1b\x1b"
_WH, _W, _V, _A, _HZ = 30, 27, 35, 33, 44
_FIXED, _LOADED, _EXPORTS, _HAS_VOLTAGE = 0x04, 0x100, 0x800, 0x1C0000  # of the status word
_STARTS_W = 20


def crc16_x25(data: bytes) -> int:
    """CRC-16/X-25: polynomial 0x8408 (reflected 0x1021), start and final exclusive or 0xFFFF."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x8408 if crc & 1 else crc >> 1
    return crc ^ 0xFFFF


def octets(data: bytes) -> bytes:
    """An octet string; b"" is the mark for "left out"."""
    size = len(data) + 1
    return bytes([size]) + data if size < 16 else bytes([0x80 | size + 1 >> 4, size + 1 & 0xF]) + data


def number(value: int, *, signed: bool = False, size: int = 0) -> bytes:
    """An integer in as few bytes as hold it, or in ``size``."""
    if not size:
        size = next(n for n in (1, 2, 4, 8) if -(1 << 8 * n - 1) <= value < 1 << 8 * n - signed)
    return bytes([(0x50 if signed else 0x60) | size + 1]) + value.to_bytes(size, "big", signed=signed)


def rows(*items: bytes) -> bytes:
    """A list."""
    count = len(items)
    head = bytes([0x70 | count]) if count < 16 else bytes([0xF0 | count >> 4, count & 0xF])
    return head + b"".join(items)


def entry(code: bytes, unit: int, scaler: int, value: int, *, status: int | None = None, size: int = 4) -> bytes:
    """One value of the list."""
    said = octets(b"") if status is None else number(status, size=3)
    place = (octets(code), said, octets(b""), number(unit), number(scaler, signed=True, size=1))
    return rows(*place, number(value, signed=True, size=size), octets(b""))


def message(transaction: int, tag: int, body: bytes) -> bytes:
    """A message with its checksum and its end."""
    head = b"\x76" + octets(transaction.to_bytes(4, "big")) + number(0) + number(0)
    text = head + rows(number(tag, size=2), body)
    crc = crc16_x25(text)
    return text + bytes([0x63, crc & 0xFF, crc >> 8, 0])


def framed(content: bytes) -> bytes:
    """Transport version 1: escapes doubled, filled up to four bytes, checksum."""
    content = content.replace(_ESCAPE, _ESCAPE + _ESCAPE)
    fill = -len(content) % 4
    body = _ESCAPE + b"\x01\x01\x01\x01" + content + bytes(fill) + _ESCAPE + bytes([0x1A, fill])
    crc = crc16_x25(body)
    return body + bytes([crc & 0xFF, crc >> 8])


def telegram(shot: Snapshot, second: int, *, maker: str = "LMP", detailed: bool = True) -> bytes:
    """The telegram of one second. ``detailed`` False: energies in full kWh, as a meter without its PIN tells."""
    watts = sum(shot.watts)
    status = _FIXED | _HAS_VOLTAGE | (_LOADED if abs(watts) > _STARTS_W else 0) | (_EXPORTS if watts < 0 else 0)
    server = b"\x0a\x01" + maker.encode("ascii") + bytes.fromhex("0001020304")
    taken, given = sum(shot.import_kwh), sum(shot.export_kwh)
    values = [rows(octets(bytes.fromhex("010060320101")), *[octets(b"")] * 4, octets(maker.encode()), octets(b""))]
    values += [rows(octets(bytes.fromhex("0100600100ff")), *[octets(b"")] * 4, octets(server), octets(b""))]
    scaler, per_kwh = (-1, 10_000) if detailed else (3, 1)
    for group, kwh in ((1, taken), (2, given)):
        said = status if group == 1 else None
        code = bytes([1, 0, group, 8, 0, 255])
        values.append(entry(code, _WH, scaler, int(kwh * per_kwh), status=said, size=8))
    if detailed:
        values.append(entry(bytes.fromhex("0100100700ff"), _W, 0, round(watts)))
        for phase in range(3):
            step = 20 * (phase + 1)
            values.append(entry(bytes([1, 0, step + 16, 7, 0, 255]), _W, 0, round(shot.watts[phase])))
            values.append(entry(bytes([1, 0, step + 12, 7, 0, 255]), _V, -1, round(shot.volts[phase] * 10)))
            values.append(entry(bytes([1, 0, step + 11, 7, 0, 255]), _A, -2, round(shot.amps[phase] * 100)))
        values.append(entry(bytes.fromhex("01000e0700ff"), _HZ, -1, round(shot.hertz * 10)))
    time = rows(number(1), number(second, size=4))
    nothing = octets(b"")
    opened = rows(nothing, nothing, octets(second.to_bytes(4, "big")), octets(server), nothing, nothing)
    told = rows(nothing, octets(server), octets(b"\x01\x00b\n\xff\xff"), time, rows(*values), nothing, nothing)
    return framed(
        message(3 * second, 0x0101, opened)
        + message(3 * second + 1, 0x0701, told)
        + message(3 * second + 2, 0x0201, rows(nothing))
    )
