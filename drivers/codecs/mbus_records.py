"""M-Bus records: the header of an answer and its numbers, texts and dates (EN 13757-3, 5 and 6, annex A)."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from drivers.codecs import mbus_vif
from drivers.codecs.mbus_vif import EXTENSIONS_MAX, MORE, Meaning
from drivers.errors import BadFrame

Value = Decimal | str | bytes | None
_IDLE, _MAKER_DATA, _MAKER_DATA_MORE, _SPECIAL = 0x2F, 0x0F, 0x1F, 0x0F
_FUNCTIONS = ("now", "max", "min", "error")
_LENGTHS: Mapping[int, int] = MappingProxyType({0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 4, 6: 6, 7: 8, 8: 0})
_BCD: Mapping[int, int] = MappingProxyType({9: 1, 0xA: 2, 0xB: 3, 0xC: 4, 0xE: 6})
_REAL, _VARIABLE = 5, 0xD
# 5.6 and annex E of EN 13757-3 (2013): the fixed structure; its units in groups of three powers of ten from 0x02 on
_FIXED_BYTES = 16
_FIXED_UNITS = (
    *(("energy", "Wh", exponent) for exponent in (0, 3, 6)),
    *(("energy", "J", exponent) for exponent in (3, 6, 9)),
    *(("power", "W", exponent) for exponent in (0, 3, 6)),
    *(("power", "J/h", exponent) for exponent in (3, 6, 9)),
    *(("volume", "m3", exponent) for exponent in (-6, -3, 0)),
    *(("flow", "m3/h", exponent) for exponent in (-6, -3, 0)),
)
_FIXED_HISTORIC = 0x3E


@dataclass(frozen=True, slots=True)
class Header:
    """Who answers. ``serial``, ``maker`` and ``version`` are empty where the answer does not say."""

    serial: str = ""
    maker: str = ""
    version: int | None = None
    medium: int = 0
    access: int = 0
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One value: ``value`` in ``meaning.unit``, None where the meter has none.

    ``function`` is now, max, min or error; ``storage`` 0 is what is current, others what was kept.
    """

    meaning: Meaning
    value: Value
    function: str = "now"
    storage: int = 0
    tariff: int = 0
    subunit: int = 0


def header(head: bytes) -> Header:
    """The header of variable data: 12 bytes, the short one of 4, or none."""
    if not head:
        return Header()
    if len(head) == 4:
        return Header(access=head[0], status=head[1])
    code = int.from_bytes(head[4:6], "little")
    maker = "".join(chr(64 + (code >> shift & 0x1F)) for shift in (10, 5, 0))
    return Header(head[3::-1].hex(), maker, head[6], head[7], head[8], head[9])


def identity(header: Header) -> str:
    """The secondary address of a meter: identification, maker as on the wire, version, medium; F where unknown."""
    maker = "ffff"
    if header.maker:
        code = sum(ord(letter) - 64 << shift for letter, shift in zip(header.maker, (10, 5, 0), strict=True))
        maker = code.to_bytes(2, "little").hex()
    version = "ff" if header.version is None else f"{header.version:02x}"
    return f"{header.serial or 'ffffffff'}{maker}{version}{header.medium:02x}"


def fits(header: Header, secondary: str) -> bool:
    """Whether a meter feels addressed; F stands for anything on both sides."""
    return all(
        wanted in ("f", digit) or digit == "f" for digit, wanted in zip(identity(header), secondary, strict=True)
    )


def variable(data: bytes) -> tuple[tuple[Record, ...], bool]:
    """The records of variable data, and whether more follow in another telegram. Raises BadFrame."""
    records: list[Record] = []
    at = 0
    while at < len(data):
        dif = data[at]
        if dif == _IDLE:
            at += 1
        elif dif in (_MAKER_DATA, _MAKER_DATA_MORE):
            return tuple(records), dif == _MAKER_DATA_MORE
        elif dif & 0xF == _SPECIAL:
            raise BadFrame(f"a record of the telegram begins with {dif:#04x}, which has no meaning there")
        else:
            record, at = _record(data, at)
            records.append(record)
    return tuple(records), False


def _record(data: bytes, at: int) -> tuple[Record, int]:
    dif = data[at]
    storage, tariff, subunit = dif >> 6 & 1, 0, 0
    extended, count = bool(dif & MORE), 0
    at += 1
    while extended:
        if at >= len(data) or count == EXTENSIONS_MAX:
            raise BadFrame("the data information of a record has no end")
        storage |= (data[at] & 0xF) << 4 * count + 1
        tariff |= (data[at] >> 4 & 3) << 2 * count
        subunit |= (data[at] >> 6 & 1) << count
        extended, count, at = bool(data[at] & MORE), count + 1, at + 1
    meaning, at = mbus_vif.parse(data, at)
    value, at = _value(data, at, dif & 0xF, meaning)
    return Record(meaning, value, _FUNCTIONS[dif >> 4 & 3], storage, tariff, subunit), at


