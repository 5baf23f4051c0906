"""A session with an MQTT broker, and the devices that publish there.

One session per bus. paho runs a thread of its own; its callbacks do nothing but hand over to the loop. paho reconnects
by itself, with a back-off of up to RECONNECT_MAX_S, and every subscription is renewed then.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, topic_matches_sub
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from drivers.base import Bus, Driver, Frame, Observation, Tap
from drivers.buses.mailbox import Mailbox
from drivers.codecs import shelly
from drivers.errors import BadFrame, Disconnected, DriverError, NoPermission, NoPort
from drivers.template import Template

RECONNECT_MIN_S, RECONNECT_MAX_S = 1, 5
CONNECT_S = 3.0
KEEPALIVE_S = 15  # a broker that vanished without a word is noticed after one and a half of it
SECRET_BYTES_MAX = 4096
PAYLOAD_BYTES_MAX = 64 * 1024
HANDED_OVER_MAX = 256  # messages between paho's thread and the loop; then the oldest is dropped and counted
SCAN_S = 5.0
QOS = 1

_DENIED = frozenset({"Not authorized", "Bad user name or password", "Banned", "Client identifier not valid"})


@dataclass(frozen=True, slots=True)
class Session:
    """Where the broker is and how to get in. ``password_file`` holds the password, alone."""

    host: str = "127.0.0.1"
    port: int = 1883
    username: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class FoundPublisher:
    """A device that was heard; ``could_be`` are names of templates."""

    address: str
    could_be: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Listener:
    """``heard`` gets topic, payload and monotonic arrival; ``lost`` is told why the session ended."""

    pattern: str
    heard: Callable[[str, bytes, int], None]
    lost: Callable[[str], None]


class MqttBus:
    """See drivers.base.Bus. All callbacks of listeners run in the loop."""

    def __init__(self, name: str, session: Session) -> None:
        self.name = name
        self.tap: Tap | None = None
        self._session = session
        self._where = f"MQTT broker {session.host}:{session.port}"
        self._listeners: list[Listener] = []
        self._client: Client | None = None
        self._connected = False
        self._fault: DriverError | None = None
        self._known = asyncio.Event()  # the outcome of the attempt to connect is known
        self._opening = asyncio.Lock()
        self.dropped = 0
        self._handed_over: deque[tuple[MQTTMessage, int]] = deque(maxlen=HANDED_OVER_MAX)
        self._waking = False

    async def open(self) -> None:
        """Be connected, or raise why not: NoPort, NoPermission or Disconnected. paho goes on trying meanwhile."""
        async with self._opening:
            if self._client is None:
                self._start()
            if not self._connected and self._fault is None:
                try:
                    async with asyncio.timeout(CONNECT_S):
                        await self._known.wait()
                except TimeoutError:
                    raise NoPort(f"{self._where} does not answer") from None
        if not self._connected:
            raise self._again()

    async def close(self) -> None:
        """Say goodbye. paho's thread ends by itself then; nobody waits for it."""
        client, self._client = self._client, None
        self._connected, self._fault = False, None
        if client is not None:
            client.disconnect()

    def listen(self, listener: Listener) -> None:
        """Subscribe."""
        if listener not in self._listeners:
            self._listeners.append(listener)
            if self._client is not None and self._connected:
                self._client.subscribe(listener.pattern, QOS)

    def unlisten(self, listener: Listener) -> None:
        """Unsubscribe; safe to call twice."""
        if listener not in self._listeners:
            return
        self._listeners.remove(listener)
        still_wanted = any(other.pattern == listener.pattern for other in self._listeners)
        if self._client is not None and self._connected and not still_wanted:
            self._client.unsubscribe(listener.pattern)

    async def scan(self, seconds: float = SCAN_S) -> list[FoundPublisher]:
        """The Shelly meters that publish within ``seconds``; a prefix of one level. Raises as ``open`` does."""
        prefixes: set[str] = set()
        listener = Listener("+/status/em:0", lambda topic, _p, _t: prefixes.add(topic.split("/")[0]), lambda _why: None)
        await self.open()
        self.listen(listener)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.unlisten(listener)
        return [FoundPublisher(prefix, ("shelly-pro-3em",)) for prefix in sorted(prefixes)]

    def _start(self) -> None:
        client = Client(CallbackAPIVersion.VERSION2, client_id=f"lamppost-{secrets.token_hex(6)}")
        session = self._session
        if session.username is not None:
            client.username_pw_set(session.username, _secret(session.password_file))
        if session.tls:
            client.tls_set_context(_tls(session.ca_file))
        client.connect_timeout = CONNECT_S
        client.reconnect_delay_set(RECONNECT_MIN_S, RECONNECT_MAX_S)
        loop = asyncio.get_running_loop()

        def hand_over(what: Callable[..., None], *args: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended; so will this thread
                loop.call_soon_threadsafe(self._if_current, client, what, *args)

        def connected(_c: Client, _u: Any, _f: ConnectFlags, code: ReasonCode, _p: Properties | None) -> None:
            hand_over(self._on_connect, code)

        def lost(_c: Client, _u: Any, _f: DisconnectFlags, code: ReasonCode, _p: Properties | None) -> None:
            hand_over(self._on_loss, str(code))

        def message(_c: Client, _u: Any, message: MQTTMessage) -> None:
            if message.retain or len(message.payload) > PAYLOAD_BYTES_MAX:
                return  # a retained one is of unknown age: never passed off as new
            self.dropped += len(self._handed_over) == HANDED_OVER_MAX
            self._handed_over.append((message, time.monotonic_ns()))
            if not self._waking:
                self._waking = True
                hand_over(self._on_messages)

        client.on_connect, client.on_disconnect, client.on_message = connected, lost, message
        client.on_connect_fail = lambda _c, _u: hand_over(self._on_no_connection)
        self._known.clear()
        self._client = client
        client.connect_async(session.host, session.port, KEEPALIVE_S)
        client.loop_start()

    def _if_current(self, client: Client, what: Callable[..., None], *args: object) -> None:
        if client is self._client:
            what(*args)

    def _on_connect(self, code: ReasonCode) -> None:
        if code.is_failure:
            kind = NoPermission if code.getName() in _DENIED else NoPort
            self._fault = kind(f"{self._where} refused the session: {code}")
        else:
            self._connected, self._fault = True, None
            if self._client is not None and self._listeners:
                self._client.subscribe([(pattern, QOS) for pattern in sorted({one.pattern for one in self._listeners})])
        self._known.set()

    def _on_no_connection(self) -> None:
        if not self._connected and not isinstance(self._fault, Disconnected):
            self._fault = NoPort(f"{self._where} cannot be reached")
        self._known.set()

    def _on_loss(self, why: str) -> None:
        if not self._connected:
            return  # a refused session: _on_connect said why
        self._connected = False
        self._fault = Disconnected(f"{self._where} was lost: {why}")
        for listener in tuple(self._listeners):
            listener.lost(str(self._fault))

    def _on_messages(self) -> None:
        self._waking = False  # before the look: what comes from here on wakes the loop again
        while self._handed_over:
            message, mono_ns = self._handed_over.popleft()
            try:
                topic = message.topic
            except UnicodeDecodeError:
                continue
            self._on_message(topic, bytes(message.payload), mono_ns)

    def _on_message(self, topic: str, payload: bytes, mono_ns: int) -> None:
        if self.tap is not None:
            self.tap(Frame(self.name, "rx", topic.encode() + b"\0" + payload, time.time_ns()))
        for listener in tuple(self._listeners):
            if topic_matches_sub(listener.pattern, topic):
                listener.heard(topic, payload, mono_ns)

    def _again(self) -> DriverError:
        """The present fault as a new exception: one instance is not raised twice."""
        fault = self._fault
        return NoPort(f"{self._where} cannot be reached") if fault is None else type(fault)(*fault.args)


class ShellyDriver:
    """A Shelly meter; see drivers.base.Driver. ``prefix`` is its MQTT topic prefix.

    Only ``status`` topics are subscribed: the same values come again in ``events/rpc``.
    """

    def __init__(self, bus: MqttBus, prefix: str, silence_s: float) -> None:
        self.period_s: float | None = None
        self.silence_s = silence_s
        self._bus = bus
        self._prefix = prefix
        self._mailbox = Mailbox()
        self._listener = Listener(f"{prefix}/status/#", self._heard, self._mailbox.lose)

    @property
    def bad_frames(self) -> int:
        """Damaged messages so far."""
        return self._mailbox.bad_frames

    @property
    def dropped(self) -> int:
        """Observations that nobody took in time."""
        return self._mailbox.dropped

    async def read(self) -> tuple[Observation, ...]:
        """The next status, with those that wait. Raises a DriverError; see Mailbox.get."""
        self._bus.listen(self._listener)
        await self._bus.open()
        return await self._mailbox.get(self.silence_s)

    async def close(self) -> None:
        """Unsubscribe."""
        self._bus.unlisten(self._listener)

    def _heard(self, topic: str, payload: bytes, mono_ns: int) -> None:
        try:
            measurements = shelly.decode(topic.removeprefix(f"{self._prefix}/"), payload)
        except BadFrame as error:
            self._mailbox.damaged(error)
            return
        if measurements:
            self._mailbox.put(Observation(measurements, mono_ns))


def _secret(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return file.read(SECRET_BYTES_MAX).decode().strip()
    except OSError as error:
        raise NoPermission(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise NoPermission(f"{path} is not text") from None


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:  # ssl.SSLError is one
        raise NoPermission(f"{ca_file} cannot be used as a list of certificate authorities: {error}") from None


def make_bus(name: str, settings: Mapping[str, Any]) -> Bus:
    """The bus of a configuration part of type mqtt."""
    files = {key: None if settings.get(key) is None else Path(settings[key]) for key in ("password_file", "ca_file")}
    return MqttBus(
        name,
        Session(
            host=str(settings.get("host", "127.0.0.1")),
            port=int(settings.get("port", 1883)),
            username=settings.get("username"),
            tls=bool(settings.get("tls", False)),
            **files,
        ),
    )


def make_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol shelly; ``address`` is the topic prefix. Raises ValueError."""
    if not isinstance(bus, MqttBus):
        raise ValueError(f"{template.name} needs a bus of type mqtt")
    if not isinstance(address, str) or not address or any(sign in address for sign in "+#\0"):
        raise ValueError(f"{template.name} needs its MQTT topic prefix as address, not {address!r}")
    if period_s is not None:
        raise ValueError(f"{template.name} publishes by itself: it takes no period")
    if options:
        raise ValueError(f"unknown option {min(options)!r}; known: none")
    return ShellyDriver(bus, address.strip("/"), template.silence_s)
