"""HTTP of subscriptions (CIM 009 clauses 6.10, 6.11)."""

from __future__ import annotations

import time
import uuid
from typing import Any
from urllib.parse import quote

import orjson

from gateway.server import wire
from gateway.server.broker.answers import entity_id_of, respond
from gateway.server.broker.model import NULL, time_text
from gateway.server.broker.represent import View
from gateway.server.contexts import Context, Contexts
from gateway.server.errors import BadRequestData
from gateway.server.routing import Route
from gateway.server.subscriptions.model import COUNTERS, Json, Subscription
from gateway.server.subscriptions.service import Subscriptions
from gateway.server.wire import ROOT, Request, Response, answer

SERVICE = "/api/subscriptions"
NOTES_MAX = 100
COPY = "urn:ngsi-ld:request"  # in place of a value of receiverInfo: as in the request


class SubscriptionRoutes:
    """The handlers of subscriptions."""

    def __init__(self, subscriptions: Subscriptions, contexts: Contexts) -> None:
        self._subscriptions = subscriptions
        self._contexts = contexts

    def routes(self) -> list[Route]:
        """What is offered."""
        collection, one = f"{ROOT}/subscriptions", f"{ROOT}/subscriptions/{{id}}"
        return [
            Route("POST", collection, self.create),
            Route("GET", collection, self.list),
            Route("GET", one, self.retrieve),
            Route("PATCH", one, self.update),
            Route("DELETE", one, self.delete),
            Route("GET", f"{SERVICE}/{{id}}/notifications", self.notifications),
            Route("POST", f"{SERVICE}/{{id}}/redeliver", self.redeliver),
        ]

    async def create(self, request: Request) -> Response:
        """POST /subscriptions."""
        wire.boolean(request.query({"local"}), "local")
        media, raw = wire.body_media(request), wire.json_body(request)
        context = await wire.context_of_part(raw, request, media, self._contexts)
        if not isinstance(raw, dict):
            raise BadRequestData("a subscription must be a JSON object")
        raw = given_by(request, raw)
        raw.setdefault("id", f"urn:ngsi-ld:Subscription:{uuid.uuid4()}")
        context, told = await contexts_of(raw, context, request, self._contexts)
        await self._subscriptions.create(request.tenant, raw, context, told)
        return answer(201, headers={"Location": f"{ROOT}/subscriptions/{quote(raw['id'], safe=':')}"})

    async def list(self, request: Request) -> Response:
        """GET /subscriptions."""
        parameters = request.query({"limit", "offset", "count", "options"})
        media = wire.negotiate(request.header(b"accept"))
        context = await wire.context_of(request, self._contexts)
        system = "sysAttrs" in wire.options(parameters, {"sysAttrs"})
        page = wire.paging(parameters)
        await self._subscriptions.check_tenant(request.tenant)
        found = self._subscriptions.all(request.tenant)
        part = found[page.offset : page.offset + page.limit]
        more = len(found) > page.offset + page.limit
        headers = wire.page_headers(request, parameters, page, more, len(found) if page.count else None, media)
        return respond([subscription_shown(s, context, media, system) for s in part], View(context), media, headers)

    async def retrieve(self, request: Request) -> Response:
        """GET /subscriptions/{id}."""
        system = "sysAttrs" in wire.options(request.query({"options"}), {"sysAttrs"})
        media = wire.negotiate(request.header(b"accept"))
        context = await wire.context_of(request, self._contexts)
        await self._subscriptions.check_tenant(request.tenant)
        subscription = self._subscriptions.get(request.tenant, entity_id_of(request))
        return respond(subscription_shown(subscription, context, media, system), View(context), media)

    async def update(self, request: Request) -> Response:
        """PATCH /subscriptions/{id}."""
        request.query(())
        fragment, context, told = await fragment_of(request, self._contexts)
        await self._subscriptions.check_tenant(request.tenant)
        await self._subscriptions.update(request.tenant, entity_id_of(request), fragment, context, told)
        return answer(204)

    async def delete(self, request: Request) -> Response:
        """DELETE /subscriptions/{id}."""
        request.query(())
        await self._subscriptions.check_tenant(request.tenant)
        await self._subscriptions.delete(request.tenant, entity_id_of(request))
        return answer(204)

    async def notifications(self, request: Request) -> Response:
        """GET /api/subscriptions/{id}/notifications: what waits, or (state=dead) what was given up."""
        parameters = request.query({"state", "limit"})
        which = parameters.get("state", "waiting")
        if which not in ("waiting", "dead"):
            raise BadRequestData("state must be waiting or dead")
        limit = min(wire.natural(parameters, "limit", 20, 1), NOTES_MAX)
        key = (request.tenant, entity_id_of(request))
        queue = await self._subscriptions.queue_state(*key)
        found = await self._subscriptions.notes(*key, dead=which == "dead", limit=limit)
        shown = [
            {"dueAt": time_text(n.due_us), "attempts": n.attempts, "why": n.why, "notification": orjson.loads(n.body)}
            for n in found
        ]
        return answer(200, {"queue": queue, "notifications": shown}, wire.JSON)

    async def redeliver(self, request: Request) -> Response:
        """POST /api/subscriptions/{id}/redeliver: dead letters are sent again."""
        request.query(())
        count = await self._subscriptions.redeliver(request.tenant, entity_id_of(request))
        return answer(200, {"redelivered": count}, wire.JSON)


