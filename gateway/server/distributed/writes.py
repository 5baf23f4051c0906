"""Writes of one entity, with all who have a part in it (CIM 009 clauses 5.6.1 to 5.6.6, 5.6.17 to 5.6.19).

A write is split by attributes; the part of this broker is the same request with a smaller body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import orjson

from gateway.server import wire
from gateway.server.broker.answers import entity_id_of
from gateway.server.broker.model import NULL
from gateway.server.broker.names import URI
from gateway.server.broker.parse import ENTITY_MEMBERS
from gateway.server.broker.queries import Queries
from gateway.server.broker.query import TypeSelection, build_query, parse_types
from gateway.server.contexts import Context, Contexts
from gateway.server.distributed.checks import check_attribute, check_body
from gateway.server.distributed.forward import Forward, Forwarder
from gateway.server.distributed.gate import Gate, parameters_of
from gateway.server.distributed.headers import Caller
from gateway.server.distributed.limits import CURRENT, HISTORY, Limits
from gateway.server.distributed.outcome import Part, answer_of, here, refusal, there
from gateway.server.distributed.plan import Piece, Plan, plan_whole, plan_write
from gateway.server.distributed.translate import attribute, renamed, translated
from gateway.server.errors import Problem
from gateway.server.routing import Handler
from gateway.server.sources.registry import Wanted
from gateway.server.wire import ROOT, Request, Response, answer

KEPT = ("id", "@id", "type", "@type")
OF_ALL = ("scope", "expiresAt")
FORWARDED = ("options", "format", "observedAt", "lang", "datasetId", "deleteAll")  # parameters that go along


@dataclass(frozen=True, slots=True)
class Operation:
    """``by_attribute``: partial success is told as an UpdateResult, else as a BatchOperationResult.

    ``path``: with ``{id}`` for that of the entity.
    """

    name: str
    method: str
    path: str
    by_attribute: bool

    def place(self, entity_id: str) -> str:
        """The path for an entity, percent-encoded."""
        return self.path.replace("{id}", quote(entity_id, safe=":"))


CREATE = Operation("createEntity", "POST", "/entities", False)
REPLACE = Operation("replaceEntity", "PUT", "/entities/{id}", False)
MERGE = Operation("mergeEntity", "PATCH", "/entities/{id}", True)
APPEND = Operation("appendAttrs", "POST", "/entities/{id}/attrs", True)
UPDATE = Operation("updateEntity", "PATCH", "/entities/{id}/attrs", True)
UPDATE_ONE = Operation("updateAttrs", "PATCH", "/entities/{id}/attrs", True)
REPLACE_ONE = Operation("replaceAttrs", "PUT", "/entities/{id}/attrs", True)
DELETE_ONE = Operation("deleteAttrs", "DELETE", "/entities/{id}/attrs", True)
DELETE = Operation("deleteEntity", "DELETE", "/entities/{id}", False)
UPSERT_TEMPORAL = Operation("upsertTemporal", "POST", "/temporal/entities", False)
APPEND_TEMPORAL = Operation("appendAttrsTemporal", "POST", "/temporal/entities/{id}/attrs", True)
DELETE_ATTRS_TEMPORAL = Operation("deleteAttrsTemporal", "DELETE", "/temporal/entities/{id}/attrs", True)
CHANGE_INSTANCE = Operation("updateAttrInstanceTemporal", "PATCH", "/temporal/entities/{id}/attrs", True)
DELETE_INSTANCE = Operation("deleteAttrInstanceTemporal", "DELETE", "/temporal/entities/{id}/attrs", True)
DELETE_TEMPORAL = Operation("deleteTemporal", "DELETE", "/temporal/entities/{id}", False)


class Writes:
    """Wraps the handlers of this broker: the same requests, to all who have a part."""

    def __init__(self, gate: Gate, forwarder: Forwarder, queries: Queries, contexts: Contexts) -> None:
        self._gate = gate
        self._forwarder = forwarder
        self._queries = queries
        self._contexts = contexts

    def bodied(self, operation: Operation, local: Handler) -> Handler:
        """An operation with several attributes in its body."""

        async def handler(request: Request) -> Response:
            if not self._gate.open(request):
                return await local(request)
            media = wire.body_media(request, patch=operation.method == "PATCH")
            raw = wire.json_body(request)
            context = await wire.context_of_part(raw, request, media, self._contexts)
            creating = operation in (CREATE, UPSERT_TEMPORAL)
            entity_id = body_id(raw) if creating else entity_id_of(request)
            if not isinstance(raw, dict) or entity_id is None:
                return await local(request)  # which refuses it, and says why
            caller = self._gate.caller(request, context)
            names = {key: context.expand_name(key) for key in raw if is_attribute(key)}
            check_body(operation.name, request, raw, context)
            types = await known_types(self._queries, request, entity_id, raw, context)
            wanted = Wanted(ids=(entity_id,), types=types, attributes=frozenset(names.values()) or None)
            plan = plan_write(self._gate.matching(caller, wanted, _limits(operation)), names.values(), {operation.name})
            if not plan.pieces and not plan.refused:
                return await local(request)

            async def forward(piece: Piece) -> Part:
                kept = share_of(raw, names, piece)
                return await self._bodied(caller, operation, piece, entity_id, kept, request)

            smaller = {k: v for k, v in raw.items() if k not in names or names[k] in plan.names}
            done = await _all(plan, forward, local, replace_body(request, smaller), operation.name)
            good = answer(204)
            if operation is CREATE or (creating and any(part.created for part in done)):
                good = answer(201, headers={"Location": f"{ROOT}{operation.path}/{quote(entity_id, safe=':')}"})
            return answer_of(done, entity_id, good, by_attribute=operation.by_attribute)

        return handler

    async def _bodied(
        self, caller: Caller, operation: Operation, piece: Piece, entity_id: str, raw: dict[str, Any], request: Request
    ) -> Part:
        context = await self._forwarder.context_for(piece.registration, caller)
        body = translated(raw, caller.context, context)
        forward = Forward(piece.registration, operation.method, operation.place(entity_id), _parameters(request), body)
        return there(piece, await self._forwarder.send(caller, context, forward), context)

    def single(self, operation: Operation, local: Handler) -> Handler:
        """An operation on one attribute, or one instance of its history, which is named in the path."""

        async def handler(request: Request) -> Response:
            if not self._gate.open(request) or not is_attribute(request.params["attr"]):
                return await local(request)
            raw: Any = None
            if operation.method == "DELETE":
                context = await wire.context_of(request, self._contexts)
            else:
                media = wire.body_media(request, patch=operation.method == "PATCH")
                raw = wire.json_body(request)
                context = await wire.context_of_part(raw, request, media, self._contexts)
            caller, entity_id = self._gate.caller(request, context), entity_id_of(request)
            check_attribute(operation.name, request, raw, context)
            name = context.expand_name(request.params["attr"])
            types = await known_types(self._queries, request, entity_id, {}, context)
            wanted = Wanted(ids=(entity_id,), types=types, attributes=frozenset({name}))
            matches = self._gate.matching(caller, wanted, _limits(operation))
            plan = plan_write(matches, {name}, {operation.name})

            async def forward(piece: Piece) -> Part:
                to = await self._forwarder.context_for(piece.registration, caller)
                known = quote(renamed(request.params["attr"], context, to), safe="")
                instance = f"/{quote(request.params['instance'], safe=':')}" if "instance" in request.params else ""
                path = f"{operation.place(entity_id)}/{known}{instance}"
                body = raw if raw is None else _fragment(raw, name, context, to)
                sent = Forward(piece.registration, operation.method, path, _parameters(request), body)
                return there(piece, await self._forwarder.send(caller, to, sent), to)

            if not plan.pieces and not plan.refused:
                return await local(request)
            done = await _all(plan, forward, local, request, operation.name)
            return answer_of(done, entity_id, answer(204), by_attribute=True)

        return handler

    def delete(self, operation: Operation, local: Handler) -> Handler:
        """An entity, or its history: everywhere."""

        async def handler(request: Request) -> Response:
            if not self._gate.open(request):
                return await local(request)
            context = await wire.context_of(request, self._contexts)
            caller, entity_id = self._gate.caller(request, context), entity_id_of(request)
            types = await known_types(self._queries, request, entity_id, {}, context)
            matches = self._gate.matching(caller, Wanted(ids=(entity_id,), types=types), _limits(operation))
            plan = plan_whole(matches, {operation.name})

            async def forward(piece: Piece) -> Part:
                to = await self._forwarder.context_for(piece.registration, caller)
                sent = Forward(piece.registration, "DELETE", operation.place(entity_id), _parameters(request))
                part = there(piece, await self._forwarder.send(caller, to, sent), to)
                return replace(part, owner=False)  # that it is gone at one of them already is no failure

            if not plan.pieces and not plan.refused:
                return await local(request)
            done = await _all(plan, forward, local, request, operation.name)
            return answer_of(done, entity_id, answer(204), by_attribute=False)

        return handler


async def _all(
    plan: Plan, forward: Callable[[Piece], Awaitable[Part]], local: Handler, request: Request, operation: str
) -> list[Part]:
    """All parts at once."""
    works: list[Awaitable[Part]] = [_forwarded(forward, piece) for piece in plan.pieces]
    if plan.local:
        works.append(here(local, request, plan.names))
    return [*refusal(plan, operation), *await asyncio.gather(*works)]


async def _forwarded(forward: Callable[[Piece], Awaitable[Part]], piece: Piece) -> Part:
    try:
        return await forward(piece)
    except Problem as problem:  # the context of the source cannot be had
        return Part(piece.registration.id, piece.names or frozenset(), problem, (), piece.owns)


async def known_types(
    queries: Queries, request: Request, entity_id: str, raw: dict[str, Any], context: Context
) -> TypeSelection | None:
    """The types that are known of an entity: from the fragment, the request, or what is stored here."""
    given = raw.get("type", raw.get("@type"))
    parameters = parameters_of(request)
    if given is None and "type" in parameters:
        return parse_types(parameters["type"], context)
    names: list[Any] = given if isinstance(given, list) else [given]
    if given is None:
        try:
            stored = await queries.retrieve(request.tenant, entity_id)
        except Problem:
            return None
        names = stored["type"]
    if not names or not all(isinstance(name, str) for name in names):
        return None
    return build_query(context, types="|".join(names)).types


def share_of(raw: dict[str, Any], names: dict[str, str], piece: Piece) -> dict[str, Any]:
    """The part of an entity for a source: its attributes, and what holds of the whole where it has the whole."""
    whole = KEPT if piece.registration.mode == "exclusive" else (*KEPT, *OF_ALL)
    return {key: value for key, value in raw.items() if key in whole or names.get(key) in (piece.names or ())}


def replace_body(request: Request, raw: Any) -> Request:
    """The same request with another body."""
    return replace(request, body=orjson.dumps(raw))


def _parameters(request: Request) -> dict[str, str]:
    given = parameters_of(request)
    return {name: given[name] for name in FORWARDED if name in given}


def is_attribute(key: str) -> bool:
    """Whether a member of an entity is an attribute."""
    return key not in ENTITY_MEMBERS and not key.startswith("@")


def _limits(operation: Operation) -> Limits:
    return HISTORY if operation.name.endswith("Temporal") else CURRENT


def body_id(raw: Any) -> str | None:
    """The id of an entity in a body, if it has a good one."""
    found = raw.get("id", raw.get("@id")) if isinstance(raw, dict) else None
    return found if isinstance(found, str) and URI.match(found) else None


def _fragment(raw: Any, attr: str, context: Context, to: Context) -> Any:
    """The fragment of one attribute, which may lack its type and value; or a whole with it under its name (an IRI)."""
    if raw == NULL or not isinstance(raw, dict):
        return raw
    if any(context.expand_name(name) == attr for name in raw):
        return translated(raw, context, to)
    whole = {**raw, "type": raw.get("type", "Property")}
    found = attribute({name: part for name, part in whole.items() if name != "@context"}, context, to)
    return found if "type" in raw else {name: part for name, part in found.items() if name != "type"}
