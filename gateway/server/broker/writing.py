"""What the routes that write share: bodies, the parameters of merges, what may be named in a path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.server import wire
from gateway.server.broker.answers import FORMATS
from gateway.server.broker.model import Stored
from gateway.server.broker.names import Fault, check_time
from gateway.server.broker.parse import ENTITY_MEMBERS, attribute_name
from gateway.server.broker.patch import How
from gateway.server.broker.query import parse_types
from gateway.server.broker.rules import TypeTest
from gateway.server.contexts import Context, Contexts
from gateway.server.errors import BadRequestData, InvalidRequest
from gateway.server.wire import Request

MERGE_PARAMETERS = frozenset({"local", "options", "format", "observedAt", "lang"})
LANGUAGE_TAG = re.compile(r"(@none|[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*)\Z")


async def read_body(request: Request, contexts: Contexts, *, patch: bool = False) -> tuple[Any, Context]:
    """The JSON of a body and its context. Raises BadRequestData, InvalidRequest, UnsupportedMediaType, ..."""
    media, raw = wire.body_media(request, patch=patch), wire.json_body(request)
    return raw, await wire.context_of_part(raw, request, media, contexts)


def how_of(parameters: Mapping[str, str], context: Context) -> How:
    """How a fragment is to be read and merged. Raises BadRequestData, InvalidRequest."""
    wire.boolean(parameters, "local")
    words = wire.options(parameters, FORMATS)
    named = parameters.get("format") or next(iter(sorted(words)), "normalized")
    if named not in FORMATS:
        raise InvalidRequest(f"the format {named!r} does not apply here")
    observed, lang = parameters.get("observedAt"), parameters.get("lang")
    try:
        if observed is not None:
            check_time(observed)
    except Fault as fault:
        raise BadRequestData(f"observedAt: {fault}") from None
    if lang is not None and not LANGUAGE_TAG.match(lang):
        raise BadRequestData(f"lang: {lang!r} is not a language tag")
    return How(context, FORMATS[named] == "simplified", observed_at=observed, lang=lang)


def types_of(parameters: Mapping[str, str], context: Context) -> TypeTest | None:
    """The test of the parameter ``type``, which narrows the target of an operation. Raises BadRequestData."""
    selection = parse_types(parameters["type"], context) if "type" in parameters else None
    return None if selection is None else selection.matches


def same_id(entity: Stored, entity_id: str) -> None:
    """A fragment may say its id again, and then the same; from here on it has it. Raises BadRequestData."""
    if entity.setdefault("id", entity_id) != entity_id:
        raise BadRequestData("/id: it differs from the id in the path")


def path_attribute(request: Request, context: Context) -> str:
    """The IRI of the attribute named in the path. Raises BadRequestData."""
    name = request.params["attr"]
    try:
        if name in ENTITY_MEMBERS:
            raise Fault("is not an attribute")
        return attribute_name(name, context)
    except Fault as fault:
        raise BadRequestData(f"the attribute {name!r} in the path: {fault}") from None
