"""A session with an MQTT broker (3.1.1), and who publishes there.

One session per bus. paho runs a thread of its own; its callbacks do nothing but hand over to the loop. paho reconnects
by itself, with a back-off of up to RECONNECT_MAX_S, and every subscription is renewed then. A session that the broker
refuses is ended, and tried anew with what the files hold then, REFUSED_S later at the earliest.

What a broker has kept (retained) is of unknown age: devices' drivers take no value from it, only whether a device is
there at all. Their values come with the next live message.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.matcher import MQTTMatcher
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from drivers.base import Bus, Frame, Tap
from drivers.buses.mqtt_client import SessionClient
from drivers.buses.mqtt_login import Session
from drivers.errors import Disconnected, DriverError, LoginRefused, NoPort, NotTrusted

if TYPE_CHECKING:
    from drivers.buses.mqtt_scan import FoundPublisher

RECONNECT_MIN_S, RECONNECT_MAX_S = 1, 5
REFUSED_S = 10.0
CONNECT_S = 3.0
PAYLOAD_BYTES_MAX = 256 * 1024  # births of large Sparkplug nodes; what other families read is bounded by their codecs
TOPIC_CHARACTERS_MAX = 1024
HANDED_OVER_MAX = 256  # messages between paho's thread and the loop, and their bytes: then the oldest are dropped
HANDED_OVER_BYTES_MAX = 4 * 2**20
COMMANDS_MAX = 16  # that may wait to be sent
SCAN_S = 5.0
QOS = 1

_Matcher: Any = MQTTMatcher  # it has no types
_DENIED = frozenset({"Not authorized", "Bad user name or password", "Banned", "Client identifier not valid"})
_WILDCARDS = frozenset("+#\0")


@dataclass(frozen=True, slots=True)
class Message:
    """What a listener hears. ``retained``: the broker had kept it, and nobody knows since when."""

    topic: str
    payload: bytes
    mono_ns: int
    retained: bool = False


@dataclass(slots=True, eq=False)
class Listener:
    """``heard`` gets what fits a pattern; ``lost`` is told why there is no session, ``ready`` when there is one."""

    patterns: tuple[str, ...]
    heard: Callable[[Message], None]
    lost: Callable[[str, type[DriverError]], None]
    ready: Callable[[], None] = lambda: None


class _Inbox:
    """Messages on their way from paho's thread to the loop; where they are too many, the oldest go and are counted."""

    def __init__(self) -> None:
        self.dropped = 0
        self._lock = threading.Lock()
        self._messages: deque[tuple[MQTTMessage, int]] = deque()
        self._bytes = 0

    def put(self, message: MQTTMessage) -> bool:
        """Add a message that came right now; True where it is the only one, so that somebody has to be woken."""
        with self._lock:
            if len(message.payload) > PAYLOAD_BYTES_MAX:
                self.dropped += 1
                return False
            first = not self._messages
            self._messages.append((message, time.monotonic_ns()))
            self._bytes += len(message.payload)
            while len(self._messages) > HANDED_OVER_MAX or self._bytes > HANDED_OVER_BYTES_MAX:
                self._bytes -= len(self._messages.popleft()[0].payload)
                self.dropped += 1
            return first

    def take(self) -> list[tuple[MQTTMessage, int]]:
        """All that wait, with the monotonic instant at which each came."""
        with self._lock:
            messages = list(self._messages)
            self._messages.clear()
            self._bytes = 0
            return messages


