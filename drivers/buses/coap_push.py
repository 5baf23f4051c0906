"""Where sensors push to: POST or PUT to ``/push/NAME``, the body in blocks where it is large."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from drivers.buses.coap_endpoint import Endpoint, Reply, Take
from drivers.buses.coap_message import POST, PUT, SENML_FORMATS, Code, Message, Option

if TYPE_CHECKING:
    from drivers.buses.coap_oscore import Context

PATH = "push"


class Receiver(Protocol):
    """The device of a name."""

    def take(self, body: bytes, mono_ns: int) -> Reply:
        """Take a whole body that came at that instant."""


class PushServer(Endpoint):
    """``receivers`` by name may change while it is open; ``contexts``: None where requests come unprotected."""

    def __init__(
        self, receivers: Mapping[str, Receiver], contexts: Mapping[str, Context] | None, body_max: int
    ) -> None:
        super().__init__(contexts, body_max)
        self._receivers = receivers

    def resource(self, request: Message, peer: str | None) -> Reply | Take:
        """The device that the path names; ``peer`` is the name of the sensor whose keys protected the request."""
        path = request.path
        name = path[1] if len(path) == 2 and path[0] == PATH else ""
        receiver = self._receivers.get(name)
        content_format = request.number(Option.CONTENT_FORMAT)
        if peer is not None and peer != name:
            return Reply(Code.FORBIDDEN, f"these keys are for /{PATH}/{peer}")
        if receiver is None:
            return Reply(Code.NOT_FOUND, f"no device of that name pushes here: POST to /{PATH}/NAME")
        if request.code not in (POST, PUT):
            return Reply(Code.METHOD_NOT_ALLOWED, "POST or PUT")
        if content_format is not None and content_format not in SENML_FORMATS:
            return Reply(Code.UNSUPPORTED_FORMAT, "SenML in JSON (110) or CBOR (112)")
        return receiver.take
