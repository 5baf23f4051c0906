"""What a view leaves out of a stored entity or changes in it, before it is put into JSON.

Projection (pick, omit), instances (datasetId), language (CIM 009 clause 4.15), older versions of the API (4.3.6.8).
Functions return new objects and leave the stored ones alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from gateway.server.broker.model import Stored, instances

MEMBERS = frozenset({"id", "type", "scope"})
Version: TypeAlias = tuple[int, int]
Compact: TypeAlias = Callable[[str | list[str]], str | list[str]]
CURRENT: Version = (1, 9)
DEFAULT_INSTANCE = "@none"


@dataclass(frozen=True, slots=True)
class Projection:
    """Members of an entity by stored name; ``inner``: the same for entities that a relationship leads to."""

    names: frozenset[str]
    inner: tuple[tuple[str, Projection], ...] = ()

    def of(self, name: str) -> Projection | None:
        """The projection of what the attribute leads to."""
        return next((inner for at, inner in self.inner if at == name), None)

    @property
    def depth(self) -> int:
        """How many relationships it goes along."""
        return max((1 + inner.depth for _, inner in self.inner), default=0)


def filtered(
    entity: Stored,
    pick: Projection | None,
    omit: Projection | None,
    datasets: Collection[str] | None = None,
    languages: Sequence[str] = (),
) -> Stored:
    """The entity with what is wanted only. What ``omit`` names with braces stays: its linked entities shrink."""
    result: Stored = {}
    for name, value in entity.items():
        selectable = ":" in name or name in MEMBERS
        if pick is not None and selectable and name not in pick.names:
            continue
        if omit is not None and selectable and name in omit.names and omit.of(name) is None:
            continue
        if ":" not in name:
            result[name] = value
            continue
        kept = instances(value)
        if datasets is not None:
            kept = [i for i in kept if i.get("datasetId", DEFAULT_INSTANCE) in datasets]
        if languages:
            kept = [in_language(i, languages) for i in kept]
        if kept:
            result[name] = kept if len(kept) > 1 else kept[0]
    return result


def projects_to_nothing(entity: Stored, pick: Projection | None, datasets: Collection[str] | None) -> bool:
    """Whether a projection or a choice of datasets leaves nothing of an entity, which is then not an answer."""
    if pick is not None and not any(name in entity for name in pick.names):
        return True
    if datasets is None:
        return False
    attributes = [value for name, value in entity.items() if ":" in name and (pick is None or name in pick.names)]
    if not attributes and pick is not None:
        return False
    return not any(i.get("datasetId", DEFAULT_INSTANCE) in datasets for value in attributes for i in instances(value))


# language


def in_language(instance: Stored, languages: Sequence[str]) -> Stored:
    """A LanguageProperty as a Property in the language liked most, in sub-attributes too; others as they are."""
    result = {
        name: _all(value, lambda part: in_language(part, languages)) if ":" in name else value
        for name, value in instance.items()
    }
    if instance["type"] != "LanguageProperty" or "*" in languages[:1]:
        return result
    texts = result.pop("languageMap")
    tag = _best_tag(texts, languages)
    return {"type": "Property", "value": texts[tag], "lang": tag, **{n: v for n, v in result.items() if n != "type"}}


def _best_tag(texts: Mapping[str, Any], languages: Sequence[str]) -> str:
    """RFC 4647 lookup: exact, then without the last subtags; then a longer tag; then @none; then any."""
    known = {tag.lower(): tag for tag in texts}
    for wanted in languages:
        low = wanted.lower()
        while low:
            if low in known:
                return known[low]
            low = low.rpartition("-")[0]
        longer = next((tag for key, tag in known.items() if key.startswith(f"{wanted.lower()}-")), None)
        if longer is not None:
            return longer
        if wanted == "*":
            break
    return known.get(DEFAULT_INSTANCE) or next(iter(texts))


def _all(value: Any, change: Any) -> Any:
    return [change(part) for part in value] if isinstance(value, list) else change(value)


# versions

RENAMED_BEFORE_1_8 = {
    "JsonProperty": ("Property", "json", "value"),
    "VocabProperty": ("Property", "vocab", "value"),
    "ListProperty": ("Property", "valueList", "value"),
    "ListRelationship": ("Relationship", "objectList", "object"),
}
RENAMED_BEFORE_1_4 = {"LanguageProperty": ("Property", "languageMap", "value")}


def downgraded(entity: Stored, version: Version, compact: Compact) -> Stored:
    """The entity in the terms of an older version; a VocabProperty that becomes a Property has its compact terms."""
    gone = members_gone(version)
    result: Stored = {}
    for name, value in entity.items():
        if name in gone:
            continue
        if ":" in name:
            value = _downgraded_attribute(value, version, gone, compact)
        elif name == "type" and version < (1, 3):
            value = value[:1]
        result[name] = value
    return result


def members_gone(version: Version) -> frozenset[str]:
    """Members of entities and attributes that an older version does not know."""
    gone: set[str] = set()
    if version < (1, 9):
        gone |= {"expiresAt", "valueType"}
    if version < (1, 8):
        gone.add("objectType")
    if version < (1, 4):
        gone.add("scope")
    if version < (1, 3):
        gone |= {"datasetId", "observedAt", "unitCode"}
    return frozenset(gone)


def renamed_before(version: Version) -> dict[str, tuple[str, str, str]]:
    """Types of attributes that an older version does not know: the type there, the member here and there."""
    return {**(RENAMED_BEFORE_1_8 if version < (1, 8) else {}), **(RENAMED_BEFORE_1_4 if version < (1, 4) else {})}


def _downgraded_attribute(value: Any, version: Version, gone: frozenset[str], compact: Compact) -> Any:
    if version < (1, 3) and isinstance(value, list):
        value = next((instance for instance in value if "datasetId" not in instance), value[0])
    return _all(value, lambda instance: _downgraded_instance(instance, version, gone, compact))


def _downgraded_instance(instance: Stored, version: Version, gone: frozenset[str], compact: Compact) -> Stored:
    kind, old, new = renamed_before(version).get(instance["type"], (instance["type"], "", ""))
    result: Stored = {}
    for name, value in instance.items():
        if name in gone:
            continue
        if ":" in name:
            result[name] = _downgraded_attribute(value, version, gone, compact)
        elif name == "type":
            result[name] = kind
        else:
            shown = compact(value) if name == old == "vocab" else value
            result[new if name == old else name] = shown
    return result
