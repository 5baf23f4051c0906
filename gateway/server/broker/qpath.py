"""What the paths of ``q`` and ``orderBy`` lead to in a stored entity (CIM 009 clause 4.9)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.server.broker.model import VALUE_MEMBERS, Stored, instances

SYSTEM_TIMES = frozenset({"createdAt", "modifiedAt", "deletedAt", "expiresAt"})
PLAIN_MEMBERS = SYSTEM_TIMES | {"observedAt", "unitCode", "datasetId", "valueType", "objectType", "lang"}
LINKS = frozenset({"Relationship", "ListRelationship"})


@dataclass(frozen=True, slots=True)
class Path:
    """What a term looks at: ``steps`` are IRIs or plain members, ``inner`` are keys inside the value."""

    steps: tuple[str, ...]
    inner: tuple[str, ...]

    def targets(self, entity: Stored, *, uris: bool = True) -> Iterator[Any]:
        """Every value that the path leads to; none where an element on the way is missing.

        ``uris``: whether what relationships point at counts, which has no order.
        """
        for node in self.nodes(entity):
            if uris or not isinstance(node, dict) or node.get("type") not in LINKS:
                yield from self._values(node)

    def nodes(self, entity: Stored) -> list[Any]:
        """The attribute instances (or plain members) at the end of the steps."""
        first = entity.get(self.steps[0])
        if first is None:
            return []
        found: list[Any] = [first] if self.steps[0] in SYSTEM_TIMES else instances(first)
        for step in self.steps[1:]:
            found = [part for node in found if isinstance(node, dict) and step in node for part in _all(node[step])]
        return found

    def uris(self, entity: Stored) -> Iterator[str]:
        """What relationships at the end of the path point at."""
        for node in self.nodes(entity):
            if isinstance(node, dict) and node.get("type") in LINKS:
                yield from _all(node[VALUE_MEMBERS[node["type"]]])

    def _values(self, node: Any) -> Iterator[Any]:
        if not isinstance(node, dict) or node.get("type") not in VALUE_MEMBERS:
            yield node
            return
        value = node.get(VALUE_MEMBERS[node["type"]])
        if node["type"] == "LanguageProperty" and isinstance(value, dict) and len(self.inner) <= 1:
            tag = self.inner[0] if self.inner else "*"
            yield from (text for key, text in value.items() if tag in ("*", key))
            return
        if not self.inner:
            yield value
            return
        yield from _inside(value, self.inner)


def _inside(value: Any, keys: tuple[str, ...]) -> Iterator[Any]:
    """The values under these keys; a list on the way means each of its elements, ``*`` any key."""
    if not keys:
        yield value
    elif isinstance(value, list):
        for part in value:
            if isinstance(part, dict):
                yield from _inside(part, keys)
    elif isinstance(value, dict):
        if keys[0] in value:
            yield from _inside(value[keys[0]], keys[1:])
        elif keys[0] == "*":
            for part in value.values():
                yield from _inside(part, keys[1:])


def _all(node: Any) -> list[Any]:
    return node if isinstance(node, list) else [node]
