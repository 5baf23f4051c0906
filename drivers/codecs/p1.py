"""P1 telegrams: the customer port of smart meters in NL, BE, LU, HU, SE, LT and their neighbours.

Sources: DSMR P1 companion standard 2.2, 3.0, 4.2 and 5.0.2, sections 5 and 6; e-MUCS P1 1.7.1 (Fluvius, Belgium): lines
of OBIS codes between ``/`` and ``!``, then CRC-16/ARC (polynomial 0xA001 reflected, start 0) over ``/`` to ``!`` as up
to four hexadecimal digits.

Versions 2 and 3 have no CRC. Such a telegram is taken only if it says nothing that those versions do not say (a newer
one always has a version, a clock or a voltage) and each of its lines is whole; what parity lets through and looks like
a number is then believed. The option ``crc`` decides otherwise: true asks all for a CRC, false asks none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from types import MappingProxyType

from drivers.base import Measurement
from drivers.codecs import obis
from drivers.codecs.framing import BUFFER_BYTES_MAX, Decoded, Hints
from drivers.errors import BadFrame

_END = re.compile(rb"!([^\r\n]{0,8})\r?\n")
_LINE = re.compile(rb"^(\d)-(\d):(\d{1,3}\.\d{1,3}\.\d{1,3})((?:\([^()\r\n]{0,2048}\))+)\r?$", re.MULTILINE)
_GROUP = re.compile(r"\(([^()]*)\)")
_NUMBER = re.compile(r"^(-?\d{1,12}(?:\.\d{1,9})?)(?:\*(\w{1,8}))?$", re.ASCII)
_TIME = re.compile(r"^(\d{12})([SW]?)$", re.ASCII)
_OLD_GAS = re.compile(rb"^(0-\d:24\.3\.0\([^\r\n]*)\((m3)\)\r?\n\((\d{1,12}(?:\.\d{1,9})?)\)\r?$", re.MULTILINE)

# what a telegram of version 2 or 3 may say: DSMR P1 2.2, 5.5 and 3.0, 5.4
_OLD_CODES = re.compile(
    r"0-0:(?:96\.1\.1|96\.14\.0|17\.0\.0|96\.3\.10|96\.13\.[01])|1-0:[12]\.(?:8\.[12]|7\.0)|(?:0-[1-9]|7-0):.*"
)
_OLD_NEEDED = ("1-0:1.8.1", "1-0:1.8.2", "1-0:1.7.0")
_STATES: Mapping[str, tuple[str, Mapping[str, str]]] = MappingProxyType(
    {
        "0-0:96.14.0": ("tariff", {}),
        # IEC 62056-6-2, disconnect control
        "0-0:96.3.10": ("relay_state", {"0": "off", "1": "on", "2": "ready"}),
    }
)
_COUNTS: Mapping[str, str] = MappingProxyType(
    {
        "0-0:96.7.21": "power_failures",
        "0-0:96.7.9": "power_failures_long",
        **{f"1-0:{20 * n + 12}.32.0": f"voltage_sags_l{n}" for n in (1, 2, 3)},
        **{f"1-0:{20 * n + 12}.36.0": f"voltage_swells_l{n}" for n in (1, 2, 3)},
    }
)
_GJ = Decimal(1_000_000) / Decimal(3600)  # kWh
# EN 13757-3, device type -> unit -> quantity and factor: the meters behind this one
_BEHIND: Mapping[int, Mapping[str, tuple[str, Decimal]]] = MappingProxyType(
    {
        3: {"m3": ("gas_volume_total", Decimal(1))},
        4: {"GJ": ("heat_energy_total", _GJ), "MJ": ("heat_energy_total", _GJ / 1000)},
        7: {"m3": ("water_volume_total", Decimal(1))},
        10: {"GJ": ("cooling_energy_total", _GJ), "MJ": ("cooling_energy_total", _GJ / 1000)},
        12: {"GJ": ("heat_energy_total", _GJ), "MJ": ("heat_energy_total", _GJ / 1000)},
    }
)

_GAS_CODES = ("24.2.1", "24.2.3")  # at base conditions; Belgium: as it flows
CIPHERED_BEGIN = b"\xdb\x08"
_CIPHERED = re.compile(rb"\xdb\x08.{8}\x82", re.DOTALL)
_ENCRYPTED = "the telegram is encrypted: give the device the `key_file` that the grid operator has the key for"
Lines = Mapping[str, tuple[str, ...]]  # code A-B:C.D.E -> what stands in its brackets


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


def take(buffer: bytearray, *, crc: bool | None = None, zone: tzinfo | None = None) -> Decoded | None:
    """Cut the next telegram out of the buffer and decode it; see ``framing.Take``. Raises BadFrame."""
    if (ciphered := _CIPHERED.search(buffer)) is not None:
        del buffer[: ciphered.end()]
        raise BadFrame(_ENCRYPTED)
    start = buffer.find(b"/")
    # the beginning of an encrypted one, not a plain one, may have come so far
    del buffer[: start if start >= 0 else max(0, len(buffer) - 10)]
    if start < 0:
        return None
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
    return decode(telegram, crc=crc, zone=zone)


def decode_frame(data: bytes, hints: Hints) -> tuple[Measurement, ...]:
    """Decode one captured telegram, also with line ends as text editors leave them. Raises BadFrame."""
    if data.startswith(CIPHERED_BEGIN):
        if not hints.key:
            raise BadFrame(_ENCRYPTED)
        from drivers.codecs import p1_cipher  # loads `cryptography`, which most sites never need

        return decode(p1_cipher.deciphered(data, hints.key)).measurements
    data = data.strip() + b"\r\n"
    if data.count(b"\r\n") != data.count(b"\n"):
        data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    end = _END.search(data)
    if end is None or end.end() != len(data):
        raise BadFrame("not one whole telegram")
    return decode(data).measurements


def decode(telegram: bytes, *, crc: bool | None = None, zone: tzinfo | None = None) -> Decoded:
    """Decode one telegram, ``/`` to the end of the ``!`` line. Raises BadFrame.

    ``crc`` None asks newer telegrams than those of version 3 for a CRC. ``device_ns`` is the telegram's time where it
    carries the letter for summer or winter time that ``zone`` has at that time; its resolution is 1 s.
    """
    end = _END.search(telegram)
    if not telegram.startswith(b"/") or end is None:
        raise BadFrame("not a whole telegram")
    lines = {f"{m[1].decode()}-{m[2].decode()}:{m[3].decode()}": _groups(m[4]) for m in _LINE.finditer(telegram)}
    if crc or (crc is None and end[1]):
        _check(telegram[: end.start() + 1], end[1])
    else:
        _check_lines(telegram[: end.start()], lines)
        if crc is None:
            _check_old(lines)
    measurements = (*obis.measurements(_stated(lines)), *_beside(lines), *_behind(lines, telegram))
    if not measurements:
        raise BadFrame("a telegram without any value of electricity")
    return Decoded(measurements, None if zone is None else _device_ns(lines, zone))


def _groups(text: bytes) -> tuple[str, ...]:
    return tuple(_GROUP.findall(text.decode("ascii", "replace")))


def _check(body: bytes, stated: bytes) -> None:
    if not re.fullmatch(rb"[0-9A-Fa-f]{1,4}", stated):  # some meters leave leading zeros out
        raise BadFrame("no CRC behind the `!`: cut off, or a meter that needs the option `crc: false`")
    if crc16(body) != int(stated, 16):
        raise BadFrame("CRC of the telegram is wrong")


def _check_lines(body: bytes, lines: Lines) -> None:
    """What can be checked of a telegram without a CRC: that nothing but whole lines is there. Raises BadFrame."""
    if not re.fullmatch(rb"[ -~\r\n]*", body):  # a parity error is read as a zero byte
        raise BadFrame("damaged characters in the telegram")
    count = 0
    for line in body.split(b"\n")[1:]:
        text = line.removesuffix(b"\r")
        if _LINE.match(line):
            count += 1
        elif text and not re.fullmatch(rb"\(\d{1,12}\.\d{1,9}\)", text):
            raise BadFrame(f"a line of the telegram is damaged: {text[:40]!r}")
    if count != len(lines):
        raise BadFrame("a line of the telegram came twice")


def _check_old(lines: Lines) -> None:
    """Whether a telegram can be one of DSMR 2 or 3, and no digit of it is lost. Raises BadFrame."""
    if not all(_OLD_CODES.fullmatch(code) for code in lines):
        raise BadFrame("no CRC behind the `!`, though the telegram is none of DSMR 2 or 3: see option `crc`")
    needed = (*_OLD_NEEDED, "1-0:2.7.0") if any(code.startswith("1-0:2.8") for code in lines) else _OLD_NEEDED
    if not all(code in lines for code in needed):
        raise BadFrame("lines of the telegram are missing")
    widths: dict[str, set[int]] = {}
    for code in lines:
        number = _NUMBER.match(lines[code][-1])
        if number is not None and number[2] and code.startswith("1-0:"):
            widths.setdefault(number[2], set()).add(len(number[1]))
    if any(len(width) > 1 for width in widths.values()):  # a meter writes all numbers of one unit alike
        raise BadFrame("a digit of the telegram is missing")


def _stated(lines: Lines) -> obis.Stated:
    """Numbers with a unit, and without one where they are alone: the value is the last thing of its line."""
    stated: dict[str, tuple[Decimal, str]] = {}
    for code, groups in lines.items():
        number = _NUMBER.match(groups[-1])
        if code.startswith("1-0:") and number is not None and (number[2] or len(groups) == 1):
            stated[code[4:]] = (Decimal(number[1]), number[2] or "")
    return stated


def _beside(lines: Lines) -> list[Measurement]:
    """States and events."""
    found: list[Measurement] = []
    for code, (quantity, names) in _STATES.items():
        text = lines.get(code, ("",))[0]
        if text.isascii() and text.isdigit():
            state = str(int(text))
            if not names or state in names:
                found.append(Measurement(quantity, names.get(state, state)))
    for code, quantity in _COUNTS.items():
        text = lines.get(code, ("",))[0]
        if text.isascii() and text.isdigit() and len(text) <= 12:
            found.append(Measurement(quantity, int(text)))
    return found


def _behind(lines: Lines, telegram: bytes) -> list[Measurement]:
    """The newest value of each kind among the meters for gas, water and heat that hand theirs over to this one."""
    newest: dict[str, tuple[str, Decimal]] = {}
    old = {m[1].decode("ascii", "replace"): f"{m[3].decode()}*{m[2].decode()}" for m in _OLD_GAS.finditer(telegram)}
    for channel in range(1, 10):
        kind = lines.get(f"0-{channel}:24.1.0", ("",))[0]
        candidates = [lines[code] for end in _GAS_CODES if len(lines.get(code := f"0-{channel}:{end}", ())) == 2]
        candidates += [_groups(f"{head}({text})".encode()) for head, text in old.items() if head[2] == str(channel)]
        for groups in candidates:
            number, time = _NUMBER.match(groups[-1]), _TIME.match(groups[0])
            if number is None or time is None or not kind.isascii() or not kind.isdigit():
                continue
            quantity, factor = _BEHIND.get(int(kind), {}).get(number[2], ("", Decimal(0)))
            if quantity and time[1] > newest.get(quantity, ("", Decimal(0)))[0]:
                newest[quantity] = (time[1], Decimal(number[1]) * factor)
    return [Measurement(quantity, float(value)) for quantity, (_, value) in newest.items()]


def _device_ns(lines: Lines, zone: tzinfo) -> int | None:
    match = _TIME.match(lines.get("0-0:1.0.0", ("",))[0])
    if match is None or not match[2]:
        return None
    try:
        local = datetime.strptime(match[1], "%y%m%d%H%M%S")
    except ValueError:
        return None
    offsets = [local.replace(month=month, day=1, tzinfo=zone).utcoffset() or timedelta(0) for month in (1, 7)]
    offset = max(offsets) if match[2] == "S" else min(offsets)
    if all(local.replace(tzinfo=zone, fold=fold).utcoffset() != offset for fold in (0, 1)):
        return None  # the letter and the zone contradict one another: a clock that is not to be believed
    return int((local.replace(tzinfo=UTC) - offset).timestamp()) * 1_000_000_000
