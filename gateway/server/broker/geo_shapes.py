"""Geometry on WGS84: boxes, distances in metres, the relations of OGC Simple Features (by shapely).

Accuracy. Relations are exact in the plane of longitude and latitude, as GeoJSON defines lines (RFC 7946, 3.1.1).
Distances are great circles on a sphere of the mean radius: within 0.56 % of the ellipsoid. From or to what is more than
a point the shortest distance is found on a plane that touches the Earth at the reference (azimuthal equidistant): exact
from a reference point, and for extended references good to 0.1 % while these are under about 100 km wide.

shapely is imported when the first shape needs it: a server that is asked of points only never pays for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

EARTH_M = 6_371_008.8
Box: TypeAlias = tuple[float, float, float, float]
Geometry: TypeAlias = dict[str, Any]
METRES_PER_DEGREE = EARTH_M * math.pi / 180
DENSE_DEGREES = 0.05  # longer edges get more positions before they are projected


def positions(coordinates: Any) -> Iterator[tuple[float, float]]:
    """Every position, as longitude and latitude."""
    if isinstance(coordinates[0], int | float):
        yield float(coordinates[0]), float(coordinates[1])
        return
    for part in coordinates:
        yield from positions(part)


def box(geometry: Geometry) -> Box:
    """West, south, east, north."""
    longitudes, latitudes = zip(*positions(geometry["coordinates"]), strict=True)
    return min(longitudes), min(latitudes), max(longitudes), max(latitudes)


def widened(around: Box, metres: float) -> Box:
    """A box that holds everything within that distance, with a margin; it may go beyond 180 degrees."""
    west, south, east, north = around
    degrees = metres / METRES_PER_DEGREE * 1.01 + 1e-6
    south, north = south - degrees, north + degrees
    if south <= -90 or north >= 90 or degrees >= 90:
        return -180.0, max(south, -90.0), 180.0, min(north, 90.0)
    widest = max(abs(south), abs(north))
    reach = math.sin(math.radians(degrees)) / math.cos(math.radians(widest))
    if reach >= 1:
        return -180.0, south, 180.0, north
    wide = math.degrees(math.asin(reach)) * 1.01
    return west - wide, south, east + wide, north


def great_circle_m(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Metres between two positions (longitude, latitude): haversine."""
    south, north = math.radians(a[1]), math.radians(b[1])
    across = math.radians(b[0] - a[0])
    h = math.sin((north - south) / 2) ** 2 + math.cos(south) * math.cos(north) * math.sin(across / 2) ** 2
    return 2 * EARTH_M * math.asin(math.sqrt(min(h, 1.0)))


def distance_from(reference: Geometry) -> Callable[[Geometry], float]:
    """The shortest distance from a geometry, in metres."""
    west, south, east, north = box(reference)
    centre = ((west + east) / 2, (south + north) / 2)
    if reference["type"] == "Point":
        return lambda target: (
            great_circle_m(centre, (target["coordinates"][0], target["coordinates"][1]))
            if target["type"] == "Point"
            else _projected(target, centre).distance(_projected(reference, centre))
        )
    here = _projected(reference, centre)
    return lambda target: float(here.distance(_projected(target, centre)))


def relation(name: str, reference: Geometry) -> Callable[[Geometry], bool]:
    """``target <relation> reference``, in the plane of longitude and latitude."""
    here = _flat(reference)

    def relate(target: Geometry) -> bool:
        other = _flat(target)
        if name == "overlaps":
            return bool(other.overlaps(here))
        return bool(getattr(other, name)(here))

    return relate


def _flat(geometry: Geometry) -> BaseGeometry:
    from shapely import make_valid
    from shapely.geometry import shape

    found = shape({"type": geometry["type"], "coordinates": _two_d(geometry["coordinates"])})
    return found if found.is_valid else make_valid(found)


def _two_d(coordinates: Any) -> Any:
    if isinstance(coordinates[0], int | float):
        return coordinates[:2]
    return [_two_d(part) for part in coordinates]


def _projected(geometry: Geometry, centre: tuple[float, float]) -> BaseGeometry:
    """In metres on the plane that touches the Earth at the centre."""
    import numpy as np
    from shapely import segmentize, transform

    longitude, latitude = (math.radians(degrees) for degrees in centre)

    def project(points: Any) -> Any:
        across, north = np.radians(points[:, 0]) - longitude, np.radians(points[:, 1])
        cosine = math.sin(latitude) * np.sin(north) + math.cos(latitude) * np.cos(north) * np.cos(across)
        angle = np.arccos(np.clip(cosine, -1.0, 1.0))
        sine = np.sin(angle)
        scale = EARTH_M * np.where(sine > 1e-12, angle / np.where(sine > 1e-12, sine, 1.0), 1.0)
        x = scale * np.cos(north) * np.sin(across)
        y = scale * (math.cos(latitude) * np.sin(north) - math.sin(latitude) * np.cos(north) * np.cos(across))
        return np.column_stack((x, y))

    return transform(segmentize(_flat(geometry), DENSE_DEGREES), project)
