"""Which sources have a part in a request: registrations in memory, matched as CIM 009 clause 5.12 says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gateway.server.broker.query import TypeSelection
from gateway.server.broker.regex import Pattern
from gateway.server.sources.index import Index
from gateway.server.sources.model import EntityInfo, Information, Registration


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request is about; what is empty or None is not limited. ``attributes``: IRIs."""

    ids: tuple[str, ...] = ()
    id_pattern: str | None = None
    types: TypeSelection | None = None
    attributes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """The part of a request that a registration answers for. ``attributes`` None: all of them."""

    registration: Registration
    ids: tuple[str, ...]
    types: frozenset[str]
    attributes: frozenset[str] | None


class Registry:
    """All registrations by tenant, in the order of their creation."""

    def __init__(self, on_sent: Callable[[str, str, bool], None] = lambda tenant, name, ok: None) -> None:
        """``on_sent`` counts what was forwarded."""
        self._tenants: dict[str, Index] = {}
        self._on_sent = on_sent

    def put(self, tenant: str, registration: Registration) -> None:
        """Add it, or put it in place of the one with its id."""
        self._tenants.setdefault(tenant, Index()).put(registration)

    def remove(self, tenant: str, registration_id: str) -> None:
        """What is not there is no error."""
        index = self._tenants.get(tenant)
        if index is not None:
            index.remove(registration_id)
            if not len(index):
                del self._tenants[tenant]

    def any(self, tenant: str) -> bool:
        """Whether the tenant has registrations at all."""
        return tenant in self._tenants

    def sent(self, tenant: str, registration_id: str, *, ok: bool) -> None:
        """A forward went well, or failed."""
        self._on_sent(tenant, registration_id, ok)

    def matching(self, tenant: str, operation: str | None, wanted: Wanted) -> list[Match]:
        """Registrations that offer the operation (None: any) and have a part in what is wanted."""
        now_us = time.time_ns() // 1000
        found: list[Match] = []
        index = self._tenants.get(tenant)
        if index is None:
            return found
        types = wanted.types.any_of if wanted.types is not None else None
        for registration in index.candidates(types, wanted.ids or None, wanted.attributes):
            if registration.expires_at is not None and registration.expires_at <= now_us:
                continue
            if operation is None or operation in registration.operations:
                match = part_of(registration, wanted)
                if match is not None:
                    found.append(match)
        return found


def part_of(registration: Registration, wanted: Wanted) -> Match | None:
    """What of a request a registration answers for; None where it has no part in it."""
    ids: dict[str, None] = {}
    types: set[str] = set()
    attributes: set[str] = set()
    about = everything = any_id = False
    for information in registration.information:
        names = _attributes(information, wanted.attributes)
        parts = [part for part in information.entities if _about(part, wanted)]
        if (information.entities and not parts) or names == frozenset():
            continue
        about = True
        everything = everything or names is None
        attributes |= names or frozenset()
        any_id = any_id or not parts
        for part in parts:
            types |= part.types
            chosen = _ids(part, wanted.ids)
            any_id = any_id or not chosen
            ids.update(dict.fromkeys(chosen))
    if not about:
        return None
    return Match(
        registration,
        wanted.ids if any_id else tuple(ids),
        frozenset(types),
        None if everything else frozenset(attributes),
    )


def _attributes(information: Information, wanted: frozenset[str] | None) -> frozenset[str] | None:
    """Those in common; None for all, the empty set for none."""
    registered = information.attributes
    if registered is None or wanted is None:
        return registered if wanted is None else wanted
    return registered & wanted


def _about(part: EntityInfo, wanted: Wanted) -> bool:
    if wanted.types is not None and not any(wanted.types.matches(frozenset({iri})) for iri in part.types):
        return False
    if wanted.ids:
        return any(part.covers(entity_id, frozenset()) for entity_id in wanted.ids)
    if wanted.id_pattern is not None and part.id is not None:
        return Pattern(wanted.id_pattern).search(part.id)
    return True


def _ids(part: EntityInfo, wanted: Iterable[str]) -> tuple[str, ...]:
    """The ids that a part is about; none where that is not limited."""
    if part.id is not None:
        return (part.id,)
    return tuple(entity_id for entity_id in wanted if part.covers(entity_id, frozenset()))
