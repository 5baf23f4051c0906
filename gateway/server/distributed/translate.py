"""JSON of entities from the names of one context to those of another, without understanding more of it than names.

Works for all representations: normalized, concise, simplified, temporal; fragments with null markers too.
"""

from __future__ import annotations

from typing import Any

from gateway.server.broker.model import NULL, SYSTEM_MEMBERS, VALUE_MEMBERS
from gateway.server.broker.values import MEMBER_CHECKS
from gateway.server.contexts import Context

ENTITY_MEMBERS = frozenset({"id", "@id", "scope", "expiresAt", "@context", *SYSTEM_MEMBERS})
TYPE = ("type", "@type")
NAMES = frozenset({"vocab", "objectType"})
TEMPORAL = frozenset({"values", "objects", "languageMaps", "vocabs", "jsons", "valueLists", "objectLists"})
MEMBERS = frozenset({*VALUE_MEMBERS.values(), *MEMBER_CHECKS, *SYSTEM_MEMBERS, *TYPE, *TEMPORAL}) | {
    *("instanceId", "lang", "dataset", "previousValue", "previousObject", "previousLanguageMap", "previousVocab"),
    *("previousValueList", "previousObjectList", "previousJson", "entity", "entityList"),
    *("totalCount", "distinctCount", "sum", "avg", "min", "max", "stddev", "sumsq"),
}


def translated(entity: dict[str, Any], source: Context, target: Context) -> dict[str, Any]:
    """An entity or fragment in the names of ``target``; without @context."""
    if source is target:
        return {name: value for name, value in entity.items() if name != "@context"}
    result: dict[str, Any] = {}
    for name, value in entity.items():
        if name in TYPE:
            result[name] = _names(value, source, target)
        elif name in ENTITY_MEMBERS:
            if name != "@context":
                result[name] = value
        else:
            result[renamed(name, source, target)] = attribute(value, source, target)
    return result


def attribute(value: Any, source: Context, target: Context) -> Any:
    """One attribute, or its instances."""
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        return [attribute(part, source, target) for part in value]
    if not isinstance(value, dict) or not _is_attribute(value):
        return value
    result: dict[str, Any] = {}
    for name, part in value.items():
        if name in NAMES:
            result[name] = _names(part, source, target)
        elif name in MEMBERS:
            result[name] = part
        else:
            result[renamed(name, source, target)] = attribute(part, source, target)
    return result


def renamed(name: str, source: Context, target: Context) -> str:
    """One name."""
    return name if source is target else target.compact_name(source.expand_name(name))


def _is_attribute(value: dict[str, Any]) -> bool:
    """Whether an object is an attribute, and not the bare value of one."""
    kind = value.get("type")
    return (isinstance(kind, str) and kind in VALUE_MEMBERS) or any(name in value for name in VALUE_MEMBERS.values())


def _names(value: Any, source: Context, target: Context) -> Any:
    if isinstance(value, list):
        return [_names(part, source, target) for part in value]
    return renamed(value, source, target) if isinstance(value, str) and value != NULL else value