def _value(data: bytes, at: int, kind: int, meaning: Meaning) -> tuple[Value, int]:
    if kind == _VARIABLE:
        return _variable_value(data, at, meaning)
    length = _BCD[kind] if kind in _BCD else _LENGTHS[kind]
    end = at + length
    if end > len(data):
        raise BadFrame("a record reaches beyond the telegram")
    raw = data[at:end]
    if not raw or meaning.error:
        return None, end
    if meaning.name in ("date", "time") and kind not in _BCD and kind != _REAL:
        return _date(raw), end
    if kind in _BCD:
        number = _bcd(raw)
    elif kind == _REAL:
        real: float = struct.unpack("<f", raw)[0]
        number = Decimal(f"{real:.9g}") if math.isfinite(real) else None  # 9 digits name every such number
    else:
        number = _integer(raw)
    return _scaled(number, meaning), end


def _scaled(number: Decimal | None, meaning: Meaning) -> Decimal | None:
    if number is None:
        return None
    return (number * meaning.factor).scaleb(meaning.exponent) + Decimal(repr(meaning.offset))


def _integer(raw: bytes) -> Decimal | None:
    """Annex A, type B: the least number stands for no value."""
    number = int.from_bytes(raw, "little", signed=True)
    return None if number == -(1 << 8 * len(raw) - 1) else Decimal(number)


def _bcd(raw: bytes) -> Decimal | None:
    """Annex A, type A: a highest digit F is a sign, other letters stand for no value."""
    digits = raw[::-1].hex()
    sign = ""
    if digits.startswith("f"):
        sign, digits = "-", digits[1:]
    return Decimal(sign + digits) if digits.isdigit() else None


def _variable_value(data: bytes, at: int, meaning: Meaning) -> tuple[Value, int]:
    """Table 5 (LVAR): a text, a decimal or a binary number, or bytes."""
    if at >= len(data):
        raise BadFrame("a record reaches beyond the telegram")
    lvar = data[at]
    length = _lvar_bytes(lvar)
    begin, end = at + 1, at + 1 + length
    if end > len(data):
        raise BadFrame("a record reaches beyond the telegram")
    raw = data[begin:end]
    if meaning.error or not raw:
        return None, end
    if lvar < 0xC0:
        text = raw[::-1].decode("latin-1")
        return text if text.isprintable() else None, end
    if lvar < 0xE0:
        number = _bcd(raw)
        return _scaled(-number if number is not None and lvar >= 0xD0 else number, meaning), end
    return (_scaled(_integer(raw), meaning) if length <= 8 else raw[::-1]), end


def _lvar_bytes(lvar: int) -> int:
    if lvar < 0xC0:
        return lvar
    if lvar < 0xF0:
        return lvar & 0xF
    if lvar <= 0xF4:
        return 4 * (lvar - 0xEC)
    raise BadFrame(f"a record states a length of {lvar:#04x}, which is reserved")


def _date(raw: bytes) -> str | None:
    """Annex A, types G, F and I, in the meter's own time; None for none, for one that is not valid or repeats."""
    second = 0
    if len(raw) == 2:
        day, month = raw[0], raw[1]
        minute = hour = 0
    elif len(raw) == 4:
        minute, hour, day, month = raw
        if minute & 0x80:
            return None
    elif len(raw) == 6:
        second, minute, hour, day, month = raw[:5]
        if minute & 0x80:
            return None
    else:
        return None
    year = (day >> 5) + (month >> 4 << 3)
    century = 1900 + 100 * (hour >> 5 & 3) if len(raw) == 4 and hour >> 5 & 3 else 2000 if year <= 80 else 1900
    try:
        at = datetime(century + year, month & 0xF, day & 0x1F, hour & 0x1F, minute & 0x3F, second & 0x3F)
    except ValueError:
        return None
    return at.date().isoformat() if len(raw) == 2 else at.isoformat()


def fixed(data: bytes) -> tuple[Header, tuple[Record, ...]]:
    """Two counters with their units (CI 0x73). Raises BadFrame."""
    if len(data) != _FIXED_BYTES:
        raise BadFrame("the fixed data of an M-Bus answer have 16 bytes")
    status = data[5]
    units = data[6] & 0x3F, data[7] & 0x3F
    medium = data[6] >> 6 | data[7] >> 6 << 2
    records = []
    for place, unit in enumerate(units):
        raw = data[8 + 4 * place : 12 + 4 * place]
        number = _integer(raw) if status & 1 else _bcd(raw)
        meaning = _fixed_meaning(units[0] if unit == _FIXED_HISTORIC else unit)
        # bit 1: both were stored at a date; 0x3E: the second counter is the first one of that date
        storage = 1 if status & 2 or unit == _FIXED_HISTORIC else 0
        records.append(Record(meaning, _scaled(number, meaning), storage=storage))
    return Header(serial=data[3::-1].hex(), medium=medium, access=data[4], status=status & 0xFC), tuple(records)


def _fixed_meaning(unit: int) -> Meaning:
    group, step = divmod(unit - 2, 3)
    if 0 <= group < len(_FIXED_UNITS):
        name, base, exponent = _FIXED_UNITS[group]
        return Meaning(name, base, exponent + step)
    return {0x38: Meaning("flow_temperature", "degC", -3), 0x39: Meaning("heat_cost")}.get(unit, Meaning("other"))
