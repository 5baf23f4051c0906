"""HTTP of the compact protocol (docs/reference/compact-protocol.md)."""

from __future__ import annotations

from gateway.compact.message import MESSAGE_BYTES_MAX, NAME_CHARS_MAX
from gateway.server.errors import BadMessage, TooLarge, UnsupportedMediaType
from gateway.server.ingest.service import Ingest
from gateway.server.routing import Route
from gateway.server.wire import Request, Response, answer

ROOT = "/lamppost/v1"
CBOR = "application/cbor"


class IngestRoutes:
    """The handlers of batches, profiles and held ranges."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest

    def routes(self) -> list[Route]:
        """What is offered."""
        gateway = f"{ROOT}/gateways/{{gateway}}"
        return [
            Route("POST", f"{ROOT}/batches", self.batch),
            Route("PUT", f"{gateway}/profiles/{{hash}}", self.put_profiles),
            Route("GET", f"{gateway}/streams", self.streams),
        ]

    async def batch(self, request: Request) -> Response:
        """POST /batches."""
        return _cbor((await self._ingest.batch(_body(request))).to_bytes())

    async def put_profiles(self, request: Request) -> Response:
        """PUT /gateways/{gateway}/profiles/{hash}."""
        await self._ingest.put_profiles(_gateway(request), request.params["hash"], _body(request))
        return answer(204)

    async def streams(self, request: Request) -> Response:
        """GET /gateways/{gateway}/streams."""
        request.query(())
        return _cbor((await self._ingest.held(_gateway(request))).to_bytes())


def _body(request: Request) -> bytes:
    """The message. The media type is asked for: without it the page of another site could post one."""
    request.query(())
    media = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
    if media != CBOR:
        raise UnsupportedMediaType(f"{media or 'no Content-Type'} is not understood here", fix=f"Send {CBOR}.")
    if len(request.body) > MESSAGE_BYTES_MAX:
        raise TooLarge(f"the message has {len(request.body)} bytes; {MESSAGE_BYTES_MAX} are allowed")
    return request.body


def _gateway(request: Request) -> str:
    name = request.params["gateway"]
    if not 0 < len(name) <= NAME_CHARS_MAX:
        raise BadMessage(f"the name of a gateway has 1 to {NAME_CHARS_MAX} characters")
    return name


def _cbor(body: bytes) -> Response:
    return Response(200, body, ((b"content-type", CBOR.encode("ascii")),))
