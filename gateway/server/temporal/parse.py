"""Input of temporal evolutions: each attribute a list of its instances (CIM 009 clause 5.2.20) to samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from gateway.server.broker.model import VALUE_MEMBERS, Stored, time_us
from gateway.server.broker.parse import Fault, expand_checked, parse_entity, parse_instance
from gateway.server.broker.record import LEFT_OUT, SCOPE
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData
from gateway.server.storage.base import Sample

INSTANCES_MAX = 100_000  # of one request
HEADER = frozenset({"id", "@id", "type", "@type", "@context", "createdAt", "modifiedAt", "deletedAt", "expiresAt"})


@dataclass(frozen=True, slots=True)
class Evolution:
    """What is to be added to history. ``undated``: instances that do not say when they were observed."""

    id: str | None
    types: list[str]
    samples: list[Sample]
    undated: list[tuple[str, Stored]]

    def at(self, now_us: int) -> list[Sample]:
        """All samples; what is not dated is there from now on, each a microsecond after the other."""
        written = [sample_of(name, found, now_us + number) for number, (name, found) in enumerate(self.undated)]
        return self.samples + written


def parse_evolution(raw: object, context: Context, *, fragment: bool = False) -> Evolution:
    """``fragment``: id and type may be absent, attributes may not. Raises BadRequestData, OperationNotSupported."""
    if not isinstance(raw, dict):
        raise BadRequestData("/: a temporal evolution must be a JSON object")
    head = parse_entity({name: raw[name] for name in raw if name in HEADER}, context, fragment=fragment)
    samples: list[Sample] = []
    undated: list[tuple[str, Stored]] = []
    try:
        for name, value in raw.items():
            if name in HEADER:
                continue
            for iri, instance in _instances(name, value, context):
                if "observedAt" in instance:
                    samples.append(sample_of(iri, instance, 0))
                else:
                    undated.append((iri, instance))
                if len(samples) + len(undated) > INSTANCES_MAX:
                    raise Fault(f"more than {INSTANCES_MAX} instances in one request")
    except Fault as fault:
        raise fault.problem() from None
    if fragment and not samples and not undated:
        raise BadRequestData("/: there is no attribute in it")
    return Evolution(head.get("id"), head.get("type", []), samples, undated)


def sample_of(name: str, instance: Mapping[str, object], now_us: int) -> Sample:
    """The sample of an instance in stored form; at ``now_us`` where it does not say when it was observed."""
    observed = instance.get("observedAt")
    content = orjson.dumps({key: part for key, part in instance.items() if key not in LEFT_OUT})
    dataset = str(instance.get("datasetId", ""))
    if observed is None:
        return Sample(name, dataset, now_us, content, "written")
    return Sample(name, dataset, time_us(str(observed)), content)


def parse_change(raw: object, attribute: str, there: Mapping[str, object], context: Context) -> Stored:
    """An instance after a partial update: members that are given replace those that are there (clause 5.5.8).

    The body is the attribute's members, or an object or list around them under the attribute's name.
    Raises BadRequestData.
    """
    if not isinstance(raw, dict):
        raise BadRequestData("/: a fragment must be a JSON object")
    members: object = {name: value for name, value in raw.items() if name != "@context"}
    try:
        members = _unwrapped(members, attribute, context)
        if not isinstance(members, dict) or not members:
            raise Fault("one instance of the attribute is expected, with at least one member")
        kind = there["type"]
        if members.get("type", kind) != kind:
            raise Fault(f"the attribute is a {kind}, and stays one", "type")
        if members.get("datasetId", "@none") not in ("@none", there.get("datasetId")):
            raise Fault("an instance stays in its dataset", "datasetId")
        value = VALUE_MEMBERS[str(kind)]
        given = members if value in members else {**members, value: context.compact(there)[value]}
        changed = parse_instance(attribute, {**given, "type": kind}, context, False)
    except Fault as fault:
        raise fault.problem() from None
    return {**there, **changed}


def _unwrapped(members: object, attribute: str, context: Context) -> object:
    if isinstance(members, dict):
        named = [name for name in members if name not in HEADER and expand_checked(name, context) == attribute]
        if named and not any(member in members for member in VALUE_MEMBERS.values()):
            members = members[named[0]]
    if isinstance(members, list) and len(members) == 1:
        return members[0]
    return members


def _instances(name: str, value: object, context: Context) -> list[tuple[str, Stored]]:
    try:
        if name == "scope":
            return [(SCOPE, instance) for instance in _scopes(value, context)]
        iri = expand_checked(name, context)
        if iri == name and ":" not in name:
            raise Fault("is not a name of an attribute")
        if not isinstance(value, list):
            return [(iri, parse_instance(name, value, context, False))]
        found = []
        for number, part in enumerate(value):
            if not isinstance(part, dict):
                raise Fault("an instance must be a JSON object", number)
            try:
                found.append((iri, parse_instance(name, part, context, False)))
            except Fault as fault:
                raise fault.under(number) from None
        return found
    except Fault as fault:
        raise fault.under(name) from None


def _scopes(value: object, context: Context) -> list[Stored]:
    """Scopes through time: instances like those of a Property, or just the scopes of now."""
    parts = value if isinstance(value, list) and value and all(isinstance(p, dict) for p in value) else [value]
    found: list[Stored] = []
    for part in parts:
        instance: Stored = {"type": "Property"}
        if isinstance(part, dict):
            instance = parse_instance("scope", {**part, "type": "Property"}, context, False)
            part = instance["value"]
        instance["value"] = parse_entity({"scope": part}, context, fragment=True)["scope"]
        found.append(instance)
    return found
