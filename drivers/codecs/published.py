"""Devices that publish by MQTT: which topics are theirs and what a message says, by the protocol of their template.

A template of protocol mqtt-json has ``fields``. A field's ``path`` may begin with a topic and ``#``: ``air#co2.ppm`` is
``co2.ppm`` in the JSON that comes at the topic ``air`` below the device's address; ``air/temperature#`` is that message
itself, a number or a word. Fields without ``#`` are read at the topic that the option ``topic`` names, without it at
the address itself. A topic with ``{address}`` in it stands as it is, with the address put there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from drivers.base import Measurement
from drivers.codecs import json_paths, shelly, shelly_gen1, sparkplug, tasmota, zigbee2mqtt
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame
from drivers.template import Field

CHANNEL_MAX = 300
FULL_TOPIC = "%prefix%/%topic%"
GATHER_S = 0.2  # devices with a topic a component, or a value, send them all within that
_WILDCARDS = frozenset("+#\0")
_TASMOTA = re.compile(r"tele/(?P<address>.+)/(?:SENSOR|STATE)")

Measured = tuple[Measurement, ...]
Decode = Callable[[str, bytes], Measured]
BRIDGE = "zigbee2mqtt/bridge/devices"
BRIDGE_BYTES_MAX = 256 * 1024
PROTOCOLS = ("shelly", "tasmota", "zigbee2mqtt", "mqtt-json")
Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Publisher:
    """One device. ``patterns`` are the topics to subscribe to; ``decode`` takes a whole topic and its payload.

    What comes at ``echo`` only repeats what comes at other topics, where the device sends those. At ``presence`` the
    broker says for it that it went away, by one of the payloads in ``absent``. ``complete`` adds to what was gathered
    what follows from it.
    """

    patterns: tuple[str, ...]
    decode: Decode
    gather_s: float = 0.0
    complete: Callable[[Measured], Measured] = lambda measured: measured
    echo: str = ""
    presence: str = ""
    absent: tuple[bytes, ...] = ()


def publisher(protocol: str, prefix: str, options: Options, fields: tuple[Field, ...]) -> Publisher:
    """The device with that topic prefix. Raises ValueError for options and fields that cannot be meant.

    The option ``sleeps`` is for devices on a battery: they come and go, and that is no news.
    """
    known: dict[str, tuple[tuple[str, ...], Callable[..., Publisher]]] = {
        "shelly": (("channel", "ambient", "sleeps"), _shelly),
        "tasmota": (("sensor", "full_topic", "sleeps"), _tasmota),
        "zigbee2mqtt": (("sleeps",), _zigbee2mqtt),
        "mqtt-json": (("topic",), _json),
    }
    words, make = known[protocol]
    unknown = sorted(set(options) - set(words))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}; known: {', '.join(words)}")
    device = make(prefix, options, fields)
    return replace(device, presence="") if _truth(options, "sleeps") else device


def decode(protocol: str, options: Options, fields: Iterable[Field], topic: str, payload: bytes) -> Measured:
    """What a captured message says; ``topic`` is the whole one, or what follows the prefix, "" where unknown.

    Raises BadFrame, also where the topic is unknown and matters.
    """
    hints = Hints(topic=topic)
    if protocol == "shelly":
        choice = _choice(options)
        rest = shelly.below_prefix(topic) or topic
        return shelly.decode(rest, payload, choice) if rest else shelly.decode_frame(payload, hints, choice)
    if protocol == "tasmota":
        return tasmota.decode_frame(payload, hints, _text(options, "sensor", ""))
    if protocol == "zigbee2mqtt":
        return zigbee2mqtt.decode(payload)
    return _decode_json(_by_topic(fields, options), topic, payload)


def senders(topic: str, payload: bytes) -> Iterator[tuple[str, str]]:
    """(protocol, address) of the devices that a message may tell of. Raises BadFrame."""
    levels = topic.split("/")
    if levels[0] == sparkplug.NAMESPACE:
        if len(levels) in (4, 5) and levels[2] in ("NBIRTH", "NDATA", "DBIRTH", "DDATA"):
            yield "sparkplug", "/".join((levels[1], *levels[3:]))
    elif topic == BRIDGE:
        yield from (("zigbee2mqtt", f"zigbee2mqtt/{name}") for name in _bridged(payload))
    elif levels[0] == "zigbee2mqtt":
        if levels[1] != "bridge" and levels[-1] not in ("availability", "set", "get"):
            yield "zigbee2mqtt", topic
    elif sensor := _TASMOTA.fullmatch(topic):
        yield "tasmota", sensor["address"]
    elif (rest := shelly.below_prefix(topic)) is not None:
        yield "shelly", topic.removesuffix(f"/{rest}")


def _bridged(payload: bytes) -> Iterator[str]:
    """The names of the devices that zigbee2mqtt knows, those that are silent at present too."""
    devices = json_paths.parse(payload, BRIDGE_BYTES_MAX)
    for device in devices if isinstance(devices, list) else ():
        name = json_paths.get(device, "friendly_name")
        if isinstance(name, str) and json_paths.get(device, "type") != "Coordinator":
            yield name


def _decode_json(by_topic: Mapping[str, tuple[Field, ...]], topic: str, payload: bytes) -> Measured:
    def fits(rest: str) -> bool:
        pattern = re.escape(rest).replace(re.escape("{address}"), ".+")
        return not topic or not rest or re.fullmatch(f"(.+/)?{pattern}", topic) is not None

    fitting = [rest for rest in by_topic if fits(rest)]
    if not topic and len(fitting) > 1:
        raise BadFrame(f"the topic of the message matters: one of {', '.join(sorted(fitting))}")
    if not fitting:
        raise BadFrame(f"no field is read at {topic!r}; known: {', '.join(sorted(by_topic))}")
    return _decode_fields(by_topic[max(fitting, key=len)], payload)


def _shelly(prefix: str, options: Options, _fields: tuple[Field, ...]) -> Publisher:
    choice = _choice(options)

    def decode(topic: str, payload: bytes) -> Measured:
        return shelly.decode(topic.removeprefix(f"{prefix}/"), payload, choice)

    presence, absent = f"{prefix}/online", (b"false",)
    if prefix.startswith(shelly_gen1.PREFIX):
        patterns = tuple(f"{prefix}/{topic}" for topic in shelly_gen1.TOPICS)
        return Publisher(patterns, decode, GATHER_S, shelly_gen1.complete, presence=presence, absent=absent)
    echo = f"{prefix}/events/rpc"
    return Publisher(
        (f"{prefix}/status/#", echo, presence), decode, GATHER_S, echo=echo, presence=presence, absent=absent
    )


def _tasmota(prefix: str, options: Options, _fields: tuple[Field, ...]) -> Publisher:
    full = _text(options, "full_topic", FULL_TOPIC).strip("/")
    if "%prefix%" not in full or "%topic%" not in full or _WILDCARDS.intersection(full):
        raise ValueError(f"option full_topic is {full!r}: expected a topic with %prefix% and %topic%")
    base = full.replace("%prefix%", "tele").replace("%topic%", prefix)
    sensor = _text(options, "sensor", "")

    def decode(topic: str, payload: bytes) -> Measured:
        return tasmota.decode(topic.removeprefix(f"{base}/"), payload, sensor)

    patterns = tuple(f"{base}/{topic}" for topic in ("SENSOR", "STATE", "LWT"))
    return Publisher(patterns, decode, presence=f"{base}/LWT", absent=(b"Offline",))


def _zigbee2mqtt(prefix: str, _options: Options, _fields: tuple[Field, ...]) -> Publisher:
    def decode(topic: str, payload: bytes) -> Measured:
        return zigbee2mqtt.decode(payload) if topic == prefix else ()

    presence = f"{prefix}/availability"
    absent = (b"offline", b'{"state":"offline"}')
    return Publisher((prefix, presence), decode, presence=presence, absent=absent)


def _json(prefix: str, options: Options, fields: tuple[Field, ...]) -> Publisher:
    if not fields:
        raise ValueError("a template of protocol mqtt-json needs fields")
    by_topic: dict[str, tuple[Field, ...]] = {}
    for rest, rows in _by_topic(fields, options).items():
        json_paths.check(row for row in rows if row.path)
        topic = rest.replace("{address}", prefix) if "{address}" in rest else f"{prefix}/{rest}".rstrip("/")
        if _WILDCARDS.intersection(topic):
            raise ValueError(f"{rest!r} is no topic: + and # have no place in it")
        by_topic[topic] = rows

    def decode(topic: str, payload: bytes) -> Measured:
        rows = by_topic.get(topic)
        return () if rows is None else _decode_fields(rows, payload)

    return Publisher(tuple(sorted(by_topic)), decode, GATHER_S if len(by_topic) > 1 else 0.0)


def _by_topic(fields: Iterable[Field], options: Options) -> dict[str, tuple[Field, ...]]:
    """Topic (as the template writes it) to the fields that are read there, with what is left of their paths."""
    default = _text(options, "topic", "").strip("/")
    found: dict[str, list[Field]] = {}
    for field in fields:
        topic, mark, path = field.path.partition("#")
        if not mark or any(sign in topic for sign in '["'):  # a hash within a key in quotes
            topic, path = default, field.path
        row = Field(field.quantity, path, field.scale, field.offset, field.map)
        found.setdefault(topic.strip("/"), []).append(row)
    return {topic: tuple(rows) for topic, rows in found.items()}


def _decode_fields(rows: tuple[Field, ...], payload: bytes) -> Measured:
    if any(row.path for row in rows):
        return json_paths.measurements(json_paths.parse(payload), rows)
    try:
        text = payload[:1024].decode().strip()
    except UnicodeDecodeError:
        raise BadFrame("a value that is not text") from None
    values = ((row.quantity, json_paths.convert(text, row)) for row in rows)
    return tuple(Measurement(quantity, value) for quantity, value in values if value is not None)


def _choice(options: Options) -> shelly.Choice:
    channel = options.get("channel")
    if channel is not None and not (type(channel) is int and 0 <= channel <= CHANNEL_MAX):
        raise ValueError(f"option channel is {channel!r}: expected a number from 0 to {CHANNEL_MAX}")
    return shelly.Choice(channel, _truth(options, "ambient"))


def _truth(options: Options, key: str) -> bool:
    value = options.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"option {key} is {value!r}: expected true or false")
    return value


def _text(options: Options, key: str, default: str) -> str:
    value = options.get(key, default)
    if not isinstance(value, str) or _WILDCARDS.intersection(value):
        raise ValueError(f"option {key} is {value!r}: expected a text without + and #")
    return value
