"""Evolutions in time from several sources, merged as they are shown (CIM 009 clauses 4.5.6 to 4.5.8)."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.server.broker.names import Fault, check_uri
from gateway.server.distributed.translate import TEMPORAL

HEADER = frozenset({"id", "type", "@context", "scope", "createdAt", "modifiedAt", "deletedAt", "expiresAt"})
OF_SOURCE = frozenset({"instanceId", "createdAt", "modifiedAt"})
SORTED = orjson.OPT_SORT_KEYS


def evolution(raw: Any) -> dict[str, Any] | None:
    """What of an answer is an evolution of an entity: attributes that are none are left out; None for no entity."""
    if not isinstance(raw, dict):
        return None
    types = raw.get("type")
    named = types if isinstance(types, list) else [types]
    try:
        check_uri(raw.get("id"))
    except Fault:
        return None
    if not named or not all(isinstance(name, str) and name for name in named):
        return None
    result: dict[str, Any] = {}
    for name, value in raw.items():
        if name in HEADER:
            if name in ("id", "type") or isinstance(value, str | list):
                result[name] = value
        elif value == [] or all(_is_series(part) for part in (value if isinstance(value, list) else [value])):
            result[name] = value
    return result


def _is_series(part: Any) -> bool:
    """An instance, or all of them as pairs of a value and a time."""
    if not isinstance(part, dict) or not isinstance(part.get("type", ""), str):
        return False
    if not isinstance(part.get("observedAt", ""), str) or not isinstance(part.get("datasetId", ""), str):
        return False
    return all(
        isinstance(part[name], list) and all(isinstance(pair, list) and len(pair) == 2 for pair in part[name])
        for name in TEMPORAL & part.keys()
    )


def merged(one: dict[str, Any], other: dict[str, Any], *, simple: bool) -> dict[str, Any]:
    """Two evolutions of an entity as one."""
    result = dict(one)
    for name, value in other.items():
        if name in ("id", "@context", "scope", "createdAt", "modifiedAt", "deletedAt", "expiresAt"):
            result.setdefault(name, value)
        elif name == "type":
            types = [*_list(result.get("type", [])), *_list(value)]
            result["type"] = list(dict.fromkeys(types)) if len(set(types)) > 1 else value
        elif name not in result:
            result[name] = value
        elif simple:
            result[name] = _columns(_list(result[name]), _list(value))
        elif isinstance(value, list) and isinstance(result[name], list):
            result[name] = _instances(result[name], value)
    return result


def _instances(one: list[Any], other: list[Any]) -> list[Any]:
    """All instances, in their order in time where they have one; what both have stands once.

    instanceId says nothing here: each source counts for itself.
    """
    known = {_content(part) for part in one}
    found = [*one, *(part for part in other if isinstance(part, dict) and _content(part) not in known)]
    times = [part.get("observedAt") for part in found]
    if not all(isinstance(moment, str) for moment in times):
        return found
    newest_first = len(one) > 1 and str(times[0]) > str(times[len(one) - 1])
    return sorted(found, key=lambda part: str(part["observedAt"]), reverse=newest_first)


def _content(part: dict[str, Any]) -> bytes:
    return orjson.dumps({name: value for name, value in part.items() if name not in OF_SOURCE}, option=SORTED)


def _columns(one: list[Any], other: list[Any]) -> Any:
    """Series of pairs, dataset by dataset."""
    result = {part.get("datasetId"): dict(part) for part in one if isinstance(part, dict)}
    for part in other:
        if not isinstance(part, dict):
            continue
        known = result.setdefault(part.get("datasetId"), {k: v for k, v in part.items() if k not in TEMPORAL})
        for name in TEMPORAL & part.keys():
            pairs = [*known.get(name, []), *part[name]]
            unique = {orjson.dumps(pair): pair for pair in pairs if isinstance(pair, list) and len(pair) == 2}
            known[name] = sorted(unique.values(), key=lambda pair: str(pair[1]))
    found = list(result.values())
    return found[0] if len(found) == 1 else found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
