"""HTTP of history: one entity's evolution (CIM 009 clauses 4.5.7, 4.5.8, 4.11, 6.19)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.server import wire
from gateway.server.broker.answers import entity_id_of, respond
from gateway.server.broker.model import VALUE_MEMBERS, Stored, time_text, time_us
from gateway.server.broker.query import expand_names
from gateway.server.broker.represent import View, represent
from gateway.server.contexts import Context, Contexts
from gateway.server.errors import BadRequestData, InvalidRequest, OperationNotSupported, TooManyResults
from gateway.server.routing import Route
from gateway.server.storage.base import Sample, Span
from gateway.server.temporal.service import LAST_N_MAX, ROWS_MAX, Evolution, Temporal
from gateway.server.wire import ROOT, Request, Response, answer

PARAMETERS = frozenset(
    {"timerel", "timeAt", "endTimeAt", "timeproperty", "lastN", "attrs", "options", "format", "local"}
)
TEMPORAL_KEYS = {
    "value": "values",
    "object": "objects",
    "languageMap": "languageMaps",
    "vocab": "vocabs",
    "valueList": "valueLists",
    "objectList": "objectLists",
    "json": "jsons",
}
SIMPLE = frozenset({"temporalValues", "simplified", "keyValues"})
KEEP_WRAPPED = frozenset({"languageMap", "vocab", "json"})


class TemporalRoutes:
    """The handlers of history."""

    def __init__(self, temporal: Temporal, contexts: Contexts) -> None:
        self._temporal = temporal
        self._contexts = contexts

    def routes(self) -> list[Route]:
        """What is offered."""
        one = f"{ROOT}/temporal/entities/{{id}}"
        return [Route("GET", one, self.retrieve), Route("DELETE", one, self.delete)]

    async def retrieve(self, request: Request) -> Response:
        """GET /temporal/entities/{id}."""
        parameters = request.query(PARAMETERS)
        media = wire.negotiate(request.header(b"accept"))
        context = await wire.context_of(request, self._contexts)
        wire.boolean(parameters, "local")
        words = wire.options(parameters, {*SIMPLE, "normalized"})
        simple = bool(words & SIMPLE)
        if "format" in parameters:
            if parameters["format"] not in {*SIMPLE, "normalized"}:
                raise InvalidRequest(f"the format {parameters['format']!r} does not apply here")
            simple = parameters["format"] in SIMPLE
        span = span_of(parameters, context)
        entity_id = entity_id_of(request)
        evolution = await self._temporal.retrieve(request.tenant, entity_id, span)
        body = _body(entity_id, evolution, context, simple=simple, newest_first=span.last_n is not None)
        if media == wire.LD:
            body["@context"] = context.spec
        whole = respond(body, View(context), media)
        if evolution.complete_until_us is None:
            return whole
        extent = (b"content-range", _content_range(evolution).encode("ascii"))
        return Response(206, whole.body, (*whole.headers, extent))

    async def delete(self, request: Request) -> Response:
        """DELETE /temporal/entities/{id}."""
        wire.boolean(request.query({"local"}), "local")
        await self._temporal.delete(request.tenant, entity_id_of(request))
        return answer(204)


def span_of(parameters: Mapping[str, str], context: Context) -> Span:
    """The temporal query of the parameters (clause 4.11). Raises BadRequestData."""
    if parameters.get("timeproperty", "observedAt") != "observedAt":
        raise OperationNotSupported("timeproperty: this version has history by observedAt only")
    rel = parameters.get("timerel")
    at, end = (_moment(parameters, name) for name in ("timeAt", "endTimeAt"))
    if (rel is None) != (at is None):
        raise BadRequestData("timerel and timeAt belong together")
    if (rel == "between") != (end is not None):
        raise BadRequestData("endTimeAt belongs to timerel=between")
    if rel not in (None, "before", "after", "between"):
        raise BadRequestData("timerel must be before, after or between")
    last_n = wire.natural(parameters, "lastN", 0, 1) or None
    if last_n is not None and last_n > LAST_N_MAX:
        raise TooManyResults(f"lastN must be at most {LAST_N_MAX}", fix="Ask for intervals with timerel=between.")
    attributes = expand_names(wire.comma_list(parameters, "attrs"), context)
    since = None if rel == "before" else at
    until = at if rel == "before" else end
    return Span(attributes, since, until, last_n, ROWS_MAX)


def _moment(parameters: Mapping[str, str], name: str) -> int | None:
    if name not in parameters:
        return None
    try:
        return time_us(parameters[name])
    except ValueError as error:
        raise BadRequestData(f"{name}: {error}") from None


def _body(
    entity_id: str, evolution: Evolution, context: Context, *, simple: bool, newest_first: bool
) -> dict[str, Any]:
    body: dict[str, Any] = represent({"id": entity_id, "type": evolution.types}, View(context))
    by_series: dict[str, dict[str, list[Sample]]] = {}
    for sample in reversed(evolution.samples) if newest_first else evolution.samples:
        by_series.setdefault(sample.attribute, {}).setdefault(sample.dataset, []).append(sample)
    for attribute, datasets in by_series.items():
        name = context.compact_name(attribute)
        if simple:
            shown = [_values(dataset, samples, context) for dataset, samples in datasets.items()]
            body[name] = shown[0] if len(shown) == 1 else shown
        else:
            body[name] = [i for samples in datasets.values() for i in _instances(entity_id, samples, context)]
    return body


def _instances(entity_id: str, samples: Sequence[Sample], context: Context) -> list[Stored]:
    first = samples[0]
    series = hashlib.sha256("\0".join((entity_id, first.attribute, first.dataset)).encode()).hexdigest()[:16]
    shown = []
    for sample in samples:
        instance = context.compact(orjson.loads(sample.instance))
        instance["observedAt"] = time_text(sample.at_us)
        if sample.dataset:
            instance["datasetId"] = sample.dataset
        instance["instanceId"] = f"urn:ngsi-ld:Instance:{series}:{sample.at_us}"
        shown.append(instance)
    return shown


def _values(dataset: str, samples: Sequence[Sample], context: Context) -> dict[str, Any]:
    loaded = [context.compact(orjson.loads(sample.instance)) for sample in samples]
    kind = loaded[-1]["type"]
    member = VALUE_MEMBERS[kind]
    pairs = [
        [{member: i[member]} if member in KEEP_WRAPPED else i[member], time_text(sample.at_us)]
        for sample, i in zip(samples, loaded, strict=True)
        if member in i
    ]
    shown: dict[str, Any] = {"type": kind, TEMPORAL_KEYS[member]: pairs}
    return {**shown, "datasetId": dataset} if dataset else shown


def _content_range(evolution: Evolution) -> str:
    """From where to where this part goes; the client goes on just after its end."""
    samples = evolution.samples
    first, last = samples[0].at_us, samples[-1].at_us
    return f"date-time {time_text(first)}-{time_text(last)}/*"
