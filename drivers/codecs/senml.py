"""SenML (RFC 8428) in JSON and CBOR: packs of named values with units and times.

``resolve`` makes whole records of a pack (4.6: base name, unit, value, sum and time; relative and absolute times),
``decode`` makes measurements of them, an instant at a time. A pack of a version that is not known, or with a field that
must be understood (its label ends in ``_``) and is not, is refused as a whole. Secondary units (RFC 8798, version 26 of
RFC 9100) are taken whether the version announces them or not: their names mean nothing else.

Which record is which quantity: by the ``fields`` of a template, whose ``path`` is the name of a record, or its end
after a ``/`` or ``:`` (a sensor's own id stands before it); ``path#sum`` is the record's sum over time. Without fields
a record counts that has the name of a quantity, or a common name for one, and a unit that can be converted into ours;
where that leaves two records for one quantity the pack is refused: no guess is better than the wrong one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

from drivers.base import Measurement, Position, Value
from drivers.codecs import cbor, senml_units
from drivers.codecs.framing import NO_HINTS, Hints
from drivers.codecs.json_paths import convert as convert_field
from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES

if TYPE_CHECKING:
    from drivers.template import Field

PACK_BYTES_MAX = 256 * 1024
RECORDS_MAX = 4096
NAME_CHARACTERS_MAX = 255
VERSIONS = (10, 26)
ABSOLUTE_S = 2**28  # from here on a time is absolute (RFC 8428, 4.5.3)
AGE_S_MAX = 31 * 86400
_SUM = "#sum"

# RFC 8428, tables 1 and 4 (labels of CBOR in section 6)
_LABELS: Mapping[int, str] = MappingProxyType(
    {-1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs"}
    | dict(enumerate(("n", "u", "v", "vs", "vb", "s", "t", "ut", "vd")))
)
_NUMBERS = frozenset(("bver", "bt", "bv", "bs", "v", "s", "t", "ut"))
_TEXTS = frozenset(("bn", "bu", "n", "u", "vs"))
_VALUES = ("v", "vs", "vb", "vd")
_NAME = re.compile(r"[A-Za-z0-9/][A-Za-z0-9\-:./_]*")  # LwM2M begins its names with a slash

_COMMON: Mapping[str, str] = MappingProxyType(
    {
        "temp": "temperature",
        "humidity": "relative_humidity",
        "hum": "relative_humidity",
        "rh": "relative_humidity",
        "barometer": "pressure",
        "atmospheric_pressure": "pressure",
        "pm2.5": "pm25",
        "pm2_5": "pm25",
        "pm2-5": "pm25",
        "light": "illuminance",
        "lux": "illuminance",
        "battery": "battery_voltage",
    }
)
_BY_UNIT: Mapping[str, str] = MappingProxyType({"%EL": "battery_level", "%RH": "relative_humidity"})


@dataclass(frozen=True, slots=True)
class Record:
    """A resolved record. ``own_name`` is without the base name; ``at_s``: see ABSOLUTE_S; ``total`` is its sum.

    Bytes are a data value; in JSON as they stand there (base64url).
    """

    name: str
    own_name: str
    unit: str
    value: float | int | bool | str | bytes | None
    total: float | int | None
    at_s: float | int


@dataclass(frozen=True, slots=True)
class Instant:
    """What was measured at one time: ``age_s`` before the pack was sent, at ``unix_s`` by the sensor's own clock."""

    measurements: tuple[Measurement, ...]
    age_s: float
    unix_s: float | None


def decode_frame(data: bytes, hints: Hints = NO_HINTS, fields: Iterable[Field] = ()) -> tuple[Measurement, ...]:
    """The newest measurements of a pack. Raises BadFrame."""
    instants = decode(data, fields)
    return instants[-1].measurements if instants else ()


