"""The server's end of the compact protocol over MQTT: it is a client of the broker, and answers what gateways publish.

Who may publish below ``lamppost/v1/NAME/`` is for the broker to say, and is taken as the gateway of that name. Messages
of one gateway are answered in their order; all together those in work are bounded, the others are asked to come again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from drivers.buses.mqtt import Listener, Message, MqttBus
from drivers.buses.mqtt_login import Session
from drivers.errors import DriverError
from gateway.compact.message import PROBLEM_CHARS_MAX, AckMessage, BatchMessage, MessageError, digest
from gateway.server.errors import InternalError, Problem
from gateway.server.ingest.service import Ingest
from gateway.server.outcome import Outcome

log = logging.getLogger(__name__)
ROOT = "lamppost/v1"
KINDS = ("batch", "profiles", "streams")
QOS = 1
WAITING_MAX = 64  # messages of all gateways, in work or waiting for it
WAITING_BYTES_MAX = 16 * 2**20
LOOK_S = 5.0  # how often it is looked whether there is a session
SAID_CHARS_MAX = 200


class MqttEnd:
    """Use ``run`` as a task while the server runs."""

    def __init__(self, session: Session, ingest: Ingest) -> None:
        self._ingest = ingest
        self._bus = MqttBus("ingest", session)
        self._bus.listen(Listener(tuple(f"{ROOT}/+/{kind}/+" for kind in KINDS), self._heard, self._lost, self._ready))
        self._queues: dict[str, deque[tuple[str, str, bytes]]] = {}
        self._waiting = self._bytes = 0
        self._group: asyncio.TaskGroup | None = None
        self._said = ""

    async def run(self) -> None:
        """Be connected, again and again, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                while True:
                    try:
                        await self._bus.open()
                    except DriverError as error:
                        self._say(str(error), error.fix)
                    await asyncio.sleep(LOOK_S)
        finally:
            self._group = None
            await self._bus.close()

    def _ready(self) -> None:
        self._said = ""
        log.info("gateways are heard by way of the MQTT broker")

    def _lost(self, why: str, kind: type[DriverError]) -> None:
        self._say(why, kind.fix)

    def _say(self, cause: str, fix: str) -> None:
        if cause != self._said:
            self._said = cause
            log.warning("no gateways are heard over MQTT: %s. %s", cause, fix)

    def _heard(self, message: Message) -> None:
        parts = message.topic.split("/")
        if message.retained or len(parts) != 5 or self._group is None:
            return
        gateway, kind, number = parts[2:]
        size = len(message.payload)
        if self._waiting >= WAITING_MAX or self._bytes + size > WAITING_BYTES_MAX:
            self._answer(gateway, number, _busy(kind, message.payload))
            return
        self._waiting += 1
        self._bytes += size
        queue = self._queues.get(gateway)
        if queue is None:
            queue = self._queues[gateway] = deque()
            self._group.create_task(self._work(gateway, queue))
        queue.append((kind, number, message.payload))

    async def _work(self, gateway: str, queue: deque[tuple[str, str, bytes]]) -> None:
        """Answer the messages of a gateway until none is left."""
        while queue:
            kind, number, payload = queue.popleft()
            try:
                answer = await self._take(gateway, kind, payload)
            finally:
                self._waiting -= 1
                self._bytes -= len(payload)
            self._answer(gateway, number, answer)
        del self._queues[gateway]

    async def _take(self, gateway: str, kind: str, payload: bytes) -> bytes | None:
        """The answer to a message; None where it gets none."""
        answer: bytes | None = None
        with Outcome() as outcome:
            if kind == "batch":
                answer = (await self._ingest.batch(payload, gateway)).to_bytes()
            elif kind == "profiles":
                await self._ingest.put_profiles(gateway, digest(payload), payload)
                answer = b""
            else:
                answer = (await self._ingest.held(gateway)).to_bytes()
        if outcome.error is None:
            return answer
        problem = outcome.error
        if not isinstance(problem, Problem):
            log.error("%s of %.80r failed", kind, gateway, exc_info=problem)
            problem = InternalError(type(problem).__name__)
        return _refusal(kind, payload, problem)

    def _answer(self, gateway: str, number: str, payload: bytes | None) -> None:
        if payload is not None and not self._bus.command(f"{ROOT}/{gateway}/ack/{number}", payload, QOS):
            log.debug("an answer to %.80r was lost: it asks again", gateway)


def _refusal(kind: str, payload: bytes, problem: Problem) -> bytes | None:
    if kind == "profiles":
        return problem.cause[:SAID_CHARS_MAX].encode()
    if kind != "batch":
        return None
    try:
        stream = BatchMessage.from_bytes(payload).stream
    except MessageError:
        stream = "?"
    if problem.status >= 500:
        return AckMessage(stream, retry_after_s=problem.retry_after_s or 1).to_bytes()
    return AckMessage(stream, problems=(problem.cause[:PROBLEM_CHARS_MAX],)).to_bytes()


def _busy(kind: str, payload: bytes) -> bytes | None:
    return _refusal(kind, payload, InternalError("more messages wait than are taken on"))
