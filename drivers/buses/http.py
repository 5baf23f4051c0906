"""Sensors over HTTP: those that push (Sensor.Community stations, JSON) and those that are asked (AirGradient, JSON).

A sensor that pushes is told apart by the header ``X-Sensor``, by the id in its message, or by the last part of the path
``/push/NAME``. A sensor that is asked has a URL for its address.
"""

from __future__ import annotations

import base64
import hmac
import re
import ssl
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from drivers.base import Bus, Driver, Frame, Measurement, Observation, Tap
from drivers.buses.http_listener import Answer, Listener, Request
from drivers.buses.mailbox import SpeakingDriver
from drivers.codecs import airgradient, json_paths, sensor_community
from drivers.errors import BadFrame, Disconnected, DriverError, Misconfigured, NoPort, Refused, Timeout
from drivers.http1 import HttpClient, HttpError
from drivers.template import Template

PERIOD_S = 60.0
SPACING_SLACK = 0.9  # a message that comes a little early is not left out for it
LOOPBACK = ("127.0.0.1", "::1", "localhost")
PUSH_PATH = "/push/"
_CHIP = re.compile(r"(esp8266|esp32|raspi)-")

Decode = Callable[[bytes], tuple[Measurement, ...]]
Sink = Callable[[bytes, int], None]  # a message, and the monotonic instant when it was there; raises BadFrame


class HttpBus:
    """See drivers.base.Bus. It listens where ``listen`` (host, port) is set."""

    def __init__(
        self,
        name: str,
        listen: tuple[str, int] | None = None,
        *,
        username: str = "",
        password_file: Path | None = None,
        ca_file: Path | None = None,
        timeout_s: float = 10.0,
        body_max: int = 256 * 1024,
    ) -> None:
        self.name = name
        self.tap: Tap | None = None
        self.unknown = 0
        self._listen = listen
        self._username, self._password_file = username, password_file
        self._credentials: bytes | None = None
        self._ca_file, self._timeout_s = ca_file, timeout_s
        self._sinks: dict[str, Sink] = {}
        self._listener = Listener(self._answer, body_max)

    @property
    def port(self) -> int:
        """The TCP port it listens on; 0 while it does not."""
        return self._listener.port

    async def open(self) -> None:
        """Listen, where it is to listen. Raises Misconfigured."""
        if self._listen is None or self._listener.port:
            return
        if self._password_file is not None:
            self._credentials = f"{self._username}:{_read(self._password_file)}".encode()
        host, port = self._listen
        try:
            await self._listener.start(host, port)
        except OSError as error:
            raise Misconfigured(f"bus {self.name} cannot listen on {host}:{port}: {error.strerror or error}") from None

    async def close(self) -> None:
        """Stop listening."""
        await self._listener.close()

    def subscribe(self, sender: str, sink: Sink) -> None:
        """Give what a sensor pushes to ``sink``. Raises Misconfigured."""
        if self._listen is None:
            raise Misconfigured(f"bus {self.name} listens nowhere: a sensor that pushes needs its `listen`")
        if self._sinks.setdefault(sender, sink) != sink:
            raise Misconfigured(f"bus {self.name}: two devices push as {sender!r}")

    def unsubscribe(self, sender: str, sink: Sink) -> None:
        """Let go; safe to call twice."""
        if self._sinks.get(sender) == sink:
            del self._sinks[sender]

    def client(self, url: str) -> HttpClient:
        """A client for one sensor. Raises ValueError for a bad URL, Misconfigured for a bad ``ca_file``."""
        try:
            return HttpClient(url, ca_file=self._ca_file, timeout_s=self._timeout_s)
        except HttpError as error:
            raise ValueError(error.cause) from None
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(f"bus {self.name}: {self._ca_file} cannot be used: {error}") from None

    def saw(self, whose: str, body: bytes) -> None:
        """Show a message to the tap: whose it is, a zero byte, the message."""
        if self.tap is not None:
            self.tap(Frame(self.name, "rx", whose.encode() + b"\0" + body, time.time_ns()))

    def _answer(self, request: Request) -> Answer:
        mono_ns = time.monotonic_ns()
        if self._credentials is not None and not _may(request, self._credentials):
            headers = (("WWW-Authenticate", 'Basic realm="lamppost"'),)
            return Answer(HTTPStatus.UNAUTHORIZED, "user name and password of this listener are needed", headers)
        if request.method != "POST":
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, "push measurements with POST", (("Allow", "POST"),))
        try:
            sender = _sender(request)
            sink = self._sinks.get(sender)
            if sink is None:
                self.unknown += 1
                return Answer(HTTPStatus.NOT_FOUND, f"no device with the address {sender!r} is configured here")
            self.saw(sender, request.body)
            sink(request.body, mono_ns)
        except BadFrame as error:
            return Answer(HTTPStatus.BAD_REQUEST, str(error))
        return Answer(HTTPStatus.OK, "taken")


