"""History over all sources (CIM 009 clauses 5.6.11 to 5.6.16, 5.7.3, 5.7.4).

Evolutions are merged as they are shown: instances of an attribute from several sources stand together, in time.
Of aggregated values only one source's can be shown: the first that has the attribute.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import orjson

from gateway.server import wire
from gateway.server.broker.answers import entity_id_of
from gateway.server.broker.names import Fault, check_uri
from gateway.server.broker.query import build_query
from gateway.server.contexts import Context, Contexts
from gateway.server.distributed.forward import Forward, Forwarder, warning_of
from gateway.server.distributed.gate import Gate, parameters_of
from gateway.server.distributed.headers import Caller
from gateway.server.distributed.reads import warned
from gateway.server.distributed.translate import TEMPORAL, translated
from gateway.server.errors import NonexistentTenant, Problem, ResourceNotFound
from gateway.server.routing import Handler
from gateway.server.sources.registry import Match, Wanted
from gateway.server.wire import Request, Response

NAMED = ("attrs", "pick", "omit")
NOT_FORWARDED = frozenset({"local", "limit", "offset", "count", "type", "csf", "splitEntities", "orderBy"})
MEMBERS = frozenset({"id", "pick", "type", "scope"})
SOURCE_PAGE = "1000"
OF_SOURCE = frozenset({"instanceId", "createdAt", "modifiedAt"})
SORTED = orjson.OPT_SORT_KEYS


class History:
    """Wraps the handlers that read history."""

    def __init__(self, gate: Gate, forwarder: Forwarder, contexts: Contexts) -> None:
        self._gate = gate
        self._forwarder = forwarder
        self._contexts = contexts

    def retrieve(self, local: Handler) -> Handler:
        """GET /temporal/entities/{id}."""

        async def handler(request: Request) -> Response:
            if not self._gate.open(request):
                return await local(request)
            context = await wire.context_of(request, self._contexts)
            caller, entity_id = self._gate.caller(request, context), entity_id_of(request)
            matches = self._matches(caller, parameters_of(request), (entity_id,), "retrieveTemporal")
            if not matches:
                return await local(request)
            path = f"/temporal/entities/{quote(entity_id, safe=':')}"
            own, *others = await asyncio.gather(
                _own(local, request), *(self._asked(caller, match, path, request) for match in matches)
            )
            found = [content for content, _ in others if isinstance(content, dict) and content.get("id") == entity_id]
            return _answer(own, found, others, request, context, one=True)

        return handler

    def query(self, local: Handler) -> Handler:
        """GET /temporal/entities."""

        async def handler(request: Request) -> Response:
            if not self._gate.open(request):
                return await local(request)
            context = await wire.context_of(request, self._contexts)
            parameters = parameters_of(request)
            caller = self._gate.caller(request, context)
            ids = tuple(part for part in parameters.get("id", "").split(",") if part)
            matches = self._matches(caller, parameters, ids, "queryTemporal")
            if not matches:
                return await local(request)
            own = await _own(local, request)  # first: what is wrong with the request is said here
            others = await asyncio.gather(
                *(self._asked(caller, match, "/temporal/entities", request) for match in matches)
            )
            found = [part for content, _ in others if isinstance(content, list) for part in content]
            return _answer(own, found, others, request, context, one=False)

        return handler

    def _matches(self, caller: Caller, parameters: dict[str, str], ids: tuple[str, ...], operation: str) -> list[Match]:
        names = [name for name in parameters.get("attrs", "").split(",") if name]
        wanted = Wanted(
            ids=ids,
            types=build_query(caller.context, types=parameters.get("type")).types,
            attributes=frozenset(caller.context.expand_name(name) for name in names) or None,
        )
        return [match for match in self._gate.matching(caller, wanted) if operation in match.registration.operations]

    async def _asked(self, caller: Caller, match: Match, path: str, request: Request) -> tuple[Any, str | None]:
        registration = match.registration
        try:
            context = await self._forwarder.context_for(registration, caller)
        except Problem as problem:
            return None, f'299 {registration.id} "{problem.cause[:200]}"'
        given = parameters_of(request)
        parameters = {name: value for name, value in given.items() if name not in NOT_FORWARDED}
        for name in NAMED:
            if name in parameters:
                words = parameters[name].split(",")
                parameters[name] = ",".join(w if w in MEMBERS else _renamed(w, caller.context, context) for w in words)
        if path.endswith("/entities"):
            parameters["limit"] = SOURCE_PAGE
            if "type" in given:
                parameters["type"] = ",".join(_renamed(w, caller.context, context) for w in given["type"].split(","))
        if match.attributes and not parameters.keys() & set(NAMED):
            parameters["attrs"] = ",".join(sorted(context.compact_name(name) for name in match.attributes))
        reply = await self._forwarder.send(caller, context, Forward(registration, "GET", path, parameters))
        if not reply.good:
            return None, warning_of(reply, registration)
        content = reply.content
        if isinstance(content, list):
            return [translated(part, context, caller.context) for part in content if _is_entity(part)], None
        return (translated(content, context, caller.context), None) if _is_entity(content) else (None, None)


def _renamed(name: str, source: Context, target: Context) -> str:
    return name if source is target else target.compact_name(source.expand_name(name))


def _is_entity(part: Any) -> bool:
    try:
        check_uri(part["id"])
    except (Fault, KeyError, TypeError):
        return False
    return True


async def _own(local: Handler, request: Request) -> Response | Problem:
    try:
        return await local(request)
    except (ResourceNotFound, NonexistentTenant) as problem:
        return problem


def _answer(
    own: Response | Problem,
    found: list[dict[str, Any]],
    others: list[tuple[Any, str | None]],
    request: Request,
    context: Context,
    *,
    one: bool,
) -> Response:
    warnings = warned([warning for _, warning in others if warning is not None])
    if isinstance(own, Problem):
        if one and not found:
            raise own
        media = wire.negotiate(request.header(b"accept"))
        headers = {} if media == wire.LD else {"Link": wire.context_header(context)}
        own = wire.answer(200, found.pop(0) if one else [], media, headers)
    content = orjson.loads(own.body)
    simple = any(word in ("temporalValues", "keyValues", "simplified") for word in _words(request))
    if one:
        for part in found:
            content = merged(content, part, simple=simple)
    else:
        known = {entity["id"]: entity for entity in content}
        for part in found:
            known[part["id"]] = merged(known[part["id"]], part, simple=simple) if part["id"] in known else part
        content = list(known.values())
    extra = tuple((name.lower().encode(), value.encode("latin-1", "replace")) for name, value in warnings.items())
    return Response(own.status, orjson.dumps(content), (*own.headers, *extra))


def _words(request: Request) -> list[str]:
    parameters = parameters_of(request)
    return f"{parameters.get('options', '')},{parameters.get('format', '')}".split(",")


def merged(one: dict[str, Any], other: dict[str, Any], *, simple: bool) -> dict[str, Any]:
    """Two evolutions of an entity as one."""
    result = dict(one)
    for name, value in other.items():
        if name in ("id", "@context", "scope", "createdAt", "modifiedAt", "deletedAt", "expiresAt"):
            result.setdefault(name, value)
        elif name == "type":
            types = [*_list(result.get("type", [])), *_list(value)]
            result["type"] = list(dict.fromkeys(types)) if len(set(types)) > 1 else value
        elif name not in result:
            result[name] = value
        elif simple:
            result[name] = _columns(_list(result[name]), _list(value))
        elif isinstance(value, list) and isinstance(result[name], list):
            result[name] = _instances(result[name], value)
    return result


def _instances(one: list[Any], other: list[Any]) -> list[Any]:
    """All instances, in their order in time where they have one; what both have stands once.

    instanceId says nothing here: each source counts for itself.
    """
    known = {_content(part) for part in one}
    found = [*one, *(part for part in other if isinstance(part, dict) and _content(part) not in known)]
    times = [part.get("observedAt") for part in found]
    if not all(isinstance(moment, str) for moment in times):
        return found
    newest_first = len(one) > 1 and str(times[0]) > str(times[len(one) - 1])
    return sorted(found, key=lambda part: str(part["observedAt"]), reverse=newest_first)


def _content(part: dict[str, Any]) -> bytes:
    return orjson.dumps({name: value for name, value in part.items() if name not in OF_SOURCE}, option=SORTED)


def _columns(one: list[Any], other: list[Any]) -> Any:
    """Series of pairs, dataset by dataset."""
    result = {part.get("datasetId"): dict(part) for part in one if isinstance(part, dict)}
    for part in other:
        if not isinstance(part, dict):
            continue
        known = result.setdefault(part.get("datasetId"), {k: v for k, v in part.items() if k not in TEMPORAL})
        for name in TEMPORAL & part.keys():
            pairs = [*known.get(name, []), *part[name]]
            unique = {orjson.dumps(pair): pair for pair in pairs if isinstance(pair, list) and len(pair) == 2}
            known[name] = sorted(unique.values(), key=lambda pair: str(pair[1]))
    found = list(result.values())
    return found[0] if len(found) == 1 else found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
