"""What a request for entities asks: its parameters (or members of a Query) become a query, a view, a page, an order.

The parameters are those of CIM 009 clauses 6.4.3.2 and 6.5.3.1; a body of the type Query is put into the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.server import wire
from gateway.server.broker.answers import VIEW_PARAMETERS, Preferences, view_of
from gateway.server.broker.geo_query import parse_geo
from gateway.server.broker.parse import Fault, check_uri
from gateway.server.broker.queries import Shape
from gateway.server.broker.query import Query, Selector, build_query
from gateway.server.broker.query_join import LEVEL_MAX, Join
from gateway.server.broker.query_order import parse_order
from gateway.server.broker.represent import View
from gateway.server.broker.scope_query import parse_scope_query
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData, TooComplexQuery

JOIN_PARAMETERS = frozenset({"join", "joinLevel", "containedBy"})
UNUSED = frozenset({"csf", "splitEntities", "entityMap", "entityMapLifetime"})  # of distributed operations
CONDITIONS = frozenset(
    {"type", "id", "idPattern", "attrs", "q", "expandValues", "jsonKeys", "scopeQ", "csf"}
    | {"georel", "geometry", "coordinates", "geoproperty"}
)
RETRIEVE_PARAMETERS = VIEW_PARAMETERS | JOIN_PARAMETERS | UNUSED | {"type"}
ORDER_PARAMETERS = frozenset({"orderBy", "collation", "orderFrom", "orderGeometry"})
QUERY_PARAMETERS = RETRIEVE_PARAMETERS | CONDITIONS | ORDER_PARAMETERS | {"limit", "offset", "count"}


@dataclass(frozen=True, slots=True)
class Asked:
    """Which entities, which part of them, and how they are shown."""

    query: Query
    view: View
    page: wire.Paging
    shape: Shape
    media: wire.Media


def asked_of(
    parameters: Mapping[str, str],
    context: Context,
    media: wire.Media,
    preferences: Preferences,
    selectors: tuple[Selector, ...] = (),
) -> Asked:
    """Raises BadRequestData, InvalidRequest, TooManyResults, OperationNotSupported."""
    view = view_of(parameters, context, media, preferences)
    join = _join(parameters)
    order = parse_order(
        context,
        wire.comma_list(parameters, "orderBy"),
        parameters.get("collation"),
        parameters.get("orderGeometry"),
        parameters.get("orderFrom"),
    )
    for name in ("splitEntities", "entityMap"):
        wire.boolean(parameters, name)
    query = query_from(parameters, context)
    query = replace(query, selectors=selectors, pick=view.pick, datasets=view.datasets)
    check_narrow(query, parameters)
    page = wire.paging(parameters)
    return Asked(query, view, page, Shape(order, join, view if join else None), media)


def single_of(
    parameters: Mapping[str, str], context: Context, media: wire.Media, preferences: Preferences
) -> tuple[Query, View, Join | None, wire.Media]:
    """The same for one entity by its id."""
    view = view_of(parameters, context, media, preferences)
    query = build_query(context, types=parameters.get("type"), attrs=wire.comma_list(parameters, "attrs"))
    return replace(query, pick=view.pick), view, _join(parameters), media


def check_narrow(query: Query, parameters: Mapping[str, str]) -> None:
    """A query must say more than which ids (clause 5.7.2), or be local. Raises BadRequestData."""
    local = wire.boolean(parameters, "local") or parameters.get("type", "").strip() == "*"
    if not local and not query.narrow:
        raise BadRequestData("the query is too wide: give type, attrs, q, a geo-query or scopeQ, or local=true")


def query_from(parameters: Mapping[str, str], context: Context) -> Query:
    """The conditions among the parameters. Raises BadRequestData."""
    geo = parse_geo(
        context,
        parameters.get("georel"),
        parameters.get("geometry"),
        parameters.get("coordinates"),
        parameters.get("geoproperty"),
    )
    query = build_query(
        context,
        types=parameters.get("type"),
        ids=wire.comma_list(parameters, "id"),
        id_pattern=parameters.get("idPattern"),
        attrs=wire.comma_list(parameters, "attrs"),
        q=parameters.get("q"),
        expand_values=wire.comma_list(parameters, "expandValues"),
        json_keys=wire.comma_list(parameters, "jsonKeys"),
    )
    scope = parse_scope_query(parameters["scopeQ"]) if "scopeQ" in parameters else None
    return replace(query, geo=geo, scope=scope)


def _join(parameters: Mapping[str, str]) -> Join | None:
    kind = parameters.get("join", "@none")
    if kind not in ("flat", "inline", "@none"):
        raise BadRequestData("join must be flat, inline or @none")
    if kind == "@none":
        if "joinLevel" in parameters or "containedBy" in parameters:
            raise BadRequestData("joinLevel and containedBy apply to join=flat and join=inline only")
        return None
    level = wire.natural(parameters, "joinLevel", 1, 1)
    if level > LEVEL_MAX:
        raise TooComplexQuery(f"joinLevel must be at most {LEVEL_MAX}")
    try:
        contained = frozenset(check_uri(part) for part in wire.comma_list(parameters, "containedBy"))
    except Fault as fault:
        raise BadRequestData(f"containedBy: {fault}") from None
    return Join("flat" if kind == "flat" else "inline", level, contained)
