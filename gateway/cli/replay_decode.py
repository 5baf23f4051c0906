"""Captured frames to values, by protocol. Pure: the same codecs as the drivers, fed from a file.

What the bytes of a frame are: of a serial or Modbus bus those on the wire; of Bluetooth and MQTT what their buses give
to the tap (drivers/buses/ble_adapter.py, drivers/buses/mqtt.py).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any
from uuid import UUID

from drivers.base import Frame, Measurement
from drivers.codecs import (
    airthings_gatt,
    bike,
    csc,
    cycling_power,
    openbikesensor,
    published,
    registers,
    senml,
    sparkplug,
)
from drivers.codecs.ad_structures import collect
from drivers.codecs.advertising import CODECS
from drivers.codecs.framing import Hints
from drivers.codecs.gatt import GattCodec, uuid16
from drivers.codecs.sparkplug_node import Node
from drivers.decoding import decode_with
from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES
from drivers.template import Template
from gateway.errors import LamppostError, UsageError

Item = dict[str, Any]
Decoder = Callable[[Template, Iterable[Frame], str | None], Iterator[Item]]
READ_FUNCTIONS = (3, 4)
EXCHANGE_MAX = 8192
MBUS_ACKNOWLEDGED = b"\xe5"  # EN 13757-2, 5.4: it carries no data
ADVERTISEMENT, NOTIFICATION, NOTIFICATION_128 = 1, 2, 3
WHEEL_M, SPACING_S = 2.105, 1.0


def decode(template: Template, frames: Iterable[Frame], address: str | None) -> Iterator[Item]:
    """A value or an error an item: {at_ns, address, quantity, value, unit} or {at_ns, address, error}.

    Raises LamppostError for a protocol that cannot be replayed, UsageError where ``address`` is needed.
    """
    decoder = _DECODERS.get(template.protocol)
    if decoder is None:
        raise LamppostError(f"frames of {template.protocol} cannot be replayed", code="replay.protocol")
    return decoder(template, frames, address)


def _values(frame: Frame, address: str, measurements: Iterable[Measurement]) -> Iterator[Item]:
    for measured in measurements:
        known = QUANTITIES.get(measured.quantity)
        unit = known.unit if known is not None else ""
        yield {
            "at_ns": frame.at_ns,
            "address": address,
            "quantity": measured.quantity,
            "value": measured.value,
            "unit": unit,
        }


def _stream(template: Template, frames: Iterable[Frame], _address: str | None) -> Iterator[Item]:
    """Of a device that speaks by itself: its driver says what the bytes complete."""
    from drivers import registry
    from drivers.buses.serial_port import PortSettings
    from drivers.buses.serial_stream import PortDriver, SerialBus

    driver = registry.make_driver(template, SerialBus("replay", PortSettings("")), None, None, {})
    frames = iter(frames)
    first = next(frames, None)
    frames = chain([] if first is None else [first], frames)
    if not isinstance(driver, PortDriver) or (first is not None and first.direction == "tx"):
        yield from _each(template, frames, _address)  # it was asked
        return
    for frame in frames:
        if frame.direction != "rx":
            continue
        bad = driver.bad_frames
        for observation in driver.feed(frame.data, frame.at_ns):
            yield from _values(frame, frame.bus, observation.measurements)
        if driver.bad_frames > bad:
            yield {"at_ns": frame.at_ns, "address": frame.bus, "error": "damaged frame"}


def _each(template: Template, frames: Iterable[Frame], _address: str | None) -> Iterator[Item]:
    """Of a device that answers: what comes until the next question is one frame, in as many pieces as it likes."""
    heard, damaged = b"", None
    for frame in frames:
        if frame.direction == "tx":
            if damaged is not None:
                yield damaged
            heard, damaged = b"", None
            continue
        if not heard and frame.data == MBUS_ACKNOWLEDGED:
            continue
        heard = (heard + frame.data)[-EXCHANGE_MAX:]
        try:
            yield from _values(frame, frame.bus, decode_with(template, heard))
        except BadFrame as error:
            damaged = {"at_ns": frame.at_ns, "address": frame.bus, "error": str(error)}
        else:
            heard, damaged = b"", None
    if damaged is not None:
        yield damaged


def _modbus(template: Template, frames: Iterable[Frame], address: str | None) -> Iterator[Item]:
    from drivers.buses.modbus_adu import find_answer

    request: tuple[int, int, int, int] | None = None
    heard = b""
    units: set[int] = set()
    for frame in frames:
        if frame.direction == "tx":
            request, heard = _read_request(frame.data), b""
            if request is not None and address is None:
                units.add(request[0])
                if len(units) > 1:
                    cause = f"several devices are in this capture: {', '.join(str(unit) for unit in sorted(units))}"
                    raise UsageError(cause, fix="Give --address with the Modbus id of one.")
            continue
        if request is None or (address is not None and str(request[0]) != address):
            continue
        heard = (heard + frame.data)[-EXCHANGE_MAX:]
        unit, function, first, count = request
        answer = find_answer(heard, unit, function, count)
        if answer is None:
            continue
        request = None
        if answer.exception:
            yield {"at_ns": frame.at_ns, "address": str(unit), "error": f"refused with exception {answer.exception}"}
        else:
            yield from _values(frame, str(unit), _points(template, function, first, count, answer.data))


def _read_request(data: bytes) -> tuple[int, int, int, int] | None:
    """(unit, function, first register, count) of a read request, None for anything else."""
    if len(data) != 8 or data[1] not in READ_FUNCTIONS:
        return None
    unit, function, first, count = struct.unpack(">BBHH", data[:6])
    return unit, function, first, count


def _points(template: Template, function: int, first: int, count: int, data: bytes) -> Iterator[Measurement]:
    for point in template.points:
        if point.function == function and first <= point.address and point.address + point.count <= first + count:
            raw = registers.decode(data[2 * (point.address - first) :], point.type, point.word_order, point.nan)
            if raw is not None:
                yield Measurement(point.quantity, registers.scaled(raw, point.scale))


def _advertisements(template: Template, frames: Iterable[Frame], address: str | None) -> Iterator[Item]:
    decode = CODECS[template.codec]
    for frame, sender, payload in _bluetooth(frames, (ADVERTISEMENT,), address):
        try:
            found = decode(collect(payload[1:], sender), b"")  # the first byte is the signal strength
        except BadFrame as error:
            yield {"at_ns": frame.at_ns, "address": sender, "error": str(error)}
            continue
        if found is not None:
            yield from _values(frame, sender, found.measurements)


def _bluetooth(
    frames: Iterable[Frame], kinds: tuple[int, ...], address: str | None
) -> Iterator[tuple[Frame, str, bytes]]:
    for frame in frames:
        if len(frame.data) >= 8 and frame.data[0] in kinds:
            sender = frame.data[1:7].hex(":").upper()
            if address is None or sender == address.upper():
                yield frame, sender, frame.data[7:]


def _connected(template: Template, frames: Iterable[Frame], address: str | None) -> Iterator[Item]:
    """Values of characteristics, whose UUIDs have 16 bits in frames of one kind and 128 in those of the other."""
    sensors: dict[str, GattCodec] = {}
    for frame, sender, payload in _bluetooth(frames, (NOTIFICATION, NOTIFICATION_128), address):
        size = 2 if frame.data[0] == NOTIFICATION else 16
        number = payload[:size][::-1]
        uuid = uuid16(int.from_bytes(number, "big")) if size == 2 else str(UUID(bytes=number.rjust(16, b"\0")))
        sensor = sensors.setdefault(sender, _SENSORS[template.protocol](template))
        if uuid not in (*sensor.asked, *sensor.notified):
            continue
        try:
            told = sensor.take(uuid, payload[size:], frame.at_ns)
        except BadFrame as error:
            yield {"at_ns": frame.at_ns, "address": sender, "error": str(error)}
            continue
        for observation in told:
            yield from _values(replace(frame, at_ns=observation.mono_ns), sender, observation.measurements)


_SENSORS: Mapping[str, Callable[[Template], GattCodec]] = {
    "csc": lambda _: csc.Sensor(WHEEL_M),
    "cycling-power": lambda _: cycling_power.Sensor(WHEEL_M),
    "bike": lambda _: bike.Sensor(),
    "openbikesensor": lambda _: openbikesensor.Sensor(SPACING_S, "left"),
    "airthings": lambda template: airthings_gatt.Sensor(str(template.options["model"])),
}


def _mqtt(template: Template, frames: Iterable[Frame], address: str | None) -> Iterator[Item]:
    """``address`` is the prefix of the device's topics."""
    device = published.publisher(template.protocol, address, template.options, template.fields) if address else None
    for frame, topic, payload in _messages(frames):
        sender = address or topic
        try:
            if device is not None:
                yield from _values(frame, sender, device.decode(topic, payload))
                continue
            known = dict(published.senders(topic, payload))
            sender = known.get(template.protocol, topic)
            yield from _values(frame, sender, decode_with(template, payload, Hints(topic=topic)))
        except BadFrame as error:
            yield {"at_ns": frame.at_ns, "address": sender, "error": str(error)}


