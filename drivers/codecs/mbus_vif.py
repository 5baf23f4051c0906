"""M-Bus value information: what a record's number is, in which unit, times which power of ten.

Source: EN 13757-3 (2018), 6.4: primary codes (table 10), first and second extension (tables 12 and 14, behind 0xFD and
0xFB), and orthogonal codes that follow (table 15). Names are those of the path language of ``drivers.codecs.mbus``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from drivers.errors import BadFrame

EXTENSIONS_MAX = 10  # 6.3.3 and 6.4.1: DIFE and VIFE
MORE = 0x80
_PLAIN_TEXT, _ANY, _MAKER = 0x7C, 0x7E, 0x7F
_FD, _FB = 0x7D, 0x7B
_TIMES = (("s", 1), ("s", 60), ("s", 3600), ("s", 86_400))


@dataclass(frozen=True, slots=True)
class Meaning:
    """A number means ``number x factor x 10^exponent + offset`` of ``unit``.

    ``modifiers`` are the orthogonal codes that change what it is, ``maker`` the bytes only its maker knows, ``error``
    is set where the meter says that it has no value. ``raw`` are all bytes of the value information.
    """

    name: str
    unit: str = ""
    exponent: int = 0
    factor: int = 1
    offset: float = 0.0
    modifiers: tuple[int, ...] = ()
    maker: bytes = b""
    error: bool = False
    raw: bytes = b""


def _scaled(first: int, count: int, name: str, unit: str, exponent: int) -> Iterator[tuple[int, Meaning]]:
    """``count`` codes from ``first`` on, each ten times the one before."""
    return ((first + n, Meaning(name, unit, exponent + n)) for n in range(count))


def _timed(first: int, name: str) -> Iterator[tuple[int, Meaning]]:
    return ((first + n, Meaning(name, unit, 0, factor)) for n, (unit, factor) in enumerate(_TIMES))


def _primary() -> Iterator[tuple[int, Meaning]]:
    yield from _scaled(0x00, 8, "energy", "Wh", -3)
    yield from _scaled(0x08, 8, "energy", "J", 0)
    yield from _scaled(0x10, 8, "volume", "m3", -6)
    yield from _scaled(0x18, 8, "mass", "kg", -3)
    yield from _timed(0x20, "on_time")
    yield from _timed(0x24, "operating_time")
    yield from _scaled(0x28, 8, "power", "W", -3)
    yield from _scaled(0x30, 8, "power", "J/h", 0)
    yield from _scaled(0x38, 8, "flow", "m3/h", -6)
    yield from ((code, Meaning("flow", "m3/h", m.exponent - 7, 60)) for code, m in _scaled(0x40, 8, "", "", 0))
    yield from ((code, Meaning("flow", "m3/h", m.exponent - 9, 3600)) for code, m in _scaled(0x48, 8, "", "", 0))
    yield from _scaled(0x50, 8, "mass_flow", "kg/h", -3)
    yield from _scaled(0x58, 4, "flow_temperature", "degC", -3)
    yield from _scaled(0x5C, 4, "return_temperature", "degC", -3)
    yield from _scaled(0x60, 4, "temperature_difference", "K", -3)
    yield from _scaled(0x64, 4, "external_temperature", "degC", -3)
    yield from _scaled(0x68, 4, "pressure", "bar", -3)
    yield 0x6C, Meaning("date")
    yield 0x6D, Meaning("time")
    yield 0x6E, Meaning("heat_cost")
    yield from _timed(0x70, "averaging_duration")
    yield from _timed(0x74, "actuality_duration")
    yield 0x78, Meaning("fabrication_number")
    yield 0x79, Meaning("identification")
    yield 0x7A, Meaning("bus_address")


def _second() -> Iterator[tuple[int, Meaning]]:
    """Behind 0xFB."""
    yield from _scaled(0x00, 2, "energy", "Wh", 5)
    yield from _scaled(0x02, 2, "reactive_energy", "varh", 3)
    yield from _scaled(0x04, 2, "apparent_energy", "VAh", 3)
    yield from _scaled(0x08, 2, "energy", "J", 8)
    yield from _scaled(0x0C, 4, "energy", "cal", 5)
    yield from _scaled(0x10, 2, "volume", "m3", 2)
    yield from _scaled(0x14, 4, "reactive_power", "var", 0)
    yield from _scaled(0x18, 2, "mass", "kg", 5)
    yield from _scaled(0x1A, 2, "relative_humidity", "%", -1)
    yield from _scaled(0x28, 2, "power", "W", 5)
    yield 0x2A, Meaning("angle_between_voltages", "deg", -1)
    yield 0x2B, Meaning("phase_angle", "deg", -1)
    yield from _scaled(0x2C, 4, "frequency", "Hz", -3)
    yield from _scaled(0x30, 2, "power", "J/h", 8)
    yield from _scaled(0x34, 4, "apparent_power", "VA", 0)


def _first() -> Iterator[tuple[int, Meaning]]:
    """Behind 0xFD."""
    names = {
        0x08: "access_number",
        0x09: "medium",
        0x0A: "manufacturer",
        0x0B: "parameter_set",
        0x0C: "model",
        0x0D: "hardware_version",
        0x0E: "firmware_version",
        0x0F: "software_version",
        0x10: "customer_location",
        0x11: "customer",
        0x17: "error_flags",
        0x18: "error_mask",
        0x1A: "digital_output",
        0x1B: "digital_input",
        0x1C: "baud",
        0x3A: "count",  # a number without a unit
        0x60: "reset_counter",
        0x61: "cumulation_counter",
        0x71: "signal_strength",
        0x75: "stops",
    }
    yield from ((code, Meaning(name)) for code, name in names.items())
    yield from _scaled(0x40, 16, "voltage", "V", -9)
    yield from _scaled(0x50, 16, "current", "A", -12)
    yield from _timed(0x6C, "battery_operating_time")
    yield 0x74, Meaning("battery_life", "s", 0, 86_400)


_TABLES: Mapping[int, Mapping[int, Meaning]] = MappingProxyType(
    {0: dict(_primary()), _FD: dict(_first()), _FB: dict(_second())}
)


def parse(data: bytes, at: int) -> tuple[Meaning, int]:
    """The value information at ``at`` and where the data begin. Raises BadFrame."""
    begin = at
    if at >= len(data):
        raise BadFrame("a record of the telegram ends before it says what it is")
    first = data[at]
    at += 1
    table, text = 0, ""
    if first & 0x7F == _PLAIN_TEXT:
        text, at = _text(data, at)
    elif first in (_FD | MORE, _FB | MORE):
        table = first & 0x7F
    codes, at = _extensions(data, at) if first & MORE else ([], at)
    if table:
        if not codes:
            raise BadFrame("a record of the telegram lacks its extended code")
        known = _TABLES[table].get(codes.pop(0), Meaning("other"))
    elif text:
        known = Meaning(f"text:{text}")
    elif first & 0x7F == _MAKER:
        known = Meaning("maker", maker=bytes(codes))
        codes = []
    else:
        known = _TABLES[0].get(first & 0x7F, Meaning("other"))
    return _modified(known, codes, data[begin:at]), at


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at] if at < len(data) else len(data) + 1
    if end > len(data):
        raise BadFrame("the name of a record reaches beyond the telegram")
    return data[at + 1 : end][::-1].decode("latin-1"), end


def _extensions(data: bytes, at: int) -> tuple[list[int], int]:
    codes: list[int] = []
    while True:
        if at >= len(data) or len(codes) == EXTENSIONS_MAX:
            raise BadFrame("the value information of a record has no end")
        codes.append(data[at] & 0x7F)
        at += 1
        if not data[at - 1] & MORE:
            return codes, at


def _modified(known: Meaning, codes: list[int], raw: bytes) -> Meaning:
    exponent, offset, error, maker = known.exponent, 0.0, False, known.maker
    modifiers: list[int] = []
    for place, code in enumerate(codes):
        if code == _MAKER:
            maker = bytes(codes[place + 1 :])
            break
        if code <= 0x1F:  # in an answer: why there is no value
            error = error or code != 0
        elif 0x70 <= code <= 0x77:
            exponent += code - 0x76
        elif 0x78 <= code <= 0x7B:
            offset += 10.0 ** (code - 0x7B)
        elif code == 0x7D:
            exponent += 3
        else:
            modifiers.append(code)
    return Meaning(known.name, known.unit, exponent, known.factor, offset, tuple(modifiers), maker, error, raw)
