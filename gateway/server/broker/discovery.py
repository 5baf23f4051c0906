"""Which types and attributes there are (CIM 009 clauses 5.7.5 to 5.7.10): found in the entities, shown to clients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gateway.server.broker.model import Stored, instances
from gateway.server.contexts import Context


@dataclass(slots=True)
class Seen:
    """A type or an attribute: how many entities have it; with which attributes, types and attribute types."""

    count: int = 0
    names: dict[str, set[str]] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Found:
    """Types by IRI, with their attributes (and the attribute types these have there); attributes with their types."""

    types: dict[str, Seen] = field(default_factory=dict)
    attributes: dict[str, Seen] = field(default_factory=dict)


def survey(entities: Iterable[Stored]) -> Found:
    """Look at every entity."""
    found = Found()
    for entity in entities:
        for iri in entity["type"]:
            found.types.setdefault(iri, Seen()).count += 1
        for name, value in entity.items():
            if ":" not in name:
                continue
            kinds = {instance["type"] for instance in instances(value)}
            attribute = found.attributes.setdefault(name, Seen())
            attribute.count += 1
            attribute.kinds |= kinds
            for iri in entity["type"]:
                attribute.names.setdefault(iri, set()).update(kinds)
                found.types[iri].names.setdefault(name, set()).update(kinds)
    return found


def type_list(iris: Iterable[str], context: Context) -> dict[str, Any]:
    """EntityTypeList."""
    names = sorted(context.compact_name(iri) for iri in iris)
    return {"id": "urn:ngsi-ld:EntityTypeList:local", "type": "EntityTypeList", "typeList": names}


def attribute_list(iris: Iterable[str], context: Context) -> dict[str, Any]:
    """AttributeList."""
    names = sorted(context.compact_name(iri) for iri in iris)
    return {"id": "urn:ngsi-ld:AttributeList:local", "type": "AttributeList", "attributeList": names}


def entity_type(iri: str, seen: Seen, context: Context) -> dict[str, Any]:
    """EntityType."""
    return {
        "id": iri,
        "type": "EntityType",
        "typeName": context.compact_name(iri),
        "attributeNames": sorted(context.compact_name(name) for name in seen.names),
    }


def entity_type_info(iri: str, seen: Seen, context: Context) -> dict[str, Any]:
    """EntityTypeInfo."""
    details = [
        {
            "id": name,
            "type": "Attribute",
            "attributeName": context.compact_name(name),
            "attributeTypes": sorted(kinds),
        }
        for name, kinds in sorted(seen.names.items())
    ]
    return {
        "id": iri,
        "type": "EntityTypeInfo",
        "typeName": context.compact_name(iri),
        "entityCount": seen.count,
        "attributeDetails": details,
    }


def attribute(iri: str, seen: Seen, context: Context, *, whole: bool) -> dict[str, Any]:
    """Attribute; ``whole``: also how many entities have it, and of which attribute types it is."""
    result: dict[str, Any] = {"id": iri, "type": "Attribute", "attributeName": context.compact_name(iri)}
    if whole:
        result |= {"attributeCount": seen.count, "attributeTypes": sorted(seen.kinds)}
    return {**result, "typeNames": sorted(context.compact_name(name) for name in seen.names)}
