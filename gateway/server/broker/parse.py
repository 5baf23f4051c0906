"""Input of entities: normalized or concise JSON to the stored form, refusing what breaks a rule of CIM 009.

Every refusal says where: a JSON pointer (RFC 6901) into the entity stands before the message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from gateway.server.broker.geojson import check_geometry
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
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData, OperationNotSupported

DEPTH_MAX = 64
ID_CHARS_MAX = 1024
ATTRIBUTES_MAX = 1000
NAME = re.compile(r"[^\W\d_]\w*\Z")
PREFIXED = re.compile(r"[^\W\d_][\w.-]*:[^\s<>\"{}|\\^`]+\Z")
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`\x00-\x20]+\Z")
SCOPE = re.compile(r"/?\w+(?:/\w+)*\Z")
IGNORED = SYSTEM_MEMBERS | {"instanceId"}
PREVIOUS = "previous"
GEO_NAMES = frozenset({"location", "observationSpace", "operationSpace"})
ONLY_MEMBERS = frozenset({*VALUE_MEMBERS.values(), "unitCode", "observedAt", "datasetId", "objectType", "valueType"})
OUTPUT_ONLY = frozenset({"entity", "entityList", "lang", "dataset"})
NOT_YET = frozenset({"expiresAt", "ngsildproof"})
NAMES_REMEMBERED_MAX = 10_000
_good_names: set[str] = set()


class Fault(Exception):  # noqa: N818  (it never leaves this module's callers)
    """Something is wrong at ``path``, which grows while it passes through the levels of the document."""

    def __init__(self, text: str, *path: str | int, not_offered: bool = False) -> None:
        super().__init__(text)
        self.path = list(path)
        self.not_offered = not_offered

    def under(self, *path: str | int) -> Fault:
        """The same, seen from one level above."""
        self.path[:0] = path
        return self

    def problem(self) -> BadRequestData | OperationNotSupported:
        """For the client."""
        pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in self.path)
        text = f"{pointer or '/'}: {self}"
        return OperationNotSupported(text) if self.not_offered else BadRequestData(text)


def parse_entity(raw: object, context: Context, *, fragment: bool = False, nulls: bool = False) -> Stored:
    """An entity in stored form. ``fragment``: id and type may be absent; ``nulls``: null markers mean deletion.

    A deleted attribute instance is ``{"type": NULL}`` (and its datasetId).
    Raises BadRequestData, OperationNotSupported.
    """
    try:
        return _entity(raw, context, fragment, nulls)
    except Fault as fault:
        raise fault.problem() from None


def _entity(raw: object, context: Context, fragment: bool, nulls: bool) -> Stored:
    if not isinstance(raw, dict):
        raise Fault("an entity must be a JSON object")
    if len(raw) > ATTRIBUTES_MAX:
        raise Fault(f"more than {ATTRIBUTES_MAX} members")
    entity: Stored = {}
    attributes: Stored = {}
    for name, value in raw.items():
        try:
            reader = ENTITY_MEMBERS.get(name)
            if reader is not None:
                reader(entity, value, context)
            elif name not in SYSTEM_MEMBERS:
                iri = _attribute_name(name, context)
                if iri in attributes:
                    raise Fault("another member of the entity has the same expanded name")
                attributes[iri] = _attribute(name, value, context, nulls)
        except Fault as fault:
            raise fault.under(name) from None
    if not fragment:
        for needed in ("id", "type"):
            if needed not in entity:
                raise Fault(f"an entity must have {needed!r}")
    entity.update(attributes)
    return entity


def _attribute_name(name: str, context: Context) -> str:
    if name in NOT_YET:
        raise Fault("is not offered by this version", not_offered=True)
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
    entity["scope"] = scopes


def _skip(entity: Stored, value: object, context: Context) -> None:
    """``@context`` was read before."""


ENTITY_MEMBERS: dict[str, Callable[[Stored, Any, Context], None]] = {
    "id": _read_id,
    "@id": _read_id,
    "type": _read_type,
    "@type": _read_type,
    "scope": _read_scope,
    "@context": _skip,
}


def _attribute(name: str, raw: object, context: Context, nulls: bool) -> Stored | list[Stored]:
    if isinstance(raw, list) and raw and all(isinstance(part, dict) and _is_attribute(part) for part in raw):
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
    return parse_instance(name, raw, context, nulls)


def _is_attribute(raw: Mapping[str, object]) -> bool:
    return word(raw.get("type")) in VALUE_MEMBERS or any(member in raw for member in KIND_OF_MEMBER)


def parse_instance(name: str, raw: object, context: Context, nulls: bool, depth: int = 0) -> Stored:
    """One attribute instance (or sub-attribute) in stored form. Raises Fault."""
    if depth > DEPTH_MAX:
        raise Fault(f"nested more than {DEPTH_MAX} times")
    members, kind = kind_of(raw)
    if name in GEO_NAMES and depth == 0 and kind != "GeoProperty" and members.get("value") != NULL:
        raise Fault("must be a GeoProperty")
    member = VALUE_MEMBERS[kind]
    if member not in members:
        raise Fault(f"a {kind} must have {member!r}")
    if _is_null(members[member]):
        return _deletion(members, nulls)
    instance: Stored = {"type": kind}
    for key, value in members.items():
        try:
            if key == member:
                instance[key] = VALUE_CHECKS[kind](value, context)
            elif key in MEMBER_CHECKS:
                MEMBER_CHECKS[key](instance, value, context)
            elif key not in IGNORED and not (key.startswith(PREVIOUS) and key[8:9].isupper()):
                iri = _sub_attribute_name(key, context)
                instance[iri] = parse_instance(key, value, context, nulls, depth + 1)
        except Fault as fault:
            raise fault.under(key) from None
    return instance


def _sub_attribute_name(key: str, context: Context) -> str:
    if key in KIND_OF_MEMBER:
        raise Fault("does not belong to this type of attribute")
    if key in OUTPUT_ONLY:
        raise Fault("is not allowed here")
    if key in NOT_YET:
        raise Fault("is not offered by this version", not_offered=True)
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
    value = raw.get("value")
    geometry = isinstance(value, dict) and word(value.get("type")) in GEOMETRIES and "coordinates" in value
    return raw, "GeoProperty" if geometry else found[0]


def _is_null(value: object) -> bool:
    return value == NULL or value == {"@none": NULL} or value == [NULL]


def _deletion(members: Mapping[str, object], nulls: bool) -> Stored:
    if not nulls:
        raise Fault(f"{NULL} (delete it) is not allowed in this operation")
    instance: Stored = {"type": NULL}
    if "datasetId" in members:
        _read_dataset(instance, members["datasetId"], None)
    return instance


# names and members


def expand_checked(name: object, context: Context) -> str:
    """The IRI of a name that keeps to the rules for names (clause 4.6.2). Raises Fault."""
    if not isinstance(name, str) or name not in _good_names:
        if not isinstance(name, str) or not (NAME.match(name) or PREFIXED.match(name)) or len(name) > ID_CHARS_MAX:
            raise Fault(f"{name!r} is not a name: a letter, then letters, digits, _; or prefix:name; or an IRI")
        if len(_good_names) < NAMES_REMEMBERED_MAX:
            _good_names.add(name)
    return context.expand_name(name)


def check_uri(value: object) -> str:
    """A URI or IRI with a scheme. Raises Fault."""
    if not isinstance(value, str) or len(value) > ID_CHARS_MAX or not URI.match(value):
        raise Fault(f"must be a URI with a scheme, like urn:ngsi-ld:Room:1, of at most {ID_CHARS_MAX} characters")
    return value


def _read_time(instance: Stored, value: object, context: Context | None) -> None:
    if not isinstance(value, str):
        raise Fault("must be a DateTime string")
    try:
        time_us(value)
    except ValueError as error:
        raise Fault(f"{value!r} is not a DateTime: {error}") from None
    instance["observedAt"] = value


def _read_unit(instance: Stored, value: object, context: Context | None) -> None:
    if not isinstance(value, str) or not value:
        raise Fault("must be a unit code (UN/CEFACT recommendation 20)")
    instance["unitCode"] = value


def _read_dataset(instance: Stored, value: object, context: Context | None) -> None:
    if value != "@none":
        instance["datasetId"] = check_uri(value)


def _read_object_type(instance: Stored, value: object, context: Context) -> None:
    instance["objectType"] = _vocab(value, context)


def _read_value_type(instance: Stored, value: object, context: Context | None) -> None:
    if not isinstance(value, str):
        raise Fault("must be a string")
    instance["valueType"] = value


def _skip_type(instance: Stored, value: object, context: Context | None) -> None:
    """The type is set already."""


MEMBER_CHECKS: dict[str, Callable[[Stored, Any, Context], None]] = {
    "type": _skip_type,
    "observedAt": _read_time,
    "unitCode": _read_unit,
    "datasetId": _read_dataset,
    "objectType": _read_object_type,
    "valueType": _read_value_type,
}


# values


def check_depth(value: object, left: int = DEPTH_MAX) -> None:
    """Refuse what is nested too deeply to be anything but an attack. Raises Fault."""
    if isinstance(value, dict | list):
        if left == 0:
            raise Fault(f"nested more than {DEPTH_MAX} times")
        for part in value.values() if isinstance(value, dict) else value:
            if isinstance(part, dict | list):
                check_depth(part, left - 1)


def _value(value: object, context: Context) -> object:
    if value is None:
        raise Fault("must not be null; to store a JSON null use a JsonProperty")
    if isinstance(value, dict | list):
        check_depth(value)
    return value


def _geo(value: object, context: Context) -> object:
    check_depth(value, 8)
    try:
        check_geometry(value)
    except ValueError as error:
        raise Fault(str(error)) from None
    return value


def _object(value: object, context: Context) -> object:
    if not isinstance(value, list):
        return check_uri(value)
    if not value:
        raise Fault("must not be empty")
    return [check_uri(part) for part in value]


def _language(value: object, context: Context) -> object:
    if not isinstance(value, dict) or not value:
        raise Fault("must be an object of language tags, like {'en': 'bridge'}")
    for tag, text in value.items():
        if not isinstance(text, str) and not (isinstance(text, list) and all(isinstance(t, str) for t in text)):
            raise Fault("must be a string or a list of strings", tag)
    return value


def _vocab(value: object, context: Context) -> object:
    if isinstance(value, str):
        return context.expand_name(value)
    if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
        raise Fault("must be a string or a list of strings")
    return [context.expand_name(part) for part in value]


def _value_list(value: object, context: Context) -> object:
    if not isinstance(value, list):
        raise Fault("must be a list")
    check_depth(value)
    return value


def _object_list(value: object, context: Context) -> object:
    if not isinstance(value, list):
        raise Fault("must be a list of URIs")
    return [check_uri(part.get("object") if isinstance(part, dict) else part) for part in value]


def _json(value: object, context: Context) -> object:
    check_depth(value)
    return value


VALUE_CHECKS: dict[str, Callable[[object, Context], object]] = {
    "Property": _value,
    "GeoProperty": _geo,
    "Relationship": _object,
    "LanguageProperty": _language,
    "VocabProperty": _vocab,
    "ListProperty": _value_list,
    "ListRelationship": _object_list,
    "JsonProperty": _json,
}
