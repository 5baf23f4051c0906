"""What the routes of the broker share: ids of paths, how entities are wanted, answers."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.server import wire
from gateway.server.broker.parse import URI
from gateway.server.broker.query import expand_names
from gateway.server.broker.represent import Format, View
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData, InvalidRequest
from gateway.server.wire import Request, Response, answer

FORMATS: dict[str, Format] = {
    "normalized": "normalized",
    "concise": "concise",
    "simplified": "simplified",
    "keyValues": "simplified",
}
VIEW_PARAMETERS = frozenset({"attrs", "options", "format", "local"})


def entity_id_of(request: Request) -> str:
    """The id in the path. Raises BadRequestData."""
    entity_id = request.params["id"]
    if not URI.match(entity_id):
        raise BadRequestData(f"{entity_id!r} is not a URI")
    return entity_id


def view_of(parameters: Mapping[str, str], context: Context, media: str) -> View:
    """Format, attributes and system attributes asked for; ``format`` wins over ``options``."""
    words = wire.options(parameters, {*FORMATS, "sysAttrs"})
    wire.boolean(parameters, "local")
    named = parameters.get("format") or next((word for word in sorted(words) if word in FORMATS), "normalized")
    if named not in FORMATS:
        raise InvalidRequest(f"the format {named!r} does not apply here")
    attrs = frozenset(expand_names(wire.comma_list(parameters, "attrs"), context))
    return View(context, FORMATS[named], attrs, "sysAttrs" in words, media == wire.LD)


def respond(content: object, view: View, media: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in the media type that was negotiated, its context in the body or in a Link header."""
    merged = dict(headers or {})
    if media == wire.JSON:
        merged["Link"] = ", ".join(filter(None, (wire.context_header(view.context), merged.get("Link"))))
    return answer(200, content, media, merged)
