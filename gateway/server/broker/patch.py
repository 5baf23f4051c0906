"""Fragments that change parts of attributes: Merge Entity and Partial Attribute Update (CIM 009 clauses 5.5.8, 5.5.12).

A fragment is read before it is known what it meets; what depends on the stored attribute (its type, where the fragment
does not say it) is decided when it is applied. A parsed fragment of an instance looks like the stored form, but

- ``type`` and the value may be missing: they stay as they are,
- ``NULL`` as type means that the instance is to be deleted, as a member's or sub-attribute's value that this is,
- ``BARE`` holds a value of which the fragment does not say to which type of attribute it belongs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.server.broker.merge import Merged, adopt, assign
from gateway.server.broker.model import CORE, GEOMETRIES, KIND_OF_MEMBER, NULL, VALUE_MEMBERS, Stored, instances, word
from gateway.server.broker.names import Fault
from gateway.server.broker.parse import (
    GEO_NAMES,
    is_attribute,
    is_geometry,
    is_ignored,
    is_null,
    is_several,
    parse_members,
    sub_attribute_name,
)
from gateway.server.broker.values import (
    DEPTH_MAX,
    MEMBER_CHECKS,
    NOT_HERE,
    VALUE_CHECKS,
    check_language,
    check_value,
)
from gateway.server.contexts import Context
from gateway.server.errors import ResourceNotFound

BARE = "*"
GEO_IRIS = frozenset(f"{CORE}{name}" for name in GEO_NAMES)
WRAPPED = {"LanguageProperty": "languageMap", "VocabProperty": "vocab", "JsonProperty": "json"}
KINDS_OF_WRAPPERS = {member: kind for kind, member in WRAPPED.items()}


@dataclass(frozen=True, slots=True)
class How:
    """How fragments are read and applied.

    ``simplified``: members are bare values. ``deep``: objects are merged member by member, else replaced.
    ``observed_at``: for instances that have such a date and get no new one. ``lang``: the tag of plain texts for a
    LanguageProperty.
    """

    context: Context
    simplified: bool = False
    deep: bool = True
    observed_at: str | None = None
    lang: str | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """A fragment of an entity that was read: id (may be missing), type, scope, expiresAt, and attributes by IRI."""

    entity: Stored
    how: How


def parse_patch(raw: object, how: How) -> Patch:
    """Raises BadRequestData."""
    try:
        return Patch(parse_members(raw, how.context, True, lambda name, value: _several(name, value, how)), how)
    except Fault as fault:
        raise fault.problem() from None


def parse_attribute_patch(name: str, raw: object, how: How) -> Stored:
    """The fragment of one attribute instance. Raises BadRequestData."""
    try:
        if is_several(raw):
            raise Fault("a partial update changes one instance; send one for each datasetId, or use PUT")
        return _fragment(name, raw, how, sure=True)
    except Fault as fault:
        raise fault.problem() from None


def _several(name: str, raw: object, how: How) -> list[Stored]:
    """The fragments of the instances of an attribute."""
    if how.simplified and isinstance(raw, dict) and raw.keys() == {"dataset"} and isinstance(raw["dataset"], dict):
        found = []
        for dataset, value in raw["dataset"].items():
            fragment: Stored = {"type": NULL} if is_null(value) else {BARE: value}
            _member(fragment, "datasetId", dataset, how.context)
            found.append(fragment)
        return found
    if how.simplified or not is_several(raw):
        return [_fragment(name, raw, how)]
    several: dict[str | None, Stored] = {}
    for index, part in enumerate(raw):
        try:
            fragment = _fragment(name, part, how)
            if fragment.get("datasetId") in several:
                raise Fault("another instance has the same datasetId")
        except Fault as fault:
            raise fault.under(index) from None
        several[fragment.get("datasetId")] = fragment
    return list(several.values())


def _fragment(name: str, raw: object, how: How, depth: int = 0, *, sure: bool = False) -> Stored:
    """``sure``: an object is a fragment of an attribute even where nothing in it says so."""
    if depth > DEPTH_MAX:
        raise Fault(f"nested more than {DEPTH_MAX} times")
    if raw is None:
        raise Fault("must not be null")
    if is_null(raw):
        return {"type": NULL}
    if how.simplified or not isinstance(raw, dict) or is_geometry(raw) or not (sure or _looks_like_one(raw)):
        check_value(raw, nulls=how.deep)
        return {BARE: raw}
    fragment = _members(name, raw, how, depth)
    if fragment.get("type") == NULL:
        return {key: fragment[key] for key in ("type", "datasetId") if key in fragment}
    return fragment


def _members(name: str, raw: dict[str, Any], how: How, depth: int) -> Stored:
    kind = _said_kind(raw)
    member = VALUE_MEMBERS[kind] if kind else "value"
    fragment: Stored = {"type": kind} if kind else {}
    if name in GEO_NAMES and depth == 0 and kind not in ("", "GeoProperty"):
        raise Fault("must be a GeoProperty")
    for key, value in raw.items():
        try:
            if key == member:
                _value(fragment, kind, value, how)
            elif key in MEMBER_CHECKS:
                _member(fragment, key, value, how.context)
            elif not is_ignored(key):
                iri = sub_attribute_name(key, how.context)
                fragment[iri] = _fragment(key, value, how, depth + 1)
        except Fault as fault:
            raise fault.under(key) from None
    return fragment


def _looks_like_one(raw: dict[str, Any]) -> bool:
    """A fragment of an attribute, rather than an object that is a value."""
    return (
        is_attribute(raw)
        or any(key in MEMBER_CHECKS for key in raw)
        or any(isinstance(part, dict) and is_attribute(part) for part in raw.values())
    )


def _said_kind(raw: dict[str, Any]) -> str:
    """The type of attribute that a fragment says, by its type or its value member; "" where it is left open."""
    kind = word(raw.get("type"))
    if kind in VALUE_MEMBERS:
        return kind
    if "type" in raw:
        raise Fault(f"{raw['type']!r} is not a type of attribute; these are: {', '.join(VALUE_MEMBERS)}", "type")
    found = [kind for member, kind in KIND_OF_MEMBER.items() if member in raw]
    if len(found) > 1:
        raise Fault(f"has the values of {' and '.join(found)}; give its type")
    return found[0] if found and found[0] != "Property" else ""


def _value(fragment: Stored, kind: str, value: object, how: How) -> None:
    """Checked as far as it can be alone: what is merged with what is there is checked again."""
    if is_null(value):
        fragment["type"] = NULL
    elif kind in ("", "Property", "GeoProperty"):
        fragment["value" if kind else BARE] = check_value(value, nulls=how.deep)
    elif kind == "LanguageProperty":
        fragment["languageMap"] = check_language(value, nulls=how.deep)
    else:
        fragment[VALUE_MEMBERS[kind]] = VALUE_CHECKS[kind](value, how.context)


def _member(fragment: Stored, key: str, value: object, context: Context) -> None:
    if value == NULL:
        if key == "datasetId":
            raise Fault(NOT_HERE)
        fragment[key] = NULL
        return
    checked = MEMBER_CHECKS[key](value, context)
    if checked is not None:
        fragment[key] = checked


# applying


def merge(old: Stored, patch: Patch, now: str) -> Merged:
    """Merge Entity. Raises BadRequestData, and then nothing has been changed."""
    after: dict[str, list[Stored]] = {}
    try:
        for name, fragments in patch.entity.items():
            if ":" in name:
                after[name] = _merged_instances(old, name, fragments, patch.how)
    except Fault as fault:
        raise fault.under(patch.how.context.compact_name(name)).problem() from None
    result = Merged(old)
    for name, several in after.items():
        assign(result, name, several, now)
    adopt(result, patch.entity, now)
    return result


def completed(old: Stored, patch: Patch) -> Stored:
    """A whole entity of bare values; attributes have the types that they have in the old one. Raises BadRequestData."""
    result: Stored = {}
    for name, value in patch.entity.items():
        if ":" not in name:
            result[name] = value
            continue
        there = {i.get("datasetId"): i["type"] for i in instances(old[name])} if name in old else {}
        several = []
        for fragment in value:
            kind = there.get(fragment.get("datasetId")) or next(iter(there.values()), None)
            try:
                instance = merged_instance(None, {"type": kind, **fragment} if kind else fragment, patch.how)
                if instance is None:
                    raise Fault(NOT_HERE)
            except Fault as fault:
                raise fault.under(patch.how.context.compact_name(name)).problem() from None
            several.append(instance)
        result[name] = several if len(several) > 1 else several[0]
    return result


def _merged_instances(old: Stored, name: str, fragments: list[Stored], how: How) -> list[Stored]:
    kept = {i.get("datasetId"): i for i in instances(old[name])} if name in old else {}
    for fragment in fragments:
        dataset = fragment.get("datasetId")
        instance = merged_instance(kept.get(dataset), fragment, how)
        if instance is None:
            kept.pop(dataset, None)
        else:
            _check_place(name, instance)
            kept[dataset] = instance
    return list(kept.values())


def _check_place(name: str, instance: Stored) -> None:
    if name in GEO_IRIS and instance["type"] != "GeoProperty":
        raise Fault("must be a GeoProperty")


def update_attribute(old: Stored, name: str, fragment: Stored, how: How, now: str) -> Merged:
    """Partial Attribute Update. Raises BadRequestData, ResourceNotFound."""
    there = instances(old[name]) if name in old else []
    target = next((i for i in there if i.get("datasetId") == fragment.get("datasetId")), None)
    if target is None:
        raise ResourceNotFound(f"{old['id']} has no such attribute, or no such instance of it")
    try:
        instance = merged_instance(target, fragment, how)
        if instance is None:
            raise Fault("an attribute cannot be deleted by a partial update; use DELETE")
        _check_place(name, instance)
    except Fault as fault:
        raise fault.problem() from None
    result = Merged(old)
    assign(result, name, [instance if i is target else i for i in there], now)
    old["modifiedAt"] = now
    return result


def merged_instance(there: Stored | None, fragment: Stored, how: How) -> Stored | None:
    """What is there with the fragment applied; None where it is to be deleted. Raises Fault."""
    said = fragment.get("type")
    if said == NULL:
        return None
    texts = _texts(there, fragment, how)
    if texts is not None:
        fragment, said = texts, "LanguageProperty"
    kind = said or (there["type"] if there is not None else _kind_of_bare(fragment))
    if there is not None and kind != there["type"]:
        raise Fault(f"it is a {there['type']} and cannot become a {kind}", "type")
    member = VALUE_MEMBERS[kind]
    result: Stored = {"type": kind} if there is None else dict(there)
    if BARE in fragment or member in fragment:
        value = _unwrapped(kind, fragment[BARE]) if BARE in fragment else fragment[member]
        merged = _merged_value(kind, result.get(member), value, how)
        if merged is None and kind != "JsonProperty":
            return None
        result[member] = merged
    elif there is None:
        raise Fault(f"a {kind} must have {member!r}")
    if how.observed_at is not None and "observedAt" in result:
        result["observedAt"] = how.observed_at
    for key, part in fragment.items():
        if key in ("type", member, BARE):
            continue
        found = _sub_attribute(result, key, part, how) if ":" in key else part
        if found is None or found == NULL:
            result.pop(key, None)
        else:
            result[key] = found
    return result


def _sub_attribute(instance: Stored, name: str, fragment: Stored, how: How) -> Stored | None:
    try:
        return merged_instance(instance.get(name) if how.deep else None, fragment, how)
    except Fault as fault:
        raise fault.under(how.context.compact_name(name)) from None


def _texts(there: Stored | None, fragment: Stored, how: How) -> Stored | None:
    """With ``lang``: a plain text for a LanguageProperty, as its map of one language."""
    if how.lang is None or there is None or there["type"] != "LanguageProperty":
        return None
    text = fragment.get(BARE, fragment.get("value"))
    if not isinstance(text, str | list):
        return None
    rest = {key: part for key, part in fragment.items() if key not in ("type", "value", BARE)}
    return {**rest, "languageMap": check_language({how.lang: text})}


def _kind_of_bare(fragment: Stored) -> str:
    """The type of a new attribute whose fragment does not say it."""
    value = fragment.get(BARE)
    if is_geometry(value):
        return "GeoProperty"
    if isinstance(value, dict) and len(value) == 1:
        return KINDS_OF_WRAPPERS.get(next(iter(value)), "Property")
    return "Property"


def _unwrapped(kind: str, value: object) -> object:
    """The value in its simplified form, without what wraps it there."""
    member = WRAPPED.get(kind)
    return value[member] if isinstance(value, dict) and member and value.keys() == {member} else value


def _merged_value(kind: str, old: object, new: object, how: How) -> object:
    """The value after the operation; None where nothing is left of it. Raises Fault for what is wrong then."""
    if kind == "LanguageProperty":
        check_language(new, nulls=how.deep)
    if how.deep and kind in ("Property", "GeoProperty", "LanguageProperty"):
        new = _deep(old, new)
        if kind == "LanguageProperty" and not new:
            return None
    return VALUE_CHECKS[kind](new, how.context)


def _deep(old: object, new: object) -> object:
    """RFC 7396, with the null marker in place of null."""
    if not isinstance(new, dict):
        return new
    if word(new.get("type")) in GEOMETRIES or "@value" in new:
        return new
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        if value == NULL:
            result.pop(key, None)
        else:
            result[key] = _deep(result.get(key), value)
    return result
