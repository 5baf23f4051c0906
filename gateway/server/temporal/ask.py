"""What a client asks of history: interval, aggregation and form (CIM 009 clauses 4.11, 4.5.6 to 4.5.8, 4.5.19)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from gateway.server import wire
from gateway.server.broker.answers import languages_of
from gateway.server.broker.model import time_us
from gateway.server.broker.parse import Fault, check_uri
from gateway.server.broker.query import expand_names
from gateway.server.broker.record import SCOPE
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData, InvalidRequest
from gateway.server.storage.base import Span, TimeProperty
from gateway.server.temporal.aggregate import METHODS, Method
from gateway.server.temporal.duration import Period, parse_duration

Form = Literal["normalized", "concise", "temporalValues", "aggregatedValues"]
FORMS: dict[str, Form] = {
    "normalized": "normalized",
    "concise": "concise",
    "simplified": "temporalValues",
    "keyValues": "temporalValues",
    "temporalValues": "temporalValues",
    "aggregatedValues": "aggregatedValues",
}
PARAMETERS = frozenset(
    {"timerel", "timeAt", "endTimeAt", "timeproperty", "lastN", "aggrMethods", "aggrPeriodDuration"}
    | {"attrs", "pick", "omit", "datasetId", "lang", "options", "format", "local", "csf", "splitEntities"}
    | {"join", "joinLevel", "containedBy"}
)
LINKED = ("join", "joinLevel", "containedBy")
NOT_ATTRIBUTES = frozenset({"id", "type", "scope"})
TIMES: tuple[str, ...] = tuple(name for name in get_args(TimeProperty) if name != "any")


@dataclass(frozen=True, slots=True)
class Aggregation:
    """``methods`` over each ``period``."""

    methods: tuple[Method, ...]
    period: Period


@dataclass(frozen=True, slots=True)
class Ask:
    """``span.attributes``: those that must have an instance, empty means any. ``picked``: members to show, None all."""

    context: Context
    span: Span
    form: Form = "normalized"
    system: bool = False
    languages: tuple[str, ...] = ()
    picked: frozenset[str] | None = None
    omitted: frozenset[str] = frozenset()
    aggregation: Aggregation | None = None
    order: Literal["", "asc", "desc"] = ""

    def shows(self, member: str) -> bool:
        """Whether an attribute (IRI), or id or type, is wanted."""
        return member not in self.omitted and (self.picked is None or member in self.picked)


def ask_of(parameters: Mapping[str, str], context: Context, *, timed: bool) -> Ask:
    """What the parameters ask. ``timed``: an interval must be given. Raises BadRequestData, InvalidRequest."""
    wire.boolean(parameters, "local")
    wire.boolean(parameters, "splitEntities")
    for name in LINKED:
        if parameters.get(name, "@none") != "@none":
            raise BadRequestData(f"{name}: history has no linked entities")
    words = wire.options(parameters, {*FORMS, "sysAttrs"})
    named = parameters.get("format") or next((word for word in FORMS if word in words), "normalized")
    if named not in FORMS:
        raise InvalidRequest(f"the format {named!r} does not apply here")
    form = FORMS[named]
    if "aggregatedValues" in words and "format" not in parameters:
        form = "aggregatedValues"
    attrs = expand_names(wire.comma_list(parameters, "attrs"), context)
    pick, omit = _members(parameters, "pick", context), _members(parameters, "omit", context)
    _check_projection(attrs, pick, omit)
    picked = frozenset({*attrs, "id", "type"}) if attrs else frozenset(pick) if pick else None
    attributes = attrs or tuple(name for name in pick if ":" in name)
    return Ask(
        context,
        _span(parameters, attributes, timed=timed, observed=form == "aggregatedValues"),
        form,
        "sysAttrs" in words,
        languages_of(parameters.get("lang")),
        picked,
        frozenset(omit),
        _aggregation(parameters) if form == "aggregatedValues" else None,
        _order(parameters),
    )


def _members(parameters: Mapping[str, str], name: str, context: Context) -> tuple[str, ...]:
    names = wire.comma_list(parameters, name)
    if any("{" in member for member in names):
        raise BadRequestData(f"{name}: history has no linked entities")
    known = {"id": "id", "type": "type", "scope": SCOPE}
    return tuple(known.get(member) or expand_names((member,), context)[0] for member in names)


def _check_projection(attrs: tuple[str, ...], pick: tuple[str, ...], omit: tuple[str, ...]) -> None:
    if attrs and (pick or omit):
        raise BadRequestData("attrs cannot be combined with pick or omit")
    if set(pick) & set(omit):
        raise BadRequestData("a member is both in pick and in omit")


def _span(parameters: Mapping[str, str], attributes: tuple[str, ...], *, timed: bool, observed: bool) -> Span:
    rel = parameters.get("timerel")
    at, end = (_moment(parameters, name) for name in ("timeAt", "endTimeAt"))
    if rel is None and timed:
        raise BadRequestData("timerel and timeAt are missing: say which part of time is meant")
    if (rel is None) != (at is None):
        raise BadRequestData("timerel and timeAt belong together")
    if rel not in (None, "before", "after", "between"):
        raise BadRequestData("timerel must be before, after or between")
    if rel == "between" and end is None:
        raise BadRequestData("timerel=between needs endTimeAt")
    if rel == "between" and at is not None and end is not None and end < at:
        raise BadRequestData("endTimeAt is before timeAt")
    named = parameters.get("timeproperty")
    if named is not None and named not in TIMES:
        raise BadRequestData(f"timeproperty must be one of {', '.join(TIMES)}")
    default: TimeProperty = "any" if rel is None and not observed else "observedAt"
    return Span(
        attributes=attributes,
        since_us=None if rel == "before" else at,
        until_us=at if rel == "before" else end if rel == "between" else None,
        last_n=wire.natural(parameters, "lastN", 0, 1) or None,
        datasets=_datasets(parameters),
        time_property=next((name for name in get_args(TimeProperty) if name == named), default),
    )


def _datasets(parameters: Mapping[str, str]) -> tuple[str, ...] | None:
    names = wire.comma_list(parameters, "datasetId")
    try:
        return tuple("" if name == "@none" else check_uri(name) for name in names) or None
    except Fault as fault:
        raise BadRequestData(f"datasetId: {fault}") from None


def _aggregation(parameters: Mapping[str, str]) -> Aggregation:
    named = wire.comma_list(parameters, "aggrMethods")
    methods = tuple(method for method in METHODS if method in named)
    if not named or len(methods) < len(set(named)):
        raise BadRequestData(f"aggrMethods must name some of {', '.join(METHODS)}")
    try:
        return Aggregation(methods, parse_duration(parameters.get("aggrPeriodDuration", "PT0S")))
    except ValueError as error:
        raise BadRequestData(f"aggrPeriodDuration: {error}") from None


def _order(parameters: Mapping[str, str]) -> Literal["", "asc", "desc"]:
    """Entities of history can be ordered by their id."""
    text = parameters.get("orderBy")
    if text is None:
        return ""
    name, _, way = text.partition(";")
    if name != "id" or way not in ("", "asc", "desc"):
        raise BadRequestData("orderBy: history can be ordered by id, id;asc or id;desc")
    return "desc" if way == "desc" else "asc"


def _moment(parameters: Mapping[str, str], name: str) -> int | None:
    if name not in parameters:
        return None
    try:
        return time_us(parameters[name])
    except ValueError as error:
        raise BadRequestData(f"{name}: {error}") from None
