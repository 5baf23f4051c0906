"""The values of attributes and the members beside them, checked (CIM 009 clauses 4.5, 4.7, 5.2)."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from typing import Any

from gateway.server.broker.geojson import check_geometry
from gateway.server.broker.model import NULL, time_us, word
from gateway.server.broker.names import Fault, check_time, check_uri
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData

DEPTH_MAX = 64
GEOMETRY_DEPTH_MAX = 8
NOT_HERE = f"{NULL} (delete it) is not allowed here"


def check_depth(value: object, left: int = DEPTH_MAX, *, nulls: bool = False) -> None:
    """Refuse what is nested too deeply to be anything but an attack, and null markers within values.

    ``nulls``: as members of objects they are allowed; they delete these in a merge. Raises Fault.
    """
    if isinstance(value, dict | list):
        if left == 0:
            raise Fault(f"nested more than {DEPTH_MAX} times")
        allowed = nulls and isinstance(value, dict)
        for part in value.values() if isinstance(value, dict) else value:
            if isinstance(part, dict | list):
                check_depth(part, left - 1, nulls=nulls)
            elif part == NULL and not allowed:
                raise Fault(NOT_HERE)


def check_value(value: object, *, nulls: bool = False) -> object:
    """The value of a Property. Raises Fault."""
    if value is None:
        raise Fault("must not be null; to store a JSON null use a JsonProperty")
    if isinstance(value, dict | list):
        check_depth(value, nulls=nulls)
        if isinstance(value, dict) and "@value" in value:
            _check_typed(value)
    return value


def _check_typed(value: dict[str, Any]) -> None:
    """A JSON-LD typed value: of the types that NGSI-LD knows the text must be right (clause 4.6.3)."""
    kind, text = word(value.get("@type")).rpartition("/")[2], value["@value"]
    if kind == "DateTime":
        check_time(text)
    elif kind in ("Date", "Time"):
        try:
            if kind == "Date":
                date.fromisoformat(word(text))
            else:
                time_us(f"1970-01-01T{word(text)}")
        except ValueError as error:
            raise Fault(f"{text!r} is not a {kind}: {error}", "@value") from None
    elif kind == "URI":
        check_uri(text)


def _value(value: object, context: Context) -> object:
    return check_value(value)


def _geo(value: object, context: Context) -> object:
    check_depth(value, GEOMETRY_DEPTH_MAX)
    try:
        check_geometry(value)
    except ValueError as error:
        raise Fault(str(error)) from None
    return value


def _object(value: object, context: Context) -> object:
    if not isinstance(value, list):
        return check_uri(value)
    if not value:
        raise Fault("must not be empty")
    return [check_uri(part) for part in value]


def check_language(value: object, *, nulls: bool = False) -> object:
    """A map of language tags; ``nulls``: null markers stand for tags to be removed. Raises Fault."""
    if not isinstance(value, dict) or not value:
        raise Fault("must be an object of language tags, like {'en': 'bridge'}")
    for tag, text in value.items():
        if not isinstance(text, str) and not (isinstance(text, list) and all(isinstance(t, str) for t in text)):
            raise Fault("must be a string or a list of strings", tag)
        if (text == NULL and not nulls) or (isinstance(text, list) and NULL in text):
            raise Fault(NOT_HERE, tag)
    return value


def _language(value: object, context: Context) -> object:
    return check_language(value)


def _vocab(value: object, context: Context) -> object:
    try:
        return _vocab_iris(value, context)
    except BadRequestData as error:
        raise Fault(str(error)) from None


def _vocab_iris(value: object, context: Context) -> object:
    if isinstance(value, str):
        return context.expand_name(value)
    if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
        raise Fault("must be a string or a list of strings")
    if NULL in value:
        raise Fault(NOT_HERE)
    return [context.expand_name(part) for part in value]


def _value_list(value: object, context: Context) -> object:
    if not isinstance(value, list):
        raise Fault("must be a list")
    check_depth(value)
    return value


def _object_list(value: object, context: Context) -> object:
    if not isinstance(value, list):
        raise Fault("must be a list of URIs")
    return [check_uri(part.get("object") if isinstance(part, dict) else part) for part in value]


def _json(value: object, context: Context) -> object:
    check_depth(value)
    return value


VALUE_CHECKS: dict[str, Callable[[object, Context], object]] = {
    "Property": _value,
    "GeoProperty": _geo,
    "Relationship": _object,
    "LanguageProperty": _language,
    "VocabProperty": _vocab,
    "ListProperty": _value_list,
    "ListRelationship": _object_list,
    "JsonProperty": _json,
}


# members beside the value


def _time(value: object, context: Context) -> object:
    return check_time(value)


def future(value: object, context: Context) -> object:
    """``expiresAt``: a DateTime that has not passed. Raises Fault."""
    if time_us(check_time(value)) <= time.time_ns() // 1000:
        raise Fault("lies in the past")
    return value


def _unit(value: object, context: Context) -> object:
    if not isinstance(value, str) or not value:
        raise Fault("must be a unit code (UN/CEFACT recommendation 20)")
    return value


def _dataset(value: object, context: Context) -> object:
    """None for the default instance."""
    return None if value == "@none" else check_uri(value)


def _text(value: object, context: Context) -> object:
    if not isinstance(value, str) or not value:
        raise Fault("must be a string")
    return value


def _proof(value: object, context: Context) -> object:
    """``ngsildproof``: a Property that holds a data integrity proof and what it seals."""
    if not isinstance(value, dict) or value.get("type") != "Property" or not isinstance(value.get("value"), dict):
        raise Fault("must be a Property with an object as its value")
    check_depth(value)
    if "entityIdSealed" in value:
        check_uri(value["entityIdSealed"])
    if not isinstance(value.get("entityTypeSealed", ""), str | list):
        raise Fault("must be a string or a list of strings", "entityTypeSealed")
    return value


MEMBER_CHECKS: dict[str, Callable[[object, Context], object]] = {
    "observedAt": _time,
    "unitCode": _unit,
    "datasetId": _dataset,
    "objectType": _vocab,
    "valueType": _text,
    "expiresAt": future,
    "ngsildproof": _proof,
}
