"""The compact protocol over CoAP with OSCORE (RFC 7252, 7959, 8613): the paths of HTTP, bodies in blocks."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlsplit

import cbor2

from drivers.bound import Resolve
from drivers.buses.coap_message import GET, POST, PUT, Code
from drivers.buses.coap_oscore import Context, read_keys
from drivers.buses.coap_request import Requester, Response
from drivers.errors import DriverError, Misconfigured, NeedsHuman, NoPort, Timeout
from gateway.compact.message import MESSAGE_BYTES_MAX, AckMessage, BatchMessage, HeldMessage
from gateway.compact.ranges import Ranges
from gateway.uplink.backoff import RETRY_AFTER_MAX_S
from gateway.uplink.compact import Compact, Profiles, answered, held_in
from gateway.uplink.transport import BusyError, RejectedError, UnreachableError

ROOT = "/lamppost/v1"
SERVER = "server"  # the part of the credentials file
PORT = 5683
CBOR = 60  # application/cbor (RFC 7252, 12.3)
MAX_AGE_S = 60  # where an answer states none (RFC 7252, 5.10.5)


class CompactCoap(Compact):
    """See gateway.uplink.compact. ``state``: folder for what OSCORE must remember; ``timeout_s`` is for each block.

    ``interface`` and ``names`` as for drivers.http1.HttpClient.
    """

    ranges_max = 100  # so that the answer fits into one datagram

    def __init__(
        self,
        url: str,
        gateway: str,
        profiles: Profiles,
        credentials: Path,
        *,
        state: Path | None = None,
        timeout_s: float = 10.0,
        interface: str | None = None,
        names: Resolve | None = None,
    ) -> None:
        super().__init__(gateway, profiles)
        self._url = url.rstrip("/")
        self._names = names
        self._credentials = credentials
        self._state = state or credentials.parent / "oscore"
        self._timeout_s = timeout_s
        self._interface = interface
        self._context: Context | None = None
        self._requester: Requester | None = None
        self._counted = (0, 0)
        self._connections = 0

    @property
    def bytes_sent(self) -> int:
        """Bytes of CoAP sent so far."""
        return self._counted[0] + (0 if self._requester is None else self._requester.bytes_sent)

    @property
    def bytes_received(self) -> int:
        """Bytes of CoAP received so far."""
        return self._counted[1] + (0 if self._requester is None else self._requester.bytes_received)

    @property
    def connections(self) -> int:
        """How often the socket was opened so far, and servers noticed behind it."""
        return self._connections + self._forgotten

    async def server_time(self) -> int | None:
        """GET /api/time; OSCORE says whose it is."""
        response = await self._request(GET, "/api/time")
        try:
            now_ns = cbor2.loads(response.body)
        except (cbor2.CBORDecodeError, UnicodeError):
            return None
        return now_ns if type(now_ns) is int else None

    async def close(self) -> None:
        """Close the socket, and write down what OSCORE must remember."""
        await self._drop()
        context, self._context = self._context, None
        if context is not None:
            context.close()

    async def _drop(self) -> None:
        """Close the socket: the next one may lead elsewhere."""
        requester, self._requester = self._requester, None
        if requester is not None:
            self._counted = (self._counted[0] + requester.bytes_sent, self._counted[1] + requester.bytes_received)
            await requester.close()

    async def _post(self, message: BatchMessage, ranges: Ranges) -> AckMessage:
        return answered((await self._request(POST, f"{ROOT}/batches", message.to_bytes())).body)

    async def _put(self, digest: str, document: bytes) -> None:
        await self._request(PUT, f"{self._path}/profiles/{digest}", document)

    async def _streams(self) -> HeldMessage:
        return held_in((await self._request(GET, f"{self._path}/streams")).body)

    @property
    def _path(self) -> str:
        return f"{ROOT}/gateways/{quote(self._gateway, safe='')}"

    async def _request(self, code: int, path: str, body: bytes = b"") -> Response:
        """The answer where it is a good one. Raises TransportError."""
        try:
            requester = await self._opened()
            response = await requester.exchange(code, path, body, CBOR if body else None)
        except OSError as error:
            cause = f"the name of {self._url} cannot be resolved: {error.strerror or error}"
            raise UnreachableError(cause, code="uplink.connect") from error
        except NoPort as error:
            raise UnreachableError(str(error), code="uplink.connect") from error
        except NeedsHuman as error:
            raise RejectedError(str(error), code="uplink.auth", fix=error.fix) from error
        except DriverError as error:
            await self._drop()
            kind = "timeout" if isinstance(error, Timeout) else "lost"
            raise UnreachableError(str(error), code=f"uplink.{kind}") from error
        if response.code in (Code.CONTENT, Code.CHANGED):
            return response
        if response.code >= Code.SERVER_ERROR:
            wait = MAX_AGE_S if response.max_age_s is None else response.max_age_s
            raise BusyError(f"the server answers {response.text}", min(wait, RETRY_AFTER_MAX_S))
        fix = "Check that uplink.url is the address of a Lamppost server, and the keys of this gateway there."
        raise RejectedError(f"the server answers {response.text}", fix=fix)

    async def _opened(self) -> Requester:
        """Raises DriverError, OSError."""
        if self._context is None:
            keys = read_keys(self._credentials).get(SERVER)
            if keys is None:
                raise Misconfigured(f"{self._credentials} has no part `{SERVER}`")
            self._context = Context(keys, self._state)
        if self._requester is None:
            parts = urlsplit(self._url)
            url = self._url
            if self._names is not None:
                address = (await self._names(parts.hostname or ""))[0]
                host = f"[{address}]" if ":" in address else address
                url = f"coap://{host}:{parts.port or PORT}"
            self._requester = Requester(
                url, self._context, self._timeout_s, MESSAGE_BYTES_MAX, interface=self._interface
            )
            self._connections += 1
        return self._requester