def _sparkplug(template: Template, frames: Iterable[Frame], address: str | None) -> Iterator[Item]:
    """``address`` is GROUP/NODE or GROUP/NODE/DEVICE; what a node says by alias is known from the births before."""
    nodes: dict[tuple[str, str], Node] = {}
    for frame, topic, payload in _messages(frames):
        levels = topic.split("/")
        if len(levels) not in (4, 5) or levels[0] != sparkplug.NAMESPACE or levels[2] not in sparkplug.KINDS:
            continue
        _, group, kind, name, *device = levels
        sender = "/".join((group, name, *device))
        try:
            told = nodes.setdefault((group, name), Node()).take(kind, device[0] if device else "", payload)
            measured = sparkplug.measurements(((one.name, one.value) for one in told.named), template.fields)
        except BadFrame as error:
            if address in (None, sender):
                yield {"at_ns": frame.at_ns, "address": sender, "error": str(error)}
            continue
        if address in (None, sender):
            yield from _values(frame, sender, measured)


def _senml(template: Template, frames: Iterable[Frame], address: str | None) -> Iterator[Item]:
    """``address`` is the URL of the sensor, or the name under which it pushes."""
    for frame, sender, body in _messages(frames):
        if address not in (None, sender):
            continue
        try:
            instants = senml.decode(body, template.fields)
        except BadFrame as error:
            yield {"at_ns": frame.at_ns, "address": sender, "error": str(error)}
            continue
        for instant in instants:
            then = replace(frame, at_ns=frame.at_ns - int(instant.age_s * 1e9))
            yield from _values(then, sender, instant.measurements)


def _messages(frames: Iterable[Frame]) -> Iterator[tuple[Frame, str, bytes]]:
    """The tap of an MQTT bus gives topic, a zero byte, payload; that of a CoAP bus URL or name, a zero byte, body."""
    for frame in frames:
        topic, zero, payload = frame.data.partition(b"\0")
        if zero:
            yield frame, topic.decode("utf-8", "replace"), payload


_DECODERS: Mapping[str, Decoder] = {
    **dict.fromkeys(("p1", "sml", "d0", "pms", "sds", "hpma", "mcu680", "nmea"), _stream),
    **dict.fromkeys(("sps30", "mhz19", "mbus"), _each),
    **dict.fromkeys(("shelly", "tasmota", "zigbee2mqtt", "mqtt-json"), _mqtt),
    "sparkplug": _sparkplug,
    "coap-senml": _senml,
    "modbus": _modbus,
    "ble-adv": _advertisements,
    **dict.fromkeys(_SENSORS, _connected),
}
