"""What became of the parts of a write, put together into one answer (CIM 009 clauses 5.2.16 to 5.2.18, 6.3.17)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.server.contexts import Context
from gateway.server.distributed.client import Reply
from gateway.server.distributed.forward import problem_of
from gateway.server.distributed.plan import Piece, Plan
from gateway.server.errors import Conflict, Problem, ResourceNotFound
from gateway.server.routing import Handler
from gateway.server.wire import Request, Response, answer

__all__ = ["Part", "answer_of", "here", "refusal", "there"]


@dataclass(frozen=True, slots=True)
class Part:
    """``names``: attributes (IRIs) it was about. ``refused``: those not written for a reason, as NotUpdatedDetails.

    ``registration_id`` "" is this broker. ``owner``: its failure is not made good by anybody else's success.
    """

    registration_id: str
    names: frozenset[str]
    problem: Problem | None = None
    refused: tuple[dict[str, Any], ...] = ()
    owner: bool = False
    created: bool = False

    @property
    def missing(self) -> bool:
        """Whether it only says that it does not have the entity (or attribute)."""
        return isinstance(self.problem, ResourceNotFound) and not self.owner


async def here(local: Handler, request: Request, names: frozenset[str]) -> Part:
    """The part of this broker."""
    try:
        done = await local(request)
    except Problem as problem:
        return Part("", names, problem)
    refused = orjson.loads(done.body).get("notUpdated", []) if done.status == 207 else []
    return Part("", names, None, tuple(refused), created=done.status == 201)


def there(piece: Piece, reply: Reply, context: Context) -> Part:
    """The part of a source."""
    names, registration = piece.names or frozenset(), piece.registration
    if not reply.good:
        return Part(registration.id, names, problem_of(reply, registration), (), piece.owns)
    refused: list[dict[str, Any]] = []
    if reply.status == 207 and isinstance(reply.content, dict):
        for detail in _list(reply.content.get("notUpdated")):
            if isinstance(detail, dict) and isinstance(detail.get("attributeName"), str):
                name = context.expand_name(detail["attributeName"])
                refused.append(_detail(name, str(detail.get("reason", "")), registration.id))
        errors = _list(reply.content.get("errors"))
        if errors and not reply.content.get("success"):
            failed = Reply(502, failure="broken", why=str(errors[0])[:200])
            return Part(registration.id, names, problem_of(failed, registration), (), piece.owns)
    return Part(registration.id, names, None, tuple(refused), piece.owns, reply.status == 201)


def refusal(plan: Plan, operation: str) -> list[Part]:
    """Parts that nobody does: who owns them does not offer the operation."""
    return [
        Part(
            piece.registration.id,
            piece.names or frozenset(),
            Conflict(f"{piece.registration.id} is the only source of it and does not offer {operation}"),
            (),
            True,
        )
        for piece in plan.refused
    ]


def answer_of(parts: Sequence[Part], entity_id: str, good: Response, *, by_attribute: bool) -> Response:
    """``good`` where all went well; what all failed with; else 207. Raises Problem."""
    failed = [part for part in parts if part.problem is not None]
    done = [part for part in parts if part.problem is None]
    if done:
        failed = [part for part in failed if not part.missing]
    if not done:
        raise _together(failed)
    if not failed and not any(part.refused for part in done):
        return good
    if not by_attribute:
        body: dict[str, Any] = {"success": [entity_id], "errors": [error_of(part, entity_id) for part in failed]}
        headers = {name.decode(): value.decode() for name, value in good.headers if name == b"location"}
        return answer(207, body, headers=headers) if failed else good
    return answer(207, _update_result(done, failed))


def error_of(part: Part, entity_id: str) -> dict[str, Any]:
    """A BatchEntityError."""
    if part.problem is None:
        raise ValueError("the part went well")
    named = {"registrationId": part.registration_id} if part.registration_id else {}
    return {"entityId": entity_id, **named, "error": part.problem.body()}


def _together(failed: Sequence[Part]) -> Problem:
    """One problem for an operation of which nothing went well: that of an owner, else what is not just 'not here'."""
    ranked = sorted(failed, key=lambda part: (not part.owner, part.missing, part.registration_id != ""))
    problem = ranked[0].problem
    if problem is None:
        raise ValueError("nothing failed")
    return problem


def _update_result(done: Sequence[Part], failed: Sequence[Part]) -> dict[str, Any]:
    details = [detail for part in done for detail in part.refused]
    for part in failed:
        why = part.problem.cause if part.problem is not None else ""
        details += [_detail(name, why, part.registration_id) for name in sorted(part.names)]
    refused = {detail["attributeName"] for part in done for detail in part.refused}
    updated = {name for part in done for name in part.names} - refused
    return {"updated": sorted(updated), "notUpdated": details}


def _detail(name: str, reason: str, registration_id: str) -> dict[str, Any]:
    named = {"registrationId": registration_id} if registration_id else {}
    return {"attributeName": name, "reason": reason, **named}


def _list(value: object) -> list[Any]:
    """What should be a list, and may be anything."""
    return value if isinstance(value, list) else []