def decode(data: bytes, fields: Iterable[Field] = ()) -> tuple[Instant, ...]:
    """The measurements of a pack, the oldest first; empty where no record is a quantity. Raises BadFrame."""
    by_time: dict[float, list[Record]] = {}
    for record in resolve(data):
        by_time.setdefault(record.at_s, []).append(record)
    sent_s = max((at_s for at_s in by_time if at_s >= ABSOLUTE_S), default=0.0)
    wanted = tuple(fields)
    instants = []
    for at_s, records in by_time.items():
        absolute = at_s >= ABSOLUTE_S
        age_s = (sent_s if absolute else 0.0) - at_s
        if not 0 <= age_s <= AGE_S_MAX:
            raise BadFrame(f"a SenML record of {abs(age_s):.0f} s {'ahead' if age_s < 0 else 'ago'}")
        measured = tuple(_by_fields(records, wanted) if wanted else _by_names(records))
        if measured:
            instants.append(Instant(measured, float(age_s), float(at_s) if absolute else None))
    return tuple(sorted(instants, key=lambda instant: -instant.age_s))


def check(fields: Iterable[Field]) -> None:
    """Raise ValueError for the first field whose path cannot be the name of a record."""
    for field in fields:
        if not _NAME.fullmatch(field.path.removesuffix(_SUM)):
            raise ValueError(f"path {field.path!r}: expected the name of a SenML record, or its end after / or :")


def names(data: bytes) -> list[str]:
    """The names of the records of a pack, for messages. Raises BadFrame."""
    return sorted({record.name for record in resolve(data)})


def resolve(data: bytes) -> tuple[Record, ...]:
    """The records of a pack that hold a value or a sum. Raises BadFrame."""
    base: dict[str, Any] = {"bn": "", "bt": 0, "bu": "", "bv": 0, "bs": 0}
    versions: set[object] = set()
    found = []
    for raw in _pack(data):
        fields = _labelled(raw)
        versions.add(fields.pop("bver", None))
        base |= {label: value for label, value in fields.items() if label in base}
        record = _resolved(fields, base)
        if record is not None:
            found.append(record)
    stated = versions - {None}
    if len(stated) > 1 or not stated <= set(VERSIONS):
        raise BadFrame(f"SenML of version {', '.join(str(version) for version in stated)}; known: 10, 26")
    if not found:
        raise BadFrame("a SenML pack without a value")
    return tuple(found)


def _pack(data: bytes) -> list[Any]:
    if len(data) > PACK_BYTES_MAX:
        raise BadFrame(f"a SenML pack of {len(data)} bytes; at most {PACK_BYTES_MAX} are read")
    if data.lstrip(b" \t\r\n").startswith(b"["):
        try:
            pack = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise BadFrame(f"SenML that is not JSON: {error}") from None
    else:
        pack = cbor.loads(data)
    if not isinstance(pack, list) or not all(isinstance(record, dict) for record in pack):
        raise BadFrame("not SenML: a pack is a list of records")
    if len(pack) > RECORDS_MAX:
        raise BadFrame(f"a SenML pack of {len(pack)} records; at most {RECORDS_MAX} are read")
    return pack


def _labelled(raw: dict[Any, Any]) -> dict[str, Any]:
    """The known fields of a record by their names in JSON, each of the right type."""
    fields: dict[str, Any] = {}
    for key, value in raw.items():
        label = _LABELS.get(key) if isinstance(key, int) else key
        if label in _NUMBERS:
            good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        elif label in _TEXTS:
            good = isinstance(value, str)
        elif label in ("vb", "vd"):
            good = isinstance(value, bool if label == "vb" else str | bytes)
            value = value.encode() if label == "vd" and isinstance(value, str) else value
        elif isinstance(label, str) and label.endswith("_"):
            raise BadFrame(f"SenML with a field {label!r:.40} that must be understood and is not")
        else:
            continue
        if not good:
            raise BadFrame(f"SenML with {value!r:.40} as {label}")
        if label in fields:
            raise BadFrame(f"a SenML record with {label} twice")
        fields[label] = value
    return fields


def _resolved(fields: dict[str, Any], base: dict[str, Any]) -> Record | None:
    given = [label for label in _VALUES if label in fields]
    if len(given) > 1:
        raise BadFrame(f"a SenML record with {' and '.join(given)}")
    if not given and "s" not in fields:
        return None
    own_name = fields.get("n", "")
    name = base["bn"] + own_name
    if len(name) > NAME_CHARACTERS_MAX or not _NAME.fullmatch(name):
        raise BadFrame(f"a SenML record with the name {name!r:.60}")
    value = fields[given[0]] if given else None
    if given == ["v"]:
        value = _added(base["bv"], fields["v"])
    total = _added(base["bs"], fields["s"]) if "s" in fields else None
    return Record(name, own_name, fields.get("u", base["bu"]), value, total, _added(base["bt"], fields.get("t", 0)))


