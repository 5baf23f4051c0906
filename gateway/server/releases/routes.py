"""HTTP of released models: ``/lamppost/v1/gateways/{gateway}/model``."""

from __future__ import annotations

from gateway.server.errors import BadMessage, ResourceNotFound, UnsupportedMediaType
from gateway.server.releases.service import GATEWAY_CHARS_MAX, Releases
from gateway.server.routing import Route
from gateway.server.wire import Request, Response, answer

PATH = "/lamppost/v1/gateways/{gateway}/model"
JOSE = "application/jose"


class ReleaseRoutes:
    """The handlers: published by people, pulled by gateways."""

    def __init__(self, releases: Releases) -> None:
        self._releases = releases

    def routes(self) -> list[Route]:
        """What is offered."""
        return [Route("GET", PATH, self.get), Route("PUT", PATH, self.put)]

    async def get(self, request: Request) -> Response:
        """GET: 304 where the gateway has it already."""
        request.query(())
        gateway = _gateway(request)
        kept = await self._releases.get(gateway)
        if kept is None:
            raise ResourceNotFound(f"nothing was published for {gateway!r}", fix="Use `lamppost models publish`.")
        tag = (b"etag", kept.tag.encode("ascii"))
        if (request.header(b"if-none-match") or "") == kept.tag:
            return Response(304, b"", (tag,))
        return Response(200, kept.body, ((b"content-type", JOSE.encode("ascii")), tag))

    async def put(self, request: Request) -> Response:
        """PUT: 204 once it is on the disk."""
        request.query(())
        media = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
        if media != JOSE:  # asked for, so that the page of another site cannot send one
            raise UnsupportedMediaType(f"{media or 'no Content-Type'} is not understood here", fix=f"Send {JOSE}.")
        await self._releases.put(_gateway(request), request.body)
        return answer(204)


def _gateway(request: Request) -> str:
    name = request.params["gateway"]
    if not 0 < len(name) <= GATEWAY_CHARS_MAX:
        raise BadMessage(f"the name of a gateway has 1 to {GATEWAY_CHARS_MAX} characters")
    return name
