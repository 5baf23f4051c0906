"""One request to one source, in its context, its tenant and its formats; and what its failures mean to who asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson

from gateway.server import wire
from gateway.server.contexts import Context, Contexts
from gateway.server.distributed.client import Client, Reply
from gateway.server.distributed.headers import Caller, conformance_of, headers_for, info_of, media_for
from gateway.server.distributed.older import older
from gateway.server.errors import (
    AlreadyExists,
    BadGateway,
    GatewayTimeout,
    LoopDetected,
    Problem,
    ResourceNotFound,
)
from gateway.server.sources.model import Registration
from gateway.server.sources.registry import Registry
from gateway.server.wire import ROOT

TEXT_MAX, WARNINGS_MAX = 200, 50
QUOTES = str.maketrans({'"': "'", "\\": "/"})


@dataclass(frozen=True, slots=True)
class Forward:
    """``path`` is percent-encoded and stands below ``/ngsi-ld/v1``; ``body`` has the names of the source's context."""

    registration: Registration
    method: str
    path: str
    parameters: Mapping[str, str]
    body: Any = None


class Forwarder:
    """Sends forwards; the registry learns how each went."""

    def __init__(self, client: Client, contexts: Contexts, registry: Registry) -> None:
        self._client = client
        self._contexts = contexts
        self._registry = registry

    async def context_for(self, registration: Registration, caller: Caller) -> Context:
        """In which context a source is spoken to. Raises LdContextNotAvailable, BadRequestData.

        Its own where the registration names one; else that of the request, if others can load it; else the core, with
        full IRIs for what that does not know.
        """
        named = info_of(registration, "jsonldContext")
        spec = named if named is not None else caller.context.spec
        if named is None and isinstance(spec, str):
            return caller.context
        return await self._contexts.context_for(spec if isinstance(spec, str) else None)

    async def send(self, caller: Caller, context: Context, forward: Forward) -> Reply:
        """Failures are replies, too."""
        registration = forward.registration
        if caller.passed(registration):
            return Reply(0, failure="loop", why="the request has been there already")
        parameters = dict(forward.parameters)
        if registration.local_only:
            parameters["local"] = "true"
        path = ROOT + forward.path + (f"?{urlencode(parameters, safe=':,/')}" if parameters else "")
        body, media = self._encoded(caller, context, forward)
        headers = headers_for(registration, caller, context, body=media)
        reply = await self._client.send(registration, forward.method, path, headers, body)
        self._registry.sent(caller.tenant, registration.id, ok=not reply.failure)
        return reply

    def _encoded(self, caller: Caller, context: Context, forward: Forward) -> tuple[bytes, str]:
        body, version = forward.body, conformance_of(forward.registration)
        if body is None:
            return b"", ""
        if version is not None:
            body = older(body, forward.path, version)
        if media_for(forward.registration, caller) != wire.LD:
            return orjson.dumps(body), wire.JSON
        if isinstance(body, list):
            return orjson.dumps([_with(part, context) for part in body]), wire.LD
        return orjson.dumps(_with(body, context)), wire.LD


def problem_of(reply: Reply, registration: Registration) -> Problem:
    """What a failed forward is to who asked (clause 6.3.17): 508, 504, 404, 409, or 502 for all else."""
    who = registration.id
    if reply.failure == "loop":
        return LoopDetected(f"{who}: {reply.why}")
    if reply.failure == "timeout":
        return GatewayTimeout(f"{who}: {reply.why}")
    said = _said(reply)
    if reply.status == 404:
        return ResourceNotFound(f"{who}: {said}")
    if reply.status == 409:
        return AlreadyExists(f"{who}: {said}")
    return BadGateway(f"{who}: {said}")


def warning_of(reply: Reply, registration: Registration) -> str | None:
    """The value of NGSILD-Warning for a source that a read went on without (clause 6.3.17); None for one that is fine.

    That a source does not know an entity is an answer, not a failure.
    """
    if reply.failure in ("loop", "timeout"):
        return warning(registration, _said(reply), 199)
    if reply.failure or (reply.status >= 400 and reply.status != 404):
        return warning(registration, _said(reply))
    return None


def warning(registration: Registration, text: str, code: int = 299) -> str:
    """One value of NGSILD-Warning; the text may be a source's, and is made fit for a header."""
    plain = "".join(c if c.isprintable() and c.isascii() else " " for c in text[:TEXT_MAX])
    return f'{code} {registration.id} "{plain.translate(QUOTES)}"'


def warned(warnings: Sequence[str]) -> dict[str, str]:
    """The header NGSILD-Warning: each source once, and not more than a header can hold."""
    return {"NGSILD-Warning": ", ".join(list(dict.fromkeys(warnings))[:WARNINGS_MAX])} if warnings else {}


def _said(reply: Reply) -> str:
    """In the source's own words, if it has any."""
    if reply.why:
        return reply.why[:200]
    content = reply.content
    detail = content.get("detail") or content.get("title") if isinstance(content, dict) else None
    return str(detail)[:200] if detail else f"it answers {reply.status}"


def _with(part: Any, context: Context) -> Any:
    return {**part, "@context": context.spec} if isinstance(part, dict) else part
