"""A Query in a body (CIM 009 clauses 5.2.23, 6.24) in the words of the parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from gateway.server.errors import BadRequestData

SELECTORS_MAX = 100
LISTS = frozenset({"attrs", "pick", "omit", "datasetId"})
TEXTS = frozenset({"q", "scopeQ", "lang", "csf", "expandValues", "jsonKeys"})
LINKED = frozenset({"join", "joinLevel", "containedBy"})
TIMES = frozenset({"timerel", "timeAt", "endTimeAt", "timeproperty", "lastN"})
AGGREGATION = frozenset({"aggrMethods", "aggrPeriodDuration"})
GEO = frozenset({"georel", "geometry", "coordinates", "geoproperty"})
SWITCHES = frozenset({"local", "splitEntities"})
GROUPS = {"ordering": frozenset({"orderBy"}), "temporalQ": TIMES | AGGREGATION, "aggrParams": AGGREGATION, "geoQ": GEO}


class Asked(NamedTuple):
    """``parameters`` hold for all of the ``selectors``, each of which names entities by type, id, idPattern."""

    parameters: dict[str, str]
    selectors: list[dict[str, str]]


def asked_of(raw: object) -> Asked:
    """Raises BadRequestData."""
    if not isinstance(raw, dict) or raw.get("type") != "Query":
        raise BadRequestData('/type: the body must be an object of type "Query"')
    if LINKED & raw.keys():
        raise BadRequestData(f"/{min(LINKED & raw.keys())}: history has no linked entities")
    found: dict[str, str] = {}
    for name, value in raw.items():
        if name in GROUPS:
            found |= _group(name, value)
        elif name in LISTS or name in TEXTS:
            found[name] = _list(f"/{name}", value) if name in LISTS else _text(f"/{name}", value)
        elif name in SWITCHES:
            found[name] = _text(f"/{name}", "true" if value is True else "false" if value is False else value)
    return Asked(found, _selectors(raw.get("entities")))


def _group(group: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise BadRequestData(f"/{group}: must be an object")
    found: dict[str, str] = {}
    for name in GROUPS[group] & value.keys():
        place = f"/{group}/{name}"
        read = READERS.get(name, _text)
        found[name] = read(place, value[name])
    if group == "temporalQ" and not found.keys() & {"timerel", "timeAt"}:
        raise BadRequestData("/temporalQ: timerel and timeAt are missing")
    return found


def _selectors(value: object) -> list[dict[str, str]]:
    if value is None:
        return [{}]
    if not isinstance(value, list) or not value or len(value) > SELECTORS_MAX:
        raise BadRequestData(f"/entities: must be a list of 1 to {SELECTORS_MAX} selectors")
    return [_selector(f"/entities/{number}", part) for number, part in enumerate(value)]


def _selector(place: str, part: object) -> dict[str, str]:
    if not isinstance(part, dict) or not {"type", "id", "idPattern"} & part.keys():
        raise BadRequestData(f"{place}: a selector has a type, an id or an idPattern")
    found = {name: _text(f"{place}/{name}", part[name]) for name in ("type", "idPattern") if name in part}
    return {**found, "id": _list(f"{place}/id", part["id"])} if "id" in part else found


def _text(place: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise BadRequestData(f"{place}: must be a string")
    return value


def _list(place: str, value: Any) -> str:
    """A list of strings, or one, as the parameters have it."""
    parts = value if isinstance(value, list) else [value]
    if not parts:
        raise BadRequestData(f"{place}: must not be empty")
    return ",".join(_text(f"{place}/{number}", part) for number, part in enumerate(parts))


def _number(place: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise BadRequestData(f"{place}: must be a whole number")
    return str(value)


def _coordinates(place: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise BadRequestData(f"{place}: must be a list of numbers or of lists")
    return orjson.dumps(value).decode()


READERS: Mapping[str, Callable[[str, Any], str]] = {
    "aggrMethods": _list,
    "orderBy": _list,
    "lastN": _number,
    "coordinates": _coordinates,
}