class PushDriver(SpeakingDriver):
    """A sensor that pushes; see drivers.base.Driver."""

    def __init__(self, bus: HttpBus, sender: str, decode: Decode, silence_s: float, spacing_s: float) -> None:
        """``spacing_s``: the least time between two observations that are kept; 0 keeps all."""
        super().__init__(silence_s)
        self._bus = bus
        self._sender = sender
        self._decode = decode
        self._spacing_ns = int(spacing_s * SPACING_SLACK * 1e9)
        self._kept_ns = 0

    async def read(self) -> tuple[Observation, ...]:
        """What was pushed, or what comes next. Raises a DriverError; see Mailbox.get."""
        self._bus.subscribe(self._sender, self._hear)
        await self._bus.open()
        return await self._mailbox.get(self.silence_s)

    async def close(self) -> None:
        """Let go of the bus."""
        self._bus.unsubscribe(self._sender, self._hear)

    def _hear(self, body: bytes, mono_ns: int) -> None:
        try:
            measurements = self._decode(body)
        except BadFrame as error:
            self._mailbox.damaged(error)
            raise
        if not measurements or (self._kept_ns and mono_ns - self._kept_ns < self._spacing_ns):
            return
        self._kept_ns = mono_ns
        self._mailbox.put(Observation(measurements, mono_ns))


