"""Which registrations a question is about (CIM 009 clauses 5.10.2, 5.12): the parameters, and the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.server import wire
from gateway.server.broker.geo_query import GeoQuery, parse_geo
from gateway.server.broker.model import time_us
from gateway.server.broker.names import Fault, check_uri
from gateway.server.broker.qlang import Condition, parse_q
from gateway.server.broker.query import TypeSelection, expand_names, parse_types
from gateway.server.broker.regex import Pattern
from gateway.server.broker.scope_query import ScopeTest, parse_scope_query
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData
from gateway.server.sources.model import EntityInfo, Information
from gateway.server.sources.record import GEOMETRIES, Record

PARAMETERS = frozenset(
    [
        "type",
        "id",
        "idPattern",
        "attrs",
        "q",
        "csf",
        "georel",
        "geometry",
        "coordinates",
        "geoproperty",
        "timerel",
        "timeAt",
        "endTimeAt",
        "timeproperty",
        "scopeQ",
        "lang",
        "limit",
        "offset",
        "count",
        "options",
        "datasetId",
        "local",
    ]
)
TIMES = {"observedAt": "observationInterval"} | dict.fromkeys(
    ("createdAt", "modifiedAt", "deletedAt"), "managementInterval"
)


@dataclass(frozen=True, slots=True)
class When:
    """The temporal part: ``interval`` is the member of a registration that must touch it."""

    interval: str
    since_us: int | None
    until_us: int | None

    def touches(self, record: Record) -> bool:
        """Of a source without such an interval nothing is known to be there."""
        interval = record.intervals.get(self.interval)
        if interval is None:
            return False
        began = self.until_us is None or interval.start_us < self.until_us
        goes_on = interval.end_us is None or self.since_us is None or interval.end_us > self.since_us
        return began and goes_on


@dataclass(frozen=True, slots=True)
class Selected:
    """One entity selector of a question: any of the types, and of the ids or by a pattern."""

    types: TypeSelection | None = None
    ids: tuple[str, ...] = ()
    id_pattern: str | None = None

    def about(self, entity: EntityInfo) -> bool:
        """Whether a registration of such entities may have a part in it."""
        types = (entity.types, *(frozenset({iri}) for iri in entity.types))
        if self.types is not None and not any(self.types.matches(one) for one in types):
            return False
        if self.ids:
            return any(entity.covers(entity_id, frozenset()) for entity_id in self.ids)
        if self.id_pattern is not None and entity.id is not None:
            return Pattern(self.id_pattern).search(entity.id)
        return True


@dataclass(frozen=True, slots=True)
class Area:
    """Which geometry of a registration may hold places that are meant; ``outside``: it fails the test then."""

    geometry: str
    query: GeoQuery
    outside: bool = False

    def touches(self, record: Record) -> bool:
        """Of a source without that geometry nothing is known to be there."""
        shape = record.raw.get(self.geometry)
        return shape is not None and self.query.test(shape) != self.outside


@dataclass(frozen=True, slots=True)
class Question:
    """Every condition must hold; one that is not set always does."""

    selectors: tuple[Selected, ...] = ()
    attributes: frozenset[str] = frozenset()
    datasets: frozenset[str] | None = None
    geo: Area | None = None
    scope: ScopeTest | None = None
    when: When | None = None
    csf: Condition | None = None

    def parts(self, record: Record) -> frozenset[int]:
        """Elements of ``information`` that match; none where the registration does not."""
        if not self._conditions(record):
            return frozenset()
        found = enumerate(record.registration.information)
        return frozenset(index for index, information in found if self._about(information))

    def _about(self, information: Information) -> bool:
        registered = information.attributes
        if self.attributes and registered is not None and not registered & self.attributes:
            return False
        if not information.entities or not self.selectors:
            return True
        return any(selector.about(entity) for selector in self.selectors for entity in information.entities)

    def _conditions(self, record: Record) -> bool:
        if self.datasets is not None and record.datasets is not None and not self.datasets & record.datasets:
            return False
        if self.scope is not None and not self.scope(record.scopes):
            return False
        if self.geo is not None and not self.geo.touches(record):
            return False
        if not self._timely(record):
            return False
        return self.csf is None or self.csf.matches(record.as_entity())

    def _timely(self, record: Record) -> bool:
        """Without a time only what says nothing of time; with one only what has such an interval, and touches it."""
        return not record.intervals if self.when is None else self.when.touches(record)


def question_of(parameters: Mapping[str, str], context: Context) -> Question:
    """What the parameters ask. Raises BadRequestData where nothing is asked for."""
    if not parameters.keys() & {"type", "attrs", "q", "georel"}:
        raise BadRequestData("which sources? Give type or attrs, q, or a geo-query")
    ids = wire.comma_list(parameters, "id")
    try:
        for uri in ids:
            check_uri(uri)
        datasets = frozenset(
            one if one == "@none" else check_uri(one) for one in wire.comma_list(parameters, "datasetId")
        )
    except Fault as fault:
        raise BadRequestData(str(fault)) from None
    types = parse_types(parameters["type"], context) if "type" in parameters else None
    pattern = None if ids else parameters.get("idPattern")
    if pattern is not None:
        _pattern(pattern)
    if "q" in parameters:
        parse_q(parameters["q"], context)  # of entities: checked, and asked of the sources themselves
    narrowed = types is not None or bool(ids) or pattern is not None
    return Question(
        selectors=(Selected(types, tuple(ids), pattern),) if narrowed else (),
        attributes=frozenset(expand_names(wire.comma_list(parameters, "attrs"), context)),
        datasets=datasets or None,
        geo=area_of(parameters, context),
        scope=parse_scope_query(parameters["scopeQ"]) if "scopeQ" in parameters else None,
        when=when_of(parameters),
        csf=parse_q(parameters["csf"], context) if "csf" in parameters else None,
    )


def area_of(parameters: Mapping[str, str], context: Context) -> Area | None:
    """The geo-query: a source is meant whose area has a part in what is asked for (clause 5.12).

    An area that only touches the one asked for may hold entities within it. Raises BadRequestData.
    """
    member = parameters.get("geoproperty", "location")
    georel, shape, coordinates = (parameters.get(name) for name in ("georel", "geometry", "coordinates"))
    query = parse_geo(context, georel, shape, coordinates, None)
    if query is None or georel is None:
        return None
    if member not in GEOMETRIES:
        raise BadRequestData(f"geoproperty: the geometries of a registration are {', '.join(GEOMETRIES)}")
    if georel.strip().startswith("near"):
        return Area(member, query)
    outside = georel.strip() == "disjoint"  # only an area that is all within has no place outside
    widest = parse_geo(context, "within" if outside else "intersects", shape, coordinates, None)
    return None if widest is None else Area(member, widest, outside)


def when_of(parameters: Mapping[str, object]) -> When | None:
    """timerel, timeAt, endTimeAt, timeproperty. Raises BadRequestData."""
    rel, at, end = (parameters.get(name) for name in ("timerel", "timeAt", "endTimeAt"))
    if (rel is None) != (at is None):
        raise BadRequestData("timerel and timeAt belong together")
    if rel is None:
        return None
    named = parameters.get("timeproperty", "observedAt")
    if rel not in ("before", "after", "between"):
        raise BadRequestData("timerel must be before, after or between")
    if not isinstance(named, str) or named not in TIMES:
        raise BadRequestData(f"timeproperty must be one of {', '.join(TIMES)}")
    if rel == "between" and end is None:
        raise BadRequestData("timerel=between needs endTimeAt")
    since, until = _moment("timeAt", at), None if end is None else _moment("endTimeAt", end)
    if rel == "before":
        return When(TIMES[named], None, since)
    if rel == "between" and until is not None and until < since:
        raise BadRequestData("endTimeAt is before timeAt")
    return When(TIMES[named], since, until if rel == "between" else None)


def _moment(name: str, value: object) -> int:
    try:
        if isinstance(value, str):
            return time_us(value)
    except ValueError as error:
        raise BadRequestData(f"{name}: {error}") from None
    raise BadRequestData(f"{name} must be a DateTime")


def _pattern(text: str) -> None:
    try:
        Pattern(text)
    except ValueError as error:
        raise BadRequestData(f"idPattern: {error}") from None
