"""A CoAP sensor of the air: a resource to observe, a long history, and a pusher, with or without OSCORE.

``/air`` is observable SenML (CBOR), ``/air.json`` the same in JSON, ``/still`` cannot be observed, ``/history`` is a
pack of many instants and goes in blocks. What the sensor knows is set with ``say``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import aiocoap
import cbor2
from aiocoap.resource import ObservableResource, Resource, Site

from firmware_sim.oscore import ProtectedRequests, ProtectedSite

BLOCK_EXPONENT = 6
SENML_JSON, SENML_CBOR = 110, 112
HISTORY_STEP_S = 60
_LABELS = {"bn": -2, "bt": -3, "bu": -4, "n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "s": 5, "t": 6}

Values = Mapping[str, tuple[float, str]]  # value and unit by name
Records = list[dict[str, Any]]

logging.getLogger("coap-server").setLevel(logging.CRITICAL)  # broken datagrams are part of the game here


def records(values: Values, base: str = "urn:dev:mac:0024befffe804ff1/") -> Records:
    """SenML records of the present."""
    named = [{"n": name, "u": unit, "v": value} for name, (value, unit) in values.items()]
    return [{"bn": base, **named[0]}, *named[1:]]


def history(count: int, base: str = "urn:dev:mac:0024befffe804ff1/") -> Records:
    """SenML records of ``count`` minutes up to now."""
    ages = range(count - 1, -1, -1)
    past = [{"n": "co2", "u": "ppm", "v": 400 + age, "t": -age * HISTORY_STEP_S} for age in ages]
    return [{"bn": base, **past[0]}, *past[1:]]


def as_json(pack: Records) -> bytes:
    """The pack as application/senml+json."""
    return json.dumps(pack, separators=(",", ":")).encode()


def as_cbor(pack: Records) -> bytes:
    """The pack as application/senml+cbor."""
    return bytes(cbor2.dumps([{_LABELS.get(key, key): value for key, value in record.items()} for record in pack]))


class _Told(Resource):  # type: ignore[misc]
    """A resource with a body that goes in blocks where it is long."""

    def __init__(self, sensor: Sensor, kind: int, *, past: int = 0) -> None:
        super().__init__()
        self._sensor, self._kind, self._past = sensor, kind, past

    async def needs_blockwise_assembly(self, request: Any) -> bool:
        """It cuts its blocks itself, those of a notification too."""
        return False

    async def render_get(self, request: Any) -> Any:
        """The body, or the block that is asked for."""
        self._sensor.given += 1
        pack = history(self._past) if self._past else records(self._sensor.values)
        body = self._sensor.spoilt or (as_json(pack) if self._kind == SENML_JSON else as_cbor(pack))
        answer = aiocoap.Message(content_format=self._kind, max_age=self._sensor.max_age_s)
        block = request.opt.block2
        exponent = min(BLOCK_EXPONENT, block.size_exponent) if block is not None else BLOCK_EXPONENT
        size = 1 << (exponent + 4)
        if len(body) > size or block is not None:
            number = 0 if block is None else block.block_number
            answer.opt.block2 = (number, len(body) > (number + 1) * size, exponent)
            body = body[number * size : (number + 1) * size]
        answer.payload = body
        return answer


class _Observable(_Told, ObservableResource):  # type: ignore[misc]
    def __init__(self, sensor: Sensor, kind: int, *, past: int = 0) -> None:
        ObservableResource.__init__(self)
        self._sensor, self._kind, self._past = sensor, kind, past

    async def render_to_pipe(self, pipe: Any) -> None:
        await ObservableResource.render_to_pipe(self, pipe)


class Sensor:
    """It listens on ``port`` (0 takes a free one, which it keeps) between ``up`` and ``down``.

    ``deaf``: it hears no question. ``silent``: it does not tell what is new. ``spoilt`` is said instead of any body.
    """

    def __init__(self, values: Values, *, host: str = "127.0.0.1", port: int = 0, keys: Any = None) -> None:
        """``keys``: a security context of firmware_sim.oscore; then nothing unprotected is answered."""
        self.values = values
        self.max_age_s = 60
        self.given = 0
        self.silent = False
        self.deaf = False
        self.spoilt = b""
        self.port = port
        self._host, self._keys = host, keys
        self._observables: list[_Observable] = []
        self._context: Any = None

    async def up(self) -> None:
        """Begin to answer."""
        site = Site()
        self._observables = [_Observable(self, SENML_CBOR), _Observable(self, SENML_JSON)]
        self._observables.append(_Observable(self, SENML_JSON, past=60))
        for path, resource in zip(("air", "air.json", "log"), self._observables, strict=True):
            site.add_resource([path], resource)
        site.add_resource(["still"], _Told(self, SENML_CBOR))
        site.add_resource(["history"], _Told(self, SENML_JSON, past=300))
        served = site if self._keys is None else ProtectedSite(site, self._keys)
        self._context = await aiocoap.Context.create_server_context(
            served, bind=(self._host, self.port), transports=["simplesocketserver"]
        )
        pool = self._context.request_interfaces[0].token_interface.message_interface._pool
        hear = pool.datagram_received
        pool.datagram_received = lambda data, sender: None if self.deaf else hear(data, sender)
        self.port = pool._transport.get_extra_info("sockname")[1]

    async def down(self) -> None:
        """Vanish without a word."""
        if self._context is not None:
            context, self._context = self._context, None
            await context.shutdown()

    def say(self, values: Values) -> None:
        """Know something new, and tell those who observe."""
        self.values = values
        if not self.silent:
            for resource in self._observables:
                resource.updated_state()

    @property
    def observers(self) -> int:
        """How many observe."""
        return sum(len(resource._observations) for resource in self._observables)


class Pusher:
    """What pushes to a gateway: a client of aiocoap's, whose bodies go in blocks where they are long."""

    def __init__(self, keys: Any = None) -> None:
        self.sent: list[bytes] = []
        self._keys = keys
        self._context: Any = None

    async def up(self) -> None:
        """Get ready to send."""
        self._context = await aiocoap.Context.create_client_context(transports=["simple6"])
        if self._keys is not None:
            below = self._context.request_interfaces[0]
            self._context.request_interfaces.insert(0, ProtectedRequests(below, self._keys, self._remember))

    async def down(self) -> None:
        """Stop."""
        if self._context is not None:
            context, self._context = self._context, None
            await context.shutdown()

    async def push(self, url: str, body: bytes, kind: int | None = SENML_CBOR, *, code: Any = aiocoap.POST) -> str:
        """Push a body; the answer's code and text, such as ``2.04 Changed``."""
        message = aiocoap.Message(code=code, uri=url, payload=body)
        if kind is not None:
            message.opt.content_format = kind
        answer = await self._context.request(message).response
        text = answer.payload.decode(errors="replace")
        return f"{answer.code >> 5}.{answer.code & 0x1F:02} {text}".strip()

    def _remember(self, message: Any) -> None:
        copy = message.copy(mid=0, mtype=aiocoap.CON, token=b"")
        self.sent.append(copy.encode())