class MqttBus:
    """See drivers.base.Bus. All callbacks of listeners run in the loop.

    ``shared`` is for what several drivers of this bus have in common, by a name that they agree on.
    """

    def __init__(self, name: str, session: Session) -> None:
        self.name = name
        self.tap: Tap | None = None
        self.shared: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self._session = session
        self._where = f"MQTT broker {session.host}:{session.port}"
        self._listeners: list[Listener] = []
        self._matcher = _Matcher()  # pattern -> its listeners
        self._client: SessionClient | None = None
        self._connected = False
        self._fault: DriverError | None = None
        self._refused_ns: int | None = None
        self._known = asyncio.Event()  # the outcome of the attempt to connect is known
        self._opening = asyncio.Lock()
        self._asked: dict[int, tuple[str, ...]] = {}  # subscriptions that the broker has not confirmed, by message id
        self._inbox = _Inbox()
        self._dropped = 0  # in earlier sessions

    @property
    def dropped(self) -> int:
        """Messages that came faster than they could be taken, or were too long."""
        return self._dropped + self._inbox.dropped

    async def open(self) -> None:
        """Be connected, or raise why not: NoPort, LoginRefused, NotTrusted, NoPermission or Disconnected.

        paho goes on trying meanwhile, but for refusals.
        """
        async with self._opening:
            if self._client is None and not self._is_refused():
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
        self._stop()
        self._fault = self._refused_ns = None

    def listen(self, listener: Listener) -> None:
        """Subscribe."""
        if listener not in self._listeners:
            self._listeners.append(listener)
            self._match()
            if self._connected:
                self._subscribe(listener.patterns)
                listener.ready()

    def unlisten(self, listener: Listener) -> None:
        """Unsubscribe; safe to call twice."""
        if listener not in self._listeners:
            return
        self._listeners.remove(listener)
        self._match()
        unwanted = set(listener.patterns).difference(*(other.patterns for other in self._listeners))
        if self._client is not None and self._connected and unwanted:
            self._client.unsubscribe(sorted(unwanted))

    def command(self, topic: str, payload: bytes, qos: int = 0) -> bool:
        """Publish to who asks for it (Sparkplug's rebirth, the uplink). False where it cannot be sent now."""
        if self._client is None or not self._connected:
            return False
        return self._client.publish(topic, payload, qos=qos).rc == 0

    async def scan(self, seconds: float = SCAN_S) -> list[FoundPublisher]:
        """Who publishes within ``seconds``, and whom the broker remembers: see mqtt_scan. Raises as ``open`` does.

        In a session of its own: where subscriptions of one session overlap, brokers may send every message twice.
        """
        from drivers.buses.mqtt_scan import PATTERNS, Heard, known_templates  # it knows all families of devices

        heard = Heard(await known_templates())
        session = MqttBus(self.name, self._session)
        session.listen(Listener(PATTERNS, heard.add, lambda _why, _kind: None))
        try:
            await session.open()
            await asyncio.sleep(seconds)
        finally:
            await session.close()
        return heard.found()

    def _start(self) -> None:
        session = self._session
        client = SessionClient(session, client_id=f"lamppost-{secrets.token_hex(6)}")
        if session.username is not None:
            client.username_pw_set(session.username, session.password())
        if session.tls:
            client.tls_set_context(session.context())
        client.connect_timeout = CONNECT_S
        client.reconnect_delay_set(RECONNECT_MIN_S, RECONNECT_MAX_S)
        client.max_queued_messages_set(COMMANDS_MAX)
        self._call_back(client)
        self._known.clear()
        self._fault = self._refused_ns = None
        self._client = client
        client.connect_async(session.host, session.port, session.keepalive_s)
        client.loop_start()

    def _call_back(self, client: SessionClient) -> None:
        loop = asyncio.get_running_loop()
        self._dropped += self._inbox.dropped
        inbox = self._inbox = _Inbox()  # of this session: what the last one left behind goes with it

        def hand_over(what: Callable[..., None], *args: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended; so will this thread
                loop.call_soon_threadsafe(self._if_current, client, what, *args)

        def connected(_c: Client, _u: Any, _f: ConnectFlags, code: ReasonCode, _p: Properties | None) -> None:
            hand_over(self._on_connect, code)

        def lost(_c: Client, _u: Any, _f: DisconnectFlags, code: ReasonCode, _p: Properties | None) -> None:
            hand_over(self._on_loss, str(code))

        def subscribed(_c: Client, _u: Any, number: int, codes: list[ReasonCode], _p: Properties | None) -> None:
            hand_over(self._on_subscribed, number, [code.is_failure for code in codes])

        def message(_c: Client, _u: Any, message: MQTTMessage) -> None:
            if inbox.put(message):
                hand_over(self._on_messages, inbox)

        client.on_connect, client.on_disconnect = connected, lost
        client.on_message, client.on_subscribe = message, subscribed
        client.on_connect_fail = lambda _c, _u: hand_over(self._on_no_connection, client.fault)

    def _stop(self) -> None:
        client, self._client = self._client, None
        self._connected = False
        self._asked.clear()
        if client is not None:
            client.disconnect()

    def _if_current(self, client: Client, what: Callable[..., None], *args: object) -> None:
        if client is self._client:
            what(*args)

    def _is_refused(self) -> bool:
        return self._refused_ns is not None and time.monotonic_ns() - self._refused_ns < REFUSED_S * 1e9

    def _on_connect(self, code: ReasonCode) -> None:
        if code.getName() in _DENIED:
            self._refuse(LoginRefused(f"{self._where} refused the session: {code}"))
        elif code.is_failure:
            self._fault = NoPort(f"{self._where} refused the session: {code}")
        else:
            self._connected, self._fault = True, None
            self._subscribe({pattern for listener in self._listeners for pattern in listener.patterns})
            for listener in tuple(self._listeners):
                listener.ready()
        self._known.set()

    def _refuse(self, fault: DriverError) -> None:
        """Somebody has to do something first: the files are read anew for the next attempt."""
        self._fault, self._refused_ns = fault, time.monotonic_ns()
        self._stop()

    def _on_no_connection(self, why: OSError | None) -> None:
        if isinstance(why, ssl.SSLCertVerificationError):
            self._refuse(NotTrusted(f"{self._where}: its certificate is not trusted: {why.verify_message}"))
        elif isinstance(why, ssl.SSLError):
            self._refuse(NotTrusted(f"{self._where}: no TLS session: {why.reason or why}"))
        elif not self._connected and not isinstance(self._fault, Disconnected):
            cause = f": {why.strerror}" if why is not None and why.strerror else ""
            hint = "; it may not speak TLS at this port" if self._session.tls else ""
            self._fault = NoPort(f"{self._where} cannot be reached{cause}{hint}")
        self._known.set()

    def _on_loss(self, why: str) -> None:
        if not self._connected:
            if self._fault is None:
                self._on_hang_up(why)
            return  # else _on_connect said why
        self._connected = False
        self._asked.clear()
        self._fault = Disconnected(f"{self._where} was lost: {why}")
        for listener in tuple(self._listeners):
            listener.lost(str(self._fault), Disconnected)

    def _on_hang_up(self, why: str) -> None:
        """No answer at all but the end: a broker that misses our certificate does that, and one that waits for TLS."""
        cause = f"{self._where} ended the session before it began ({why})"
        if self._session.tls:
            self._refuse(LoginRefused(f"{cause}: it may want a certificate_file"))
        else:
            self._fault = NoPort(f"{cause}: it may want `tls: true`")
        self._known.set()

    def _subscribe(self, patterns: Iterable[str]) -> None:
        wanted = tuple(sorted(patterns))
        if self._client is not None and wanted:
            _, number = self._client.subscribe([(pattern, QOS) for pattern in wanted])
            if number is not None:
                self._asked[number] = wanted

    def _on_subscribed(self, number: int, failures: list[bool]) -> None:
        patterns = self._asked.pop(number, ())
        refused = {pattern for pattern, failed in zip(patterns, failures, strict=False) if failed}
        for listener in tuple(self._listeners):
            for pattern in sorted(refused.intersection(listener.patterns)):
                listener.lost(f"{self._where} does not let this box read {pattern!r}", LoginRefused)

    def _on_messages(self, inbox: _Inbox) -> None:
        for message, mono_ns in inbox.take():
            try:
                topic = message.topic
            except UnicodeDecodeError:
                continue
            if len(topic) <= TOPIC_CHARACTERS_MAX:
                self._on_message(Message(topic, bytes(message.payload), mono_ns, message.retain))

    def _on_message(self, message: Message) -> None:
        if self.tap is not None and not message.retained:
            self.tap(Frame(self.name, "rx", message.topic.encode() + b"\0" + message.payload, time.time_ns()))
        fitting = {id(one): one for listeners in self._matcher.iter_match(message.topic) for one in listeners}
        for listener in fitting.values():
            listener.heard(message)

    def _match(self) -> None:
        by_pattern: dict[str, list[Listener]] = {}
        for listener in self._listeners:
            for pattern in listener.patterns:
                by_pattern.setdefault(pattern, []).append(listener)
        self._matcher = _Matcher()
        for pattern, listeners in by_pattern.items():
            self._matcher[pattern] = listeners

    def _again(self) -> DriverError:
        """The present fault as a new exception: one instance is not raised twice."""
        fault = self._fault
        return NoPort(f"{self._where} cannot be reached") if fault is None else type(fault)(*fault.args)


def prefix(name: str, bus: Bus, address: str | int | None) -> tuple[MqttBus, str]:
    """Bus and topic prefix of a device whose template has that name. Raises ValueError where they cannot be those."""
    if not isinstance(bus, MqttBus):
        raise ValueError(f"{name} needs a bus of type mqtt")
    if not isinstance(address, str) or not address.strip("/") or _WILDCARDS.intersection(address):
        raise ValueError(f"{name} needs its MQTT topic prefix as address, not {address!r}")
    return bus, address.strip("/")


def make_bus(name: str, settings: Mapping[str, Any]) -> Bus:
    """The bus of a configuration part of type mqtt. Raises ValueError."""
    keys = ("password_file", "ca_file", "certificate_file", "key_file")
    files = {key: None if settings.get(key) is None else Path(settings[key]) for key in keys}
    if files["certificate_file"] is None and files["key_file"] is not None:
        raise ValueError("key_file without its certificate_file")
    tls = bool(settings.get("tls", False))
    if not tls and (files["ca_file"] or files["certificate_file"]):
        raise ValueError("certificates without `tls: true` would not be used")
    return MqttBus(
        name,
        Session(
            host=str(settings.get("host", "127.0.0.1")),
            port=int(settings.get("port", 1883)),
            username=settings.get("username"),
            tls=tls,
            password_file=files["password_file"],
            ca_file=files["ca_file"],
            certificate_file=files["certificate_file"],
            key_file=files["key_file"],
        ),
    )
