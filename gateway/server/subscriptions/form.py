"""What is refused where it is given. What was kept before these rules came is still read as it is."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from gateway.server.broker.names import Fault, check_no_null
from gateway.server.broker.qlang import parse_q
from gateway.server.contexts import Context
from gateway.server.subscriptions.model import Json

SELECTOR_KNOWN = frozenset({"type", "id", "idPattern"})
GEO_KNOWN = frozenset({"geometry", "coordinates", "georel", "geoproperty"})


def check_form(raw: Json, context: Context, *, entities: bool = True) -> None:
    """A whole subscription; ``entities``: to entities, else to registrations, which are no GeoJSON.

    Raises BadRequestData with a JSON pointer. What is of a wrong type is left to the parser.
    """
    try:
        check_no_null(raw)
        for index, selector in enumerate(_several(raw.get("entities"))):
            _known(selector, SELECTOR_KNOWN, "entities", index)
        _known(raw.get("geoQ"), GEO_KNOWN, "geoQ")
        notification = raw.get("notification")
        if isinstance(notification, dict):
            _notification(notification, entities=entities)
        if isinstance(raw.get("csf"), str):
            parse_q(raw["csf"], context)
    except Fault as fault:
        raise fault.problem() from None


def _notification(notification: Json, *, entities: bool) -> None:
    if "joinLevel" in notification and notification.get("join") not in ("flat", "inline"):
        raise Fault("needs join: flat or inline", "notification", "joinLevel")
    endpoint = notification.get("endpoint")
    if not isinstance(endpoint, dict):
        return
    if not entities and endpoint.get("accept") == "application/geo+json":
        raise Fault("registrations are told as JSON or JSON-LD", "notification", "endpoint", "accept")
    url = endpoint.get("uri")
    if isinstance(url, str) and not names_topic(url):
        raise Fault("must name one topic, like mqtt://host/topic", "notification", "endpoint", "uri")


def names_topic(url: str) -> bool:
    """Whether a URL, if it is one of MQTT, names a topic that can be published to."""
    if not url.startswith(("mqtt://", "mqtts://")):
        return True
    try:
        topic = unquote(urlsplit(url).path.removeprefix("/"))
    except ValueError:  # "[" and no "]" in the host
        return False
    return bool(topic) and not any(sign in topic for sign in "+#\0")


def _known(value: object, known: frozenset[str], *path: str | int) -> None:
    for name in value if isinstance(value, dict) else ():
        if name not in known:
            raise Fault("there is no such member", *path, name)


def _several(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
