"""CoAP sensors with SenML: those that are observed or asked, and those that push.

The address of a device is the URL of its resource (``coap://192.168.1.20/air``), or the name under which it pushes
(``POST /push/NAME``). Where the bus has OSCORE credentials, everything is protected and nothing else is taken or asked.
aiocoap is imported when the first sensor is asked or the first keys are read.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from drivers.base import Bus, Driver, Frame, Observation, Tap
from drivers.buses.coap_endpoint import BUSY, Reply
from drivers.buses.coap_message import Code
from drivers.buses.coap_push import PushServer
from drivers.buses.mailbox import SpeakingDriver
from drivers.codecs import senml
from drivers.errors import BadFrame, DriverError, Misconfigured
from drivers.template import Field, Template

if TYPE_CHECKING:
    from drivers.buses.coap_client import Answer, Conversation
    from drivers.buses.coap_oscore import Context, Keys

PORT = 5683
TIMEOUT_S = 30.0
BODY_BYTES_MAX = 256 * 1024
POLL_S = 60.0
GRACE_S = 5.0  # a notification may be on its way when the value before it grows stale (RFC 7641, 3.3.1)
PUSHED_MAX = 1024  # observations that wait; then the sensor is told to come again later


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The settings of a bus. ``listen``: where sensors may push to; ``credentials``: the OSCORE keys."""

    listen: tuple[str, int] | None = None
    credentials: Path | None = None
    state: Path | None = None
    timeout_s: float = TIMEOUT_S
    body_max: int = BODY_BYTES_MAX


class CoapBus:
    """See drivers.base.Bus."""

    def __init__(self, name: str, endpoint: Endpoint) -> None:
        self.name = name
        self.tap: Tap | None = None
        self.endpoint = endpoint
        self.receivers: dict[str, PushDriver] = {}
        self._server: PushServer | None = None
        self._keys: Mapping[str, Keys] = {}
        self._contexts: dict[str, Context] = {}
        self._opening = asyncio.Lock()

    @property
    def port(self) -> int | None:
        """The UDP port that sensors push to, as long as it is open."""
        return None if self._server is None else self._server.port

    @property
    def refused(self) -> int:
        """Requests that were not taken."""
        return 0 if self._server is None else self._server.refused

    async def open(self) -> None:
        """Read the keys and listen, where the settings say so. Raises NoPort, NoPermission or Misconfigured."""
        async with self._opening:
            if self.endpoint.credentials is not None and not self._keys:
                from drivers.buses.coap_oscore import read_keys

                self._keys = read_keys(self.endpoint.credentials)
            if self.endpoint.listen is not None and self._server is None:
                contexts = None if self.endpoint.credentials is None else self._contexts
                server = PushServer(self.receivers, contexts, self.endpoint.body_max)
                await server.open(*self.endpoint.listen)
                self._server = server

    async def close(self) -> None:
        """Stop listening, and write down what OSCORE must remember."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        while self._contexts:
            self._contexts.popitem()[1].close()
        self._keys = {}

    def context(self, peer: str) -> Context | None:
        """The keys of a sensor; None where the bus has no credentials at all. Raises DriverError."""
        if self.endpoint.credentials is None:
            return None
        if peer not in self._contexts:
            from drivers.buses.coap_oscore import Context

            keys = self._keys.get(peer)
            if keys is None:
                raise Misconfigured(f"{self.endpoint.credentials} has no keys for {peer}")
            self._contexts[peer] = Context(keys, self.endpoint.state or self.endpoint.credentials.parent / "oscore")
        return self._contexts[peer]

    def listen(self, name: str, driver: PushDriver) -> None:
        """Give what is pushed under that name to the driver. Raises Misconfigured where another one has it."""
        if self.receivers.setdefault(name, driver) is not driver:
            raise Misconfigured(f"two devices of bus {self.name} push as {name}")

    def unlisten(self, name: str, driver: PushDriver) -> None:
        """Let go; safe to call twice."""
        if self.receivers.get(name) is driver:
            del self.receivers[name]

    def record(self, path: str, body: bytes) -> None:
        """Show the tap a body with its path or URL before it."""
        if self.tap is not None:
            self.tap(Frame(self.name, "rx", path.encode() + b"\0" + body, time.time_ns()))


class AskedDriver:
    """A sensor that is observed, or asked where it cannot be; see drivers.base.Driver."""

    def __init__(self, bus: CoapBus, url: str, template: Template, *, period_s: float | None, observe: bool) -> None:
        """``period_s``: the time between polls of a sensor that cannot be observed."""
        self._every_s = period_s or template.period_s or POLL_S
        self.period_s = None if observe else self._every_s
        self.silence_s = max(template.silence_s, self._every_s) + bus.endpoint.timeout_s
        self._bus = bus
        self._url = url
        self._fields = template.fields
        self._observe = observe
        self._fresh_s = template.silence_s
        self._due = 0.0
        self._conversation: Conversation | None = None

    async def read(self) -> tuple[Observation, ...]:
        """The next notification; the present value where none comes before the last one grows stale, or can come."""
        answer: Answer | None = None
        await self._bus.open()
        try:
            conversation = self._conversation = self._conversation or self._begin()
            if conversation.observing:
                answer = await conversation.notified(self._fresh_s)
            elif self._observe:
                await asyncio.sleep(self._due - time.monotonic())
            if answer is None:
                answer = await conversation.get(observe=self._observe)
        except DriverError:
            await self.close()
            raise
        self._due = time.monotonic() + self._every_s
        self._fresh_s = min(answer.max_age_s + GRACE_S, self.silence_s - self._bus.endpoint.timeout_s)
        self._bus.record(self._url, answer.body)
        return observations(answer.body, self._fields, answer.mono_ns)

    async def close(self) -> None:
        """End the conversation."""
        conversation, self._conversation = self._conversation, None
        self._due = 0.0
        if conversation is not None:
            await conversation.close()

    def _begin(self) -> Conversation:
        from drivers.buses.coap_client import Conversation

        endpoint = self._bus.endpoint
        return Conversation(self._url, self._bus.context(origin(self._url)), endpoint.timeout_s, endpoint.body_max)


class PushDriver(SpeakingDriver):
    """A sensor that pushes under a name; see drivers.base.Driver."""

    def __init__(self, bus: CoapBus, name: str, template: Template) -> None:
        super().__init__(template.silence_s, PUSHED_MAX)
        self._bus = bus
        self._name = name
        self._fields = template.fields

    async def read(self) -> tuple[Observation, ...]:
        """What was pushed, or comes next. Raises a DriverError; see Mailbox.get."""
        self._bus.listen(self._name, self)
        await self._bus.open()
        self._bus.context(self._name)  # from now on it can be known by its keys
        return await self._mailbox.get(self.silence_s)

    async def close(self) -> None:
        """Stop taking what is pushed."""
        self._bus.unlisten(self._name, self)

    def take(self, body: bytes, mono_ns: int) -> Reply:
        """Take a body. What cannot be kept is refused, so that the sensor keeps it."""
        self._bus.record(self._name, body)
        try:
            told = observations(body, self._fields, mono_ns)
        except BadFrame as error:
            self._mailbox.damaged(error)
            return Reply(Code.BAD_REQUEST, str(error))
        if len(told) > self._mailbox.room:
            return BUSY
        for observation in told:
            self._mailbox.put(observation)
        return Reply(Code.CHANGED)


def observations(body: bytes, fields: tuple[Field, ...], mono_ns: int) -> tuple[Observation, ...]:
    """What a body says that came at that instant, the oldest first. Raises BadFrame."""
    instants = senml.decode(body, fields)
    if not instants:
        raise BadFrame(f"SenML with nothing that is known here: {', '.join(senml.names(body))[:160]}")
    return tuple(
        Observation(
            instant.measurements,
            mono_ns - int(instant.age_s * 1e9),
            None if instant.unix_s is None else int(instant.unix_s * 1e9),
        )
        for instant in instants
    )


def origin(url: str) -> str:
    """``coap://HOST`` or ``coap://HOST:PORT``: how a sensor that is asked is named in the credentials file."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"coap://{host}" if parts.port in (None, PORT) else f"coap://{host}:{parts.port}"


