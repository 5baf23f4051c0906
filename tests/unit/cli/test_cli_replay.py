"""Captured frames decode offline to what the templates say that they mean."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import template as templates
from drivers.base import Frame
from drivers.buses.ble_adapter import advertisement_frame, notification_frame
from drivers.codecs import airthings_gatt, bike, csc, cycling_power, openbikesensor
from drivers.codecs.broadcast import Advert
from drivers.codecs.published import PROTOCOLS
from drivers.template import Example, Template
from firmware_sim.devices.sparkplug import EdgeNode
from gateway.cli.replay_decode import decode
from gateway.errors import UsageError

ADDRESS = "C8:25:2D:8E:9C:2C"
SENDERS = {  # of frames that name theirs
    "atc-thermometer": "A4:C1:38:02:83:F4",
    "qingping-motion-light": "58:2D:34:60:5E:00",
    "qingping-thermometer": "58:2D:34:40:1C:6F",
    "xiaomi-lywsd03mmc": "A4:C1:38:B4:94:4C",
    "xiaomi-lywsdcgq": "A4:C1:38:00:00:07",
    "xiaomi-mibeacon": "F8:24:41:E9:50:74",
}
REPLAYED = ("ble-adv", "modbus", "p1", "pms", "sds", "sml", "hpma", "mcu680", "coap-senml", *PROTOCOLS)
CHARACTERISTICS = {
    "csc-sensor": csc.MEASUREMENT,
    "cycling-power-sensor": cycling_power.MEASUREMENT,
    "lamppost-bike-gatt": bike.MEASUREMENT,
    "openbikesensor": openbikesensor.DISTANCE,
    "airthings-wave-plus": airthings_gatt.WAVE_PLUS,
    "airthings-wave-2": airthings_gatt.WAVE_2,
    "airthings-wave-mini": airthings_gatt.WAVE_MINI,
}
EVERY = [t for name in templates.names() if (t := templates.load(name)).frames and t.protocol in REPLAYED]
EVERY += [templates.load(name) for name in CHARACTERISTICS]


def captured(template: Template, example: Example) -> Iterator[Frame]:
    """The example as `capture` has it from the bus's tap."""
    if template.protocol == "modbus":
        yield Frame("bus", "tx", example.request, 0)
        yield Frame("bus", "rx", example.answer[:7], 1)
        yield Frame("bus", "rx", example.answer[7:], 2)
    elif template.codec == "bike":
        yield Frame("bus", "rx", advertisement_frame(Advert({}, {bike.SERVICE: example.answer}, ADDRESS)), 0)
    elif template.protocol == "ble-adv":
        sender = SENDERS.get(template.name, ADDRESS)
        yield Frame("bus", "rx", b"\x01" + bytes.fromhex(sender.replace(":", "")) + b"\xc4" + example.answer, 0)
    elif template.name in CHARACTERISTICS:
        frame = notification_frame(ADDRESS, CHARACTERISTICS[template.name], example.answer)
        yield Frame("bus", "rx", frame, 0)
        if template.protocol == "openbikesensor":  # it is told once a second
            yield Frame("bus", "rx", frame, 1_000_000_000)
    elif template.protocol == "coap-senml":
        yield Frame("bus", "rx", b"mast\0" + example.answer, 0)
    elif template.protocol in PROTOCOLS:
        topic = f"shelly-1/{example.topic}" if example.topic.startswith(("status/", "events/")) else example.topic
        yield Frame("bus", "rx", topic.encode() + b"\0" + example.answer, 0)
    else:
        if example.answer.startswith(b"\x40"):
            yield Frame("bus", "tx", b"\x68\x01\x04\x93", 0)  # the question that such a sensor answers
        yield Frame("bus", "rx", example.answer[:5], 0)
        yield Frame("bus", "rx", example.answer[5:], 1)


@pytest.mark.parametrize("template", EVERY, ids=lambda template: template.name)
def test_examples_of_templates(template: Template) -> None:
    for example in template.frames:
        items = list(decode(template, captured(template, example), None))
        values = {item["quantity"]: item["value"] for item in items if "error" not in item}
        assert set(values) >= set(example.expect)
        assert not [item for item in items if "error" in item]
        for quantity, expected in example.expect.items():
            told = values[quantity]
            told = str(told).lower() if isinstance(told, bool) else told
            assert told == expected or math.isclose(told, float(expected), rel_tol=1e-5)


def test_only_the_device_with_the_address() -> None:
    template = templates.load("ruuvi-ruuvitag")
    (frame,) = captured(template, template.frames[0])
    assert list(decode(template, [frame], ADDRESS.lower()))
    assert not list(decode(template, [frame], "C8:25:2D:8E:9C:2D"))
    meter = templates.load("shelly-pro-3em")
    (frame,) = captured(meter, meter.frames[0])
    assert {item["address"] for item in decode(meter, [frame], "shelly-1")} == {"shelly-1"}
    assert not list(decode(meter, [frame], "shelly"))
    sensor = templates.load("coap-senml-air")
    (frame,) = captured(sensor, sensor.frames[0])
    assert {item["address"] for item in decode(sensor, [frame], "mast")} == {"mast"}
    assert not list(decode(sensor, [frame], "pole"))


def test_an_edge_node_is_followed_from_its_births_on() -> None:
    template = templates.load("sparkplug-meter")
    edge = EdgeNode("g", "n", {"Voltage": 230.5}, {"m": {"Voltage": 231.5}})
    messages = [*edge.birth(1), edge.data("m", {"Voltage": 232.5}, 2)]
    frames = [Frame("bus", "rx", topic.encode() + b"\0" + data, at) for at, (topic, data) in enumerate(messages)]
    told = [(item["address"], item["value"]) for item in decode(template, frames, None)]
    assert told == [("g/n", 230.5), ("g/n/m", 231.5), ("g/n/m", 232.5)]
    assert [item["value"] for item in decode(template, frames, "g/n")] == [230.5]
    assert not list(decode(template, frames[2:], "g/n/m"))


def test_two_modbus_devices_need_an_address() -> None:
    template = templates.load("eastron-sdm630")
    frames = [Frame("bus", "tx", bytes((unit, 4, 0, 0, 0, 2, 0, 0)), 0) for unit in (1, 2)]
    with pytest.raises(UsageError, match="1, 2"):
        list(decode(template, frames, None))
    assert list(decode(template, frames, "2")) == []


@given(
    st.sampled_from(EVERY),
    st.lists(st.tuples(st.sampled_from(["tx", "rx"]), st.binary(max_size=40), st.integers(0, 2**62)), max_size=8),
)
def test_garbage_decodes_to_nothing_or_to_errors(template: Template, frames: list[tuple[str, bytes, int]]) -> None:
    captured = [Frame("bus", "tx" if way == "tx" else "rx", data, at_ns) for way, data, at_ns in frames]
    for item in decode(template, captured, "1"):
        assert set(item) in ({"at_ns", "address", "error"}, {"at_ns", "address", "quantity", "value", "unit"})
