"""What the routes of the broker share: ids of paths, how entities are wanted, answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.server import wire
from gateway.server.broker.parse import URI, Fault, check_uri
from gateway.server.broker.projection import check_projections, parse_projection
from gateway.server.broker.query import expand_names
from gateway.server.broker.represent import Format, View
from gateway.server.broker.represent_filter import CURRENT, DEFAULT_INSTANCE, Version
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData, InvalidRequest
from gateway.server.wire import Request, Response, answer

FORMATS: dict[str, Format] = {
    "normalized": "normalized",
    "concise": "concise",
    "simplified": "simplified",
    "keyValues": "simplified",
}
VIEW_PARAMETERS = frozenset(
    {"attrs", "pick", "omit", "options", "format", "local", "lang", "datasetId", "geometryProperty"}
)
LANGUAGE = re.compile(r"(\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)(?:;q=([01](?:\.\d{0,3})?))?\Z")
VERSION = re.compile(r"ngsi-ld=\"?(\d)\.(\d{1,2})(?:\.\d+)?\"?\Z")


@dataclass(frozen=True, slots=True)
class Preferences:
    """The Prefer header (RFC 7240): where the context of GeoJSON goes, the version of the API that is wanted."""

    context_in_link: bool = False
    version: Version | None = None


NO_PREFERENCES = Preferences()


def preferences_of(request: Request) -> Preferences:
    """What cannot be understood is no preference."""
    header = request.header(b"prefer")
    if header is None:
        return NO_PREFERENCES
    parts = [part.strip().replace(" ", "") for part in header.split(",")]
    versions = [found for part in parts if (found := VERSION.match(part))]
    version = (int(versions[0][1]), int(versions[0][2])) if versions else None
    return Preferences("body=json" in parts, version if version is not None and version < CURRENT else None)


def entity_id_of(request: Request) -> str:
    """The id in the path. Raises BadRequestData."""
    entity_id = request.params["id"]
    if not URI.match(entity_id):
        raise BadRequestData(f"{entity_id!r} is not a URI")
    return entity_id


def view_of(
    parameters: Mapping[str, str], context: Context, media: str, preferences: Preferences = NO_PREFERENCES
) -> View:
    """How entities are wanted; ``format`` wins over ``options``. Raises BadRequestData, InvalidRequest."""
    words = wire.options(parameters, {*FORMATS, "sysAttrs"})
    wire.boolean(parameters, "local")
    named = parameters.get("format") or next((word for word in sorted(words) if word in FORMATS), "normalized")
    if named not in FORMATS:
        raise InvalidRequest(f"the format {named!r} does not apply here")
    attrs = wire.comma_list(parameters, "attrs")
    if attrs and ("pick" in parameters or "omit" in parameters):
        raise BadRequestData("attrs (the older way) cannot be combined with pick and omit")
    if reserved := {"id", "type", "scope", "@id", "@type"} & set(attrs):
        raise BadRequestData(f"attrs: {', '.join(sorted(reserved))} is no attribute; use pick")
    pick = parse_projection("pick", parameters.get("pick"), context)
    omit = parse_projection("omit", parameters.get("omit"), context)
    joined = parameters.get("join", "@none") != "@none"
    check_projections(pick, omit, wire.natural(parameters, "joinLevel", 1, 1) if joined else 0)
    return View(
        context,
        FORMATS[named],
        frozenset(expand_names(attrs, context)),
        "sysAttrs" in words,
        media == wire.LD or (media == wire.GEO and not preferences.context_in_link),
        pick,
        omit,
        _datasets(parameters),
        languages_of(parameters.get("lang")),
        _geometry(parameters, context, media),
        preferences.version,
    )


def languages_of(text: str | None) -> tuple[str, ...]:
    """The tags of ``lang`` in the order of their weights (clause 4.15). Raises BadRequestData."""
    if text is None:
        return ()
    weighted: list[tuple[float, str]] = []
    for part in text.split(","):
        found = LANGUAGE.match(part.strip().replace(" ", ""))
        if found is None:
            raise BadRequestData(f"lang: {part!r} is not a language tag, like en or de-AT;q=0.8")
        weighted.append((float(found[2] or 1), found[1]))
    return tuple(tag for weight, tag in sorted(weighted, key=lambda pair: -pair[0]) if weight > 0)


def _datasets(parameters: Mapping[str, str]) -> frozenset[str] | None:
    if "datasetId" not in parameters:
        return None
    try:
        names = wire.comma_list(parameters, "datasetId")
        return frozenset(name if name == DEFAULT_INSTANCE else check_uri(name) for name in names)
    except Fault as fault:
        raise BadRequestData(f"datasetId: {fault}") from None


def _geometry(parameters: Mapping[str, str], context: Context, media: str) -> str | None:
    named = parameters.get("geometryProperty")
    if media != wire.GEO:
        if named is not None:
            raise BadRequestData("geometryProperty applies to Accept: application/geo+json only")
        return None
    return expand_names(("location" if named is None else named,), context)[0]


def respond(
    content: object, view: View, media: str, headers: Mapping[str, str] | None = None, status: int = 200
) -> Response:
    """An answer in the media type that was negotiated, its context in the body or in a Link header."""
    merged = dict(headers or {})
    if media == wire.JSON or (media == wire.GEO and not view.with_context):
        merged["Link"] = ", ".join(filter(None, (wire.context_header(view.context), merged.get("Link"))))
    return answer(status, content, media, merged)