async def contexts_of(raw: Json, context: Context, request: Request, contexts: Contexts) -> tuple[Context, Context]:
    """How the names are read, and what notifications are in: ``jsonldContext``, else the context of the request.

    Notifications in application/json name it in a Link header, so that an inline one gets a URL (CIM 009 clause 5.8.1).
    Raises BadRequestData, LdContextNotAvailable.
    """
    if "jsonldContext" in raw:
        return context, await _told(raw["jsonldContext"], contexts)
    if not _body_holds_context(raw):
        context = await contexts.by_url(context, request.header(b"host"))
    return context, context


async def fragment_of(request: Request, contexts: Contexts) -> tuple[Any, Context, Context | None]:
    """The body of a PATCH, how its names are read, and another context of notifications if it names one.

    Raises BadRequestData, LdContextNotAvailable.
    """
    media, raw = wire.body_media(request, patch=True), wire.json_body(request)
    context = await wire.context_of_part(raw, request, media, contexts)
    if not isinstance(raw, dict):
        return raw, context, None
    raw = given_by(request, raw)
    url = raw.get("jsonldContext", NULL)
    return raw, context, None if url == NULL else await _told(url, contexts)


async def _told(url: object, contexts: Contexts) -> Context:
    if not isinstance(url, str):
        raise BadRequestData("/jsonldContext: must be a URL")
    return await contexts.context_for(url)


def _body_holds_context(raw: Json) -> bool:
    notification = raw.get("notification")
    endpoint = notification.get("endpoint") if isinstance(notification, dict) else None
    return isinstance(endpoint, dict) and endpoint.get("accept") == wire.LD


def given_by(request: Request, raw: Json) -> Json:
    """What a client gives: without what only the server sets, and without @context, which was read before.

    Pairs of ``receiverInfo`` that are to be as in the request have its headers; where it has none they are left out.
    """
    result = {name: value for name, value in raw.items() if name != "@context"}
    notification = raw.get("notification")
    if not isinstance(notification, dict):
        return result
    result["notification"] = notification = {k: v for k, v in notification.items() if k not in COUNTERS}
    endpoint = notification.get("endpoint")
    if isinstance(endpoint, dict) and isinstance(endpoint.get("receiverInfo"), list):
        pairs = [pair for given in endpoint["receiverInfo"] if (pair := _copied(request, given)) is not None]
        notification["endpoint"] = {**endpoint, "receiverInfo": pairs}
    return result


def _copied(request: Request, pair: Any) -> Any:
    """A pair with the header of the request that it names; None where there is no such."""
    if not isinstance(pair, dict) or pair.get("value") != COPY or not isinstance(pair.get("key"), str):
        return pair
    value = request.header(pair["key"].lower().encode("latin-1", "replace"))
    return None if value is None else {**pair, "value": value}


def subscription_shown(subscription: Subscription, context: Context, media: str, system: bool) -> Json:
    """The subscription in the names of the context asked for; ``q`` stays in the words of its author."""
    raw, own = subscription.raw, subscription.context
    result: dict[str, Any] = {"id": subscription.id, "type": "Subscription"}
    result.update(raw)
    if "watchedAttributes" in raw:
        result["watchedAttributes"] = [context.compact_name(own.expand_name(n)) for n in raw["watchedAttributes"]]
    notification = dict(raw["notification"])
    for name in ("attributes", "pick", "omit"):
        if name in notification:
            notification[name] = [_named(n, own, context) for n in notification[name]]
    if "entities" in raw:
        result["entities"] = [s | {"type": _typed(s["type"], own, context)} for s in raw["entities"]]
    counters = subscription.counters
    if counters.sent:
        notification |= {"timesSent": counters.sent, "timesFailed": counters.failed}
        notification["status"] = "ok" if counters.ok else "failed"
        dates = {
            "lastNotification": counters.last_notification,
            "lastSuccess": counters.last_success,
            "lastFailure": counters.last_failure,
        }
        notification |= {name: date for name, date in dates.items() if date}
    result["notification"] = notification
    result["status"] = subscription.status(time.time_ns() // 1000)
    if system:
        result |= {"createdAt": subscription.created, "modifiedAt": subscription.modified}
    if media == wire.LD:
        result["@context"] = context.spec
    return result


def _named(name: str, own: Context, context: Context) -> str:
    """A name in another context; paths to linked entities stay in the words of their author."""
    if "{" in name or name in ("id", "type", "scope"):
        return name
    return context.compact_name(own.expand_name(name))


def _typed(expression: str, own: Context, context: Context) -> str:
    """A single type in another context; an expression stays in the words of its author."""
    if expression == "*" or any(sign in expression for sign in ",|;()"):
        return expression
    return context.compact_name(own.expand_name(expression))
