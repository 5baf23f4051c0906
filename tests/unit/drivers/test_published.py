"""Topics and messages of MQTT devices by the protocol of their template."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Measurement
from drivers.codecs.published import PROTOCOLS, decode, publisher
from drivers.errors import BadFrame
from drivers.template import Field

FIELDS = (
    Field("co2", "co2.ppm"),
    Field("temperature", "climate#t"),
    Field("relative_humidity", "climate#h"),
    Field("battery_level", "state/battery#"),
    Field("opening", "state/window#", map={"OPEN": "true", "SHUT": "false"}),
    Field("pressure", '{address}/extra#["p#"]', 0.01),
)


def values(measured: tuple[Measurement, ...]) -> dict[str, object]:
    return {one.quantity: one.value for one in measured}


def test_fields_are_read_at_their_topics() -> None:
    device = publisher("mqtt-json", "site/box", {"topic": "air"}, FIELDS)
    below = ("air", "climate", "extra", "state/battery", "state/window")
    assert device.patterns == tuple(f"site/box/{topic}" for topic in below)
    told = {
        "air": (b'{"co2":{"ppm":640},"t":1}', {"co2": 640}),
        "climate": (b'{"t":21.5,"h":40}', {"temperature": 21.5, "relative_humidity": 40}),
        "extra": (b'{"p#":100812}', {"pressure": 1008.12}),
        "state/battery": (b" 87 ", {"battery_level": 87}),
        "state/window": (b"OPEN", {"opening": True}),
        "other": (b"1", {}),
    }
    for topic, (payload, expected) in told.items():
        assert values(device.decode(f"site/box/{topic}", payload)) == expected
        if expected:
            assert values(decode("mqtt-json", {"topic": "air"}, FIELDS, f"a/b/{topic}", payload)) == expected


def test_without_topics_the_address_is_the_topic() -> None:
    device = publisher("mqtt-json", "site/box", {}, (Field("co2", "ppm"),))
    assert device.patterns == ("site/box",)
    assert values(device.decode("site/box", b'{"ppm": 1}')) == {"co2": 1}
    for topic in ("", "whatever/it/was"):
        assert values(decode("mqtt-json", {}, (Field("co2", "ppm"),), topic, b'{"ppm": 1}')) == {"co2": 1}


def test_a_message_without_its_topic_may_be_any() -> None:
    with pytest.raises(BadFrame, match="topic of the message matters"):
        decode("mqtt-json", {"topic": "air"}, FIELDS, "", b"{}")
    with pytest.raises(BadFrame, match="no field is read at"):
        decode("mqtt-json", {"topic": "air"}, FIELDS[:1], "site/box/water", b"{}")


@pytest.mark.parametrize(
    ("protocol", "options", "fields", "says"),
    [
        ("shelly", {"chanel": 1}, (), "unknown option 'chanel'; known: channel, ambient, sleeps"),
        ("shelly", {"channel": "1"}, (), "channel"),
        ("shelly", {"channel": True}, (), "channel"),
        ("shelly", {"channel": -1}, (), "channel"),
        ("shelly", {"ambient": "yes"}, (), "ambient"),
        ("tasmota", {"full_topic": "%topic%"}, (), "full_topic"),
        ("tasmota", {"full_topic": "%topic%/%prefix%/#"}, (), "full_topic"),
        ("tasmota", {"sensor": 1}, (), "sensor"),
        ("zigbee2mqtt", {"sensor": "x"}, (), "known: sleeps"),
        ("zigbee2mqtt", {"sleeps": 1}, (), "sleeps"),
        ("mqtt-json", {}, (), "needs fields"),
        ("mqtt-json", {"topic": "a/+"}, (Field("co2", "a"),), "topic"),
        ("mqtt-json", {}, (Field("co2", "+/x#a"),), "no place"),
        ("mqtt-json", {}, (Field("co2", "x#a..b"),), "path"),
    ],
)
def test_what_cannot_be_meant_is_told(
    protocol: str, options: dict[str, object], fields: tuple[Field, ...], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        publisher(protocol, "a", options, fields)


def test_topics_of_families() -> None:
    assert publisher("tasmota", "plug", {}, ()).patterns == ("tele/plug/SENSOR", "tele/plug/STATE", "tele/plug/LWT")
    turned = publisher("tasmota", "plug", {"full_topic": "%topic%/%prefix%"}, ())
    assert turned.patterns[0] == "plug/tele/SENSOR"
    assert values(turned.decode("plug/tele/SENSOR", b'{"S8":{"CarbonDioxide":700}}')) == {"co2": 700}
    assert "shellies/a/emeter/#" in publisher("shelly", "shellies/a", {}, ()).patterns
    assert publisher("shelly", "a", {}, ()).patterns == ("a/status/#", "a/events/rpc", "a/online")


def test_that_a_sleeper_went_away_is_no_news() -> None:
    for protocol in ("shelly", "tasmota", "zigbee2mqtt"):
        assert publisher(protocol, "a", {}, ()).presence
        assert not publisher(protocol, "a", {"sleeps": True}, ()).presence


def test_the_sums_of_a_first_generation_meter() -> None:
    device = publisher("shelly", "shellies/a", {}, ())
    said = tuple(Measurement(f"energy_import_l{phase}", float(phase)) for phase in (1, 2, 3))
    assert values(device.complete(said))["energy_import_total"] == 6.0
    assert "energy_import_total" not in values(device.complete(said[:2]))


@given(
    st.sampled_from(PROTOCOLS),
    st.sampled_from(["", "a", "a/air", "a/climate", "a/state/battery", "tele/a/SENSOR", "a/status/em:0"]),
    st.binary(max_size=60)
    | st.recursive(st.integers() | st.text(max_size=3), st.lists).map(lambda v: json.dumps(v).encode()),
)
def test_nothing_but_bad_frame(protocol: str, topic: str, payload: bytes) -> None:
    device = publisher(protocol, "a", {}, FIELDS)
    with contextlib.suppress(BadFrame):
        device.decode(topic, payload)
    with contextlib.suppress(BadFrame):
        decode(protocol, {}, FIELDS, topic, payload)
