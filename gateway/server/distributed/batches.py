"""Batches of writes, with all who have a part in them (CIM 009 clauses 5.6.7 to 5.6.10, 5.6.20, 5.5.11).

Each source gets one batch of its parts, or where it offers no batches, one request for each entity.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import orjson

from gateway.server import wire
from gateway.server.broker.batch_routes import BREATH
from gateway.server.broker.parse import parse_entity
from gateway.server.broker.patch import parse_patch
from gateway.server.broker.queries import Queries
from gateway.server.broker.writing import how_of
from gateway.server.contexts import Context, Contexts
from gateway.server.distributed.client import Reply
from gateway.server.distributed.forward import Forward, Forwarder, problem_of
from gateway.server.distributed.gate import Gate, parameters_of
from gateway.server.distributed.headers import Caller
from gateway.server.distributed.outcome import Part, error_of, refusal, there
from gateway.server.distributed.plan import Piece, Plan, plan_whole, plan_write
from gateway.server.distributed.translate import translated
from gateway.server.distributed.writes import FORWARDED, body_id, is_attribute, known_types, replace_body, share_of
from gateway.server.errors import BadGateway, Problem
from gateway.server.routing import Handler
from gateway.server.settings import BATCH_MAX
from gateway.server.sources.registry import Wanted
from gateway.server.wire import Request, Response, answer

AT_ONCE = 8  # entities of one batch at a source that takes no batches


@dataclass(frozen=True, slots=True)
class Batch:
    """``singly``: what to use instead at a source without this batch operation, each (operation, method, path end)."""

    name: str
    path: str
    singly: tuple[tuple[str, str, str], ...]

    @property
    def operations(self) -> set[str]:
        """Any of these will do."""
        return {self.name, self.singly[0][0]}


CREATE = Batch("createBatch", "create", (("createEntity", "POST", ""),))
UPSERT = Batch(
    "upsertBatch",
    "upsert",
    (("createEntity", "POST", ""), ("replaceEntity", "PUT", "/{id}"), ("updateEntity", "PATCH", "/{id}/attrs")),
)
UPDATE = Batch("updateBatch", "update", (("updateEntity", "PATCH", "/{id}/attrs"),))
APPEND = Batch("updateBatch", "update", (("appendAttrs", "POST", "/{id}/attrs"),))
MERGE = Batch("mergeBatch", "merge", (("mergeEntity", "PATCH", "/{id}"),))
DELETE = Batch("deleteBatch", "delete", (("deleteEntity", "DELETE", "/{id}"),))


@dataclass(slots=True)
class Share:
    """What one source gets of a batch: the parts by place in the request."""

    piece: Piece
    elements: list[tuple[str, Any, frozenset[str], Context]] = field(default_factory=list)


@dataclass(slots=True)
class Result:
    """What became of the entities: parts by id, and ids that were created somewhere."""

    parts: dict[str, list[Part]] = field(default_factory=dict)
    created: dict[str, None] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)

    def add(self, entity_id: str, part: Part) -> None:
        """One more part of an entity."""
        self.parts.setdefault(entity_id, []).append(part)


class Batches:
    """Wraps the handlers of this broker."""

    def __init__(self, gate: Gate, forwarder: Forwarder, queries: Queries, contexts: Contexts) -> None:
        self._gate = gate
        self._forwarder = forwarder
        self._queries = queries
        self._contexts = contexts

    def wrapped(self, batch: Batch, local: Handler) -> Handler:
        """POST /entityOperations/..."""

        async def handler(request: Request) -> Response:
            if not self._gate.open(request):
                return await local(request)
            media = wire.body_media(request)
            elements = wire.json_body(request)
            if not isinstance(elements, list) or not 0 < len(elements) <= BATCH_MAX:
                return await local(request)
            words = parameters_of(request).get("options", "")
            chosen = APPEND if batch is UPDATE and "noOverwrite" in words else batch
            caller = self._gate.caller(request, self._contexts.core)
            shares: dict[str, Share] = {}
            result = Result()
            left: list[Any] = []
            for index, raw in enumerate(elements):
                if index % BREATH == BREATH - 1:
                    await asyncio.sleep(0)
                smaller = await self._shared(request, chosen, raw, media, caller, shares, result)
                if smaller is not None:
                    left.append(smaller)
            if not shares and not result.parts:
                return await local(request)
            works: list[Awaitable[None]] = [self._send(request, caller, chosen, s, result) for s in shares.values()]
            if left:
                works.append(_here(local, replace_body(request, left), left, result))
            await asyncio.gather(*works)
            return _answer(batch, elements, result)

        return handler

    async def _shared(
        self,
        request: Request,
        batch: Batch,
        raw: Any,
        media: wire.Media,
        caller: Caller,
        shares: dict[str, Share],
        result: Result,
    ) -> Any:
        """Hand the parts of one element to the shares of their sources; returns what is left for this broker, or None.

        An element that breaks a rule stays here as a whole: it is refused here.
        """
        entity_id = raw if batch is DELETE and isinstance(raw, str) else body_id(raw)
        if entity_id is None:
            return raw
        try:
            context, names = await self._understood(request, batch, raw, media)
        except Problem:
            return raw
        caller = replace(caller, context=context)
        given = raw if isinstance(raw, dict) else {}
        types = await known_types(self._queries, request, entity_id, given, context)
        wanted = Wanted(ids=(entity_id,), types=types, attributes=frozenset(names.values()) or None)
        matches = self._gate.matching(caller, wanted)
        if batch is DELETE:
            plan = plan_whole(matches, batch.operations)
        else:
            plan = plan_write(matches, names.values(), batch.operations)
        for part in refusal(plan, batch.name):
            result.add(entity_id, part)
        for piece in plan.pieces:
            kept: Any = raw
            if isinstance(raw, dict):
                kept = share_of(raw, names, piece)
            share = shares.setdefault(piece.registration.id, Share(piece))
            share.elements.append((entity_id, kept, piece.names or frozenset(), context))
        return _left(raw, names, plan)

    async def _understood(
        self, request: Request, batch: Batch, raw: Any, media: wire.Media
    ) -> tuple[Context, dict[str, str]]:
        """The context of an element and the IRIs of its attributes. Raises Problem for what will be refused here."""
        if batch is DELETE:
            return self._contexts.core, {}
        context = await wire.context_of_part(raw, request, media, self._contexts)
        if batch is MERGE:
            parse_patch(raw, how_of(parameters_of(request), context))
        else:
            parse_entity(raw, context, fragment=batch in (UPDATE, APPEND), nulls=batch is UPDATE)
        return context, {key: context.expand_name(key) for key in raw if is_attribute(key)}

    # what the sources do

    async def _send(self, request: Request, caller: Caller, batch: Batch, share: Share, result: Result) -> None:
        registration = share.piece.registration
        try:
            context = await self._forwarder.context_for(registration, replace(caller, context=share.elements[0][3]))
        except Problem as problem:
            for entity_id, _, names, _ in share.elements:
                result.add(entity_id, Part(registration.id, names, problem, (), share.piece.owns))
            return
        bodies = [
            (entity_id, translated(raw, source, context) if isinstance(raw, dict) else raw, names)
            for entity_id, raw, names, source in share.elements
        ]
        given = parameters_of(request)
        parameters = {name: given[name] for name in FORWARDED if name in given}
        if batch.name in registration.operations:
            forward = Forward(
                registration, "POST", f"/entityOperations/{batch.path}", parameters, [raw for _, raw, _ in bodies]
            )
            reply = await self._forwarder.send(caller, context, forward)
            for entity_id, _, names in bodies:
                _file(result, share.piece, entity_id, names, reply)
            return
        replies: list[Reply] = []
        for start in range(0, len(bodies), AT_ONCE):
            chunk = bodies[start : start + AT_ONCE]
            if replies and replies[-1].failure == "timeout":  # it is down: the others need not wait for it, too
                replies += [replies[-1]] * len(chunk)
                continue
            replies += await asyncio.gather(
                *(self._singly(caller, context, batch, share.piece, name, raw, parameters) for name, raw, _ in chunk)
            )
        for (entity_id, _, names), reply in zip(bodies, replies, strict=True):
            if reply.status == 201:
                result.created[entity_id] = None
            result.add(entity_id, there(replace(share.piece, names=names), reply, context))

    async def _singly(
        self,
        caller: Caller,
        context: Context,
        batch: Batch,
        piece: Piece,
        entity_id: str,
        raw: Any,
        parameters: dict[str, str],
    ) -> Reply:
        """One entity; of an upsert, what is there already is replaced or updated."""
        registration = piece.registration
        ways = [way for way in batch.singly if way[0] in registration.operations]
        if batch is UPSERT:
            kept = "updateEntity" if "update" in parameters.get("options", "") else "replaceEntity"
            ways = [way for way in ways if way[0] in ("createEntity", kept)]
            parameters = {}
        reply = Reply(0, failure="broken", why="it offers no operation for this")
        for _, method, end in ways:
            path = "/entities" + end.replace("{id}", quote(entity_id, safe=":"))
            body = None if method == "DELETE" else raw
            reply = await self._forwarder.send(caller, context, Forward(registration, method, path, parameters, body))
            if reply.status != 409:
                break
        return reply


async def _here(local: Handler, request: Request, elements: list[Any], result: Result) -> None:
    """The part of this broker. Raises Problem where all of it is refused."""
    done = await local(request)
    content: Any = orjson.loads(done.body) if done.body else []
    ids = [raw if isinstance(raw, str) else body_id(raw) for raw in elements]
    if done.status == 207:
        result.errors += content["errors"]
        ids = content["success"]
    elif done.status == 201:
        result.created.update(dict.fromkeys(content))
    for entity_id in ids:
        if entity_id is not None:
            result.add(entity_id, Part("", frozenset()))


def _file(result: Result, piece: Piece, entity_id: str, names: frozenset[str], reply: Reply) -> None:
    """What a batch did to one entity at a source."""
    registration = piece.registration
    problem: Problem | None = None if reply.good else problem_of(reply, registration)
    content = reply.content
    if reply.status == 201 and isinstance(content, list) and entity_id in content:
        result.created[entity_id] = None
    if reply.status == 207 and isinstance(content, dict):
        success = content.get("success")
        if not isinstance(success, list) or entity_id not in success:
            problem = _reported(content.get("errors"), entity_id, piece)
    result.add(entity_id, Part(registration.id, names, problem, (), piece.owns))


def _reported(errors: Any, entity_id: str, piece: Piece) -> Problem:
    """The error of one entity in a BatchOperationResult."""
    for each in errors if isinstance(errors, list) else []:
        if isinstance(each, dict) and each.get("entityId") == entity_id and isinstance(each.get("error"), dict):
            error = each["error"]
            status = error.get("status")
            known = status if isinstance(status, int) else 404 if str(error.get("type")).endswith("NotFound") else 502
            return problem_of(Reply(known, error), piece.registration)
    return BadGateway(f"{piece.registration.id}: it says nothing of {entity_id}")


def _left(raw: Any, names: dict[str, str], plan: Plan) -> Any:
    if not plan.local:
        return None
    if not isinstance(raw, dict):
        return raw
    return {k: v for k, v in raw.items() if k not in names or names[k] in plan.names}


def _answer(batch: Batch, elements: list[Any], result: Result) -> Response:
    """201 or 204 where all went well, else 207 with a BatchOperationResult."""
    errors: list[dict[str, Any]] = []
    success: list[str] = []
    for entity_id, parts in result.parts.items():
        done = [part for part in parts if part.problem is None]
        failed = [part for part in parts if part.problem is not None and not (done and part.missing)]
        if done:
            success.append(entity_id)
        errors += [error_of(part, entity_id) for part in failed]
    for error in result.errors:  # of this broker: that it does not have what others had is none
        missing = error["error"].get("status") == 404
        if not (missing and error["entityId"] in success):
            errors.append(error)
    if errors:
        return answer(207, {"success": success, "errors": errors})
    if batch is CREATE:
        return answer(201, [e for raw in elements if (e := body_id(raw)) in result.parts])
    if batch is UPSERT and result.created:
        return answer(201, list(result.created))
    return answer(204)
