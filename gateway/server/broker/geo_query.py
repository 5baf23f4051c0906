"""Geo-queries (CIM 009 clause 4.10): texts of a request to a test of stored entities, and the box an index may use."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.server.broker import geo_shapes
from gateway.server.broker.geojson import check_geometry
from gateway.server.broker.model import GEOMETRIES, Stored, instances
from gateway.server.broker.parse import Fault, expand_checked
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData
from gateway.server.storage.base import Area

NEAR = re.compile(r"(maxDistance|minDistance)==(\d+(?:\.\d+)?)\Z")
COORDINATES_CHARS_MAX = 65_536
RELATIONS = frozenset({"within", "contains", "overlaps", "intersects", "equals", "disjoint"})


@dataclass(frozen=True, slots=True)
class GeoQuery:
    """A geo-query: any instance of ``attribute`` may satisfy ``test``. ``area`` None: an index is of no help."""

    attribute: str
    test: Callable[[dict[str, Any]], bool]
    area: Area | None

    def matches(self, entity: Stored) -> bool:
        """Whether an entity lies so."""
        return any(
            instance["type"] == "GeoProperty" and self.test(instance["value"])
            for instance in instances(entity.get(self.attribute, []))
        )


def parse_geo(
    context: Context, georel: str | None, geometry: str | None, coordinates: str | None, geoproperty: str | None
) -> GeoQuery | None:
    """None where there is no geo-query. Raises BadRequestData."""
    given = [value is not None for value in (georel, geometry, coordinates)]
    if not any(given):
        return None
    if georel is None or geometry is None or coordinates is None:
        raise BadRequestData("a geo-query needs georel, geometry and coordinates together")
    try:
        name = expand_checked("location" if geoproperty is None else geoproperty, context)
    except Fault as fault:
        raise BadRequestData(f"geoproperty: {fault}") from None
    shape = _shape(geometry, coordinates)
    relation, *modifiers = [part.strip() for part in georel.split(";")]
    if relation == "near":
        return _near(name, shape, modifiers)
    if relation not in RELATIONS or modifiers:
        raise BadRequestData(
            f"georel {georel!r}: near;maxDistance==<metres>, near;minDistance==<metres>, {', '.join(sorted(RELATIONS))}"
        )
    relate = geo_shapes.relation(relation, shape)
    return GeoQuery(name, relate, None if relation == "disjoint" else _area(name, geo_shapes.box(shape)))


def _shape(geometry: str, coordinates: str) -> dict[str, Any]:
    if geometry not in GEOMETRIES:
        raise BadRequestData(f"geometry {geometry!r} is none of {', '.join(sorted(GEOMETRIES))}")
    if len(coordinates) > COORDINATES_CHARS_MAX:
        raise BadRequestData(f"coordinates of more than {COORDINATES_CHARS_MAX} characters")
    try:
        shape = {"type": geometry, "coordinates": json.loads(coordinates)}
        check_geometry(shape)
    except (ValueError, RecursionError) as error:
        raise BadRequestData(f"coordinates: {error}") from None
    return shape


def _near(name: str, shape: dict[str, Any], modifiers: list[str]) -> GeoQuery:
    bounds: dict[str, float] = {}
    for modifier in modifiers:
        found = NEAR.match(modifier)
        if found is None or found[1] in bounds:
            raise BadRequestData("georel: near needs maxDistance==<metres> or minDistance==<metres>, a positive number")
        bounds[found[1]] = float(found[2])
    if not bounds:
        raise BadRequestData("georel: near needs maxDistance==<metres> or minDistance==<metres>")
    distance = geo_shapes.distance_from(shape)
    least, most = bounds.get("minDistance", 0.0), bounds.get("maxDistance")
    if most is None:
        return GeoQuery(name, lambda target: distance(target) >= least, None)
    area = _area(name, geo_shapes.widened(geo_shapes.box(shape), most))
    return GeoQuery(name, lambda target: least <= distance(target) <= most, area)


def _area(name: str, box: geo_shapes.Box) -> Area:
    west, south, east, north = box
    if east - west >= 360:
        west, east = -180.0, 180.0
    elif west < -180:
        west += 360
    elif east > 180:
        east -= 360
    return Area(name, west, max(south, -90.0), east, min(north, 90.0))
