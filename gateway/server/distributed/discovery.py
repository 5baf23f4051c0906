"""Types and attributes that sources know, beside those here (CIM 009 clauses 5.7.5 to 5.7.10)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import orjson

from gateway.server import wire
from gateway.server.broker.query import build_query
from gateway.server.contexts import Context, Contexts
from gateway.server.distributed.forward import Forward, Forwarder, warned, warning, warning_of
from gateway.server.distributed.gate import Gate, parameters_of
from gateway.server.distributed.headers import Caller
from gateway.server.distributed.translate import renamed
from gateway.server.errors import NonexistentTenant, Problem, ResourceNotFound
from gateway.server.routing import Handler
from gateway.server.sources.model import Registration
from gateway.server.sources.registry import Wanted
from gateway.server.wire import Request, Response

NAMES = ("typeName", "attributeName")
LISTS = ("typeList", "attributeList", "attributeNames", "typeNames")
COUNTS = ("entityCount", "attributeCount")
PAGES = ("limit", "offset", "count")


class Discovery:
    """Wraps the handlers of /types and /attributes."""

    def __init__(self, gate: Gate, forwarder: Forwarder, contexts: Contexts) -> None:
        self._gate = gate
        self._forwarder = forwarder
        self._contexts = contexts

    def wrapped(self, local: Handler, path: str, operations: tuple[str, str]) -> Handler:
        """``operations``: those for details=false and details=true; ``path`` ends in {name} for one of them."""

        async def handler(request: Request) -> Response:
            parameters = parameters_of(request)
            if not self._gate.open(request) or parameters.keys() & set(PAGES):
                return await local(request)
            details = parameters.get("details") == "true"
            context = await wire.context_of(request, self._contexts)
            caller = self._gate.caller(request, context)
            name = request.params.get("name")
            wanted = _wanted(path, name, context)
            found = [
                match.registration
                for match in self._gate.matching(caller, wanted)
                if operations[details] in match.registration.operations
            ]
            if not found:
                return await local(request)
            own, *others = await asyncio.gather(
                _own(local, request),
                *(self._asked(caller, registration, path, name, details) for registration in found),
            )
            contents = [content for content, _ in others if content is not None]
            warnings = [warns for _, warns in others if warns is not None]
            return _answer(own, contents, warnings, request, context)

        return handler

    async def _asked(
        self, caller: Caller, registration: Registration, path: str, name: str | None, details: bool
    ) -> tuple[Any, str | None]:
        """What a source says, in the names of the request, and a warning if it says nothing."""
        try:
            context = await self._forwarder.context_for(registration, caller)
        except Problem as problem:
            return None, warning(registration, problem.cause)
        if name is not None:
            path = path.replace("{name}", quote(renamed(name, caller.context, context), safe=""))
        parameters = {"details": "true"} if details else {}
        reply = await self._forwarder.send(caller, context, Forward(registration, "GET", path, parameters))
        if not reply.good:
            return None, warning_of(reply, registration)
        content = _renamed(reply.content, lambda word: renamed(word, context, caller.context))
        wanted = list if details and name is None else dict
        if not isinstance(content, wanted):
            return None, warning(registration, "its answer is not what was asked for")
        return content, None


def _wanted(path: str, name: str | None, context: Context) -> Wanted:
    if name is None:
        return Wanted()
    if path.startswith("/types"):
        return Wanted(types=build_query(context, types=name).types)
    return Wanted(attributes=frozenset({context.expand_name(name)}))


async def _own(local: Handler, request: Request) -> Response | Problem:
    try:
        return await local(request)
    except (ResourceNotFound, NonexistentTenant) as problem:
        return problem


def _answer(
    own: Response | Problem, contents: list[Any], warnings: list[str], request: Request, context: Context
) -> Response:
    if isinstance(own, Problem):
        if not contents:
            raise own
        media = wire.negotiate(request.header(b"accept"))
        content, body = None, contents[0]
        if media == wire.LD and isinstance(body, dict):
            body = {**body, "@context": context.spec}
        headers = {} if media == wire.LD else {"Link": wire.context_header(context)}
        own = wire.answer(200, body, media, headers)
        contents = contents[1:]
    content = orjson.loads(own.body)
    for other in contents:
        content = _together(content, other)
    extra = tuple(
        (name.lower().encode(), value.encode("latin-1", "replace")) for name, value in warned(warnings).items()
    )
    return Response(own.status, orjson.dumps(content), (*own.headers, *extra))


def _together(one: Any, other: Any) -> Any:
    """Lists of names are united, counts added, descriptions with the same id made one."""
    if isinstance(one, list) and isinstance(other, list):
        known = {part.get("id"): part for part in one if isinstance(part, dict)}
        for part in other:
            if isinstance(part, dict) and isinstance(part.get("id"), str):
                known[part["id"]] = _together(known[part["id"]], part) if part["id"] in known else part
        return [known[name] for name in sorted(known, key=str)]
    if not isinstance(one, dict) or not isinstance(other, dict):
        return one
    result = dict(one)
    for name, value in other.items():
        if name in (*LISTS, "attributeTypes") and isinstance(value, list):
            result[name] = sorted({*result.get(name, []), *(word for word in value if isinstance(word, str))})
        elif name in COUNTS and isinstance(value, int):
            result[name] = result.get(name, 0) + value
        elif name == "attributeDetails":
            result[name] = _together(result.get(name, []), value)
    return result


def _renamed(content: Any, rename: Callable[[str], str]) -> Any:
    """What of an answer is a description, with names in the context of the request; None where nothing is."""
    if isinstance(content, list):
        return [found for part in content if (found := _renamed(part, rename)) is not None]
    if not isinstance(content, dict) or not isinstance(content.get("id"), str):
        return None
    result: dict[str, Any] = {}
    for name, value in content.items():
        if name in NAMES and isinstance(value, str):
            result[name] = rename(value)
        elif name in LISTS and isinstance(value, list):
            result[name] = [rename(word) for word in value if isinstance(word, str)]
        elif name == "attributeTypes" and isinstance(value, list):
            result[name] = [word for word in value if isinstance(word, str)]
        elif name == "attributeDetails" and isinstance(value, list):
            result[name] = _renamed(value, rename)
        elif (name in COUNTS and type(value) is int) or (name in ("id", "type") and isinstance(value, str)):
            result[name] = value
    return result
