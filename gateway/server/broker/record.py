"""What operations on current state leave in history, beyond what arrives with ``observedAt`` (``merge.samples``).

An attribute that says when it was observed is in history at that time. One that does not is there at the time of the
write (mark ``written``), once for each change of it. What is deleted leaves an instance with the null marker at the
time of its deletion (mark ``deleted``). The scope of an entity has a history, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from gateway.server.broker.model import CORE, NULL, VALUE_MEMBERS, Change, Stored, instances, time_us
from gateway.server.storage.base import Mark, Sample, Span, Writer

SCOPE = f"{CORE}scope"
LEFT_OUT = frozenset({"observedAt", "datasetId", "createdAt", "modifiedAt", "expiresAt"})


def record(writer: Writer, changes: Sequence[Change], at_us: int) -> None:
    """Write down what changes leave; for ``Broker.before_commit``."""
    for change in changes:
        if change.event == "deleted" and writer.subject(change.tenant, change.entity["id"]) is None:
            continue  # its history was deleted before it: it leaves nothing
        found = recorded(change, at_us)
        if "scope" in change.entity or not change.attributes:
            found += _scope(writer, change, at_us)
        if found:
            writer.put_history(change.tenant, change.entity["id"], found, at_us)


def recorded(change: Change, at_us: int) -> list[Sample]:
    """Samples of what is not observed, was deleted, or was changed while its observedAt stayed."""
    if change.event == "deleted":
        gone = [(name, i) for name, value in change.entity.items() if ":" in name for i in instances(value)]
        return [deletion(name, instance, at_us) for name, instance in gone]
    found: list[Sample] = []
    entity, previous = change.entity, change.previous
    for name in change.attributes:
        before, after = previous.get(name), entity.get(name)  # one instance, several, or none
        observed = after.get("observedAt") if isinstance(after, dict) and "datasetId" not in after else None
        if observed is not None and (before is None or (isinstance(before, dict) and _follows(before, observed))):
            continue  # all that ingest ever brings: one observed instance after another
        found += _differences(name, before, after, at_us)
    return found


def _follows(before: Stored, observed: str) -> bool:
    """Whether an instance was observed at another time than this one before it, and is of the default dataset."""
    return "datasetId" not in before and before.get("observedAt", observed) != observed


def deletion(name: str, instance: Mapping[str, object], at_us: int) -> Sample:
    """The instance that says that one of that type and dataset was deleted."""
    kind = str(instance["type"])
    marker = {"@none": NULL} if kind == "LanguageProperty" else NULL
    gone = orjson.dumps({"type": kind, VALUE_MEMBERS[kind]: marker})
    return Sample(name, str(instance.get("datasetId", "")), at_us, gone, "deleted")


def _differences(
    name: str, before: Stored | list[Stored] | None, after: Stored | list[Stored] | None, at_us: int
) -> list[Sample]:
    there = {} if before is None else {i.get("datasetId", ""): i for i in instances(before)}
    found: list[Sample] = []
    for instance in () if after is None else instances(after):
        dataset = instance.get("datasetId", "")
        old = there.pop(dataset, None)
        observed = instance.get("observedAt")
        if observed is not None and (old is None or old.get("observedAt") != observed):
            continue  # it arrived with that date, and is there already
        content = _content(instance)
        if old is None or old.get("observedAt") != observed or _content(old) != content:
            mark: Mark = "written" if observed is None else "observed"
            moment = at_us if observed is None else time_us(observed)
            found.append(Sample(name, dataset, moment, orjson.dumps(content), mark))
    return found + [deletion(name, instance, at_us) for instance in there.values()]


def _content(instance: Stored) -> Stored:
    return {key: part for key, part in instance.items() if key not in LEFT_OUT}


def _scope(writer: Writer, change: Change, at_us: int) -> list[Sample]:
    """The scopes, where they are not those that history knows."""
    found = writer.history(change.tenant, change.entity["id"], Span((SCOPE,), last_n=1, time_property="any"))
    known = found[-1] if found else None
    scopes = None if change.event == "deleted" else change.entity.get("scope")
    if not scopes:
        gone = known is None or known.mark == "deleted"
        return [] if gone else [deletion(SCOPE, {"type": "Property"}, at_us)]
    now = orjson.dumps({"type": "Property", "value": scopes})
    return [] if known is not None and known.instance == now else [Sample(SCOPE, "", at_us, now, "written")]
