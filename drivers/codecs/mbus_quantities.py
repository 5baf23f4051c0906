"""M-Bus records to quantities: by themselves where a record says enough, by a template's ``fields`` where it does not.

**By itself** the first current value of a kind counts: storage 0, no minimum or maximum, no code that changes what it
is. What the meter measures (its medium, EN 13757-3 table 13) decides whether energy is heat or electricity and a volume
water or gas. Tariffs 1 to 4 are those of electricity; other meters mean something of their own by them.

**Paths** of ``fields`` select a record: ``NAME[,KEY=VALUE ...]``. NAME is that of ``drivers.codecs.mbus_vif`` (energy,
volume, power, flow, flow_temperature, voltage, error_flags ...), ``text:UNIT`` for a unit in plain text, ``vif:HEX``
for all bytes of the value information as they are sent, or ``header:serial``, ``header:status``. Keys: ``storage``,
``tariff``, ``subunit`` (0 without them), ``function`` (now, max, min, error; now without it), ``modifier`` and
``maker`` (hexadecimal: the code that follows and changes what it is; the bytes behind 0xFF without their highest bits;
none without them) and ``nth`` (the first, 1, without it). Values come in the unit of the quantity where the record has
a unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from drivers.base import Measurement
from drivers.base import Value as MeasuredValue
from drivers.codecs.mbus_records import Header, Record
from drivers.quantities import QUANTITIES
from drivers.template import Field

ELECTRICITY, GAS = 0x02, 0x03
HEAT = frozenset({0x04, 0x0C, 0x0D})  # 0x0D: of heating and cooling
COOLING = frozenset({0x0A, 0x0B})
WATER = frozenset({0x06, 0x07, 0x15, 0x16, 0x17})
MEDIUM_NAMES: Mapping[str, frozenset[int]] = MappingProxyType(
    {
        "electricity": frozenset({ELECTRICITY}),
        "gas": frozenset({GAS}),
        "heat": HEAT,
        "cooling": COOLING,
        "water": WATER,
        "heat cost": frozenset({0x08}),
    }
)
# unit of a record -> unit of ``drivers.quantities`` -> factor
_FACTORS: Mapping[tuple[str, str], Decimal] = MappingProxyType(
    {
        ("Wh", "kWh"): Decimal("0.001"),
        ("J", "kWh"): 1 / Decimal(3_600_000),
        ("cal", "kWh"): Decimal("4.1868") / Decimal(3_600_000),
        ("varh", "kvarh"): Decimal("0.001"),
        ("Wh", "kvarh"): Decimal("0.001"),  # meters that tell reactive values by their subunit alone
        ("W", "var"): Decimal(1),
        ("VAh", "kVAh"): Decimal("0.001"),
        ("J/h", "W"): 1 / Decimal(3600),
        ("s", "h"): 1 / Decimal(3600),
    }
)
_FORWARD, _BACKWARD = 0x3B, 0x3C  # counted in one direction only
# electricity meters whose three-phase values are told apart by a byte of the maker behind 0xFF, and the subunit
# in which they state reactive instead of active values; as their captured telegrams show. ABB: B23 manual, chapter 9
_PHASES = {b"\x01": "l1", b"\x02": "l2", b"\x03": "l3", b"\x00": "total", b"": "total"}
_REACTIVE_SUBUNITS: Mapping[str, int | None] = MappingProxyType({"SBC": 1, "FIN": 1, "EMU": 2, "ABB": None})
_STATUS = ((0x04, "power low"), (0x08, "permanent error"), (0x10, "temporary error"))  # EN 13757-3, table 8


@dataclass(frozen=True, slots=True)
class Path:
    """Which record a field means."""

    name: str
    function: str = "now"
    storage: int = 0
    tariff: int = 0
    subunit: int = 0
    modifiers: tuple[int, ...] = ()
    maker: bytes = b""
    nth: int = 1

    @classmethod
    def parse(cls, text: str) -> Path:
        """Read a path. Raises ValueError that says what is wrong with it."""
        name, *pairs = (part.strip() for part in text.split(","))
        known = {"storage", "tariff", "subunit", "nth", "function", "modifier", "maker"}
        given: dict[str, str] = {}
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if key not in known or not equals or key in given:
                raise ValueError(f"path {text!r}: {pair!r} is none of {', '.join(sorted(known))} with a value")
            given[key] = value
        if not name or given.get("function", "now") not in ("now", "max", "min", "error"):
            raise ValueError(f"path {text!r}: expected a name, and now, max, min or error as function")
        try:
            numbers = {key: int(given.get(key, 0)) for key in ("storage", "tariff", "subunit")}
            nth = int(given.get("nth", 1))
            modifiers = tuple(bytes.fromhex(given.get("modifier", "")))
            maker = bytes.fromhex(given.get("maker", ""))
        except ValueError:
            raise ValueError(f"path {text!r}: a number was expected") from None
        return cls(name, given.get("function", "now"), **numbers, modifiers=modifiers, maker=maker, nth=nth)

    def record(self, records: Iterable[Record]) -> Record | None:
        """The record it means, None where there is none."""
        fitting = [record for record in records if self._fits(record)]
        return fitting[self.nth - 1] if 1 <= self.nth <= len(fitting) else None

    def _fits(self, record: Record) -> bool:
        if (record.function, record.storage, record.tariff, record.subunit) != (
            *(self.function, self.storage, self.tariff, self.subunit),
        ):
            return False
        if self.name.startswith("vif:"):
            return record.meaning.raw.hex() == self.name[4:].lower()
        meaning = record.meaning
        return (meaning.name, meaning.modifiers, meaning.maker) == (self.name, self.modifiers, self.maker)


def measurements(header: Header, records: Sequence[Record], fields: Sequence[Field] = ()) -> tuple[Measurement, ...]:
    """The quantities in a meter's records; what ``fields`` say counts before what is found by itself."""
    found: dict[str, MeasuredValue] = {}
    for field in fields:
        value = _selected(header, records, field)
        if value is not None:
            found[field.quantity] = value
    for record in records:
        quantity = _quantity(header, record)
        if quantity and quantity not in found:
            value = _converted(record, quantity)
            if value is not None:
                found[quantity] = value
    if header.status is not None:
        found.setdefault("meter_status", _status(header.status))
    return tuple(Measurement(quantity, value) for quantity, value in found.items())


