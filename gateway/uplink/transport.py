"""What carries a batch to the server, and how it says that it did not.

::

    TransportError          keep the batch and try again
    ├── UnreachableError        no connection, no answer in time, cut in between, TLS failed
    │   └── PortalError             somebody else answers in the server's place
    ├── BusyError               the server pushes back or is broken for the moment; it may say for how long
    └── RejectedError           somebody has to do something: token, address, a broker that takes none of it
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.errors import UplinkError
from gateway.model import Ack, Batch, Range


class TransportError(UplinkError):
    """The batch has not been acknowledged. ``retry_after_s``: what the server asked for."""

    code = "uplink.failed"
    retry_after_s: float | None = None


class UnreachableError(TransportError):
    """No answer came."""

    code = "uplink.unreachable"
    fix = "Check the network, uplink.url and that the server runs; it is tried again by itself."


class PortalError(UnreachableError):
    """An answer that cannot be the server's: nothing of it is believed."""

    code = "uplink.portal"
    fix = "The network wants a login (captive portal), or uplink.url is not the address of an NGSI-LD broker."


class BusyError(TransportError):
    """The server asks to come back later, or fails inside."""

    code = "uplink.busy"
    fix = "Nothing to do here: it is tried again by itself. If it stays so, look at the server's log."

    def __init__(self, cause: str, retry_after_s: float | None = None) -> None:
        super().__init__(cause)
        self.retry_after_s = retry_after_s


class RejectedError(TransportError):
    """The server will not take it until somebody changes something; tried again slowly."""

    code = "uplink.rejected"
    fix = "Check that uplink.url is the address of an NGSI-LD broker and that uplink.tenant exists there."


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a batch: all of ``ack`` is done with. ``refused`` readings were not taken for good.

    ``unmapped`` readings belong to devices that the configuration does not know any more. ``problems``: a few of the
    server's reasons, as text.
    """

    ack: Ack
    refused: int = 0
    unmapped: int = 0
    problems: tuple[str, ...] = ()


class Transport(Protocol):
    """One language towards one server. One call at a time; each may be cancelled and then leaves nothing behind."""

    @property
    def bytes_sent(self) -> int:
        """Bytes sent since the start, without what lies below."""

    @property
    def bytes_received(self) -> int:
        """Bytes received since the start."""

    @property
    def connections(self) -> int:
        """How many connections were opened so far: behind a new one the server may be another or an older one."""

    @property
    def orders_history(self) -> bool:
        """Whether old values may follow newer ones: the server puts them into history and keeps the present.

        Where it cannot, all goes oldest first. Known after ``held``.
        """

    async def held(self) -> dict[str, tuple[Range, ...]] | None:
        """Meet the server on a new connection: the ranges that it has of this gateway's streams.

        None where the language cannot tell. Raises TransportError.
        """

    async def send(self, batch: Batch) -> Receipt:
        """Return when the server has the batch on its disk. Raises TransportError."""

    async def server_time(self) -> int | None:
        """The server's UTC in ns over an exchange that can be trusted, None without one. Raises TransportError."""

    async def close(self) -> None:
        """Drop the connection at once; safe to call twice."""
