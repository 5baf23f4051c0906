"""The compact protocol over HTTP: ``POST /lamppost/v1/batches`` and the routes beside it."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import quote

import orjson

from drivers.bound import Resolve
from drivers.http1 import HttpClient, HttpError, Response
from gateway.compact.message import AckMessage, BatchMessage, HeldMessage
from gateway.compact.ranges import Ranges
from gateway.errors import UplinkError
from gateway.uplink.backoff import retry_after_s
from gateway.uplink.compact import Compact, Profiles, answered, held_in
from gateway.uplink.transport import BusyError, RejectedError, TransportError, UnreachableError

ROOT = "/lamppost/v1"
TIME = "/api/time"
CBOR = "application/cbor"
REASON_CHARS_MAX = 300


class CompactHttp(Compact):
    """See gateway.uplink.compact; ``interface`` and ``names`` as for drivers.http1.HttpClient.

    Raises UplinkError for an address or a CA file that cannot be used.
    """

    def __init__(
        self,
        url: str,
        gateway: str,
        profiles: Profiles,
        *,
        token: str | None = None,
        ca_file: Path | None = None,
        timeout_s: float = 10.0,
        interface: str | None = None,
        names: Resolve | None = None,
    ) -> None:
        super().__init__(gateway, profiles)
        headers = {"Accept": CBOR} | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            self._http = HttpClient(
                url, ca_file=ca_file, timeout_s=timeout_s, headers=headers, interface=interface, names=names
            )
        except HttpError as error:
            fix = "Give uplink.url as http(s)://host:port."
            raise UplinkError(error.cause, code="uplink.bad-url", fix=fix) from error
        except OSError as error:
            fix = "uplink.ca_file must be a readable PEM file with the certificate of the authority."
            raise UplinkError(f"cannot use {ca_file}: {error}", code="uplink.bad-ca", fix=fix) from error

    @property
    def bytes_sent(self) -> int:
        """Bytes of HTTP sent so far."""
        return self._http.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes of HTTP received so far."""
        return self._http.bytes_received

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
            raise UnreachableError(error.cause, code=f"uplink.{error.kind}") from error
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


def is_loopback(host: str) -> bool:
    """Whether a host can only be this box."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
