"""HTTP of batches (CIM 009 clauses 6.14 to 6.17)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from gateway.server import wire
from gateway.server.broker.model import BatchResult, Stored
from gateway.server.broker.parse import URI, parse_entity
from gateway.server.broker.service import Broker
from gateway.server.contexts import Contexts
from gateway.server.errors import BadRequestData, InternalError, InvalidRequest, Problem
from gateway.server.routing import Route
from gateway.server.settings import BATCH_MAX
from gateway.server.wire import ROOT, Request, Response, answer

BREATH = 100  # entities parsed between two chances for other requests


class BatchRoutes:
    """The handlers of batches."""

    def __init__(self, broker: Broker, contexts: Contexts) -> None:
        self._broker = broker
        self._contexts = contexts

    def routes(self) -> list[Route]:
        """What is offered."""
        batch = f"{ROOT}/entityOperations"
        return [
            Route("POST", f"{batch}/create", self.create_batch),
            Route("POST", f"{batch}/upsert", self.upsert_batch),
            Route("POST", f"{batch}/update", self.update_batch),
            Route("POST", f"{batch}/delete", self.delete_batch),
        ]

    async def create_batch(self, request: Request) -> Response:
        """POST /entityOperations/create."""
        wire.boolean(request.query({"local"}), "local")
        entities, errors = await self._parse_batch(request)
        result = await self._broker.create_batch(request.tenant, entities)
        return _batch_answer(result, errors, answer(201, result.created))

    async def upsert_batch(self, request: Request) -> Response:
        """POST /entityOperations/upsert: replace by default, ``options=update`` keeps other attributes."""
        words = wire.options(request.query({"local", "options"}), {"update", "replace"})
        if len(words) > 1:
            raise InvalidRequest("options: replace and update exclude each other")
        entities, errors = await self._parse_batch(request)
        result = await self._broker.upsert_batch(request.tenant, entities, replace="update" not in words)
        return _batch_answer(result, errors, answer(201, result.created) if result.created else answer(204))

    async def update_batch(self, request: Request) -> Response:
        """POST /entityOperations/update."""
        words = wire.options(request.query({"local", "options"}), {"noOverwrite"})
        entities, errors = await self._parse_batch(request)
        result = await self._broker.update_batch(request.tenant, entities, overwrite="noOverwrite" not in words)
        return _batch_answer(result, errors, answer(204))

    async def delete_batch(self, request: Request) -> Response:
        """POST /entityOperations/delete: a list of ids."""
        wire.boolean(request.query({"local"}), "local")
        wire.body_media(request)
        ids = _batch_list(wire.json_body(request))
        if not all(isinstance(entity_id, str) and URI.match(entity_id) for entity_id in ids):
            raise BadRequestData("the body must be a list of entity ids (URIs)")
        result = await self._broker.delete_batch(request.tenant, ids)
        return _batch_answer(result, [], answer(204))

    async def _parse_batch(self, request: Request) -> tuple[list[Stored], list[tuple[str, Problem]]]:
        """The good elements, and problems of the others by id."""
        media = wire.body_media(request)
        elements = _batch_list(wire.json_body(request))
        entities: list[Stored] = []
        errors: list[tuple[str, Problem]] = []
        for index, raw in enumerate(elements):
            if index % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            try:
                context = await wire.context_of_part(raw, request, media, self._contexts)
                entities.append(parse_entity(raw, context))
            except Problem as problem:
                entity_id = raw.get("id") if isinstance(raw, dict) else None
                known = isinstance(entity_id, str) and URI.match(entity_id)
                errors.append((str(entity_id) if known else f"urn:lamppost:element:{index}", problem))
        return entities, errors


def _batch_list(body: object) -> list[Any]:
    if not isinstance(body, list) or not body:
        raise BadRequestData("the body must be a list with at least one element")
    if len(body) > BATCH_MAX:
        raise BadRequestData(f"a batch of {len(body)} elements; at most {BATCH_MAX} are taken")
    return body


def _batch_answer(result: BatchResult, errors: Sequence[tuple[str, Problem]], good: Response) -> Response:
    """The given answer where all went well, else 207 with a BatchOperationResult."""
    failed: list[tuple[str, Exception]] = [*errors, *result.errors]
    if not failed:
        return good
    details = [
        {"entityId": entity_id, "error": (p if isinstance(p, Problem) else InternalError(str(p))).body()}
        for entity_id, p in failed
    ]
    return answer(207, {"success": [*result.created, *result.updated], "errors": details})
