"""What becomes of a stored entity when another arrives: pure functions over stored forms (CIM 009 clauses 5.6, 9.1).

``now`` is the DateTime of the operation. Documents that are given in are not used again by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from gateway.server.broker.model import NULL, Stored, instances, time_us
from gateway.server.storage.base import Sample

HISTORY_LEAVES_OUT = frozenset({"observedAt", "datasetId", "createdAt", "modifiedAt"})


@dataclass(slots=True)
class Merged:
    """The entity after an operation and the attribute IRIs that differ now.

    ``refused``: attributes that were there and may not be overwritten, or should be deleted and were not there.
    ``previous``: what was stored under the changed and removed attributes.
    """

    entity: Stored
    changed: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    previous: dict[str, Stored | list[Stored]] = field(default_factory=dict)


def create(new: Stored, now: str) -> Merged:
    """An entity that was not there."""
    names = [name for name in new if ":" in name]
    for name in names:
        for instance in instances(new[name]):
            instance["createdAt"] = instance["modifiedAt"] = now
    new["createdAt"] = new["modifiedAt"] = now
    return Merged(new, changed=names, added=list(names))


def replace(old: Stored, new: Stored, now: str) -> Merged:
    """The new entity in place of the old one; what stays keeps its date of creation."""
    result = Merged(new)
    for name in [name for name in new if ":" in name]:
        before = {i.get("datasetId"): i for i in instances(old[name])} if name in old else {}
        after = instances(new[name])
        for instance in after:
            if _stamp(instance, before.pop(instance.get("datasetId"), None), now):
                result.changed.append(name)
        if before:
            result.changed.append(name)
        if name not in old:
            result.added.append(name)
    result.removed = [name for name in old if ":" in name and name not in new]
    result.changed = list(dict.fromkeys(result.changed + result.removed))
    result.previous = {name: old[name] for name in result.changed if name in old}
    new["createdAt"], new["modifiedAt"] = old["createdAt"], now
    return result


def update(old: Stored, new: Stored, now: str, *, overwrite: bool = True) -> Merged:
    """Attributes and types of the new added to the old; an instance replaces the one with the same datasetId.

    An instance observed before the one that is there does not replace it: late samples belong to history only.
    """
    result = Merged(old)
    for name in [name for name in new if ":" in name]:
        there = old.get(name)
        if there is None:
            result.added.append(name)
        kept = {} if there is None else {i.get("datasetId"): i for i in instances(there)}
        for instance in instances(new[name]):
            _update_instance(result, name, kept, instance, now, overwrite)
        if there is not None and result.changed and result.changed[-1] == name:
            result.previous[name] = there
        if kept:
            left = list(kept.values())
            old[name] = left if len(left) > 1 else left[0]
        elif there is None:
            result.added.remove(name)
        else:
            del old[name]
            result.removed.append(name)
    result.changed = list(dict.fromkeys(result.changed))
    if "scope" in new:
        old["scope"] = new["scope"]
    if new.get("type", old["type"]) != old["type"]:
        old["type"] = list(dict.fromkeys(old["type"] + new["type"]))
    old["modifiedAt"] = now
    return result


def _update_instance(
    result: Merged, name: str, kept: dict[str | None, Stored], instance: Stored, now: str, overwrite: bool
) -> None:
    dataset = instance.get("datasetId")
    there = kept.get(dataset)
    if instance["type"] == NULL:
        if kept.pop(dataset, None) is None:
            result.refused.append(name)
        else:
            result.changed.append(name)
    elif there is not None and not overwrite:
        result.refused.append(name)
    elif there is None or not _is_late(instance, there):
        if _stamp(instance, there, now):
            result.changed.append(name)
        kept[dataset] = instance


def _is_late(new: Stored, there: Stored) -> bool:
    observed, known = new.get("observedAt"), there.get("observedAt")
    return observed is not None and known is not None and observed != known and time_us(observed) < time_us(known)


def _stamp(new: Stored, there: Stored | None, now: str) -> bool:
    """Give the instance its system times. Returns whether it differs from the one that was there."""
    if there is None:
        new["createdAt"] = new["modifiedAt"] = now
        return True
    new["createdAt"], new["modifiedAt"] = there["createdAt"], there["modifiedAt"]
    differs = new != there
    new["modifiedAt"] = now
    return differs


def samples(entity: Stored) -> list[Sample]:
    """What an incoming entity adds to history: every instance that says when it was observed."""
    found: list[Sample] = []
    for name, value in entity.items():
        if ":" not in name:
            continue
        for instance in instances(value):
            observed = instance.get("observedAt")
            if observed is not None:
                kept = {key: part for key, part in instance.items() if key not in HISTORY_LEAVES_OUT}
                found.append(Sample(name, instance.get("datasetId", ""), time_us(observed), orjson.dumps(kept)))
    return found
