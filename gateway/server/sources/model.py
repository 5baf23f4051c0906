"""Registrations of context sources (CIM 009 clauses 5.2.9 to 5.2.11, 4.20) in stored form: expanded names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.server.broker.regex import Pattern

Mode = Literal["inclusive", "exclusive", "redirect", "auxiliary"]


@dataclass(frozen=True, slots=True)
class EntityInfo:
    """Entities by types (any of them), and by id, or else by pattern."""

    types: frozenset[str]
    id: str | None = None
    id_pattern: Pattern | None = None

    def covers(self, entity_id: str, types: frozenset[str]) -> bool:
        """Whether an entity is meant; no types: they are not known."""
        if types and not types & self.types:
            return False
        if self.id is not None:
            return self.id == entity_id
        return self.id_pattern is None or self.id_pattern.search(entity_id)


@dataclass(frozen=True, slots=True)
class Information:
    """Both sides must match. No entities: any; neither properties nor relationships (None): all attributes."""

    entities: tuple[EntityInfo, ...] = ()
    properties: frozenset[str] | None = None
    relationships: frozenset[str] | None = None

    @property
    def attributes(self) -> frozenset[str] | None:
        """Properties and relationships together; None for all."""
        if self.properties is None and self.relationships is None:
            return None
        return (self.properties or frozenset()) | (self.relationships or frozenset())


@dataclass(frozen=True, slots=True)
class Registration:
    """What a forward needs to know of a source. ``operations``: groups are expanded; ``tenant``: the one at the source.

    ``source_info``: headers of forwards, and words about how to speak to it (clause 5.2.22). ``host_alias``: its
    pseudonym in Via. ``timeout_s``, ``cooldown_s``: None where the registration does not say.
    """

    id: str
    endpoint: str
    information: tuple[Information, ...]
    mode: Mode = "inclusive"
    operations: frozenset[str] = frozenset()
    tenant: str = ""
    source_info: tuple[tuple[str, str], ...] = ()
    host_alias: str | None = None
    expires_at: int | None = None  # microseconds since 1970
    timeout_s: float | None = None
    cooldown_s: float | None = None
    local_only: bool = False
