"""The body of POST /entityOperations/query: a Query (CIM 009 clause 5.2.23) in the words of the URL's parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from gateway.server.broker.query import Selector, build_selector
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData

IGNORED = frozenset({"type", "@context", "entities", "id", "temporalQ", "aggrParams"})  # read before, or of history
SELECTORS_MAX = 1000
IDS_MAX = 1000


def query_of(raw: object, context: Context) -> tuple[dict[str, str], tuple[Selector, ...]]:
    """Parameters, and the entities selected. Raises BadRequestData."""
    if not isinstance(raw, dict) or raw.get("type") != "Query":
        raise BadRequestData('/type: a query is a JSON object with "type": "Query"')
    parameters: dict[str, str] = {}
    for name, value in raw.items():
        if name in IGNORED:
            continue
        reader = MEMBERS.get(name)
        if reader is None:
            raise BadRequestData(f"/{name}: a Query has no such member here")
        if value is None:
            raise BadRequestData(f"/{name}: must not be null")
        parameters.update(reader(name, value))
    selectors: tuple[Selector, ...] = ()
    if "entities" in raw:
        selectors, everything = _selectors(raw["entities"], context)
        if everything:
            parameters["local"] = "true"
    return parameters, selectors


def _selectors(raw: object, context: Context) -> tuple[tuple[Selector, ...], bool]:
    """Also whether any type is wanted, which is an answer from here alone."""
    if not isinstance(raw, list) or not 0 < len(raw) <= SELECTORS_MAX:
        raise BadRequestData(f"/entities: must be a list of 1 to {SELECTORS_MAX} selectors")
    found: list[Selector] = []
    everything = False
    for index, part in enumerate(raw):
        at = f"/entities/{index}"
        if not isinstance(part, dict):
            raise BadRequestData(f"{at}: must be an object with type, and id or idPattern")
        if unknown := part.keys() - {"id", "type", "idPattern"}:
            raise BadRequestData(f"{at}/{min(unknown)}: a selector has no such member")
        types, pattern = part.get("type"), part.get("idPattern")
        if not isinstance(types, str):
            raise BadRequestData(f"{at}/type: must be a type, or an expression of types")
        if pattern is not None and not isinstance(pattern, str):
            raise BadRequestData(f"{at}/idPattern: must be a regular expression")
        ids = part.get("id", [])
        ids = [ids] if isinstance(ids, str) else ids
        if not isinstance(ids, list) or len(ids) > IDS_MAX:
            raise BadRequestData(f"{at}/id: must be a URI, or a list of at most {IDS_MAX}")
        everything = everything or types.strip() == "*"
        try:
            found.append(build_selector(context, types, ids, pattern))
        except BadRequestData as problem:
            raise BadRequestData(f"{at}: {problem.cause}") from None
    return tuple(found), everything


# members


def _text(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, str) or not value:
        raise BadRequestData(f"/{name}: must be a string")
    return {name: value}


def _boolean(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, bool):
        raise BadRequestData(f"/{name}: must be true or false")
    return {name: "true" if value else "false"}


def _number(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadRequestData(f"/{name}: must be a whole number")
    return {name: str(value)}


def _list(name: str, value: Any) -> dict[str, str]:
    """A list of strings, or one string with commas."""
    if isinstance(value, str) and value:
        return {name: value}
    if not isinstance(value, list) or not value or not all(isinstance(part, str) and part for part in value):
        raise BadRequestData(f"/{name}: must be a list of strings that is not empty")
    return {name: ",".join(value)}


def _members(name: str, value: Any, readers: Mapping[str, tuple[str, Callable[[str, Any], dict[str, str]]]]) -> Any:
    if not isinstance(value, dict):
        raise BadRequestData(f"/{name}: must be an object")
    found: dict[str, str] = {}
    for member, part in value.items():
        if member == "type":
            continue
        if member not in readers:
            raise BadRequestData(f"/{name}/{member}: there is no such member")
        parameter, reader = readers[member]
        found[parameter] = next(iter(reader(f"{name}/{member}", part).values()))
    return found


def _coordinates(name: str, value: Any) -> dict[str, str]:
    if isinstance(value, str):
        return {name: value}
    if not isinstance(value, list):
        raise BadRequestData(f"/{name}: must be a list, or a text of one")
    return {name: orjson.dumps(value).decode()}


def _geo(name: str, value: Any) -> dict[str, str]:
    readers = {
        "georel": ("georel", _text),
        "geometry": ("geometry", _text),
        "coordinates": ("coordinates", _coordinates),
        "geoproperty": ("geoproperty", _text),
    }
    found: dict[str, str] = _members(name, value, readers)
    if not found.keys() >= {"georel", "geometry", "coordinates"}:
        raise BadRequestData(f"/{name}: a geo-query needs georel, geometry and coordinates")
    return found


def _ordering(name: str, value: Any) -> dict[str, str]:
    readers = {
        "orderBy": ("orderBy", _list),
        "collation": ("collation", _text),
        "geometry": ("orderGeometry", _text),
        "coordinates": ("orderFrom", _coordinates),
    }
    found: dict[str, str] = _members(name, value, readers)
    return found


MEMBERS: dict[str, Callable[[str, Any], dict[str, str]]] = {
    **dict.fromkeys(("attrs", "pick", "omit", "expandValues", "jsonKeys", "datasetId", "containedBy"), _list),
    **dict.fromkeys(("q", "csf", "scopeQ", "lang", "join", "entityMapLifetime"), _text),
    **dict.fromkeys(("local", "splitEntities", "entityMap"), _boolean),
    "joinLevel": _number,
    "geoQ": _geo,
    "ordering": _ordering,
    "orderBy": _list,
}
