"""Linked entities in answers (CIM 009 clause 4.5.23): within the relationship (inline), or beside the entity (flat)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from gateway.server.broker.model import Stored, instances
from gateway.server.broker.qlang import Linked
from gateway.server.broker.represent import CHOSEN, View
from gateway.server.broker.represent_filter import MEMBERS, Projection, filtered
from gateway.server.errors import TooManyResults

LINKED_MAX = 10_000
LEVEL_MAX = 10
TARGETS = {"Relationship": ("object", "entity"), "ListRelationship": ("objectList", "entityList")}


@dataclass(frozen=True, slots=True)
class Join:
    """How far to go along relationships; ``contained``: ids that are not expanded again."""

    kind: Literal["flat", "inline"]
    level: int = 1
    contained: frozenset[str] = frozenset()


class Joiner:
    """Adds linked entities to those of one answer. Raises TooManyResults beyond LINKED_MAX of them."""

    def __init__(self, join: Join, view: View, linked: Linked) -> None:
        self._join = join
        self._view = view
        self._linked = linked
        attrs = Projection(view.attrs | MEMBERS) if view.attrs else None  # these are of the entities asked for only
        self._pick = view.pick if view.pick is not None else attrs
        self._left = LINKED_MAX

    def inline(self, entity: Stored) -> Stored:
        """The entity with what its relationships lead to as ``entity`` or ``entityList`` in them."""
        seen = self._join.contained | {entity["id"]}
        return self._expanded(entity, self._join.level, seen, self._pick, self._view.omit)

    def flat(self, entities: Collection[Stored]) -> list[Stored]:
        """What the relationships of these lead to, each once, with the members that are wanted of it."""
        seen = {entity["id"] for entity in entities} | self._join.contained
        found: list[Stored] = []
        level = [(entity, self._pick, self._view.omit) for entity in entities]
        for _ in range(self._join.level):
            following = []
            for entity, pick, omit in level:
                for name, instance in _relationships(entity):
                    if not _followed(name, pick, omit):
                        continue
                    inner = (pick and pick.of(name), omit and omit.of(name))
                    for uri in _targets(instance):
                        target = None if uri in seen else self._target(uri)
                        if target is not None:
                            seen.add(uri)
                            found.append({**self._filtered(target, *inner), CHOSEN: uri})
                            following.append((target, *inner))
            level = following
        return found

    def _expanded(
        self, entity: Stored, level: int, seen: frozenset[str], pick: Projection | None, omit: Projection | None
    ) -> Stored:
        result = dict(entity)
        for name, instance in list(_relationships(entity)):
            if not _followed(name, pick, omit):
                continue
            inner_pick, inner_omit = pick and pick.of(name), omit and omit.of(name)
            found: list[Stored] = []
            for uri in _targets(instance):
                target = None if uri in seen else self._target(uri)
                if target is None:
                    continue
                if level > 1:
                    target = self._expanded(target, level - 1, seen | {uri}, inner_pick, inner_omit)
                found.append(self._filtered(target, inner_pick, inner_omit))
            if found:
                several = isinstance(instance[TARGETS[instance["type"]][0]], list)
                member = TARGETS[instance["type"]][1]
                shown = {**instance, member: found if several else found[0]}
                result[name] = _replaced(result[name], instance, shown)
        return result

    def _filtered(self, target: Stored, pick: Projection | None, omit: Projection | None) -> Stored:
        return filtered(target, pick, omit, self._view.datasets, self._view.languages)

    def _target(self, uri: str) -> Stored | None:
        self._left -= 1
        if self._left < 0:
            raise TooManyResults(f"more than {LINKED_MAX} linked entities")
        return self._linked(uri)


def _followed(name: str, pick: Projection | None, omit: Projection | None) -> bool:
    """Whether the relationship is shown at all."""
    if pick is not None and name not in pick.names:
        return False
    return omit is None or name not in omit.names or omit.of(name) is not None


def _relationships(entity: Stored) -> Iterator[tuple[str, Stored]]:
    for name, value in entity.items():
        if ":" in name:
            yield from ((name, instance) for instance in instances(value) if instance["type"] in TARGETS)


def _targets(instance: Stored) -> list[str]:
    found = instance[TARGETS[instance["type"]][0]]
    return found if isinstance(found, list) else [found]


def _replaced(value: Stored | list[Stored], old: Stored, new: Stored) -> Stored | list[Stored]:
    if isinstance(value, list):
        return [new if instance is old else instance for instance in value]
    return new
