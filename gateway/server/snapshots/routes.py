"""HTTP of snapshots (CIM 009 v1.9.1): made, shown, changed, cloned, deleted one by one or by a condition."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from gateway.server import wire
from gateway.server.broker.answers import entity_id_of
from gateway.server.broker.model import Stored
from gateway.server.broker.query import build_query
from gateway.server.contexts import CORE_URL, Context, Contexts
from gateway.server.errors import BadRequestData, Conflict
from gateway.server.routing import Route
from gateway.server.snapshots.model import changed, created, expired, now_us
from gateway.server.snapshots.service import Snapshots
from gateway.server.wire import ROOT, Request, Response, answer

SYSTEM = frozenset({"id", "type", "createdAt", "modifiedAt"})


class SnapshotRoutes:
    """The handlers of /snapshots."""

    def __init__(self, snapshots: Snapshots, contexts: Contexts) -> None:
        self._snapshots = snapshots
        self._contexts = contexts

    def routes(self) -> list[Route]:
        """What is offered."""
        one = f"{ROOT}/snapshots/{{id}}"
        return [
            Route("POST", f"{ROOT}/snapshots", self.create),
            Route("DELETE", f"{ROOT}/snapshots", self.purge),
            Route("GET", one, self.retrieve),
            Route("PATCH", one, self.update),
            Route("DELETE", one, self.delete),
            Route("POST", f"{one}/clone", self.clone),
        ]

    async def create(self, request: Request) -> Response:
        """POST /snapshots."""
        raw, context = await self._body(request)
        await self._contexts.linked(context)
        snapshot = created(raw, context)
        await self._snapshots.create(request.tenant, snapshot, context.spec)
        return _location(snapshot)

    async def clone(self, request: Request) -> Response:
        """POST /snapshots/{id}/clone."""
        raw, context = await self._body(request)
        source = (await self._snapshots.record(request.tenant, entity_id_of(request)))["snapshot"]
        snapshot = created(raw, context, clone_of=source)
        if source["snapshotStatus"] == "preparation":
            raise Conflict(f"the snapshot {source['id']} is still in preparation")
        await self._snapshots.create(request.tenant, snapshot, context.spec, source["id"])
        return _location(snapshot)

    async def retrieve(self, request: Request) -> Response:
        """GET /snapshots/{id}."""
        request.query(())
        media = wire.negotiate(request.header(b"accept"))
        record = await self._snapshots.record(request.tenant, entity_id_of(request))
        if media == wire.LD:
            return answer(200, {**record["snapshot"], "@context": record["context"]}, media)
        spec = record["context"] if isinstance(record["context"], str) else CORE_URL
        link = f'<{spec}>; rel="{wire.CONTEXT_REL}"; type="{wire.LD}"'
        return answer(200, record["snapshot"], media, {"Link": link})

    async def update(self, request: Request) -> Response:
        """PATCH /snapshots/{id}."""
        raw, _ = await self._body(request, patch=True)
        record = await self._snapshots.record(request.tenant, entity_id_of(request))
        known = record["snapshot"]
        new = changed(known, raw)
        await self._snapshots.change(record, {"id": known["id"], **_difference(known, new)})
        return answer(204)

    async def delete(self, request: Request) -> Response:
        """DELETE /snapshots/{id}."""
        request.query(())
        await self._snapshots.delete(request.tenant, entity_id_of(request))
        return answer(204)

    async def purge(self, request: Request) -> Response:
        """DELETE /snapshots?q=..."""
        parameters = request.query({"q"})
        if "q" not in parameters:
            raise BadRequestData("q is missing: say which snapshots are meant")
        context = await wire.context_of(request, self._contexts)
        query = build_query(context, q=parameters["q"])
        for record in await self._snapshots.records(request.tenant):
            snapshot = record["snapshot"]
            gone = record.get("ended") or expired(snapshot, now_us())
            if not gone and query.matches(_as_entity(snapshot, context)):
                await self._snapshots.delete(request.tenant, snapshot["id"])
        return answer(204)

    async def _body(self, request: Request, *, patch: bool = False) -> tuple[Any, Context]:
        request.query(())
        media, raw = wire.body_media(request, patch=patch), wire.json_body(request)
        return raw, await wire.context_of_part(raw, request, media, self._contexts)


def _difference(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in new.items() if old.get(name) != value}


def _as_entity(snapshot: dict[str, Any], context: Context) -> Stored:
    """Members as Properties, for the query language."""
    entity: Stored = {name: snapshot[name] for name in SYSTEM}
    entity["type"] = ["Snapshot"]
    for name, value in snapshot.items():
        if name not in SYSTEM:
            entity[context.expand_name(name)] = {"type": "Property", "value": value}
    return entity


def _location(snapshot: dict[str, Any]) -> Response:
    return answer(201, headers={"Location": f"{ROOT}/snapshots/{quote(snapshot['id'], safe=':')}"})
