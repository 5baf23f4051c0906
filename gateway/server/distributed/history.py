"""History over all sources (CIM 009 clauses 5.6.11 to 5.6.16, 5.7.3, 5.7.4).

Evolutions are merged as they are shown: instances of an attribute from several sources stand together, in time.
Of aggregated values only one source's can be shown: the first that has the attribute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from gateway.server import wire
from gateway.server.broker.answers import entity_id_of, respond
from gateway.server.broker.query import build_query
from gateway.server.broker.represent import View
from gateway.server.contexts import Context, Contexts
from gateway.server.distributed.evolutions import evolution, merged
from gateway.server.distributed.forward import Forward, Forwarder, warned, warning, warning_of
from gateway.server.distributed.gate import Gate, parameters_of
from gateway.server.distributed.headers import Caller
from gateway.server.distributed.limits import limits_of
from gateway.server.distributed.maps import EntityMap, Maps, lifetime_us, wants_map
from gateway.server.distributed.search import IDS_IN_URL_MAX, MERGED_MAX
from gateway.server.distributed.translate import translated
from gateway.server.errors import InternalError, NonexistentTenant, Problem, ResourceNotFound, TooManyResults
from gateway.server.routing import Handler
from gateway.server.sources.registry import Match, Wanted
from gateway.server.temporal.body import asked_of
from gateway.server.wire import Request, Response

NAMED = ("attrs", "pick", "omit")
NOT_FORWARDED = frozenset(
    {"local", "limit", "offset", "count", "type", "csf", "splitEntities", "orderBy", "entityMap", "entityMapLifetime"}
)
MEMBERS = frozenset({"id", "type", "scope"})
PAGE = 1_000  # of one request
OF_PAGES = frozenset({"count", "entityMap", "entityMapLifetime"})


@dataclass(slots=True)
class Collected:
    """Evolutions by id, and who had a part in each; ``headers``: of the part that is shown (206)."""

    entities: dict[str, dict[str, Any]] = field(default_factory=dict)
    where: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    def add(self, source: str, entity: dict[str, Any], *, simple: bool) -> None:
        """What one more source has."""
        name = entity["id"]
        known = self.entities.get(name)
        self.entities[name] = entity if known is None else merged(known, entity, simple=simple)
        self.where.setdefault(name, []).append(source)

    def ordered(self, by: str | None) -> list[dict[str, Any]]:
        """In the order of the sources, or of the ids, which is all that history can be put in order by."""
        found = list(self.entities.values())
        if by is None:
            return found
        return sorted(found, key=lambda entity: str(entity["id"]), reverse=by.endswith(";desc"))


class History:
    """Wraps the handlers that read history."""

    def __init__(self, gate: Gate, forwarder: Forwarder, contexts: Contexts, maps: Maps) -> None:
        self._maps = maps
        self._local: Handler = _unwrapped
        self._query: Handler = _unwrapped
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
            return _answer(own, found, others, request, context)

        return handler

    def query(self, local: Handler) -> Handler:
        """GET /temporal/entities."""

        async def handler(request: Request) -> Response:
            mapped = wants_map(request)
            if not self._gate.open(request) and not mapped:
                return await local(request)
            parameters = parameters_of(request)
            context = await wire.context_of(request, self._contexts)
            page = wire.paging(parameters)
            used = await self._maps.used(request, context, temporal=True) if mapped else None
            if used is not None:
                return await self._turned(request, context, used)
            if mapped:
                made, found = await self.mapped(request)
                return _page(request, context, found, page, made, 201)
            matches = self.matches(self._gate.caller(request, context), parameters)
            if not matches:
                return await local(request)
            need = MERGED_MAX if page.count else page.offset + page.limit + 1
            return _page(request, context, await self.collect(local, request, context, matches, need), page)

        self._local, self._query = local, handler
        return handler

    def query_by_body(self, local: Handler) -> Handler:
        """POST /temporal/entityOperations/query: where others are to be asked, as if it came by URL."""

        async def handler(request: Request) -> Response:
            if not self._gate.open(request) and not wants_map(request):
                return await local(request)
            by_url = await self.by_url(request)
            return await (local(request) if by_url is None else self._query(by_url))

        return handler

    async def by_url(self, request: Request) -> Request | None:
        """The same query with all in the URL; None where that cannot say it: several selectors, an inline context.

        Raises BadRequestData, InvalidRequest, ...
        """
        media, raw = wire.body_media(request), wire.json_body(request)
        context = await wire.context_of_part(raw, request, media, self._contexts)
        asked = asked_of(raw)
        if len(asked.selectors) > 1 or not isinstance(context.spec, str):
            return None
        selector = asked.selectors[0] if asked.selectors else {}
        parameters = {**parameters_of(request), **asked.parameters, **selector}
        if raw.get("entityMap") is True:
            parameters["entityMap"] = "true"
        if isinstance(raw.get("entityMapLifetime"), str):
            parameters["entityMapLifetime"] = raw["entityMapLifetime"]
        link = (b"link", wire.context_header(context).encode("ascii"))
        headers = [pair for pair in request.headers if pair[0] not in (b"link", b"content-type")]
        query = urlencode(parameters).encode("ascii")
        path = f"{wire.ROOT}/temporal/entities"
        return Request("GET", path, [*headers, link], query, params=request.params)

    async def mapped(self, request: Request) -> tuple[EntityMap, Collected]:
        """A new map of a query, and what it found. Raises what the query does, TooManyResults."""
        context = await wire.context_of(request, self._contexts)
        parameters = parameters_of(request)
        lasting = lifetime_us(parameters)
        matches = self._asked_too(request, context)
        found = await self.collect(self._local, request, context, matches, MERGED_MAX + 1)
        if len(found.entities) > MERGED_MAX:
            raise TooManyResults(f"an entity map of history has at most {MERGED_MAX} entities")
        where = {str(entity["id"]): found.where[entity["id"]] for entity in found.ordered(parameters.get("orderBy"))}
        return await self._maps.make(request.tenant, context, where, lasting, temporal=True), found

    async def _turned(self, request: Request, context: Context, used: EntityMap) -> Response:
        """A page of a map, as it is now; what has nothing to show any more leaves the map."""
        page = wire.paging(parameters_of(request))
        wanted = used.slice(page)
        found = Collected()
        matches = self._asked_too(request, context)
        for start in range(0, len(wanted), IDS_IN_URL_MAX):
            chunk = ",".join(wanted[start : start + IDS_IN_URL_MAX])
            part = rewritten(request, {"id": chunk}, {"idPattern"})
            got = await self.collect(self._local, part, context, matches, IDS_IN_URL_MAX)
            found.entities |= got.entities
            found.warnings += got.warnings
            found.status, found.headers = max(found.status, got.status), got.headers or found.headers
        found.entities = {name: found.entities[name] for name in wanted if name in found.entities}
        if not found.warnings:
            used.gone |= set(wanted) - found.entities.keys()
        return _page(request, context, found, page, used)

    def _asked_too(self, request: Request, context: Context) -> list[Match]:
        if not self._gate.open(request):
            return []
        return self.matches(self._gate.caller(request, context), parameters_of(request))

    async def collect(
        self, local: Handler, request: Request, context: Context, matches: list[Match], need: int
    ) -> Collected:
        """What all have, up to ``need`` entities of each. Raises what the handler here does."""
        caller = self._gate.caller(request, context)
        found = Collected()
        got = asked = 0
        while got == asked and got < need:  # here first: what is wrong with the request is said here
            size = min(need - got, PAGE)
            own = await _own(local, rewritten(request, {"limit": str(size), "offset": str(got)}, OF_PAGES))
            if isinstance(own, Problem):
                break
            content = orjson.loads(own.body)
            found.status, found.headers = own.status, [pair for pair in own.headers if pair[0] == b"content-range"]
            for entity in content:
                entity.pop("@context", None)
                found.add("@none", entity, simple=False)
            got, asked = got + len(content), asked + size
        simple = _simple(request)
        replies = await asyncio.gather(*(self._asked(caller, m, "/temporal/entities", request, need) for m in matches))
        for match, (content, warns) in zip(matches, replies, strict=True):
            found.warnings += [warns] if warns is not None else []
            for entity in content if isinstance(content, list) else []:
                found.add(match.registration.id, entity, simple=simple)
        return found

    def matches(self, caller: Caller, parameters: dict[str, str]) -> list[Match]:
        """Who is asked in a query."""
        ids = tuple(part for part in parameters.get("id", "").split(",") if part)
        return self._matches(caller, parameters, ids, "queryTemporal")

    def _matches(self, caller: Caller, parameters: dict[str, str], ids: tuple[str, ...], operation: str) -> list[Match]:
        names = [name for name in parameters.get("attrs", "").split(",") if name]
        wanted = Wanted(
            ids=ids,
            types=build_query(caller.context, types=parameters.get("type")).types,
            attributes=frozenset(caller.context.expand_name(name) for name in names) or None,
        )
        found = self._gate.matching(caller, wanted, limits_of(parameters, caller.context, temporal=True))
        return [match for match in found if operation in match.registration.operations]

    async def _asked(
        self, caller: Caller, match: Match, path: str, request: Request, need: int = 1
    ) -> tuple[Any, str | None]:
        registration = match.registration
        try:
            context = await self._forwarder.context_for(registration, caller)
        except Problem as problem:
            return None, warning(registration, problem.cause)
        given = parameters_of(request)
        parameters = {name: value for name, value in given.items() if name not in NOT_FORWARDED}
        for name in NAMED:
            if name in parameters:
                words = parameters[name].split(",")
                parameters[name] = ",".join(w if w in MEMBERS else _renamed(w, caller.context, context) for w in words)
        if path.endswith("/entities"):
            parameters["limit"] = str(min(need, PAGE))
            if "type" in given:
                parameters["type"] = ",".join(_renamed(w, caller.context, context) for w in given["type"].split(","))
        if match.attributes and not parameters.keys() & set(NAMED):
            parameters["attrs"] = ",".join(sorted(context.compact_name(name) for name in match.attributes))
        reply = await self._forwarder.send(caller, context, Forward(registration, "GET", path, parameters))
        if not reply.good:
            return None, warning_of(reply, registration)
        if isinstance(reply.content, list):
            found = [entity for part in reply.content if (entity := evolution(part)) is not None]
            return [translated(entity, context, caller.context) for entity in found], None
        one = evolution(reply.content)
        return None if one is None else translated(one, context, caller.context), None


def _renamed(name: str, source: Context, target: Context) -> str:
    return name if source is target else target.compact_name(source.expand_name(name))


async def _unwrapped(request: Request) -> Response:
    raise InternalError(f"no handler for {request.path}")


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
) -> Response:
    """One entity."""
    warnings = warned([warns for _, warns in others if warns is not None])
    if isinstance(own, Problem):
        if not found:
            raise own
        media = wire.negotiate(request.header(b"accept"))
        first = {**found.pop(0), **({"@context": context.spec} if media == wire.LD else {})}
        own = respond(first, View(context), media)
    content = orjson.loads(own.body)
    for part in found:
        content = merged(content, part, simple=_simple(request))
    extra = wire.answer(200, headers=warnings).headers
    return Response(own.status, orjson.dumps(content), (*own.headers, *extra))


def _page(
    request: Request,
    context: Context,
    found: Collected,
    page: wire.Paging,
    of: EntityMap | None = None,
    made: int = 0,
) -> Response:
    """One page; of a map that is used again ``found`` holds no more than that."""
    parameters, media = parameters_of(request), wire.negotiate(request.header(b"accept"))
    entities = found.ordered(parameters.get("orderBy"))
    turned = of is not None and not made
    shown = entities if turned else entities[page.offset : page.offset + page.limit]
    known = len(of.entries) - len(of.gone) if of is not None else len(entities)
    more = (len(of.entries) if of is not None else known) > page.offset + page.limit
    if media == wire.LD:
        shown = [{**entity, "@context": context.spec} for entity in shown]
    headers = wire.page_headers(request, parameters, page, more, known if page.count else None, media)
    if of is not None:
        headers["NGSILD-EntityMap"] = of.id
    whole = respond(shown, View(context), media, {**headers, **warned(found.warnings)}, made or found.status)
    return Response(whole.status, whole.body, (*whole.headers, *found.headers))


def _simple(request: Request) -> bool:
    parameters = parameters_of(request)
    words = f"{parameters.get('options', '')},{parameters.get('format', '')}".split(",")
    return any(word in ("temporalValues", "keyValues", "simplified") for word in words)


def rewritten(request: Request, parameters: Mapping[str, str], without: Collection[str] = ()) -> Request:
    """The same request with other parameters."""
    kept = {name: value for name, value in parameters_of(request).items() if name not in without}
    return replace(request, query_string=urlencode({**kept, **parameters}).encode("ascii"))