def medium(code: int) -> str:
    """The kind of meter that a medium stands for."""
    return next((name for name, codes in MEDIUM_NAMES.items() if code in codes), f"medium {code:#04x}")


def _status(status: int) -> str:
    return ", ".join(text for bit, text in _STATUS if status & bit) or "ok"


def _selected(header: Header, records: Sequence[Record], field: Field) -> MeasuredValue | None:
    if field.path.startswith("header:"):
        value: MeasuredValue | None = header.serial if field.path == "header:serial" else header.status
    else:
        record = Path.parse(field.path).record(records)
        value = None if record is None else _converted(record, field.quantity)
    if isinstance(value, int | float) and not field.map:
        return value * field.scale + field.offset if (field.scale, field.offset) != (1.0, 0.0) else value
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return field.map.get(text) if field.map and value is not None else value


def _converted(record: Record, quantity: str) -> MeasuredValue | None:
    """The record's value in the quantity's unit, None where it has no value or another unit."""
    value, row = record.value, QUANTITIES[quantity]
    if record.meaning.name == "error_flags" and isinstance(value, Decimal):
        return f"{int(value) & 0xFFFFFFFFFFFFFFFF:#x}" if value else "ok"
    if isinstance(value, str):
        return value if row.kind == "state" else None
    if not isinstance(value, Decimal):
        return None
    unit = record.meaning.unit
    if unit and unit != row.unit:
        if (unit, row.unit) not in _FACTORS:
            return None
        value *= _FACTORS[unit, row.unit]
    number = float(round(value, 9))
    return f"{number:g}" if row.kind == "state" else number


def _quantity(header: Header, record: Record) -> str:
    """The quantity of a record that says by itself what it is, "" for others."""
    if record.function != "now" or record.storage:
        return ""
    if header.medium == ELECTRICITY:
        return _electric(header, record)
    if record.tariff or record.subunit or record.meaning.maker:
        return ""
    if record.meaning.modifiers not in ((), (_FORWARD,)):
        return ""
    return _of_medium(record.meaning.name, header.medium)


def _electric(header: Header, record: Record) -> str:
    meaning = record.meaning
    reactive = False
    if record.subunit:
        reactive = record.subunit == _REACTIVE_SUBUNITS.get(header.maker)
        if not reactive:
            return ""
    part = ""
    if meaning.maker or header.maker in _REACTIVE_SUBUNITS:
        part = _PHASES.get(meaning.maker[:1], "") if header.maker in _REACTIVE_SUBUNITS else ""
        if not part:
            return ""
    prefix = "reactive_" if reactive else ""
    if meaning.name == "energy":
        direction = {(): "import", (_FORWARD,): "import", (_BACKWARD,): "export"}.get(meaning.modifiers)
        if direction is None or record.tariff > 4:
            return ""
        tariff = f"t{record.tariff}" if record.tariff else part or "total"
        return f"{prefix}energy_{direction}_{tariff}"
    if meaning.modifiers or record.tariff:
        return ""
    if meaning.name == "power":
        return f"{'reactive' if reactive else 'active'}_power_{part or 'total'}"
    if meaning.name in ("voltage", "current", "apparent_power", "reactive_power") and not reactive:
        if meaning.name.endswith("power"):
            return f"{meaning.name}_{part or 'total'}"
        # without a phase: a meter of one phase, or one that knows of one only
        return f"{meaning.name}_{part or 'l1'}" if part != "total" else ""
    return _of_medium(meaning.name, header.medium) if not reactive else ""


def _of_medium(name: str, code: int) -> str:
    if name == "energy":
        return "heat_energy_total" if code in HEAT else "cooling_energy_total" if code in COOLING else ""
    if name == "volume":
        return "water_volume_total" if code in WATER else "gas_volume_total" if code == GAS else "volume_total"
    if name == "power":
        return "heat_power" if code in HEAT | COOLING else ""
    if name == "external_temperature":
        return "outdoor_temperature" if code in HEAT | COOLING else "temperature"
    return {
        "mass": "mass_total",
        "flow": "flow_rate",
        "flow_temperature": "flow_temperature",
        "return_temperature": "return_temperature",
        "temperature_difference": "temperature_difference",
        "pressure": "flow_pressure",
        "heat_cost": "heat_cost_units",
        "relative_humidity": "relative_humidity",
        "text:%RH": "relative_humidity",
        "frequency": "frequency",
        "on_time": "on_time",
        "operating_time": "operating_time",
        "error_flags": "error_status",
        "firmware_version": "firmware_version",
    }.get(name, "")
