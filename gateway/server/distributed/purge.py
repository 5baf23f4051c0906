"""Purge over all sources (CIM 009 clause 5.6.21): each deletes what the query means there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from gateway.server import wire
from gateway.server.broker.asked import check_narrow, query_from
from gateway.server.broker.entity_routes import PURGE_PARAMETERS
from gateway.server.broker.query import Selector, expand_names
from gateway.server.contexts import Contexts
from gateway.server.distributed.forward import Forwarder, problem_of
from gateway.server.distributed.gate import Gate
from gateway.server.distributed.headers import Caller
from gateway.server.distributed.limits import limits_of
from gateway.server.distributed.question import Question, Wish
from gateway.server.errors import BadRequestData, Conflict, OperationNotSupported, Problem
from gateway.server.routing import Handler
from gateway.server.sources.registry import Match, Wanted
from gateway.server.wire import Request, Response, answer

OPERATION = "purgeEntity"
PAGES = ("limit", "options", "offset")


class Purges:
    """Wraps the handler of this broker."""

    def __init__(self, gate: Gate, forwarder: Forwarder, contexts: Contexts) -> None:
        self._gate = gate
        self._forwarder = forwarder
        self._contexts = contexts

    def wrapped(self, local: Handler) -> Handler:
        """DELETE /entities."""

        async def handler(request: Request) -> Response:
            if not self._gate.open(request):
                return await local(request)
            parameters = request.query(PURGE_PARAMETERS)
            context = await wire.context_of(request, self._contexts)
            query = query_from(parameters, context)
            check_narrow(query, parameters)
            if "keep" in parameters and "drop" in parameters:
                raise BadRequestData("keep and drop exclude each other")
            for name in ("keep", "drop"):
                expand_names(wire.comma_list(parameters, name), context)
            caller = self._gate.caller(request, context)
            pattern = query.id_pattern.text if query.id_pattern is not None else None
            names = frozenset(query.attrs) or None
            wanted = Wanted(ids=query.ids, id_pattern=pattern, types=query.types, attributes=names)
            found = self._gate.matching(caller, wanted, limits_of(parameters, context))
            matches = [m for m in found if m.registration.mode != "auxiliary"]
            selector = Selector(query.types, query.ids, query.id_pattern)
            results = await asyncio.gather(*(self._asked(caller, m, selector, parameters) for m in matches))
            errors = [error for error in results if error is not None]
            done = await local(request)
            return answer(207, {"success": [], "errors": errors}) if errors else done

        return handler

    async def _asked(
        self, caller: Caller, match: Match, selector: Selector, parameters: dict[str, str]
    ) -> dict[str, Any] | None:
        """None where all is well, else the error of this source."""
        registration = match.registration
        if OPERATION not in registration.operations:
            if registration.mode == "inclusive":
                return None
            return _error(Conflict(f"{registration.id} does not offer {OPERATION}"), registration.id)
        try:
            context = await self._forwarder.context_for(registration, caller)
            if context is not caller.context and "q" in parameters:
                raise OperationNotSupported(f"{registration.id} has a context of its own: q cannot be put into it")
        except Problem as problem:
            return _error(problem, registration.id)
        chosen = replace(selector, ids=match.ids or selector.ids)
        question = Question(Wish(parameters), caller.context, context, (chosen,), match.attributes)
        forward = question.forward(registration, "queryEntity", 1, 0, dated=False)
        asked = {name: value for name, value in forward.parameters.items() if name not in PAGES}
        for name in ("keep", "drop"):
            if name in parameters:
                words = parameters[name].split(",")
                asked[name] = ",".join(context.compact_name(caller.context.expand_name(word)) for word in words)
        reply = await self._forwarder.send(caller, context, replace(forward, method="DELETE", parameters=asked))
        if reply.good and reply.status != 207:
            return None
        return _error(problem_of(reply, registration), registration.id)


def _error(problem: Problem, registration_id: str) -> dict[str, Any]:
    return {"entityId": registration_id, "registrationId": registration_id, "error": problem.body()}