def make_bus(name: str, settings: Mapping[str, Any]) -> Bus:
    """The bus of a configuration part of type coap. Raises ValueError."""
    where = settings.get("listen")
    listen = None if where is None else (str(where.get("host", "127.0.0.1")), int(where["port"]))
    credentials, state = settings.get("credentials_file"), settings.get("state_path")
    if listen is not None and credentials is None and not settings.get("unprotected") and not _is_loopback(listen[0]):
        raise ValueError(
            f"on {listen[0]} anybody could push wrong values: set credentials_file (OSCORE), or unprotected: true"
        )
    return CoapBus(
        name,
        Endpoint(
            listen=listen,
            credentials=None if credentials is None else Path(credentials),
            state=None if state is None else Path(state),
            timeout_s=float(settings.get("timeout", TIMEOUT_S)),
            body_max=int(settings.get("body_max", BODY_BYTES_MAX)),
        ),
    )


def make_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol coap-senml; option ``observe: false`` polls. Raises ValueError."""
    if not isinstance(bus, CoapBus):
        raise ValueError(f"{template.name} needs a bus of type coap")
    if not isinstance(address, str) or not address:
        raise ValueError(f"{template.name} needs an address: coap://HOST/PATH, or the name under which it pushes")
    senml.check(template.fields)
    observe = options.get("observe", True)
    unknown = sorted(set(options) - {"observe"})
    if unknown or not isinstance(observe, bool):
        raise ValueError(f"unknown option {unknown[0]!r}; known: observe" if unknown else "observe is true or false")
    if "://" in address:
        _check_url(address)
        return AskedDriver(bus, address, template, period_s=period_s, observe=observe)
    if bus.endpoint.listen is None:
        raise ValueError(f"{address} pushes, and bus {bus.name} has no listen")
    if period_s is not None or "observe" in options:
        raise ValueError(f"{address} pushes by itself: it takes no period and no observe")
    return PushDriver(bus, address, template)


def _check_url(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme == "coaps":
        raise ValueError(f"{address}: DTLS is not spoken here; coap:// with OSCORE keys protects as well")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme != "coap" or not parts.hostname or parts.username or parts.fragment or port == 0:
        raise ValueError(f"{address!r} is not the address of a CoAP resource such as coap://192.168.1.20/air")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
