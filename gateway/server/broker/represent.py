"""Output of entities: stored form to normalized, concise or simplified JSON in the names of a context (clause 4.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gateway.server.broker.model import GEOMETRIES, KIND_OF_MEMBER, SYSTEM_MEMBERS, VALUE_MEMBERS, Stored, word
from gateway.server.contexts import Context

Format = Literal["normalized", "concise", "simplified"]
WRAPPED = {"LanguageProperty": "languageMap", "VocabProperty": "vocab", "JsonProperty": "json"}


@dataclass(frozen=True, slots=True)
class View:
    """How a client wants entities: ``attrs`` empty means all."""

    context: Context
    format: Format = "normalized"
    attrs: frozenset[str] = frozenset()
    system: bool = False
    with_context: bool = False


def represent(entity: Stored, view: View) -> dict[str, Any]:
    """One entity as the client wants it."""
    result: dict[str, Any] = {"id": entity["id"], "type": view.context.compact_names(entity["type"])}
    if "scope" in entity:
        scope = entity["scope"]
        result["scope"] = scope[0] if len(scope) == 1 else scope
    if view.system:
        result.update((name, entity[name]) for name in ("createdAt", "modifiedAt") if name in entity)
    show = SHOWN[view.format]
    for name, value in entity.items():
        if ":" in name and (not view.attrs or name in view.attrs):
            result[view.context.compact_name(name)] = _attribute(value, view, show)
    if view.with_context:
        result["@context"] = view.context.spec
    return result


def _attribute(value: Stored | list[Stored], view: View, show: Callable[[Stored, View], object]) -> object:
    if view.format == "simplified" and (isinstance(value, list) or "datasetId" in value):
        several = value if isinstance(value, list) else [value]
        return {"dataset": {i.get("datasetId", "@none"): show(i, view) for i in several}}
    if isinstance(value, list):
        return [show(instance, view) for instance in value]
    return show(value, view)


def _normalized(instance: Mapping[str, Any], view: View) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in instance.items():
        if ":" in name:
            result[view.context.compact_name(name)] = _normalized(value, view)
        elif name in ("vocab", "objectType"):
            result[name] = view.context.compact_names(value)
        elif view.system or name not in SYSTEM_MEMBERS:
            result[name] = value
    return result


def _concise(instance: Mapping[str, Any], view: View) -> object:
    kind = instance["type"]
    result: dict[str, Any] = {}
    for name, value in instance.items():
        if ":" in name:
            result[view.context.compact_name(name)] = _concise(value, view)
        elif name in ("vocab", "objectType"):
            result[name] = view.context.compact_names(value)
        elif name != "type" and (view.system or name not in SYSTEM_MEMBERS):
            result[name] = value
    if len(result) == 1 and kind in ("Property", "GeoProperty") and _is_plain(result["value"], kind):
        return result["value"]
    if _is_misread(result, kind):
        return {"type": kind, **result}
    return result


def _is_plain(value: object, kind: str) -> bool:
    """Whether a value alone will be read back as the same attribute."""
    if kind == "GeoProperty":
        return True
    if isinstance(value, list):
        return not any(isinstance(part, dict) for part in value)
    if not isinstance(value, dict):
        return True
    members = word(value.get("type")) in {*VALUE_MEMBERS, *GEOMETRIES}
    return not members and not any(member in value for member in KIND_OF_MEMBER)


def _is_misread(result: Mapping[str, Any], kind: str) -> bool:
    """Whether the members alone would be taken for another type of attribute."""
    value = result.get("value")
    geometry = isinstance(value, dict) and word(value.get("type")) in GEOMETRIES and "coordinates" in value
    return kind == "Property" and geometry


def _simplified(instance: Mapping[str, Any], view: View) -> object:
    kind = instance["type"]
    value = instance[VALUE_MEMBERS[kind]]
    if kind == "VocabProperty":
        value = view.context.compact_names(value)
    return {WRAPPED[kind]: value} if kind in WRAPPED else value


SHOWN: dict[str, Callable[[Stored, View], object]] = {
    "normalized": _normalized,
    "concise": _concise,
    "simplified": _simplified,
}
