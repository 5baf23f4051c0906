"""Input of entities: normalized or concise JSON to the stored form, refusing what breaks a rule of CIM 009.

Every refusal says where: a JSON pointer (RFC 6901) into the entity stands before the message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeGuard

from gateway.server.broker.model import (
    GEOMETRIES,
    KIND_OF_MEMBER,
    NULL,
    SYSTEM_MEMBERS,
    VALUE_MEMBERS,
    Stored,
    time_us,
    word,
)
from gateway.server.broker.names import URI, Fault, check_uri, expand_checked
from gateway.server.broker.values import DEPTH_MAX, MEMBER_CHECKS, NOT_HERE, VALUE_CHECKS, future
from gateway.server.contexts import Context

__all__ = ["URI", "Fault", "check_uri", "expand_checked", "kind_of", "parse_attribute", "parse_entity"]

ATTRIBUTES_MAX = 1000
INSTANCES_MAX = 1000
NAMES_MAX = 2_000  # remembered of a context
SCOPE = re.compile(r"/?\w+(?:/\w+)*\Z")
PREVIOUS = "previous"
OUTPUT_ONLY = frozenset({"entity", "entityList", "lang"})
IGNORED = SYSTEM_MEMBERS | OUTPUT_ONLY | {"instanceId", "@context"}
GEO_NAMES = frozenset({"location", "observationSpace", "operationSpace"})
ONLY_MEMBERS = frozenset({*VALUE_MEMBERS.values(), *MEMBER_CHECKS} - {"expiresAt"})
REMOVABLE = frozenset({"scope", "expiresAt"})


def parse_entity(raw: object, context: Context, *, fragment: bool = False, nulls: bool = False) -> Stored:
    """An entity in stored form. ``fragment``: id and type may be absent; ``nulls``: null markers mean deletion.

    A deleted attribute instance is ``{"type": NULL}`` (and its datasetId), a deleted scope or expiresAt NULL.
    Raises BadRequestData.
    """
    try:
        entity = parse_members(raw, context, nulls)
        if not fragment:
            for needed in ("id", "type"):
                if needed not in entity:
                    raise Fault(f"an entity must have {needed!r}")
    except Fault as fault:
        raise fault.problem() from None
    return entity


def parse_members(
    raw: object, context: Context, nulls: bool, attribute: Callable[[str, Any], Any] | None = None
) -> Stored:
    """The members of an entity, each attribute as the given function reads it (as in an entity). Raises Fault."""
    if not isinstance(raw, dict):
        raise Fault("an entity must be a JSON object")
    if len(raw) > ATTRIBUTES_MAX:
        raise Fault(f"more than {ATTRIBUTES_MAX} members")
    entity: Stored = {}
    attributes: Stored = {}
    known = _known_names(context)
    for name, value in raw.items():
        if attribute is None and type(value) is dict:
            iri = known.get(name)
            if iri is not None and iri not in attributes and is_plain(value):  # the hot path
                attributes[iri] = value.copy()
                continue
        try:
            reader = ENTITY_MEMBERS.get(name)
            if reader is None:
                iri = attribute_name(name, context)
                if iri in attributes:
                    raise Fault("another member of the entity has the same expanded name")
                found = attribute(name, value) if attribute else parse_attribute(name, value, context, nulls)
                attributes[iri] = found
                if len(known) < NAMES_MAX and name not in GEO_NAMES:
                    known[name] = iri
            elif value == NULL and name in REMOVABLE:
                if not nulls:
                    raise Fault(NOT_HERE)
                entity[name] = NULL
            else:
                reader(entity, value, context)
        except Fault as fault:
            raise fault.under(name) from None
    entity.update(attributes)
    return entity


@lru_cache(maxsize=64)
def _known_names(context: Context) -> dict[str, str]:
    """IRIs of names of attributes that were found good in a context; filled as they occur."""
    return {}


def attribute_name(name: str, context: Context) -> str:
    """The IRI of the name of an attribute. Raises Fault."""
    if name in ONLY_MEMBERS:
        raise Fault("is a member of attributes and cannot be an attribute")
    return expand_checked(name, context)


def _read_id(entity: Stored, value: object, context: Context) -> None:
    entity["id"] = check_uri(value)


def _read_type(entity: Stored, value: object, context: Context) -> None:
    names = value if isinstance(value, list) else [value]
    if not names:
        raise Fault("must not be empty")
    entity["type"] = list(dict.fromkeys(expand_checked(name, context) for name in names))


def _read_scope(entity: Stored, value: object, context: Context) -> None:
    scopes: list[str] = []
    for scope in value if isinstance(value, list) else [value]:
        if not isinstance(scope, str) or not SCOPE.match(scope):
            raise Fault("a scope looks like /level/level, of letters, digits and _")
        scopes.append(scope if scope[0] == "/" else f"/{scope}")
    if not scopes:
        raise Fault("must not be empty")
    entity["scope"] = list(dict.fromkeys(scopes))


def _read_expiry(entity: Stored, value: object, context: Context) -> None:
    entity["expiresAt"] = future(value, context)


def _skip(entity: Stored, value: object, context: Context) -> None:
    """``@context`` was read before; what the system gives is not taken from clients."""


ENTITY_MEMBERS: dict[str, Callable[[Stored, Any, Context], None]] = {
    "id": _read_id,
    "@id": _read_id,
    "type": _read_type,
    "@type": _read_type,
    "scope": _read_scope,
    "expiresAt": _read_expiry,
    "@context": _skip,
    **dict.fromkeys(SYSTEM_MEMBERS, _skip),
}


# attributes


def parse_attribute(name: str, raw: object, context: Context, nulls: bool = False) -> Stored | list[Stored]:
    """An attribute: one instance, or a list of them where there are several. Raises Fault."""
    if not is_several(raw):
        return parse_instance(name, raw, context, nulls)
    several: dict[str | None, Stored] = {}
    for index, part in enumerate(raw):
        try:
            instance = parse_instance(name, part, context, nulls)
            if instance.get("datasetId") in several:
                raise Fault("another instance has the same datasetId")
        except Fault as fault:
            raise fault.under(index) from None
        several[instance.get("datasetId")] = instance
    return list(several.values()) if len(several) > 1 else instance


def is_several(raw: object) -> TypeGuard[list[Any]]:
    """Whether it is a list of instances, not a list as a value. Raises Fault for too many.

    In the concise form the default instance may be a bare value, beside one that says its datasetId.
    """
    if not isinstance(raw, list):
        return False
    found = [part for part in raw if isinstance(part, dict) and is_attribute(part)]
    if not found or (len(found) < len(raw) and not any("datasetId" in part for part in found)):
        return False
    if len(raw) > INSTANCES_MAX:
        raise Fault(f"more than {INSTANCES_MAX} instances")
    return True


def is_attribute(raw: Mapping[str, object]) -> bool:
    """Whether an object says by its type or its value member that it is an attribute."""
    return word(raw.get("type")) in VALUE_MEMBERS or any(member in raw for member in KIND_OF_MEMBER)


def parse_instance(name: str, raw: object, context: Context, nulls: bool, depth: int = 0) -> Stored:
    """One attribute instance (or sub-attribute) in stored form. Raises Fault."""
    if depth > DEPTH_MAX:
        raise Fault(f"nested more than {DEPTH_MAX} times")
    members, kind = kind_of(raw)
    if name in GEO_NAMES and depth == 0 and kind != "GeoProperty" and not is_null(members.get("value")):
        raise Fault("must be a GeoProperty")
    member = VALUE_MEMBERS[kind]
    if member not in members:
        raise Fault(f"a {kind} must have {member!r}")
    if is_null(members[member]):
        return deletion(members, context, nulls)
    instance: Stored = {"type": kind}
    for key, value in members.items():
        try:
            if key == member:
                instance[key] = VALUE_CHECKS[kind](value, context)
            elif key in MEMBER_CHECKS:
                read_member(instance, key, value, context, nulls)
            elif not is_ignored(key):
                iri = sub_attribute_name(key, context)
                found = parse_instance(key, value, context, nulls, depth + 1)
                if found["type"] != NULL:
                    instance[iri] = found
        except Fault as fault:
            raise (fault.under(key) if members is raw else fault) from None
    return instance


SIMPLE = frozenset({float, int, str, bool})


def is_plain(raw: Mapping[str, Any]) -> bool:
    """The short way for what nearly all devices send: a normalized Property of a simple value, unit and time.

    Such an object is its own stored form. False also where something is wrong: the long way says what.
    """
    if raw.get("type") != "Property":
        return False
    value, unit, observed = raw.get("value"), raw.get("unitCode"), raw.get("observedAt")
    if type(value) not in SIMPLE or value == NULL:
        return False
    members = 2
    if unit is not None:
        if type(unit) is not str or not unit or unit == NULL:
            return False
        members = 3
    if observed is not None:
        try:
            time_us(observed)
        except (ValueError, TypeError):
            return False
        members += 1
    return len(raw) == members


def read_member(instance: Stored, key: str, value: object, context: Context, nulls: bool) -> None:
    """A member beside the value; with ``nulls`` a null marker leaves it out. Raises Fault."""
    if value == NULL:
        if not nulls or key == "datasetId":
            raise Fault(NOT_HERE)
        return
    checked = MEMBER_CHECKS[key](value, context)
    if checked is not None:
        instance[key] = checked


def is_ignored(key: str) -> bool:
    """What only answers have: of the system, of linked entities, of changes; and the type, which is read before."""
    return key in IGNORED or key == "type" or (key.startswith(PREVIOUS) and key[8:9].isupper())


def sub_attribute_name(key: str, context: Context) -> str:
    """The IRI of the name of a sub-attribute. Raises Fault."""
    if key in KIND_OF_MEMBER:
        raise Fault("does not belong to this type of attribute")
    if key in ("dataset", "id"):
        raise Fault("is not allowed here")
    return expand_checked(key, context)


def kind_of(raw: object) -> tuple[Mapping[str, Any], str]:
    """The members of an attribute and its type, also where the concise form leaves the type out."""
    if not isinstance(raw, dict):
        return {"value": raw}, "Property"
    kind = word(raw.get("type"))
    if kind in VALUE_MEMBERS:
        return raw, kind
    if kind in GEOMETRIES and "coordinates" in raw:
        return {"value": raw}, "GeoProperty"
    found = [KIND_OF_MEMBER[member] for member in KIND_OF_MEMBER if member in raw]
    if not found:
        return {"value": raw}, "Property"
    if "type" in raw:
        raise Fault(f"{raw['type']!r} is not a type of attribute; these are: {', '.join(VALUE_MEMBERS)}", "type")
    if len(found) > 1:
        raise Fault(f"has the values of {' and '.join(found)}; give its type")
    return raw, "GeoProperty" if is_geometry(raw.get("value")) else found[0]


def is_geometry(value: object) -> bool:
    """Whether it looks like a GeoJSON geometry."""
    return isinstance(value, dict) and word(value.get("type")) in GEOMETRIES and "coordinates" in value


def is_null(value: object) -> bool:
    """Whether a value is a null marker, in any of the forms that the types of attributes have for it."""
    return value == NULL or value == {"@none": NULL} or value == [NULL] or value == [{"object": NULL}]


def deletion(members: Mapping[str, object], context: Context, nulls: bool) -> Stored:
    """The instance that stands for one to be deleted. Raises Fault where that is not allowed."""
    if not nulls:
        raise Fault(NOT_HERE)
    instance: Stored = {"type": NULL}
    if "datasetId" in members:
        read_member(instance, "datasetId", members["datasetId"], context, nulls)
    return instance
