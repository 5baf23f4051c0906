"""The geometries of NGSI-LD: GeoJSON (RFC 7946) without GeometryCollection, WGS84 longitude, latitude, altitude."""

from __future__ import annotations

from gateway.server.broker.model import GEOMETRIES, word

NESTING = {"Point": 0, "MultiPoint": 1, "LineString": 1, "MultiLineString": 2, "Polygon": 2, "MultiPolygon": 3}
POSITIONS_MIN = {"LineString": 2, "MultiLineString": 2, "Polygon": 4, "MultiPolygon": 4}


def check_geometry(value: object) -> None:
    """Raises ValueError with what is wrong."""
    if not isinstance(value, dict) or word(value.get("type")) not in GEOMETRIES:
        raise ValueError(f"must be a GeoJSON geometry, one of {', '.join(sorted(GEOMETRIES))}")
    kind = value["type"]
    _check_level(value.get("coordinates"), kind, NESTING[kind])


def _check_level(coordinates: object, kind: str, nesting: int) -> None:
    if not isinstance(coordinates, list) or not coordinates:
        raise ValueError(f"the coordinates of a {kind} must be {'a position' if nesting == 0 else 'a list'}")
    if nesting == 0:
        _check_position(coordinates)
        return
    if nesting == 1 and kind in POSITIONS_MIN:
        if len(coordinates) < POSITIONS_MIN[kind]:
            raise ValueError(f"a {kind} needs {POSITIONS_MIN[kind]} positions or more")
        if kind.endswith("Polygon") and coordinates[0] != coordinates[-1]:
            raise ValueError("a ring must end where it begins")
    for part in coordinates:
        _check_level(part, kind, nesting - 1)


def _check_position(position: list[object]) -> None:
    if len(position) not in (2, 3) or not all(isinstance(c, int | float) and not isinstance(c, bool) for c in position):
        raise ValueError("a position is [longitude, latitude] or [longitude, latitude, altitude]")
    longitude, latitude = position[0], position[1]
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):  # type: ignore[operator]  # numbers, see above
        raise ValueError(f"longitude {longitude}, latitude {latitude} is not on the Earth")
