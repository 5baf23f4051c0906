"""Output of entities: stored form to normalized, concise or simplified JSON in the names of a context (clause 4.5).

What a view leaves out or changes (projection, datasets, language, older versions): see ``represent_filter``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from gateway.server.broker.model import (
    GEOMETRIES,
    KIND_OF_MEMBER,
    SYSTEM_MEMBERS,
    VALUE_MEMBERS,
    Stored,
    instances,
    word,
)
from gateway.server.broker.represent_filter import Projection, Version, downgraded, filtered
from gateway.server.contexts import Context

Format = Literal["normalized", "concise", "simplified"]
WRAPPED = {"LanguageProperty": "languageMap", "VocabProperty": "vocab", "JsonProperty": "json"}
LINKED = frozenset({"entity", "entityList"})
CHOSEN = "chosen"  # its id, in a linked entity beside the others of an answer: what is wanted of it was chosen before
SYSTEM_TIMES = ("createdAt", "modifiedAt", "deletedAt", "expiresAt")
WITH_SYSTEM = SYSTEM_MEMBERS | {"expiresAt"}


@dataclass(frozen=True, slots=True)
class View:
    """How a client wants entities: ``attrs`` empty means all.

    ``pick``: only these members; ``omit``: not these. ``datasets``: only these instances ("@none" is the default one).
    ``languages``: in order of preference, as clause 4.15 reduces LanguageProperties. ``geometry``: as GeoJSON, with the
    geometry of this attribute. ``version``: in the terms of this version of the API.
    """

    context: Context
    format: Format = "normalized"
    attrs: frozenset[str] = frozenset()
    system: bool = False
    with_context: bool = False
    pick: Projection | None = None
    omit: Projection | None = None
    datasets: frozenset[str] | None = None
    languages: tuple[str, ...] = ()
    geometry: str | None = None
    version: Version | None = None

    @property
    def joined(self) -> View:
        """For linked entities, of which only what is wanted is there."""
        return replace(self, attrs=frozenset(), pick=None, omit=None)

    @property
    def plain(self) -> bool:
        """Whether nothing is filtered or changed."""
        return not (self.pick or self.omit or self.datasets is not None or self.languages or self.version)


def represent(entity: Stored, view: View) -> dict[str, Any]:
    """One entity as the client wants it; a GeoJSON Feature where ``view.geometry`` is set."""
    if CHOSEN in entity:
        view = view.joined
    shown = prepared(entity, view)
    result = _members(shown, view)
    if view.geometry is not None:
        result = _feature(entity, result, view.geometry, view)
    if view.with_context:
        result["@context"] = view.context.spec
    return result


def prepared(entity: Stored, view: View) -> Stored:
    """The entity in stored form without what the view leaves out, in the terms of the version wanted."""
    if view.plain:
        return entity
    shown = filtered(entity, view.pick, view.omit, view.datasets, view.languages)
    return shown if view.version is None else downgraded(shown, view.version, view.context.compact_names)


def amended(entity: Stored, view: View) -> bool:
    """Whether an older version of the API, if one is wanted, changes anything in what is shown (clause 4.3.6.8)."""
    if view.version is None:
        return False
    shown = filtered(entity, view.pick, view.omit, view.datasets, view.languages)
    return downgraded(shown, view.version, view.context.compact_names) != shown


def _members(entity: Stored, view: View) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if "id" in entity:
        result["id"] = entity["id"]
    if "type" in entity:
        result["type"] = view.context.compact_names(entity["type"])
    if "scope" in entity:
        scope = entity["scope"]
        result["scope"] = scope[0] if len(scope) == 1 else scope
    if view.system:
        result.update((name, entity[name]) for name in SYSTEM_TIMES if name in entity)
    show = SHOWN[view.format]
    for name, value in entity.items():
        if ":" in name and (not view.attrs or name in view.attrs):
            result[view.context.compact_name(name)] = _attribute(value, view, show)
    return result


def _feature(entity: Stored, shown: dict[str, Any], geometry: str, view: View) -> dict[str, Any]:
    """RFC 7946; the geometry is that of the stored entity, whatever the properties show (clause 4.5.16)."""
    found = None
    for instance in instances(entity.get(geometry, [])):
        dataset = instance.get("datasetId", "@none")
        if instance["type"] == "GeoProperty" and dataset in (view.datasets or {"@none"}):
            found = instance["value"]
            break
    properties = {name: value for name, value in shown.items() if name != "id"}
    entity_id = entity[CHOSEN] if CHOSEN in entity else entity["id"]  # a Feature has one in any case
    return {"id": entity_id, "type": "Feature", "geometry": found, "properties": properties}


def _attribute(value: Stored | list[Stored], view: View, show: Callable[[Stored, View], object]) -> object:
    if view.format == "simplified" and (isinstance(value, list) or "datasetId" in value):
        several = value if isinstance(value, list) else [value]
        return {"dataset": {i.get("datasetId", "@none"): show(i, view) for i in several}}
    if isinstance(value, list):
        return [show(instance, view) for instance in value]
    return show(value, view)


def _linked(value: Stored | list[Stored], view: View) -> object:
    inner = view.joined if view.attrs else view
    if isinstance(value, list):
        return [_members(entity, inner) for entity in value]
    return _members(value, inner)


def _shown_members(instance: Mapping[str, Any], view: View, show: Callable[[Stored, View], object]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in instance.items():
        if ":" in name:
            result[view.context.compact_name(name)] = _attribute(value, view, show)
        elif name in ("vocab", "objectType"):
            result[name] = view.context.compact_names(value)
        elif name in LINKED:
            result[name] = _linked(value, view)
        elif view.system or name not in WITH_SYSTEM:
            result[name] = value
    return result


def _normalized(instance: Mapping[str, Any], view: View) -> dict[str, Any]:
    return _shown_members(instance, view, _normalized)


def _concise(instance: Mapping[str, Any], view: View) -> object:
    kind = instance["type"]
    result = _shown_members(instance, view, _concise)
    del result["type"]
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
    for member in LINKED:
        if member in instance:
            return _linked(instance[member], view)
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
