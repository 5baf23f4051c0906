"""The compact protocol over HTTP: ``POST /lamppost/v1/batches`` and the routes beside it."""

from __future__ import annotations

from urllib.parse import quote

import orjson

from drivers.http1 import HttpError, Response
from gateway.compact.message import AckMessage, BatchMessage, HeldMessage
from gateway.compact.ranges import Ranges
from gateway.uplink.answers import check_origin
from gateway.uplink.backoff import retry_after_s
from gateway.uplink.client import Access, is_loopback, open_client, unreachable
from gateway.uplink.compact import Compact, Profiles, answered, held_in
from gateway.uplink.transport import BusyError, RejectedError, TransportError

ROOT = "/lamppost/v1"
TIME = "/api/time"
CBOR = "application/cbor"
REASON_CHARS_MAX = 300


class CompactHttp(Compact):
    """See gateway.uplink.compact.

    Raises UplinkError for an address, a CA file or a certificate that cannot be used.
    """

    def __init__(self, access: Access, gateway: str, profiles: Profiles) -> None:
        super().__init__(gateway, profiles)
        self._http = open_client(access, {})

    @property
    def bytes_sent(self) -> int:
        """Bytes of HTTP sent so far."""
        return self._http.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes of HTTP received so far."""
        return self._http.bytes_received

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return self._http.connections

    async def server_time(self) -> int | None:
        """GET /api/time; the answer counts only where nobody in between can give it."""
        if not (self._http.target.secure or is_loopback(self._http.target.host)):
            return None
        response = await self._request("GET", TIME)
        try:
            now_ns = orjson.loads(response.body)["now_ns"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return None
        return now_ns if isinstance(now_ns, int) else None

    async def close(self) -> None:
        """Drop the connection at once."""
        await self._http.close()

    async def _post(self, message: BatchMessage, ranges: Ranges) -> AckMessage:
        return answered((await self._request("POST", f"{ROOT}/batches", message.to_bytes())).body)

    async def _put(self, digest: str, document: bytes) -> None:
        await self._request("PUT", f"{self._path}/profiles/{digest}", document)

    async def _streams(self) -> HeldMessage:
        return held_in((await self._request("GET", f"{self._path}/streams")).body)

    @property
    def _path(self) -> str:
        return f"{ROOT}/gateways/{quote(self._gateway, safe='')}"

    async def _request(self, method: str, path: str, body: bytes = b"") -> Response:
        """The answer where it is a good one. Raises TransportError."""
        headers = {"Content-Type": CBOR} if body else {}
        try:
            response = await self._http.request(method, path, headers, body)
        except HttpError as error:
            raise unreachable(error) from error
        check_origin(response)
        if 200 <= response.status < 300:
            return response
        raise _failure(response)


def _failure(response: Response) -> TransportError:
    status = response.status
    if status in (401, 403):
        fix = "Check uplink.token_file: it must hold a token that the server knows and that may write."
        return RejectedError(f"the server answers {status}: it does not accept the token", code="uplink.auth", fix=fix)
    if status in (408, 425, 429) or status >= 500:
        wait = retry_after_s(response.headers.get("retry-after"), response.headers.get("date"))
        return BusyError(f"the server answers {status}: {_reason(response)}", wait)
    fix = "Check that uplink.url is the address of a Lamppost server; towards others use `language: ngsi-ld`."
    return RejectedError(f"the server answers {status}: {_reason(response)}", fix=fix)


def _reason(response: Response) -> str:
    """A problem+json object (RFC 9457) in one line, or what stands there instead."""
    try:
        problem = orjson.loads(response.body)
        parts = [str(problem[key]) for key in ("title", "detail") if problem.get(key)]
    except (orjson.JSONDecodeError, TypeError, AttributeError):
        parts = [response.body[:REASON_CHARS_MAX].decode("utf-8", "replace").strip()]
    return ": ".join(parts)[:REASON_CHARS_MAX] or "no reason given"