def _added(base: float | int, value: float | int) -> float | int:
    if not base:
        return value
    total = base + value
    if not math.isfinite(total):
        raise BadFrame("SenML with a number beyond all numbers")
    # what binary fractions add behind the last digit that either has is no information
    return total if isinstance(total, int) else float(f"{total:.15g}")


def _by_fields(records: list[Record], fields: tuple[Field, ...]) -> Iterator[Measurement]:
    """Of several fields of one quantity the first with a value counts."""
    told: set[str] = set()
    for field in fields:
        path = field.path.removesuffix(_SUM)
        summed = path != field.path
        fitting = [record for record in records if _matches(record, path) and (record.total is not None or not summed)]
        if len(fitting) > 1:
            raise BadFrame(f"SenML with {len(fitting)} records for {path}: {fitting[0].name}, {fitting[1].name}")
        for record in fitting:
            value = convert_field(_number(record, field.quantity, summed=summed), field)
            if value is not None and field.quantity not in told:
                told.add(field.quantity)
                yield Measurement(field.quantity, value)


def _matches(record: Record, path: str) -> bool:
    return path in (record.name, record.own_name) or record.name.endswith((f"/{path}", f":{path}"))


def _number(record: Record, quantity: str, *, summed: bool) -> Value | bytes | None:
    """The value in the quantity's unit; None where the record's is another dimension's. As it is where it has none."""
    value = record.total if summed else record.value
    if isinstance(value, bool) or not isinstance(value, int | float) or not senml_units.known(record.unit):
        return value
    return senml_units.convert(value, record.unit, QUANTITIES[quantity], summed=summed)


def _by_names(records: list[Record]) -> Iterator[Measurement]:
    sources: dict[str, str] = {}
    for quantity, value, source in (*_positions(records), *_named(records)):
        if sources.setdefault(quantity, source) != source:
            raise BadFrame(f"SenML with two records for {quantity}: {sources[quantity]}, {source}; a template can tell")
        yield Measurement(quantity, value)


def _named(records: list[Record]) -> Iterator[tuple[str, Value, str]]:
    for record in records:
        last = re.split("[/:]", record.name)[-1].lower()
        quantity = QUANTITIES.get(last) or QUANTITIES.get(_BY_UNIT.get(record.unit) or _COMMON.get(last, ""))
        value = record.value
        if quantity is None or value is None or isinstance(value, bytes):
            continue
        if quantity.kind == "state" and quantity.name != "position":
            if isinstance(value, bool | str) and record.unit == "" and len(str(value)) <= NAME_CHARACTERS_MAX:
                yield quantity.name, value, record.name
        elif isinstance(value, int | float) and not isinstance(value, bool):
            counted = quantity.unit == "1" and record.unit == ""
            number = value if counted else senml_units.convert(value, record.unit, quantity)
            if number is not None:
                yield quantity.name, number, record.name


def _positions(records: list[Record]) -> Iterator[tuple[str, Value, str]]:
    """Latitude and longitude have units of their own; the height is a record of that name in metres."""
    told: dict[str, list[float]] = {"lat": [], "lon": [], "m": []}
    for record in records:
        height = record.unit == "m" and re.split("[/:]", record.name)[-1].lower() in ("altitude", "height", "alt")
        value = record.value
        if (record.unit in ("lat", "lon") or height) and isinstance(value, int | float) and not isinstance(value, bool):
            told[record.unit].append(float(value))
    for latitude, longitude in zip(told["lat"], told["lon"], strict=False):
        if abs(latitude) <= 90 and abs(longitude) <= 180:
            altitude = told["m"][0] if len(told["m"]) == 1 else None
            yield "position", Position(latitude, longitude, altitude), f"{latitude} {longitude}"
