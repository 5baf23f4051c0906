"""What operations on current state leave in history, beyond what arrives with ``observedAt`` (``merge.samples``).

An attribute that says when it was observed is in history at that time. One that does not is there at the time of the
write (mark ``written``), once for each change of it. What is deleted leaves an instance with the null marker at the
time of its deletion (mark ``deleted``). The scope of an entity has a history, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from gateway.server.broker.model import CORE, NULL, VALUE_MEMBERS, Change, Stored, instances, time_us
from gateway.server.storage.base import Mark, Sample

SCOPE = f"{CORE}scope"
LEFT_OUT = frozenset({"observedAt", "datasetId", "createdAt", "modifiedAt", "expiresAt"})


def recorded(change: Change, at_us: int, *, whole: bool = True) -> list[Sample]:
    """Samples of one change. ``whole``: what was observed arrived whole and is recorded already.

    Without it (partial updates, merges) every changed instance is recorded as it is now.
    """
    if change.event == "deleted":
        gone = [(name, i) for name, value in change.entity.items() if ":" in name for i in instances(value)]
        return [deletion(name, instance, at_us) for name, instance in gone]
    found: list[Sample] = []
    for name in change.attributes:
        before, after = change.previous.get(name), change.entity.get(name)
        if not (whole and _observed_alone(after) and (before is None or _observed_alone(before))):
            found += _differences(name, before, after, at_us, whole)
    return found


def scope_sample(scopes: Sequence[str] | None, at_us: int) -> Sample:
    """The scopes of an entity from now on; None: it has none any more."""
    if not scopes:
        return deletion(SCOPE, {"type": "Property"}, at_us)
    return Sample(SCOPE, "", at_us, orjson.dumps({"type": "Property", "value": list(scopes)}), "written")


def deletion(name: str, instance: Mapping[str, object], at_us: int) -> Sample:
    """The instance that says that one of that type and dataset was deleted."""
    kind = str(instance["type"])
    marker = {"@none": NULL} if kind == "LanguageProperty" else NULL
    gone = orjson.dumps({"type": kind, VALUE_MEMBERS[kind]: marker})
    return Sample(name, str(instance.get("datasetId", "")), at_us, gone, "deleted")


def _observed_alone(value: Stored | list[Stored] | None) -> bool:
    """One default instance with observedAt: all that ingest ever brings."""
    return type(value) is dict and "observedAt" in value and "datasetId" not in value


def _differences(
    name: str, before: Stored | list[Stored] | None, after: Stored | list[Stored] | None, at_us: int, whole: bool
) -> list[Sample]:
    there = {} if before is None else {i.get("datasetId", ""): i for i in instances(before)}
    found: list[Sample] = []
    for instance in () if after is None else instances(after):
        old = there.pop(instance.get("datasetId", ""), None)
        content = _content(instance)
        observed = instance.get("observedAt")
        if observed is not None and whole:
            continue
        if old is None or old.get("observedAt") != observed or _content(old) != content:
            mark: Mark = "written" if observed is None else "observed"
            moment = at_us if observed is None else time_us(observed)
            found.append(Sample(name, instance.get("datasetId", ""), moment, orjson.dumps(content), mark))
    return found + [deletion(name, instance, at_us) for instance in there.values()]


def _content(instance: Stored) -> Stored:
    return {key: part for key, part in instance.items() if key not in LEFT_OUT}
