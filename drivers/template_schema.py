"""The JSON schema of template files, for editors. The reader (``drivers.template_file``) stays the judge: it says more.

Written to config/schemas/template.schema.json by ``python -m gateway.cli.docs``.
"""

from __future__ import annotations

from typing import Any, get_args

from drivers.quantities import QUANTITIES
from drivers.template import REGISTERS_MAX, Evidence, Order, Parity, RegisterType, Transport

Json = dict[str, Any]

_TEXT: Json = {"type": "string", "minLength": 1}
_TEXTS: Json = {"type": "array", "items": _TEXT}
_NUMBER: Json = {"type": "number"}
_POSITIVE: Json = {"type": "number", "exclusiveMinimum": 0}
_ADDRESS: Json = {"type": "integer", "minimum": 0, "maximum": 0xFFFF}
_QUANTITY: Json = {"$ref": "#/$defs/quantity"}
_ORDER: Json = {"enum": list(get_args(Order))}
_FUNCTION: Json = {"enum": [3, 4], "description": "3 reads holding registers, 4 input registers."}
_STATES: Json = {"type": "object", "additionalProperties": {"type": ["string", "boolean", "number"]}}


def schema() -> Json:
    """The whole schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lamppost device template",
        **_closed(TOP, "vendor", "model", "protocol", "data_model", "evidence"),
        "$defs": {
            "quantity": {"enum": list(QUANTITIES), "description": "See docs/reference/quantities.md."},
            "point": _closed(POINT, "quantity", "address", "type"),
            "field": _closed(FIELD, "quantity", "path"),
            "frame": _closed(FRAME, "expect"),
        },
    }


def _closed(properties: Json, *required: str) -> Json:
    return {"type": "object", "required": list(required), "additionalProperties": False, "properties": properties}


def _said(part: Json, text: str) -> Json:
    return {**part, "description": text}


def _pair(items: Json) -> Json:
    return {"type": "array", "items": items, "minItems": 2, "maxItems": 2}


def _whole(low: int, high: int) -> Json:
    return {"type": "integer", "minimum": low, "maximum": high}


LINE: Json = {
    "baud": _whole(300, 1_000_000),
    "parity": {"enum": list(get_args(Parity))},
    "data_bits": {"enum": [7, 8]},
    "stop_bits": {"enum": [1, 2]},
}
MODBUS: Json = {
    "function": _FUNCTION,
    "transports": _said({"type": "array", "items": {"enum": list(get_args(Transport))}}, "What the device speaks."),
    "word_order": _said(_ORDER, "Of values wider than one register."),
    "byte_order": _said(_ORDER, "Within a register; low-first is rare."),
    "registers_max": _said(_whole(1, REGISTERS_MAX), "Most registers in one answer."),
    "gap_max": _said(_whole(0, REGISTERS_MAX), "Most registers read in vain to save a request."),
    "no_fill": _said({"type": "array", "items": _pair(_ADDRESS)}, "First and last address of what is never read."),
    "timeout_s": _POSITIVE,
    "gap_s": _said(_POSITIVE, "Silence before a request."),
    "late_s": _said(_POSITIVE, "How late an answer may still come."),
    "tcp_port": _whole(1, 65535),
}
POINT: Json = {
    "quantity": _QUANTITY,
    "address": _said(_ADDRESS, "0-based, as on the wire."),
    "type": {"enum": list(get_args(RegisterType))},
    "function": _FUNCTION,
    "word_order": _ORDER,
    "byte_order": _ORDER,
    "scale": _said(_NUMBER, "value = raw x scale + offset, in the unit of the quantity."),
    "offset": _NUMBER,
    "scale_register": _said(_ADDRESS, "Holds a power of ten that multiplies too."),
    "nan": _said({"type": "array", "items": {"type": "integer"}}, "Raw numbers that mean: no value."),
    "map": _said(_STATES, "Words of a state by raw number."),
    "words": _said(_whole(1, REGISTERS_MAX), "Registers of an ascii text."),
    "range": _said(_pair(_NUMBER), "Lowest and highest value that is plausible."),
    "max_rate": _said(_POSITIVE, "How fast a counter can count, a second."),
    "wrap": _said({"type": "integer", "minimum": 2}, "Raw count at which a counter starts again from 0."),
    "every": _said(_POSITIVE, "Seconds between readings."),
}
FIELD: Json = {"quantity": _QUANTITY, "path": _TEXT, "scale": _NUMBER, "offset": _NUMBER, "map": _STATES}
FRAME: Json = {
    "request": _said({"type": ["string", "integer"]}, "Hexadecimal."),
    "answer": _said({"type": ["string", "integer"]}, "Hexadecimal."),
    "text": _TEXT,
    "lines": _said(_TEXT, "Each ends in CR LF on the wire."),
    "topic": _TEXT,
    "expect": {"type": "object", "propertyNames": _QUANTITY},
}
TOP: Json = {
    "vendor": _TEXT,
    "model": _TEXT,
    "variants": _said(_TEXTS, "Further models with the same map."),
    "protocol": _said(_TEXT, "Of an installed driver."),
    "data_model": _said(_TEXT, "Type of the entity."),
    "evidence": _said({"enum": list(get_args(Evidence))}, "How far the map is proven."),
    "sources": _TEXTS,
    "caveats": _said(_TEXTS, "Where the sources differ, and what to look out for."),
    "disputed": _said({"type": "array", "items": _QUANTITY}, "Points on which the sources differ, undecided."),
    "captured": _said(_TEXTS, "Frames of the device that tests read elsewhere."),
    "codec": _TEXT,
    "period_s": _said(_POSITIVE, "Seconds between polls."),
    "silence_s": _said(_POSITIVE, "How long a device that speaks by itself may be quiet."),
    "address": _said(_whole(0, 255), "From the factory."),
    "line": _said(_closed(LINE), "From the factory; leave it out where no source states it."),
    "modbus": _closed(MODBUS, "function"),
    "points": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/point"}},
    "fields": {"type": "array", "items": {"$ref": "#/$defs/field"}},
    "options": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
    "identify": _said(
        {"type": "object", "propertyNames": _QUANTITY, "additionalProperties": _pair(_NUMBER)},
        "Ranges that make a device of this model plausible.",
    ),
    "frames": {"type": "array", "items": {"$ref": "#/$defs/frame"}},
}
