"""Temporal evolutions as a client wants them: normalized, concise, temporalValues (CIM 009 clauses 4.5.6 to 4.5.8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from gateway.server.broker.model import SYSTEM_MEMBERS, VALUE_MEMBERS, Stored, time_text
from gateway.server.broker.represent import View, represent
from gateway.server.broker.represent_filter import in_language
from gateway.server.storage.base import Sample
from gateway.server.temporal.ask import Ask
from gateway.server.temporal.slices import time_of

INSTANCE = "urn:ngsi-ld:Instance:"
TEMPORAL_KEYS = {
    "value": "values",
    "object": "objects",
    "languageMap": "languageMaps",
    "vocab": "vocabs",
    "valueList": "valueLists",
    "objectList": "objectLists",
    "json": "jsons",
}
KEEP_WRAPPED = frozenset({"languageMap", "vocab", "json"})


def header(entity_id: str, types: Sequence[str], dates: Stored, ask: Ask) -> dict[str, Any]:
    """The entity without its attributes."""
    shown: dict[str, Any] = {"id": entity_id, "type": ask.context.compact_names(list(types)), **dates}
    return {name: value for name, value in shown.items() if name in dates or ask.shows(name)}


def evolution(samples: Sequence[Sample], ask: Ask) -> dict[str, Any]:
    """The attributes of an entity, the default dataset first; the oldest instance first, with lastN the newest.

    Deletions are no values: temporalValues has them only where it is asked for what was deleted.
    """
    plain = ask.form == "temporalValues" and ask.span.time_property != "deletedAt"
    series: dict[str, dict[str, list[Sample]]] = {}
    for sample in samples if ask.span.last_n is None else reversed(samples):
        if ask.shows(sample.attribute) and not (plain and sample.mark == "deleted"):
            series.setdefault(sample.attribute, {}).setdefault(sample.dataset, []).append(sample)
    if ask.form == "temporalValues":
        return {ask.context.compact_name(name): _simplified(datasets, ask) for name, datasets in series.items()}
    stored: Stored = {"id": "", "type": []}
    for name, datasets in series.items():
        stored[name] = [instance(sample, ask) for _, each in sorted(datasets.items()) for sample in each]
    shown = represent(stored, View(ask.context, "concise" if ask.form == "concise" else "normalized", system=True))
    return {name: value for name, value in shown.items() if name not in ("id", "type")}


def instance(sample: Sample, ask: Ask) -> Stored:
    """One instance in stored form, with what only history knows of it."""
    found = loaded(sample, ask)
    if sample.mark == "observed":
        found["observedAt"] = time_text(sample.at_us)
    if sample.dataset:
        found["datasetId"] = sample.dataset
    found["instanceId"] = f"{INSTANCE}{sample.number}"
    if ask.system or ask.span.time_property == "createdAt":
        found["createdAt"] = time_text(sample.created_us)
    if ask.system or ask.span.time_property == "modifiedAt":
        found["modifiedAt"] = time_text(sample.modified_us)
    if sample.mark == "deleted":
        found["deletedAt"] = time_text(sample.at_us)
    return found


def loaded(sample: Sample, ask: Ask) -> Stored:
    """An instance as it was stored, in the language asked for."""
    found: Stored = orjson.loads(sample.instance)
    if not ask.system:
        _without_system(found)
    return in_language(found, ask.languages) if ask.languages else found


def empty(newest: Sample, ask: Ask) -> object:
    """An attribute that is known and has no instance in the interval."""
    if ask.form != "temporalValues":
        return []
    kind = orjson.loads(newest.instance)["type"]
    return {"type": kind, TEMPORAL_KEYS[VALUE_MEMBERS[kind]]: []}


def _simplified(datasets: dict[str, list[Sample]], ask: Ask) -> object:
    shown = [_values(dataset, samples, ask) for dataset, samples in sorted(datasets.items())]
    return shown[0] if len(shown) == 1 else shown


def _values(dataset: str, samples: Sequence[Sample], ask: Ask) -> dict[str, Any]:
    instances = [loaded(sample, ask) for sample in samples]
    kind = instances[0 if ask.span.last_n is not None else -1]["type"]
    member = VALUE_MEMBERS[kind]
    pairs: list[list[object]] = []
    for sample, found in zip(samples, instances, strict=True):
        value: Any = found.get(VALUE_MEMBERS[found["type"]])
        if member == "vocab" and sample.mark != "deleted":
            value = ask.context.compact_names(value)
        pairs.append([{member: value} if member in KEEP_WRAPPED else value, time_text(time_of(sample, ask.span))])
    shown: dict[str, Any] = {"type": kind, TEMPORAL_KEYS[member]: pairs}
    return {**shown, "datasetId": dataset} if dataset else shown


def _without_system(found: Stored) -> None:
    """Sub-attributes, too, may carry system dates."""
    for name in list(found):
        if name in SYSTEM_MEMBERS:
            del found[name]
        elif ":" in name:
            for part in found[name] if isinstance(found[name], list) else [found[name]]:
                _without_system(part)
