"""The compact protocol over MQTT 3.1.1: to the server by way of a broker, QoS 1.

A message goes to ``lamppost/v1/GATEWAY/batch/N`` (or ``profiles``, ``streams``), and the answer to it comes to
``lamppost/v1/GATEWAY/ack/N``; N counts up, so that an answer that comes late is not taken for that of another message.
What the broker acknowledges says nothing: only the server's answer does.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

from drivers.bound import Resolve
from drivers.buses.mqtt import PAYLOAD_BYTES_MAX, Listener, Message, MqttBus
from drivers.buses.mqtt_login import Session
from drivers.errors import DriverError, NoPermission, NoPort
from gateway.compact.message import AckMessage, BatchMessage, HeldMessage
from gateway.compact.ranges import Ranges
from gateway.uplink.compact import FIX, Compact, Profiles, answered, held_in
from gateway.uplink.transport import RejectedError, UnreachableError

TOPIC = "lamppost/v1"
QOS = 1
NUMBERS = 10_000
KEEPALIVE_S = 60  # a broker that is gone is noticed by answers that do not come, long before
KEEPALIVE_SPARING_S = 1200  # longer than batches are gathered at most: they themselves keep the session alive


class CompactMqtt(Compact):
    """See gateway.uplink.compact. The session is opened with the first message, and again when it was lost.

    ``names``: what resolves the host, instead of the system; ``session`` has the interface; ``sparing``: bytes cost
    money.
    """

    message_bytes_max = PAYLOAD_BYTES_MAX

    def __init__(
        self,
        session: Session,
        gateway: str,
        profiles: Profiles,
        *,
        timeout_s: float = 10.0,
        names: Resolve | None = None,
        sparing: bool = False,
    ) -> None:
        super().__init__(gateway, profiles)
        self._timeout_s = timeout_s
        self._session = replace(session, keepalive_s=KEEPALIVE_SPARING_S if sparing else KEEPALIVE_S)
        self._names = names
        self._where = f"{session.host}:{session.port}"
        self._root = f"{TOPIC}/{gateway}"
        self._bus: MqttBus | None = None
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
        """How many sessions were opened so far, and servers noticed behind the broker."""
        return self._connections + self._forgotten

    async def close(self) -> None:
        """End the session."""
        bus, self._bus = self._bus, None
        if bus is not None:
            await bus.close()

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
                bus = await self._opened()
                self._waiting = f"{self._root}/ack/{self._number}", answer
                self._publish(bus, f"{self._root}/{kind}/{self._number}", payload)
                return await answer
        except TimeoutError:
            cause = f"no answer came by way of {self._where}"
            fix = "Check that the server runs, and that `server.mqtt` names the same broker."
            raise UnreachableError(cause, code="uplink.timeout", fix=fix) from None
        except OSError as error:
            cause = f"the name of {self._where} cannot be resolved: {error.strerror or error}"
            raise UnreachableError(cause, code="uplink.connect") from error
        except NoPermission as error:
            raise RejectedError(str(error), code="uplink.auth", fix=error.fix) from error
        except DriverError as error:
            raise UnreachableError(str(error), code="uplink.lost") from error
        finally:
            self._waiting = None

    async def _opened(self) -> MqttBus:
        """The session, open. Raises DriverError, OSError; where the broker is not there its name is asked for anew."""
        if self._bus is None:
            session = self._session
            if self._names is not None:
                session = replace(session, address=(await self._names(session.host))[0])
            self._bus = MqttBus("uplink", session)
            self._bus.listen(Listener((f"{self._root}/ack/+",), self._heard, self._lost, self._ready))
        try:
            await self._bus.open()
        except NoPort:
            if self._names is not None:
                await self.close()
            raise
        return self._bus

    def _publish(self, bus: MqttBus, topic: str, payload: bytes) -> None:
        if not bus.command(topic, payload, QOS):
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
