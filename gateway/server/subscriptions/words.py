"""A fragment in the words of the subscription that it changes: each is read in the context it came with.

So a PATCH with another context changes what it names, and what it does not name keeps its meaning (clause 5.5.7).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from gateway.server.broker.model import NULL
from gateway.server.broker.qlang import renamed_q
from gateway.server.broker.query import TOKEN
from gateway.server.contexts import Context
from gateway.server.subscriptions.model import Json

PLAIN = frozenset({"id", "type", "scope", "*"})
CONDITIONS = ("q", "csf")
SIGNS = (*";,|()",)
WORD = re.compile(r"[^,|{}\s]+")


def worded(fragment: Json, given: Context, old: Json, own: Context) -> Json:
    """``old``: what the subscription says, in the words of ``own``. Raises BadRequestData for a ``q`` that is none.

    What has a wrong type is left as it is, for the parser to refuse.
    """
    if given.spec == own.spec:
        return fragment
    result = dict(fragment)
    for name in ("watchedAttributes", "expandValues", "jsonKeys"):
        if name in fragment:
            result[name] = _names(fragment[name], given, own)
    if isinstance(fragment.get("entities"), list):
        result["entities"] = [_selector(one, given, own) for one in fragment["entities"]]
    geo, notification = fragment.get("geoQ"), fragment.get("notification")
    if isinstance(geo, dict) and isinstance(geo.get("geoproperty"), str):
        result["geoQ"] = {**geo, "geoproperty": _name(geo["geoproperty"], given, own)}
    if isinstance(notification, dict):
        result["notification"] = _notification(notification, given, own)
    whole = {**old, **result}
    expand, keys = (frozenset(map(own.expand_name, _split(whole.get(name)))) for name in ("expandValues", "jsonKeys"))
    for name in CONDITIONS:
        text = fragment.get(name)
        if isinstance(text, str) and text != NULL:
            result[name] = renamed_q(text, given, own, expand=expand, json_keys=keys)
    return result


def _notification(notification: Json, given: Context, own: Context) -> Json:
    result = dict(notification)
    if "attributes" in notification:
        result["attributes"] = _names(notification["attributes"], given, own)
    for name in ("pick", "omit"):
        paths = notification.get(name)
        if isinstance(paths, list):
            result[name] = [_path(path, given, own) if isinstance(path, str) else path for path in paths]
    return result


def _name(name: str, given: Context, own: Context) -> str:
    return name if name in PLAIN or not name else own.compact_name(given.expand_name(name))


def _names(value: Any, given: Context, own: Context) -> Any:
    """A list of names, or a text with commas between."""
    if isinstance(value, str) and value != NULL:
        return ",".join(_name(part, given, own) for part in _split(value))
    if isinstance(value, list):
        return [_name(part, given, own) if isinstance(part, str) else part for part in value]
    return value


def _path(path: str, given: Context, own: Context) -> str:
    """A member of a projection; braces hold those of linked entities."""
    return WORD.sub(lambda found: _name(unquote(found[0]), given, own).replace("%", "%25"), path)


def _selector(value: Any, given: Context, own: Context) -> Any:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return value
    parts = (part.strip() for part in TOKEN.findall(value["type"]))
    return {**value, "type": "".join(p if p in SIGNS else _name(p, given, own) for p in parts)}


def _split(value: Any) -> list[str]:
    parts = value.split(",") if isinstance(value, str) else value
    return [part.strip() for part in parts if isinstance(part, str)] if isinstance(parts, list) else []
