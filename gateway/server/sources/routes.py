"""HTTP of registrations and of subscriptions to them (CIM 009 clauses 6.8, 6.9, 6.12, 6.13)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from urllib.parse import quote

from gateway.server import wire
from gateway.server.broker.answers import entity_id_of, respond
from gateway.server.broker.represent import View
from gateway.server.contexts import Context, Contexts
from gateway.server.errors import BadRequestData
from gateway.server.routing import Route
from gateway.server.sources.discovery import PARAMETERS, question_of
from gateway.server.sources.record import Json, shown
from gateway.server.sources.service import Sources
from gateway.server.sources.subscriptions import SourceSubscriptions
from gateway.server.subscriptions.routes import contexts_of, fragment_of, given_by, subscription_shown
from gateway.server.wire import ROOT, Request, Response, answer

REGISTRATIONS = f"{ROOT}/csourceRegistrations"
SUBSCRIPTIONS = f"{ROOT}/csourceSubscriptions"


class SourceRoutes:
    """The handlers."""

    def __init__(self, sources: Sources, subscriptions: SourceSubscriptions, contexts: Contexts) -> None:
        self._sources = sources
        self._subscriptions = subscriptions
        self._contexts = contexts

    def routes(self) -> list[Route]:
        """What is offered."""
        one, another = f"{REGISTRATIONS}/{{id}}", f"{SUBSCRIPTIONS}/{{id}}"
        return [
            Route("POST", REGISTRATIONS, self.register),
            Route("GET", REGISTRATIONS, self.discover),
            Route("GET", one, self.retrieve),
            Route("PATCH", one, self.update),
            Route("DELETE", one, self.delete),
            Route("POST", SUBSCRIPTIONS, self.subscribe),
            Route("GET", SUBSCRIPTIONS, self.subscriptions),
            Route("GET", another, self.subscription),
            Route("PATCH", another, self.update_subscription),
            Route("DELETE", another, self.unsubscribe),
        ]

    async def register(self, request: Request) -> Response:
        """POST /csourceRegistrations."""
        wire.boolean(request.query({"local"}), "local")
        raw, context = await self._body(request, "a registration")
        raw.setdefault("id", f"urn:ngsi-ld:ContextSourceRegistration:{uuid.uuid4()}")
        await self._sources.create(request.tenant, raw, context)
        return answer(201, headers={"Location": f"{REGISTRATIONS}/{quote(raw['id'], safe=':')}"})

    async def discover(self, request: Request) -> Response:
        """GET /csourceRegistrations: those that match."""
        parameters = request.query(PARAMETERS)
        media = wire.negotiate(request.header(b"accept"))
        context = await wire.context_of(request, self._contexts)
        system = "sysAttrs" in wire.options(parameters, {"sysAttrs"})
        page = wire.paging(parameters)
        question = question_of(parameters, context)
        await self._sources.check_tenant(request.tenant)
        found = self._sources.find(request.tenant, question)
        part = found[page.offset : page.offset + page.limit]
        more = len(found) > page.offset + page.limit
        headers = wire.page_headers(request, parameters, page, more, len(found) if page.count else None, media)
        bodies = [shown(record, context, system=system, only=parts) for record, parts in part]
        return _answered(bodies, context, media, headers)

    async def retrieve(self, request: Request) -> Response:
        """GET /csourceRegistrations/{id}."""
        system = "sysAttrs" in wire.options(request.query({"options", "local"}), {"sysAttrs"})
        media = wire.negotiate(request.header(b"accept"))
        context = await wire.context_of(request, self._contexts)
        await self._sources.check_tenant(request.tenant)
        record = self._sources.get(request.tenant, entity_id_of(request))
        return _answered(shown(record, context, system=system), context, media)

    async def update(self, request: Request) -> Response:
        """PATCH /csourceRegistrations/{id}."""
        request.query({"local"})
        media, raw = wire.body_media(request, patch=True), wire.json_body(request)
        context = await wire.context_of_part(raw, request, media, self._contexts)
        if isinstance(raw, dict):
            raw = {name: value for name, value in raw.items() if name != "@context"}
        await self._sources.check_tenant(request.tenant)
        await self._sources.update(request.tenant, entity_id_of(request), raw, context)
        return answer(204)

    async def delete(self, request: Request) -> Response:
        """DELETE /csourceRegistrations/{id}."""
        request.query({"local"})
        await self._sources.check_tenant(request.tenant)
        await self._sources.delete(request.tenant, entity_id_of(request))
        return answer(204)

    async def subscribe(self, request: Request) -> Response:
        """POST /csourceSubscriptions."""
        wire.boolean(request.query({"local"}), "local")
        raw, context = await self._body(request, "a subscription")
        raw = given_by(request, raw)
        raw.setdefault("id", f"urn:ngsi-ld:Subscription:{uuid.uuid4()}")
        context, told = await contexts_of(raw, context, request, self._contexts)
        await self._subscriptions.create(request.tenant, raw, context, told)
        return answer(201, headers={"Location": f"{SUBSCRIPTIONS}/{quote(raw['id'], safe=':')}"})

    async def subscriptions(self, request: Request) -> Response:
        """GET /csourceSubscriptions."""
        parameters = request.query({"limit", "offset", "count", "options"})
        media = wire.negotiate(request.header(b"accept"))
        context = await wire.context_of(request, self._contexts)
        system = "sysAttrs" in wire.options(parameters, {"sysAttrs"})
        page = wire.paging(parameters)
        await self._sources.check_tenant(request.tenant)
        found = self._subscriptions.all(request.tenant)
        part = found[page.offset : page.offset + page.limit]
        more = len(found) > page.offset + page.limit
        headers = wire.page_headers(request, parameters, page, more, len(found) if page.count else None, media)
        bodies = [subscription_shown(one, context, media, system) for one in part]
        return respond(bodies, View(context), media, headers)

    async def subscription(self, request: Request) -> Response:
        """GET /csourceSubscriptions/{id}."""
        system = "sysAttrs" in wire.options(request.query({"options"}), {"sysAttrs"})
        media = wire.negotiate(request.header(b"accept"))
        context = await wire.context_of(request, self._contexts)
        await self._sources.check_tenant(request.tenant)
        found = self._subscriptions.get(request.tenant, entity_id_of(request))
        return respond(subscription_shown(found, context, media, system), View(context), media)

    async def update_subscription(self, request: Request) -> Response:
        """PATCH /csourceSubscriptions/{id}."""
        request.query(())
        fragment, context, told = await fragment_of(request, self._contexts)
        await self._sources.check_tenant(request.tenant)
        await self._subscriptions.update(request.tenant, entity_id_of(request), fragment, context, told)
        return answer(204)

    async def unsubscribe(self, request: Request) -> Response:
        """DELETE /csourceSubscriptions/{id}."""
        request.query(())
        await self._sources.check_tenant(request.tenant)
        await self._subscriptions.delete(request.tenant, entity_id_of(request))
        return answer(204)

    async def _body(self, request: Request, what: str) -> tuple[Json, Context]:
        media, raw = wire.body_media(request), wire.json_body(request)
        context = await wire.context_of_part(raw, request, media, self._contexts)
        if not isinstance(raw, dict):
            raise BadRequestData(f"{what} must be a JSON object")
        return {name: value for name, value in raw.items() if name != "@context"}, context


def _answered(
    body: Json | list[Json], context: Context, media: wire.Media, headers: Mapping[str, str] | None = None
) -> Response:
    """With the context where the media type asks for it."""
    if media == wire.LD:
        several = body if isinstance(body, list) else [body]
        for one in several:
            one["@context"] = context.spec
    return respond(body, View(context), media, dict(headers or {}))
