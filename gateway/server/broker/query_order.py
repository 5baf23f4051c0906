"""The order of a result (CIM 009 clause 4.23): ``name[;asc|desc|dist-asc|dist-desc],...`` and its collation.

Values of different types stand in this order: numbers, texts, objects, lists, booleans, times, dates, dateTimes, null;
an entity without the member comes last in either direction. Texts are compared by the Unicode Collation Algorithm with
the root table (DUCET, by pyuca). A collation tag may set its strength (``-u-ks-level1``, ``-level2``, ``-level3``,
``-identic``); tailorings for a language are not offered: its texts are in the order of the root.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, TypeAlias

from gateway.server.broker import geo_shapes
from gateway.server.broker.compare import Moment
from gateway.server.broker.geojson import check_geometry
from gateway.server.broker.model import GEOMETRIES, Stored
from gateway.server.broker.parse import Fault, expand_checked
from gateway.server.broker.qpath import PLAIN_MEMBERS, SYSTEM_TIMES, Path
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData, OperationNotSupported

KEYS_MAX = 20
PATH = re.compile(r"([^\[\];,\s]+?)(?:\[([^\[\];,]+)\])?(?:;(asc|desc|dist-asc|dist-desc))?\Z")
TAG = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*\Z")
STRENGTHS = {"level1": 1, "level2": 2, "level3": 3, "level4": 4, "identic": 4}
NUMBER, TEXT, OBJECT, LIST, BOOLEAN, TIME, DATE, DATETIME, NULL = range(9)
MOMENTS = {"time": TIME, "date": DATE, "dateTime": DATETIME}
Key: TypeAlias = Callable[[Stored], Any]


@dataclass(frozen=True, slots=True)
class Order:
    """Sort keys, the most important first; ``True`` with those that descend. A key of None: the member is missing."""

    keys: tuple[tuple[Key, bool], ...]

    def sort(self, entities: list[Stored]) -> list[Stored]:
        """Sorted; what is equal keeps its order."""
        for key, descending in reversed(self.keys):
            keyed = [(key(entity), entity) for entity in entities]
            there = sorted((pair for pair in keyed if pair[0] is not None), key=lambda p: p[0], reverse=descending)
            entities = [entity for _, entity in there] + [entity for found, entity in keyed if found is None]
        return entities


def parse_order(
    context: Context, order_by: Sequence[str], collation: str | None, geometry: str | None, coordinates: str | None
) -> Order | None:
    """None where no order is asked for. Raises BadRequestData, OperationNotSupported."""
    strength = _strength(collation)
    if not order_by:
        return None
    if len(order_by) > KEYS_MAX:
        raise BadRequestData(f"orderBy: more than {KEYS_MAX} members")
    keys: list[tuple[Key, bool]] = []
    for item in order_by:
        found = PATH.match(item.strip())
        if found is None:
            raise BadRequestData(f"orderBy: {item!r} is not name, name;asc, name;desc, name;dist-asc or name;dist-desc")
        direction = found[3] or "asc"
        path = _path(found[1], found[2], context)
        if direction.startswith("dist"):
            keys.append((_distance_key(path, _reference(geometry, coordinates)), direction.endswith("desc")))
        else:
            keys.append((_value_key(path, strength), direction == "desc"))
    return Order(tuple(keys))


def _path(names: str, inner: str | None, context: Context) -> Path:
    if names in ("id", "type", "scope") or names in SYSTEM_TIMES:
        return Path((names,), ())
    is_iri = "://" in names or names.startswith("urn:")
    first, *rest = [names] if is_iri else names.split(".")
    try:
        steps = [expand_checked(first, context)]
        steps += [name if name in PLAIN_MEMBERS else expand_checked(name, context) for name in rest]
    except Fault as fault:
        raise BadRequestData(f"orderBy: {fault}") from None
    return Path(tuple(steps), tuple(inner.split(".")) if inner else ())


def _reference(geometry: str | None, coordinates: str | None) -> dict[str, Any]:
    if coordinates is None:
        raise BadRequestData("orderBy: dist-asc and dist-desc need orderFrom, the coordinates to measure from")
    kind = "Point" if geometry is None else geometry
    if kind not in GEOMETRIES:
        raise BadRequestData(f"orderGeometry {kind!r} is none of {', '.join(sorted(GEOMETRIES))}")
    try:
        shape = {"type": kind, "coordinates": json.loads(coordinates)}
        check_geometry(shape)
    except (ValueError, RecursionError) as error:
        raise BadRequestData(f"orderFrom: {error}") from None
    return shape


def _distance_key(path: Path, reference: dict[str, Any]) -> Key:
    distance = geo_shapes.distance_from(reference)

    def key(entity: Stored) -> float | None:
        found = [node["value"] for node in path.nodes(entity) if _is_geo(node)]
        return min((distance(shape) for shape in found), default=None)

    return key


def _is_geo(node: object) -> bool:
    return isinstance(node, dict) and node.get("type") == "GeoProperty"


def _value_key(path: Path, strength: int) -> Key:
    name = path.steps[0]

    def key(entity: Stored) -> tuple[int, Any] | None:
        if name in ("id", "type", "scope"):
            return _rank(_single(entity[name]), strength) if name in entity else None
        found = next(islice(path.targets(entity), 1), _MISSING)
        moment = path.steps[-1] in SYSTEM_TIMES or path.steps[-1] == "observedAt"
        return None if found is _MISSING else _rank({"@value": found} if moment else found, strength)

    return key


_MISSING = object()


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _rank(value: Any, strength: int) -> tuple[int, Any]:
    if value is None:
        return NULL, 0
    if isinstance(value, bool):
        return BOOLEAN, value
    if isinstance(value, int | float):
        return NUMBER, value if math.isfinite(value) else 0.0
    if isinstance(value, str):
        return TEXT, _text_key(value, strength)
    if isinstance(value, list):
        return LIST, tuple(_rank(part, strength) for part in value)
    if "@value" in value and isinstance(value["@value"], str):
        try:
            moment = Moment.of(value["@value"])
        except ValueError:
            return TEXT, _text_key(value["@value"], strength)
        return MOMENTS[moment.kind], moment.us
    return OBJECT, json.dumps(value, sort_keys=True)


# collation


def _strength(tag: str | None) -> int:
    """How many levels of a collation count. Raises BadRequestData, OperationNotSupported."""
    if tag is None:
        return 4
    if not TAG.match(tag):
        raise BadRequestData(f"collation {tag!r} is not a language tag, like und-u-ks-level2")
    _, _, extension = tag.lower().partition("-u-")
    words = extension.split("-") if extension else []
    settings = dict(zip(words[::2], words[1::2], strict=False))
    if settings.keys() - {"ks", "co"} or settings.get("co", "standard") not in ("standard", "ducet"):
        raise OperationNotSupported(f"collation {tag!r}: only the strength (-u-ks-) can be set, no tailored order")
    if settings.get("ks", "level3") not in STRENGTHS:
        raise BadRequestData(f"collation {tag!r}: the strength must be one of {', '.join(STRENGTHS)}")
    return STRENGTHS[settings.get("ks", "level3")] if "ks" in settings else 4


@cache
def _collator() -> Any:
    from pyuca import Collator

    return Collator()


def _text_key(text: str, strength: int) -> tuple[Any, ...]:
    """The levels of a collation key, separated by 0 in pyuca's; code points decide at last where all levels count."""
    weights = _collator().sort_key(text)
    levels: list[tuple[int, ...]] = []
    current: list[int] = []
    for weight in weights:
        if weight == 0:
            levels.append(tuple(current))
            current = []
        else:
            current.append(weight)
    levels.append(tuple(current))
    return (*levels[:strength], text) if strength > 3 else tuple(levels[:strength])
