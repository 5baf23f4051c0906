"""Types and words of the broker.

The stored form of an entity is JSON with expanded names::

    {"id": URI, "type": [IRI, ...], "scope": [...], "createdAt": ..., "modifiedAt": ...,
     "<attribute IRI>": {"type": "Property", "value": ..., "observedAt": ..., "<sub-attribute IRI>": {...}}}

An attribute with several instances (datasetId) is a list of such objects.

Names of attributes always contain a colon, names of members never do: that tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, TypeAlias

Stored: TypeAlias = dict[str, Any]
NULL = "urn:ngsi-ld:null"
CORE = "https://uri.etsi.org/ngsi-ld/"
VALUE_MEMBERS = {
    "Property": "value",
    "GeoProperty": "value",
    "Relationship": "object",
    "LanguageProperty": "languageMap",
    "VocabProperty": "vocab",
    "ListProperty": "valueList",
    "ListRelationship": "objectList",
    "JsonProperty": "json",
}
KIND_OF_MEMBER = {member: kind for kind, member in VALUE_MEMBERS.items() if kind != "GeoProperty"}
SYSTEM_MEMBERS = frozenset({"createdAt", "modifiedAt", "deletedAt"})
GEOMETRIES = frozenset({"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"})
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = EPOCH.toordinal()
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Change:
    """One entity after one operation was committed; ``entity`` must not be modified.

    ``attributes``: IRIs whose value or members differ now, ``added`` and ``removed`` among them; a rewrite with equal
    content is no change. They are empty where only types, scopes or expiry differ. For a deleted entity ``entity`` is
    what it was. ``previous``: what was stored before under the attributes that were changed or removed (all instances),
    not under those added.
    """

    tenant: str
    entity: Stored
    attributes: tuple[str, ...]
    event: Literal["created", "updated", "deleted"] = "updated"
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    previous: Mapping[str, Stored | list[Stored]] = field(default_factory=dict)


@dataclass(slots=True)
class BatchResult:
    """What became of the elements of a batch: ids, and problems by id."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    errors: list[tuple[str, Exception]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a result: ``more`` after it; ``total`` where it was asked for."""

    entities: list[Stored]
    more: bool
    total: int | None


def instances(value: Stored | list[Stored]) -> list[Stored]:
    """An attribute's instances, whether it is stored as one or as several."""
    return value if isinstance(value, list) else [value]


@lru_cache(maxsize=4096)
def time_us(text: str) -> int:
    """Microseconds since 1970 of a DateTime ``YYYY-MM-DDThh:mm:ss[.ffffff]Z``. Raises ValueError."""
    if len(text) < 20 or text[-1] != "Z" or text[10] != "T" or len(text) > 27:
        raise ValueError("it must look like 2026-01-31T12:00:00.5Z (UTC, at most 6 digits after the point)")
    whole, _, fraction = text[:-1].replace(",", ".").partition(".")
    if len(whole) != 19 or not whole[4] == whole[7] == "-" or (fraction and not fraction.isdecimal()):
        raise ValueError("it must look like 2026-01-31T12:00:00.5Z (UTC, at most 6 digits after the point)")
    moment = datetime.fromisoformat(whole)
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second
    us = ((moment.toordinal() - EPOCH_DAY) * 86_400 + seconds) * 1_000_000
    return us + int(fraction.ljust(6, "0")) if fraction else us


def time_text(us: int) -> str:
    """DateTime of microseconds since 1970; fractions as far as there are any."""
    moment = EPOCH + timedelta(microseconds=us)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{us % 1_000_000:06d}".rstrip("0")
    return f"{text}.{fraction}Z" if fraction else f"{text}Z"


def word(value: object) -> str:
    """A string as it is, anything else as no word at all: safe to look up in tables of words."""
    return value if isinstance(value, str) else ""
