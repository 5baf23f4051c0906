"""Aggregation of values that are not all numbers: what each type of value can be asked (CIM 009 clause 4.5.19)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from gateway.server.broker.compare import Moment
from gateway.server.broker.model import VALUE_MEMBERS, Stored, word
from gateway.server.temporal.aggregate import METHODS, Method
from gateway.server.temporal.duration import Period

COUNTED: frozenset[Method] = frozenset({"totalCount", "distinctCount"})
ORDERED: frozenset[Method] = frozenset({*COUNTED, "min", "max"})
APPLICABLE: Mapping[str, frozenset[Method]] = {
    "number": frozenset(METHODS),
    "boolean": frozenset(METHODS),
    "array": frozenset({*ORDERED, "sum", "avg"}),
    "string": ORDERED,
    "date": ORDERED,
    "dateTime": ORDERED,
    "time": frozenset({*ORDERED, "avg"}),
    "object": COUNTED,
    "uri": COUNTED,
}
TYPED = {"DateTime": "dateTime", "Date": "date", "Time": "time"}
DAY_US = 86_400_000_000


class Value(NamedTuple):
    """``kind``: a key of ``APPLICABLE``; ``order``: what is compared and added; ``shown``: what a client gets.

    ``key`` is the same for equal values.
    """

    kind: str
    order: float | str
    shown: object
    key: bytes


def value_of(instance: Stored) -> Value | None:
    """The value of an attribute instance; None for a deletion."""
    kind = instance["type"]
    value = instance.get(VALUE_MEMBERS[kind])
    key = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    if kind in ("Relationship", "ListRelationship", "VocabProperty"):
        return Value("uri", "", value, key)
    if kind in ("GeoProperty", "LanguageProperty", "JsonProperty"):
        return Value("object", "", value, key)
    return _plain(value, key)


def _plain(value: Any, key: bytes) -> Value | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return Value("boolean", float(value), int(value), key)
    if isinstance(value, int | float):
        return Value("number", float(value), value, orjson.dumps(float(value) + 0.0))  # -0.0 is 0.0
    if isinstance(value, str):
        return Value("string", value, value, key)
    if isinstance(value, list):
        return Value("array", float(len(value)), len(value), key)
    return _typed(value, key)


def _typed(value: Mapping[str, Any], key: bytes) -> Value:
    kind, text = TYPED.get(word(value.get("@type")).rpartition("/")[2]), value.get("@value")
    if kind is not None and isinstance(text, str):
        try:
            moment = Moment.of(text)
        except ValueError:
            return Value("object", "", value, key)
        if moment.kind == kind:
            return Value(kind, float(moment.us), text, key)
    if value.get("@type") in ("@id", "URI", "https://uri.etsi.org/ngsi-ld/URI"):
        return Value("uri", "", value, key)
    return Value("object", "", value, key)


def aggregated(
    period: Period, start_us: int, at_us: Sequence[int], values: Sequence[Value], methods: Sequence[Method]
) -> dict[Method, dict[int, object]]:
    """Results by the number of the period; methods that apply to none of the values have none."""
    groups: dict[int, list[Value]] = {}
    for number, value in zip(period.numbers(start_us, np.array(at_us, np.int64)).tolist(), values, strict=True):
        groups.setdefault(number, []).append(value)
    found: dict[Method, dict[int, object]] = {}
    for method in methods:
        each = {number: _result(method, group) for number, group in groups.items()}
        kept = {number: result for number, result in each.items() if result is not None}
        if kept:
            found[method] = kept
    return found


def _result(method: Method, group: Sequence[Value]) -> object | None:
    """Where types are mixed, of the values of the type that the newest of the usable ones has."""
    usable = [value for value in group if method in APPLICABLE[value.kind]]
    if method == "totalCount":
        return len(usable)
    if method == "distinctCount":
        return len({value.key for value in usable})
    if not usable:
        return None
    kind = usable[-1].kind
    same = [value for value in usable if value.kind == kind]
    if method in ("min", "max"):
        return (min if method == "min" else max)(same, key=lambda value: value.order).shown
    result = _calculated(method, [float(value.order) for value in same])
    if not math.isfinite(result):
        return None
    return time_of_day(result) if kind == "time" else result


def _calculated(method: Method, numbers: Sequence[float]) -> float:
    if method == "sumsq":
        return sum(number * number for number in numbers)
    total = sum(numbers)
    if method == "sum":
        return total
    mean = total / len(numbers)
    if method == "avg":
        return mean
    return math.sqrt(sum((number - mean) * (number - mean) for number in numbers) / len(numbers))


def time_of_day(us: float) -> str:
    """``hh:mm:ss[.ffffff]Z`` of microseconds since midnight."""
    seconds, fraction = divmod(round(us) % DAY_US, 1_000_000)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{fraction:06d}".rstrip("0") + "Z" if fraction else f"{text}Z"
