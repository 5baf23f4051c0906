"""Entities as sources give them, and one entity made of several copies (CIM 009 clauses 4.5.5.2, 4.5.5.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.server.broker.links import now_us
from gateway.server.broker.model import Stored, instances, time_us
from gateway.server.broker.names import Fault, check_time
from gateway.server.broker.parse import parse_entity
from gateway.server.broker.transient import alive
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData
from gateway.server.sources.model import Mode, Registration

DATES = ("createdAt", "modifiedAt")


@dataclass(frozen=True, slots=True)
class Copy:
    """What one source has of an entity; ``names``: the attributes it may answer for, None for all."""

    entity: Stored
    mode: Mode
    names: frozenset[str] | None = None


def received(raw: Any, context: Context) -> Stored | None:
    """An entity of an answer in stored form, with its dates; None where all of it has expired.

    Raises BadRequestData for what is no entity.
    """
    if not isinstance(raw, dict):
        raise BadRequestData("/: an entity must be a JSON object")
    current = _unexpired(raw)
    if current is None:
        return None
    entity = parse_entity(current, context)
    _date(entity, current)
    for name, value in current.items():
        stored = entity.get(context.expand_name(name))
        if stored is None or not isinstance(value, dict | list):
            continue
        by_dataset = {instance.get("datasetId", "@none"): instance for instance in instances(stored)}
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict) and part.get("datasetId", "@none") in by_dataset:
                _date(by_dataset[part.get("datasetId", "@none")], part)
    return alive(entity, now_us())


def merged(copies: Sequence[Copy], owned: Mapping[str, object] | frozenset[str] = frozenset()) -> Stored | None:
    """One entity of its copies; ``owned``: attributes that only exclusive and redirect sources may answer for.

    None where there is none but by auxiliary sources, which only add attributes that nobody else has.
    """
    result: Stored = {}
    for mode in ("exclusive", "redirect", "inclusive"):
        found: Stored = {}
        for copy in (copy for copy in copies if copy.mode == mode):
            _head(result, copy.entity)
            for name, value in copy.entity.items():
                if ":" not in name or not (copy.names is None or name in copy.names):
                    continue
                if mode == "inclusive" and name in owned:
                    continue
                found[name] = newest([*instances(found.get(name, [])), *instances(value)])
        result.update((name, value) for name, value in found.items() if name not in result)
    if not result:
        return None
    for copy in (copy for copy in copies if copy.mode == "auxiliary"):
        for name, value in copy.entity.items():
            if ":" in name and name not in result and name not in owned and (copy.names is None or name in copy.names):
                result[name] = value
    _expiry(result, [copy.entity for copy in copies if copy.mode != "auxiliary"])
    return result


def undecided(copies: Sequence[Copy]) -> bool:
    """Whether copies say different things of one instance, and dates that are not there would tell who is right."""
    for mode in ("redirect", "inclusive"):
        seen: dict[tuple[str, str], Stored] = {}
        for copy in (copy for copy in copies if copy.mode == mode):
            for name, value in copy.entity.items():
                if ":" not in name or not (copy.names is None or name in copy.names):
                    continue
                for instance in instances(value):
                    other = seen.setdefault((name, instance.get("datasetId", "@none")), instance)
                    differ = _said(other) != _said(instance) and _age(other)[:2] == _age(instance)[:2]
                    if differ and not ("modifiedAt" in other and "modifiedAt" in instance):
                        return True
    return False


def newest(found: Iterable[Stored]) -> Stored | list[Stored]:
    """Of each dataset the instance with the latest observedAt, or else modifiedAt; the first of equal ones."""
    best: dict[str, Stored] = {}
    for instance in found:
        dataset = instance.get("datasetId", "@none")
        known = best.get(dataset)
        if known is None or _age(instance) > _age(known):
            best[dataset] = instance
    result = list(best.values())
    return result[0] if len(result) == 1 else result


def covered(registration: Registration, entity_id: str, types: Iterable[str]) -> tuple[bool, frozenset[str] | None]:
    """Whether a registration is about an entity, and about which of its attributes (None: all)."""
    names: set[str] = set()
    of_types = frozenset(types)
    about = False
    for information in registration.information:
        if information.entities and not any(entity.covers(entity_id, of_types) for entity in information.entities):
            continue
        about = True
        if information.attributes is None:
            return True, None
        names |= information.attributes
    return about, frozenset(names)


def _age(instance: Stored) -> tuple[bool, int, int]:
    observed, modified = instance.get("observedAt"), instance.get("modifiedAt")
    return observed is not None, time_us(observed) if observed else 0, time_us(modified) if modified else 0


def _said(instance: Stored) -> Stored:
    return {name: value for name, value in instance.items() if name not in DATES}


def _head(result: Stored, entity: Stored) -> None:
    """Types and scopes of all, from the first creation to the last change."""
    result.setdefault("id", entity["id"])
    result["type"] = list(dict.fromkeys([*result.get("type", []), *entity["type"]]))
    if "scope" in entity:
        result["scope"] = list(dict.fromkeys([*result.get("scope", []), *entity["scope"]]))
    for name, choose in (("createdAt", min), ("modifiedAt", max)):
        times = [part[name] for part in (result, entity) if name in part]
        if times:
            result[name] = choose(times, key=time_us)


def _expiry(result: Stored, entities: Sequence[Stored]) -> None:
    """It lives as long as any of its copies."""
    result.pop("expiresAt", None)
    if all("expiresAt" in entity for entity in entities):
        result["expiresAt"] = max((entity["expiresAt"] for entity in entities), key=time_us)


def _date(stored: Stored, raw: Mapping[str, Any]) -> None:
    """The dates of the system, where they are such."""
    for name in DATES:
        if name in raw:
            try:
                stored[name] = check_time(raw[name])
            except Fault:
                continue


def _unexpired(raw: dict[str, Any]) -> dict[str, Any] | None:
    """The entity without what has expired by the time of this broker, which would refuse it as input."""
    now = now_us()
    if _past(raw, now):
        return None
    result: dict[str, Any] = {}
    for name, value in raw.items():
        if isinstance(value, list):
            left = [part for part in value if not (isinstance(part, dict) and _past(part, now))]
            if left or not value:
                result[name] = left
        elif not (isinstance(value, dict) and _past(value, now)):
            result[name] = value
    return result


def _past(part: Mapping[str, Any], now: int) -> bool:
    moment = part.get("expiresAt")
    try:
        return isinstance(moment, str) and time_us(moment) <= now
    except ValueError:
        return False
