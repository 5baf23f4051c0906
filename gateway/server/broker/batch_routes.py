"""HTTP of batches of writes (CIM 009 clauses 6.14 to 6.17, 6.31)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gateway.server import wire
from gateway.server.broker.model import BatchResult, Stored
from gateway.server.broker.names import URI, Fault, check_uri
from gateway.server.broker.parse import parse_entity
from gateway.server.broker.patch import Patch, parse_patch
from gateway.server.broker.service import Broker
from gateway.server.broker.writing import MERGE_PARAMETERS, how_of
from gateway.server.contexts import Context, Contexts
from gateway.server.errors import BadRequestData, InternalError, InvalidRequest, Problem
from gateway.server.routing import Route
from gateway.server.settings import BATCH_MAX
from gateway.server.wire import ROOT, Request, Response, answer

T = TypeVar("T")
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
            Route("POST", f"{batch}/merge", self.merge_batch),
            Route("POST", f"{batch}/delete", self.delete_batch),
        ]

    async def create_batch(self, request: Request) -> Response:
        """POST /entityOperations/create."""
        wire.boolean(request.query({"local"}), "local")
        entities, errors = await self._parse_batch(request, parse_entity)
        result = await self._broker.create_batch(request.tenant, entities)
        return _batch_answer(result, errors, answer(201, result.created))

    async def upsert_batch(self, request: Request) -> Response:
        """POST /entityOperations/upsert: replace by default, ``options=update`` keeps other attributes."""
        words = _words(request, {"update", "replace"})
        entities, errors = await self._parse_batch(request, parse_entity)
        result = await self._broker.upsert_batch(request.tenant, entities, replace="update" not in words)
        return _batch_answer(result, errors, answer(201, result.created) if result.created else answer(204))

    async def update_batch(self, request: Request) -> Response:
        """POST /entityOperations/update: attributes are replaced, with ``options=noOverwrite`` only added."""
        words = _words(request, {"noOverwrite", "replace"})
        overwrite = "noOverwrite" not in words
        fragments, errors = await self._parse_batch(request, _fragment if overwrite else _addition)
        result = await self._broker.update_batch(request.tenant, fragments, overwrite=overwrite)
        return _batch_answer(result, errors, answer(204))

    async def merge_batch(self, request: Request) -> Response:
        """POST /entityOperations/merge."""
        parameters = request.query(MERGE_PARAMETERS)

        def parse(raw: object, context: Context) -> Patch:
            fragment = parse_patch(raw, how_of(parameters, context))
            _check_id(fragment.entity)
            return fragment

        fragments, errors = await self._parse_batch(request, parse)
        result = await self._broker.merge_batch(request.tenant, fragments)
        return _batch_answer(result, errors, answer(204))

    async def delete_batch(self, request: Request) -> Response:
        """POST /entityOperations/delete: a list of ids."""
        wire.boolean(request.query({"local"}), "local")
        wire.body_media(request)
        ids: list[str] = []
        errors: list[tuple[str, Problem]] = []
        for index, entity_id in enumerate(_batch_list(wire.json_body(request))):
            try:
                ids.append(check_uri(entity_id))
            except Fault as fault:
                errors.append((_name_of(entity_id, index), fault.problem()))
        result = await self._broker.delete_batch(request.tenant, ids)
        return _batch_answer(result, errors, answer(204))

    async def _parse_batch(
        self, request: Request, parse: Callable[[Any, Context], T]
    ) -> tuple[list[T], list[tuple[str, Problem]]]:
        """The good elements, and problems of the others by id. Where no element has a usable context all is refused."""
        media = wire.body_media(request)
        elements = _batch_list(wire.json_body(request))
        good: list[T] = []
        errors: list[tuple[str, Problem]] = []
        without = 0
        for index, raw in enumerate(elements):
            if index % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            if not isinstance(raw, dict):
                errors.append((_name_of(None, index), BadRequestData("/: an entity must be a JSON object")))
                continue
            try:
                context = await wire.context_of_part(raw, request, media, self._contexts)
            except BadRequestData as problem:
                without += 1
                if without == len(elements) or media == wire.JSON:
                    raise
                errors.append((_name_of(raw.get("id"), index), problem))
                continue
            try:
                good.append(parse(raw, context))
            except Problem as problem:
                errors.append((_name_of(raw.get("id"), index), problem))
        return good, errors


def _words(request: Request, allowed: set[str]) -> frozenset[str]:
    parameters = request.query({"local", "options"})
    wire.boolean(parameters, "local")
    words = wire.options(parameters, allowed)
    if len(words) > 1:
        raise InvalidRequest(f"options: {' and '.join(sorted(words))} exclude each other")
    return words


def _fragment(raw: Any, context: Context) -> Stored:
    return _check_id(parse_entity(raw, context, fragment=True, nulls=True))


def _addition(raw: Any, context: Context) -> Stored:
    return _check_id(parse_entity(raw, context, fragment=True))


def _check_id(fragment: Stored) -> Stored:
    if "id" not in fragment:
        raise BadRequestData("/: an entity must have 'id'")
    return fragment


def _name_of(entity_id: object, index: int) -> str:
    """What an error is filed under: the id, or where there is none the place in the batch."""
    known = isinstance(entity_id, str) and URI.match(entity_id)
    return str(entity_id) if known else f"urn:lamppost:element:{index}"


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
