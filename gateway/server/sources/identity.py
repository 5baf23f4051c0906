"""What this server says of itself as a source of context: GET /info/sourceIdentity (CIM 009 clauses 5.15.1, 6.33)."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime

from gateway import __version__
from gateway.server import wire
from gateway.server.contexts import CORE_URL
from gateway.server.routing import Route
from gateway.server.wire import ROOT, Request, Response, answer


class IdentityRoutes:
    """``alias``: the pseudonym in Via headers; tenants other than the default one have their own."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._started_s = time.monotonic()

    def routes(self) -> list[Route]:
        """What is offered."""
        return [Route("GET", f"{ROOT}/info/sourceIdentity", self.identity)]

    async def identity(self, request: Request) -> Response:
        """GET /info/sourceIdentity."""
        request.query(())
        media = wire.negotiate(request.header(b"accept"))
        alias = f"{self._alias}-{request.tenant}" if request.tenant else self._alias
        shown: dict[str, object] = {
            "id": f"urn:ngsi-ld:ContextSourceIdentity:{uuid.uuid5(uuid.NAMESPACE_URL, alias)}",
            "type": "ContextSourceIdentity",
            "contextSourceAlias": alias,
            "contextSourceUptime": f"PT{int(time.monotonic() - self._started_s)}S",
            "contextSourceTimeAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "contextSourceExtras": {"software": "lamppost", "version": __version__},
        }
        if media == wire.LD:
            return answer(200, {**shown, "@context": CORE_URL}, media)
        return answer(200, shown, media, {"Link": f'<{CORE_URL}>; rel="{wire.CONTEXT_REL}"; type="{wire.LD}"'})
