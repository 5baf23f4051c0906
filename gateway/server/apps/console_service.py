"""What the page shows, made from stored entities: pure functions, no I/O but the three data files beside this module.

``compact`` is the one shape that state and events share.
Times are milliseconds UTC, as browsers count them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

import orjson

Json = dict[str, Any]

OTHER = "other"
_RESERVED = {"id", "type", "scope", "createdAt", "modifiedAt", "expiresAt", "deletedAt", "@context"}


@cache
def load(name: str) -> Json:
    """A data file of this package: console.json (labels, units), co2_lights.json, dust_bands.json."""
    data: Json = orjson.loads(files(__package__).joinpath(name).read_bytes())
    return data


def settings() -> Json:
    """What the page needs once: thresholds of the states, the CO2 light, the dust bands."""
    lights = load("co2_lights.json")
    return {
        "states": load("console.json")["states"],
        "light": lights["lights"][lights["default"]],
        "dust": load("dust_bands.json"),
    }


@cache
def short(iri: str) -> str:
    """The last segment of an expanded name, for display only: names of different models may meet here."""
    return iri.rsplit("#", 1)[-1].rsplit("/", 1)[-1]


def to_ms(observed_at: str) -> int:
    """Milliseconds of an NGSI-LD DateTime. Raises ValueError for anything else."""
    return round(datetime.fromisoformat(observed_at).timestamp() * 1000)


# ---- one entity -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identity:
    """The parts of ``urn:ngsi-ld:<Type>:<site>:<device>[:<appliance>]``; other ids keep their tail as the name."""

    site: str
    name: str
    parent: str | None


def identity(entity_id: str) -> Identity:
    """Take an entity id apart. ``parent`` is the name of the meter where the entity is an appliance of one."""
    parts = entity_id.split(":")
    if parts[:2] != ["urn", "ngsi-ld"] or len(parts) < 5:
        return Identity("", parts[-1] or entity_id, None)
    return Identity(parts[3], parts[-1], parts[4] if len(parts) > 5 else None)


def compact(entity: Mapping[str, Any]) -> Json:
    """A stored entity as the page wants it: names, kind, values with label, unit, time and quality."""
    attributes = {short(name): instance for name, raw in entity.items() if (instance := _default_instance(name, raw))}
    who = identity(str(entity["id"]))
    types = entity["type"] if isinstance(entity["type"], list) else [entity["type"]]
    kind = load("console.json")["kinds"].get(short(str(types[0])), OTHER)
    if attributes.get("disaggregated", {}).get("value") is True:
        kind = "appliance"
    elif kind == "gateway" and "outboxDepth" not in attributes:
        kind = OTHER
    values = [value for name, instance in attributes.items() for value in _values(name, instance)]
    values.sort(key=lambda value: value["rank"])
    return {
        "id": entity["id"],
        "site": who.site,
        "name": who.name,
        "title": _text(attributes, "name", who.name),
        "parent": who.parent,
        "place": _text(attributes, "description", ""),
        "evidence": _text(attributes, "evidence", ""),
        "kind": kind,
        "type": short(str(types[0])),
        "at": max((value["at"] for value in values if value["at"]), default=None),
        "values": values,
    }


def _default_instance(name: str, raw: object) -> Json | None:
    """The instance without datasetId, else the first; None for what is no attribute."""
    if name in _RESERVED:
        return None
    instances = [item for item in (raw if isinstance(raw, list) else [raw]) if isinstance(item, dict)]
    return next((item for item in instances if "datasetId" not in item), instances[0] if instances else None)


def _text(attributes: Mapping[str, Json], name: str, default: str) -> str:
    value = attributes.get(name, {}).get("value")
    return value if isinstance(value, str) and value else default


def _values(name: str, instance: Json) -> Iterable[Json]:
    table = load("console.json")
    value = instance.get("value")
    known = table["attributes"].get(name)
    if name in table["hidden"] or instance.get("type", "Property") != "Property":
        return
    if isinstance(value, dict):
        parts = [(f"{name}.{short(key)}", short(key), part) for key, part in sorted(value.items())]
    else:
        parts = [(name, "", value)]
    for key, suffix, part in parts:
        if not isinstance(part, int | float) and not (known and isinstance(part, str)):
            continue
        yield _value(name, key, suffix, part, instance)


def _value(name: str, key: str, suffix: str, value: float | str, instance: Json) -> Json:
    table = load("console.json")
    label, role, *digits = table["attributes"].get(name, [_words(name), ""])
    code = str(instance.get("unitCode", "C62"))
    if name in table["percent"] and code == "C62" and isinstance(value, int | float):
        value, code = round(value * 100, 4), "P1"
    unit, unit_digits = table["units"].get(code, [code, 2])
    observed = instance.get("observedAt")
    order = list(table["attributes"])
    return {
        "key": key,
        "label": f"{label} {suffix}".strip(),
        "value": value,
        "unit": unit,
        "digits": digits[0] if digits else unit_digits,
        "main": role == "main",
        "rank": order.index(name) if name in order else len(order),
        "at": to_ms(observed) if isinstance(observed, str) else None,
        **_quality(instance),
    }


def _quality(instance: Json) -> Json:
    subs = {short(name): sub.get("value") for name, sub in instance.items() if isinstance(sub, dict)}
    return {"quality": subs.get("quality") or "good", "reason": subs.get("qualityReason") or ""}


def _words(name: str) -> str:
    """``tyrePressure`` to ``Tyre pressure``."""
    spaced = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return spaced.strip().capitalize()


def has(entity: Json, key: str) -> bool:
    """Whether a compact entity carries a value."""
    return any(value["key"] == key for value in entity["values"])
