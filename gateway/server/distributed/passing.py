"""HTTP of forwarded subscriptions: ours go on to the sources, what the sources notify of goes on to our subscribers."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from gateway.server import wire
from gateway.server.contexts import Context, Contexts
from gateway.server.distributed.entities import merged
from gateway.server.distributed.forwarded import Forwarded, Kept, Placement
from gateway.server.distributed.gate import Gate, parameters_of
from gateway.server.distributed.headers import Caller, caller_of
from gateway.server.distributed.reads import Reads
from gateway.server.distributed.remotes import PATH, Remotes
from gateway.server.distributed.telling import read, shown_of
from gateway.server.errors import BadRequestData, LoopDetected, ResourceNotFound
from gateway.server.routing import Handler, Route
from gateway.server.sources.registry import Wanted
from gateway.server.subscriptions.model import Json, Subscription
from gateway.server.subscriptions.service import Subscriptions
from gateway.server.wire import Request, Response, answer

ENTITIES_MAX = 10_000  # of one notification


class Passing:
    """Wraps the handlers of subscriptions, and has the one that sources notify."""

    def __init__(
        self,
        kept: Kept,
        remotes: Remotes,
        gate: Gate,
        reads: Reads,
        subscriptions: Subscriptions,
        contexts: Contexts,
        alias: str,
    ) -> None:
        self._kept = kept
        self._remotes = remotes
        self._gate = gate
        self._reads = reads
        self._subscriptions = subscriptions
        self._contexts = contexts
        self._alias = alias

    def routes(self) -> list[Route]:
        """Where sources notify."""
        return [Route("POST", f"{PATH}/{{token}}", self.notified)]

    def created(self, local: Handler) -> Handler:
        """POST /subscriptions. A request that comes back is refused (508): the subscription is here already."""

        async def handler(request: Request) -> Response:
            caller = caller_of(request, self._alias, self._contexts.core)
            if caller.looped:
                raise LoopDetected(f"the request has passed {caller.alias} before: Via {', '.join(caller.via)}")
            done = await local(request)
            if parameters_of(request).get("local") == "true":
                return done
            location = next(value for name, value in done.headers if name == b"location")
            self._remotes.called(request.tenant, self._base(request))
            key = (request.tenant, unquote(location.decode().rpartition("/")[2]))
            if caller.via or self._remotes.concerns(key):
                await self._remotes.told(key, caller.via)
            return done

        return handler

    def changed(self, local: Handler) -> Handler:
        """PATCH and DELETE /subscriptions/{id}: done here whatever the sources say."""

        async def handler(request: Request) -> Response:
            done = await local(request)
            self._remotes.called(request.tenant, self._base(request))
            key = (request.tenant, request.params["id"])
            if self._remotes.concerns(key):
                await self._remotes.told(key)
            return done

        return handler

    def registered(self, local: Handler) -> Handler:
        """POST and PATCH of registrations: their sources will notify this server as who registers them calls it."""

        async def handler(request: Request) -> Response:
            self._remotes.called(request.tenant, self._base(request))
            return await local(request)

        return handler

    async def notified(self, request: Request) -> Response:
        """POST /api/forwarded/{token}: a Notification of a source."""
        request.query(())
        one = self._kept.by_token(request.params["token"])
        raw: Any = wire.json_body(request)
        place = one.by_remote(raw.get("subscriptionId")) if one is not None and isinstance(raw, dict) else None
        if one is None or place is None:
            raise ResourceNotFound("nobody here has subscribed to that")
        data = raw.get("data")
        if not isinstance(data, list) or len(data) > ENTITIES_MAX:
            raise BadRequestData(f"/data: must be a list of at most {ENTITIES_MAX} entities")
        subscription = self._subscriptions.get(*one.key)
        media = wire.body_media(request)
        part = raw if media == wire.JSON or "@context" in raw or not data else data[0]
        context = await wire.context_of_part(part, request, media, self._contexts)
        shown = [await self._shown(one, place, subscription, each, context) for each in data]
        await self._subscriptions.pass_on(*one.key, [each for each in shown if each])
        return answer(204)

    async def _shown(
        self, one: Forwarded, place: Placement, subscription: Subscription, raw: Any, context: Context
    ) -> Json:
        """An entity as our subscriber wants it; empty where there is nothing to tell."""
        entity, gone = read(raw, context)
        if entity is None:
            return {}
        names = None if place.names is None else frozenset(place.names)
        entity = {name: value for name, value in entity.items() if ":" not in name or names is None or name in names}
        gone = gone if names is None else gone & names
        split = subscription.raw.get("splitEntities") is True and "deletedAt" not in entity
        if split:
            entity = await self._whole(one, subscription, entity)
        unjudged = "q" in subscription.raw and "q" not in (place.sent or {})
        return shown_of(subscription, entity, gone, judge_q=unjudged and not split, judge=split)

    async def _whole(self, one: Forwarded, subscription: Subscription, entity: Json) -> Json:
        """With what all others have of it (splitEntities)."""
        caller = Caller(one.tenant, self._gate.alias(one.tenant), tuple(one.via), [], subscription.context)
        found = self._gate.matching(caller, Wanted(ids=(entity["id"],)))
        matches = [match for match in found if "retrieveEntity" in match.registration.operations]
        single = await self._reads.single(caller, entity["id"], matches, None, dated=True)
        whole = merged(single.copies, frozenset(single.owned))
        return entity if whole is None else {**entity, **whole}

    def _base(self, request: Request) -> str:
        return self._contexts.address(request.header(b"host"), "/").rstrip("/")
