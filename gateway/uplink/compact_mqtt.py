"""The compact protocol over MQTT 3.1.1: to the server by way of a broker, QoS 1.

A message goes to ``lamppost/v1/GATEWAY/batch/N`` (or ``profiles``, ``streams``), and the answer to it comes to
``lamppost/v1/GATEWAY/ack/N``; N counts up, so that an answer that comes late is not taken for that of another message.
What the broker acknowledges says nothing: only the server's answer does.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

from drivers.buses.mqtt import PAYLOAD_BYTES_MAX, Listener, Message, MqttBus
from drivers.buses.mqtt_login import Session
from drivers.errors import DriverError, NoPermission
from gateway.compact.message import AckMessage, BatchMessage, HeldMessage
from gateway.compact.ranges import Ranges
from gateway.uplink.compact import FIX, Compact, Profiles, answered, held_in
from gateway.uplink.transport import RejectedError, UnreachableError

TOPIC = "lamppost/v1"
QOS = 1
NUMBERS = 10_000
KEEPALIVE_S = 60  # a broker that is gone is noticed by answers that do not come, long before


class CompactMqtt(Compact):
    """See gateway.uplink.compact. The session is opened with the first message, and again when it was lost."""

    message_bytes_max = PAYLOAD_BYTES_MAX

    def __init__(self, session: Session, gateway: str, profiles: Profiles, *, timeout_s: float = 10.0) -> None:
        super().__init__(gateway, profiles)
        self._timeout_s = timeout_s
        self._where = f"{session.host}:{session.port}"
        self._root = f"{TOPIC}/{gateway}"
        self._bus = MqttBus("uplink", replace(session, keepalive_s=KEEPALIVE_S))
        self._bus.listen(Listener((f"{self._root}/ack/+",), self._heard, self._lost, self._ready))
        self._number = secrets.randbelow(NUMBERS)
        self._waiting: tuple[str, asyncio.Future[bytes]] | None = None
        self._sent = self._received = self._connections = 0

    @property
    def bytes_sent(self) -> int:
        """Bytes of MQTT sent so far, in messages."""
        return self._sent

    @property
    def bytes_received(self) -> int:
        """Bytes of MQTT received so far, in messages."""
        return self._received

    @property
    def connections(self) -> int:
        """How many sessions were opened so far."""
        return self._connections

    async def close(self) -> None:
        """End the session."""
        await self._bus.close()

    async def _post(self, message: BatchMessage, ranges: Ranges) -> AckMessage:
        return answered(await self._exchange("batch", message.to_bytes()))

    async def _put(self, digest: str, document: bytes) -> None:
        problem = await self._exchange("profiles", document)
        if problem:
            text = problem[:300].decode("utf-8", "replace")
            raise RejectedError(f"the server does not take the profiles: {text}", fix=FIX)

    async def _streams(self) -> HeldMessage:
        return held_in(await self._exchange("streams", b""))

    async def _exchange(self, kind: str, payload: bytes) -> bytes:
        """Publish, and wait for the answer. Raises TransportError."""
        self._number = (self._number + 1) % NUMBERS
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._bus.open()
                self._waiting = f"{self._root}/ack/{self._number}", answer
                self._publish(f"{self._root}/{kind}/{self._number}", payload)
                return await answer
        except TimeoutError:
            cause = f"no answer came by way of {self._where}"
            fix = "Check that the server runs, and that `server.mqtt` names the same broker."
            raise UnreachableError(cause, code="uplink.timeout", fix=fix) from None
        except NoPermission as error:
            raise RejectedError(str(error), code="uplink.auth", fix=error.fix) from error
        except DriverError as error:
            raise UnreachableError(str(error), code="uplink.lost") from error
        finally:
            self._waiting = None

    def _publish(self, topic: str, payload: bytes) -> None:
        if not self._bus.command(topic, payload, QOS):
            raise UnreachableError(f"nothing can be sent to {self._where}", code="uplink.lost")
        self._sent += _packet_bytes(topic, payload)

    def _heard(self, message: Message) -> None:
        self._received += _packet_bytes(message.topic, message.payload)
        if self._waiting is not None and self._waiting[0] == message.topic and not message.retained:
            _, answer = self._waiting
            if not answer.done():
                answer.set_result(message.payload)

    def _lost(self, why: str, _kind: type[DriverError]) -> None:
        if self._waiting is not None and not self._waiting[1].done():
            self._waiting[1].set_exception(UnreachableError(why, code="uplink.lost"))

    def _ready(self) -> None:
        self._connections += 1


def _packet_bytes(topic: str, payload: bytes) -> int:
    """Bytes of a PUBLISH of QoS 1 (MQTT 3.1.1, 3.3): type, remaining length, topic, packet identifier, payload."""
    rest = 2 + len(topic) + 2 + len(payload)
    return 2 + (rest > 127) + (rest > 16_383) + rest