class PollDriver:
    """A sensor that is asked; see drivers.base.Driver."""

    def __init__(self, bus: HttpBus, url: str, decode: Decode, period_s: float, silence_s: float) -> None:
        self.period_s: float | None = period_s
        self.silence_s = silence_s
        self._bus = bus
        self._url = url
        self._decode = decode
        self._client = bus.client(url)

    async def read(self) -> tuple[Observation, ...]:
        """Ask once. Raises a DriverError, Refused where the sensor has no values yet."""
        asked_ns = time.monotonic_ns()
        try:
            response = await self._client.request("GET", "", {"Accept": "application/json"})
        except HttpError as error:
            raise _meant(error) from None
        answered_ns = time.monotonic_ns()
        if response.status != HTTPStatus.OK:
            raise Refused(f"{self._client.target.authority} answers with status {response.status}")
        self._bus.saw(self._url, response.body)
        measurements = self._decode(response.body)
        if not measurements:
            raise Refused(f"{self._client.target.authority} answers, and has no values yet")
        return (Observation(measurements, (asked_ns + answered_ns) // 2),)

    async def close(self) -> None:
        """Drop the connection."""
        await self._client.close()


def make_bus(name: str, settings: Mapping[str, Any]) -> Bus:
    """The bus of a configuration part of type http. Raises ValueError."""
    listen = settings.get("listen")
    where = (str(listen.get("host", LOOPBACK[0])), int(listen["port"])) if listen else None
    password_file = settings.get("password_file")
    username = str(settings.get("username") or "")
    if bool(username) != bool(password_file):
        raise ValueError("username and password_file go together")
    if where is not None and where[0] not in LOOPBACK and not password_file:
        raise ValueError(f"to listen on {where[0]}, beyond this machine, username and password_file are needed")
    return HttpBus(
        name,
        where,
        username=username,
        password_file=Path(password_file) if password_file else None,
        ca_file=Path(settings["ca_file"]) if settings.get("ca_file") else None,
        timeout_s=float(settings.get("timeout", 10.0)),
        body_max=int(settings.get("body_max", 256 * 1024)),
    )


def make_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol http-json, whose fields are JSON paths; option ``path`` is added to the URL.

    Raises ValueError.
    """
    path = _only(options, ("path",)).get("path", "")
    if not template.fields:
        raise ValueError(f"{template.name} names no fields: nothing would be read")
    json_paths.check(template.fields)

    def decode(body: bytes) -> tuple[Measurement, ...]:
        return json_paths.measurements(json_paths.parse(body), template.fields)

    if str(address).startswith(("http://", "https://")):
        return _poll(template, bus, address, period_s, str(path), decode)
    return _push(template, bus, address, period_s, decode)


def make_airgradient(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol airgradient: the address is ``http://HOST``. Raises ValueError."""
    _only(options, ())
    return _poll(template, bus, address, period_s, airgradient.PATH, airgradient.decode)


def make_sensor_community(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol sensor-community: the address is the id of the station. Raises ValueError."""
    _only(options, ())
    return _push(template, bus, address, period_s, sensor_community.decode)


def _poll(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, path: str, decode: Decode
) -> PollDriver:
    if not isinstance(bus, HttpBus):
        raise ValueError(f"{template.name} needs a bus of type http")
    url = str(address)
    if path and urlsplit(url).path in ("", "/"):
        url = f"{url.rstrip('/')}{path}"
    return PollDriver(bus, url, decode, period_s or template.period_s or PERIOD_S, template.silence_s)


def _push(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, decode: Decode
) -> PushDriver:
    if not isinstance(bus, HttpBus):
        raise ValueError(f"{template.name} needs a bus of type http")
    if not sensor_community.SENDER.fullmatch(str(address)):
        raise ValueError(f"address {address!r} is not the id of a sensor that pushes")
    spacing_s = period_s or template.period_s or 0.0
    return PushDriver(bus, _bare(str(address)), decode, template.silence_s, spacing_s)


def _only(options: Mapping[str, Any], known: tuple[str, ...]) -> Mapping[str, Any]:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}; known: {', '.join(known) or 'none'}")
    return options


def _sender(request: Request) -> str:
    """Who pushes. Raises BadFrame."""
    path = request.path.partition("?")[0]
    if path.startswith(PUSH_PATH):
        stated = path.removeprefix(PUSH_PATH)
    else:
        stated = request.headers.get("x-sensor") or sensor_community.sender(request.body)
    if not sensor_community.SENDER.fullmatch(stated):
        raise BadFrame("nothing says who pushes: neither the header X-Sensor, nor the message, nor the path /push/NAME")
    return _bare(stated)


def _bare(sender: str) -> str:
    """``esp8266-1234567`` in the header is ``1234567`` in the message."""
    return _CHIP.sub("", sender.lower(), count=1)


def _may(request: Request, credentials: bytes) -> bool:
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return False
    try:
        return hmac.compare_digest(base64.b64decode(given, validate=True), credentials)
    except ValueError:
        return False


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"password file {file} cannot be read: {getattr(error, 'strerror', error)}") from None


def _meant(error: HttpError) -> DriverError:
    """What a failure of the client means to who installed the sensor."""
    if error.kind == "timeout":
        return Timeout(error.cause)
    if error.kind == "connect":
        return NoPort(error.cause)
    if error.kind in ("tls", "name"):
        return Misconfigured(f"{error.cause}: see `ca_file` of the bus")
    return Disconnected(error.cause) if error.kind == "lost" else BadFrame(error.cause)
