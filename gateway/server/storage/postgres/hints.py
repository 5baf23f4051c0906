"""What of an entity the database can judge by itself: plain numbers, texts and boxes, attribute by attribute."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.server.storage.base import Area, Selection, Term
from gateway.server.storage.indexes import box_of

TEXT_MAX = 500  # a longer one is compared by who has the document


def hints_of(document: bytes) -> str | None:
    """JSON: attribute -> number, text, box, or null where it may be anything; None where the document is no entity."""
    try:
        entity = orjson.loads(document)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(entity, dict):
        return None
    return orjson.dumps({name: _hint(value) for name, value in entity.items() if ":" in name}).decode()


def _hint(attribute: Any) -> Any:
    value = attribute.get("value", attribute.get("object")) if isinstance(attribute, dict) else None
    if type(value) in (int, float):
        return value
    if type(value) is str:
        return value if len(value) <= TEXT_MAX and "\0" not in value else None
    return box_of(value)


def conditions(selection: Selection, arguments: list[Any]) -> list[str]:
    """SQL of the terms and areas; what it needs is added to ``arguments``."""
    found = []
    hints: tuple[Term | Area, ...] = (*selection.terms, *selection.areas)
    for hint in hints:
        if "\0" in hint.attribute:
            continue
        arguments.append(hint.attribute)
        one = f"(hints -> ${len(arguments)}::text)"
        fits = _area(one, hint, arguments) if isinstance(hint, Area) else _term(one, hint, arguments)
        found.append(f"(hints IS NULL OR {one} = 'null'::jsonb OR {fits})")
    return found


def _term(one: str, term: Term, arguments: list[Any]) -> str:
    kind, value = ("string", term.value) if isinstance(term.value, str) else ("number", term.value)
    other = f"jsonb_typeof({one}) = 'array'"  # a geometry: it is compared in ways that are not known here
    if isinstance(value, bool) or (isinstance(value, str) and "\0" in value):
        return other
    if isinstance(value, str) and (term.operator != "==" or len(value) > TEXT_MAX):
        return f"{other} OR jsonb_typeof({one}) = 'string'"
    arguments.append(orjson.dumps(value).decode())
    operator = "=" if term.operator == "==" else term.operator
    return f"{other} OR (jsonb_typeof({one}) = '{kind}' AND {one} {operator} ${len(arguments)}::jsonb)"


def _area(one: str, area: Area, arguments: list[Any]) -> str:
    arguments += [area.west, area.south, area.east, area.north]
    west, south, east, north = (f"${len(arguments) - place}::float8" for place in (3, 2, 1, 0))
    box = [f"({one} ->> {place})::float8" for place in range(4)]
    across = "AND" if area.west <= area.east else "OR"
    inside = f"{box[3]} >= {south} AND {box[1]} <= {north} AND ({box[2]} >= {west} {across} {box[0]} <= {east})"
    return f"CASE WHEN jsonb_typeof({one}) = 'array' THEN {inside} ELSE true END"
