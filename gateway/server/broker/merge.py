"""What becomes of a stored entity when another arrives: pure functions over stored forms (CIM 009 clauses 5.6, 9.1).

``now`` is the DateTime of the operation. Documents that are given in are not used again by the caller.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import orjson

from gateway.server.broker.model import NULL, Stored, instances, time_us
from gateway.server.storage.base import Sample

HISTORY_LEAVES_OUT = ("observedAt", "datasetId", "createdAt", "modifiedAt", "expiresAt")
HEADER = ("type", "scope", "expiresAt")
NOT_THERE = "the entity has no such attribute, or no such instance of it"
NOT_OVERWRITTEN = "it is there already, and noOverwrite was asked for"


@dataclass(slots=True)
class Merged:
    """The entity after an operation and the attribute IRIs that differ now.

    ``refused``: why, by attribute: it was there and may not be overwritten; it was not there and should have been.
    ``previous``: what was stored under the changed and removed attributes. ``header``: types, scopes or expiry differ.
    """

    entity: Stored
    changed: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    previous: dict[str, Stored | list[Stored]] = field(default_factory=dict)
    header: bool = False


def create(new: Stored, now: str) -> Merged:
    """An entity that was not there."""
    names: list[str] = []
    for name, value in new.items():
        if ":" in name:
            names.append(name)
            for instance in (value,) if type(value) is dict else value:
                instance["createdAt"] = instance["modifiedAt"] = now
    new["createdAt"] = new["modifiedAt"] = now
    return Merged(new, changed=names, added=list(names))


def replace(old: Stored, new: Stored, now: str) -> Merged:
    """The new entity in place of the old one; what stays keeps its date of creation."""
    result = Merged(old)
    for name in [name for name in old if ":" in name and name not in new]:
        assign(result, name, [], now)
    for name, value in new.items():
        if ":" in name:
            there = old.get(name)
            if type(there) is dict and type(value) is dict and _same_instance(there, value):
                _overwrite(result, name, there, value, now)
            else:
                assign(result, name, instances(value), now)
    for member in HEADER:
        if member in new or member != "type":
            _put(result, member, new.get(member, NULL))
    old["modifiedAt"] = now
    return result


def update(
    old: Stored, new: Stored, now: str, *, overwrite: bool = True, add: bool = True, newest: bool = False
) -> Merged:
    """Attributes and types of the new added to the old; an instance replaces the one with the same datasetId.

    Without ``overwrite`` what is there stays; without ``add`` only attributes that are there are taken. ``newest``: an
    instance observed before the one that is there does not replace it, it belongs to history only.
    """
    result = Merged(old)
    for name, value in new.items():
        if ":" not in name:
            continue
        there = old.get(name)
        if overwrite and type(there) is dict and type(value) is dict and _same_instance(there, value):
            if not newest or not _is_late(value, there):
                _overwrite(result, name, there, value, now)
            continue
        if there is None and not add:
            result.refused[name] = NOT_THERE
            continue
        kept = {} if there is None else {i.get("datasetId"): i for i in instances(there)}
        for instance in instances(value):
            dataset = instance.get("datasetId")
            known = kept.get(dataset)
            if instance["type"] == NULL:
                if kept.pop(dataset, None) is None:
                    result.refused[name] = NOT_THERE
            elif known is None or (overwrite and not (newest and _is_late(instance, known))):
                kept[dataset] = instance
            elif not overwrite:
                result.refused[name] = NOT_OVERWRITTEN
        assign(result, name, list(kept.values()), now)
    adopt(result, new, now, overwrite=overwrite)
    return result


def adopt(result: Merged, new: Stored, now: str, *, overwrite: bool = True) -> None:
    """Types, scopes and expiry of a fragment, into the entity: types add up, the others replace."""
    old = result.entity
    if new.get("type", old["type"]) != old["type"]:
        _put(result, "type", list(dict.fromkeys(old["type"] + new["type"])))
    if "scope" in new:
        scopes = new["scope"] if overwrite else list(dict.fromkeys([*old.get("scope", ()), *new["scope"]]))
        _put(result, "scope", scopes)
    if "expiresAt" in new and (overwrite or "expiresAt" not in old):
        _put(result, "expiresAt", new["expiresAt"])
    old["modifiedAt"] = now


def _put(result: Merged, member: str, value: object) -> None:
    """Set a member of the entity, or with the null marker remove it."""
    if value == result.entity.get(member, NULL):
        return
    result.header = True
    if value == NULL:
        del result.entity[member]
    else:
        result.entity[member] = value


def delete(old: Stored, name: str, datasets: Collection[str | None] | None, now: str) -> Merged:
    """Without some instances of an attribute (None: the default one), or all of it where no datasets are given."""
    result = Merged(old)
    there = instances(old[name]) if name in old else []
    left = [] if datasets is None else [i for i in there if i.get("datasetId") not in datasets]
    if len(left) == len(there):
        result.refused[name] = NOT_THERE
    else:
        assign(result, name, left, now)
        old["modifiedAt"] = now
    return result


def delete_scope(old: Stored, now: str) -> Merged:
    """Without its scopes."""
    result = Merged(old)
    _put(result, "scope", NULL)
    if not result.header:
        result.refused["scope"] = NOT_THERE
    old["modifiedAt"] = now
    return result


def assign(result: Merged, name: str, after: Sequence[Stored], now: str) -> None:
    """Give an attribute these instances, with their system times; an instance that is the stored one stays as it is."""
    entity = result.entity
    there = entity.get(name)
    if there is None:
        if not after:
            return
        differs = True
        for instance in after:
            instance["createdAt"] = instance["modifiedAt"] = now
        result.added.append(name)
    else:
        before = {i.get("datasetId"): i for i in instances(there)}
        differs = False
        for instance in after:
            known = before.pop(instance.get("datasetId"), None)
            if instance is not known and _stamp(instance, known, now):
                differs = True
        if before:
            differs = True
        if differs:
            result.previous[name] = there
    if differs:
        result.changed.append(name)
    if after:
        entity[name] = after[0] if len(after) == 1 else list(after)
    else:
        del entity[name]
        result.removed.append(name)


def _same_instance(there: Stored, new: Stored) -> bool:
    """The hot path: one instance in place of the one that is there."""
    return new["type"] != NULL and there.get("datasetId") == new.get("datasetId")


def _overwrite(result: Merged, name: str, there: Stored, new: Stored, now: str) -> None:
    if _stamp(new, there, now):
        result.changed.append(name)
        result.previous[name] = there
    result.entity[name] = new


def _is_late(new: Stored, there: Stored) -> bool:
    observed, known = new.get("observedAt"), there.get("observedAt")
    if observed is None or known is None or observed == known:
        return False
    if len(observed) == len(known) and observed[19] == known[19]:  # of one form the texts are in the order of time
        return bool(observed < known)
    return time_us(observed) < time_us(known)


def _stamp(new: Stored, there: Stored | None, now: str) -> bool:
    """Give the instance its system times. Returns whether it differs from the one that was there."""
    if there is None:
        new["createdAt"] = new["modifiedAt"] = now
        return True
    new["createdAt"], new["modifiedAt"] = there["createdAt"], there["modifiedAt"]
    differs = new != there
    new["modifiedAt"] = now
    return differs


def samples(entity: Stored, leave_out: Collection[str] = ()) -> list[Sample]:
    """What an incoming entity adds to history: every instance that says when it was observed."""
    found: list[Sample] = []
    for name, value in entity.items():
        if ":" not in name or name in leave_out:
            continue
        for instance in (value,) if type(value) is dict else value:
            observed = instance.get("observedAt")
            if observed is not None:
                kept = instance.copy()
                for member in HISTORY_LEAVES_OUT:
                    kept.pop(member, None)
                found.append(Sample(name, instance.get("datasetId", ""), time_us(observed), orjson.dumps(kept)))
    return found
