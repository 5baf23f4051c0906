"""Sparkplug B: payloads by an independent encoder, the order of messages, and nothing but BadFrame on garbage."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Measurement
from drivers.codecs import sparkplug
from drivers.codecs.framing import NO_HINTS, Hints
from drivers.codecs.sparkplug import Metric
from drivers.codecs.sparkplug_node import Named, Node, Outcome
from drivers.errors import BadFrame
from drivers.template import Field
from firmware_sim.devices.sparkplug import EdgeNode, chunk, metric, payload, varint

NOW_MS = 1_700_000_000_000


def one(data: bytes) -> Metric:
    (found,) = sparkplug.parse(payload([data], NOW_MS, 3)).metrics
    return found


def with_value(datatype: int, number: int, wire: int, raw: bytes) -> bytes:
    return chunk(1, b"x") + b"\x20" + varint(datatype) + varint(number << 3 | wire) + raw


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (with_value(1, 10, 0, varint(0xFE)), -2),  # Int8 in its own width
        (with_value(1, 10, 0, varint(0xFFFFFFFE)), -2),  # sign-extended to 32 bits
        (with_value(2, 11, 0, varint(2**64 - 2)), -2),  # and to 64
        (with_value(3, 10, 0, varint(2**31)), -(2**31)),
        (with_value(4, 11, 0, varint(2**63)), -(2**63)),
        (with_value(5, 10, 0, varint(200)), 200),
        (with_value(7, 11, 0, varint(2**32 - 1)), 2**32 - 1),
        (with_value(8, 11, 0, varint(2**64 - 1)), 2**64 - 1),
        (with_value(9, 12, 5, struct.pack("<f", 230.1)), 230.100006),
        (with_value(10, 13, 1, struct.pack("<d", 230.1)), 230.1),
        (with_value(11, 14, 0, b"\x01"), True),
        (with_value(12, 15, 2, b"\x02on"), "on"),
        (with_value(16, 17, 2, b"\x00"), None),  # a DataSet
        (with_value(10, 13, 1, struct.pack("<d", 1.5)) + b"\x38\x01", None),  # null
        (chunk(1, b"x"), None),
    ],
)
def test_values_by_type(data: bytes, value: object) -> None:
    found = one(data)
    assert sparkplug.value(found, found.datatype) == value


@pytest.mark.parametrize(
    "data",
    [
        with_value(5, 10, 0, varint(300)),
        with_value(1, 10, 0, varint(300)),
        with_value(3, 13, 1, struct.pack("<d", 1)),
        with_value(10, 10, 0, b"\x01"),
        with_value(11, 10, 0, b"\x01"),
        with_value(12, 15, 2, b"\x01\xff"),
    ],
)
def test_a_value_that_its_type_cannot_have_is_refused(data: bytes) -> None:
    found = one(data)
    with pytest.raises(BadFrame):
        sparkplug.value(found, found.datatype)


def test_bad_quality_is_no_value() -> None:
    def stated(quality: int) -> bytes:
        number = b"\x08\x03\x18" + varint(quality)
        return with_value(10, 13, 1, struct.pack("<d", 1.5)) + chunk(9, chunk(1, b"Quality") + chunk(2, number))

    assert sparkplug.value(one(stated(192)), 10) == 1.5
    assert sparkplug.value(one(stated(0)), 10) is None
    assert sparkplug.value(one(stated(500)), 10) is None
    with pytest.raises(BadFrame, match="1 keys and 0 values"):
        one(chunk(1, b"x") + chunk(9, chunk(1, b"Quality")))


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",  # field 0
        b"\x08",  # a number that does not end
        b"\x08" + b"\xff" * 10,
        b"\x08" + b"\xff" * 9 + b"\x7f",  # 70 bits
        b"\x0b",  # a group
        b"\x12\x05",  # longer than the message
        b"\x10\x01",  # metrics as a number
        b"\x18\xac\x02",  # seq 300
        b'{"metrics":[]}',
        b"\x12\x04" + chunk(1, b"\xff\xfe"),
        b"\x08\x01" + b" " * (256 * 1024),
        chunk(2, b"") * 5001,
    ],
)
def test_damaged_payloads_are_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        sparkplug.parse(data)


def test_a_payload_that_was_cut_is_refused_or_shorter() -> None:
    whole = payload([metric(1.5, name="a"), metric(2, name="b")], NOW_MS, 7)
    for end in range(len(whole)):
        with contextlib.suppress(BadFrame):
            assert sparkplug.parse(whole[:end]) != sparkplug.parse(whole)


@given(st.binary(max_size=200))
def test_nothing_but_bad_frame(data: bytes) -> None:
    with contextlib.suppress(BadFrame):
        for found in sparkplug.parse(data).metrics:
            with contextlib.suppress(BadFrame):
                sparkplug.value(found, found.datatype)
    for hints in (NO_HINTS, Hints(topic="spBv1.0/a/NDATA/b"), Hints(topic="spBv1.0/STATE/host")):
        with contextlib.suppress(BadFrame):
            sparkplug.decode_frame(data, hints)


@given(st.data())
def test_mutations_of_a_birth_never_break_a_node(data: Any) -> None:
    node, edge = Node(), fresh()
    for topic, whole in edge.birth(NOW_MS):
        at = data.draw(st.integers(0, len(whole) - 1))
        broken = whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :]
        with contextlib.suppress(BadFrame):
            node.take(topic.split("/")[2], "meter" if "DBIRTH" in topic else "", broken)
    with contextlib.suppress(BadFrame):
        feed(node, edge.data("meter", {"Power": 1.0}, NOW_MS))


def test_a_frame_alone() -> None:
    told = payload([metric(21.5, name="temperature"), metric(3.0, name="Other")], NOW_MS, 0)
    expected = (Measurement("temperature", 21.5),)
    assert sparkplug.decode_frame(told, NO_HINTS) == expected
    assert sparkplug.decode_frame(told, Hints(topic="spBv1.0/g/NBIRTH/n")) == expected
    assert sparkplug.decode_frame(b'{"online":true,"timestamp":1}', Hints(topic="spBv1.0/STATE/host")) == ()
    assert sparkplug.decode_frame(b"OFFLINE", Hints(topic="STATE/host")) == ()
    for data, topic in ((told, "spBv1.0/STATE/host"), (told, "other/g/NBIRTH/n"), (b"", ""), (b"\x12\x00", "")):
        with pytest.raises(BadFrame):
            sparkplug.decode_frame(data, Hints(topic=topic))


def test_our_command_asks_for_a_rebirth() -> None:
    (asked,) = sparkplug.parse(sparkplug.rebirth(NOW_MS)).metrics
    assert (asked.name, sparkplug.value(asked, asked.datatype)) == ("Node Control/Rebirth", True)
    assert sparkplug.parse(sparkplug.rebirth(NOW_MS)).timestamp_ms == NOW_MS


def test_metrics_become_quantities_by_name() -> None:
    fields = (Field("active_power_total", "P", 1000), Field("relay_state", "Relay", map={"true": "on", "false": "off"}))
    found = sparkplug.measurements([("P", 0.64), ("Relay", True), ("Q", 1)], fields)
    assert found == (Measurement("active_power_total", 640.0), Measurement("relay_state", "on"))


# the order of messages


def fresh() -> EdgeNode:
    return EdgeNode("g", "n", {"uptime": 5}, {"meter": {"Power": 1.0, "Energy": 7}})


def feed(node: Node, message: tuple[str, bytes]) -> Outcome:
    _, _, kind, _, *device = message[0].split("/")
    return node.take(kind, device[0] if device else "", message[1])


def born() -> tuple[Node, EdgeNode]:
    node, edge = Node(), fresh()
    for message in edge.birth(NOW_MS):
        feed(node, message)
    return node, edge


def test_births_name_what_data_say_by_alias() -> None:
    node, edge = Node(), fresh()
    first, second = (feed(node, message) for message in edge.birth(NOW_MS))
    assert Named("uptime", 5) in first.named
    assert second.named == (Named("Power", 1.0), Named("Energy", 7))
    assert feed(node, edge.data("meter", {"Power": 2.5}, NOW_MS)).named == (Named("Power", 2.5),)
    assert feed(node, edge.data("", {"uptime": 6}, NOW_MS)).named == (Named("uptime", 6),)
    assert (node.gaps, node.duplicates, node.refused) == (0, 0, 0)


def test_data_before_their_birth_are_refused() -> None:
    node, edge = Node(), fresh()
    births = edge.birth(NOW_MS)
    data = edge.data("meter", {"Power": 2.5}, NOW_MS)
    outcome = feed(node, data)
    assert (outcome.named, bool(outcome.rebirth), node.refused) == ((), True, 1)
    feed(node, births[0])
    outcome = feed(node, data)  # the birth of its device is missing
    assert (outcome.named, bool(outcome.rebirth)) == ((), True)


def test_a_gap_casts_doubt_on_aliases_until_the_next_birth() -> None:
    node, edge = born()
    edge.data("meter", {"Power": 1.0}, NOW_MS)  # lost
    outcome = feed(node, edge.data("meter", {"Power": 2.5}, NOW_MS))
    assert (outcome.named, node.gaps) == ((), 1)
    assert outcome.rebirth
    named = payload([metric(9.5, name="Power")], NOW_MS, edge.seq + 1)
    edge.seq += 1
    assert node.take("DDATA", "meter", named).named == (Named("Power", 9.5),)
    for message in edge.birth(NOW_MS + 1):
        feed(node, message)
    assert feed(node, edge.data("meter", {"Power": 3.5}, NOW_MS)).named == (Named("Power", 3.5),)


def test_the_counter_wraps() -> None:
    node, edge = born()
    for number in range(600):
        assert feed(node, edge.data("meter", {"Power": number + 0.5}, NOW_MS + number)).named
    assert node.gaps == 0


def test_what_comes_twice_counts_once() -> None:
    """As in a capture of a plant: 73 repeated numbers in 509 messages of one device."""
    node, edge = born()
    seen: list[float] = []
    for number in range(509):
        message = edge.data("meter", {"Power": number + 0.5}, NOW_MS + number)
        for _ in range(2 if number % 7 == 0 else 1):
            seen += [float(found.value) for found in feed(node, message).named]
    assert seen == [number + 0.5 for number in range(509)]
    assert (node.duplicates, node.gaps) == (73, 0)


def test_another_message_under_the_same_number_counts_too() -> None:
    node, edge = born()
    first = edge.data("meter", {"Power": 1.5}, NOW_MS)
    edge.seq -= 1
    second = edge.data("meter", {"Power": 2.5}, NOW_MS + 1)
    edge.seq += 1  # two threads of the node took one number, and gave out two
    third = edge.data("meter", {"Power": 3.5}, NOW_MS + 2)
    assert [feed(node, message).named[0].value for message in (first, second, third)] == [1.5, 2.5, 3.5]
    assert (node.gaps, node.duplicates) == (0, 0)
    edge.seq += 1
    assert feed(node, edge.data("meter", {"Power": 4.5}, NOW_MS + 3)).rebirth


def test_a_will_of_the_last_session_does_not_kill_this_one() -> None:
    node, edge = born()
    stale = edge.will(NOW_MS)
    edge.bd_seq = 1
    for message in edge.birth(NOW_MS + 1):
        feed(node, message)
    assert not feed(node, stale).gone
    assert feed(node, edge.data("meter", {"Power": 1.5}, NOW_MS)).named
    assert feed(node, edge.will(NOW_MS)).gone
    assert not node.is_born
    assert feed(node, edge.data("meter", {"Power": 2.5}, NOW_MS)).rebirth


def test_a_device_dies_alone() -> None:
    node, edge = born()
    assert feed(node, edge.death("meter", NOW_MS)).gone
    assert node.is_born
    assert feed(node, edge.data("meter", {"Power": 2.5}, NOW_MS)).rebirth


def test_history_says_how_old_it_is() -> None:
    node, edge = born()
    old = metric(3.5, name="Power", at_ms=NOW_MS - 5000, historical=True)
    told = node.take("DDATA", "meter", payload([old, metric(4.5, name="Power", at_ms=NOW_MS)], NOW_MS, edge.seq + 1))
    assert told.named == (Named("Power", 3.5, 5000, historical=True), Named("Power", 4.5, 0))


def test_an_alias_of_two_metrics_names_neither() -> None:
    node = Node()
    birth = payload([metric(1.5, name="a", alias=0), metric(2.5, name="b", alias=0)], NOW_MS, 0)
    assert len(node.take("NBIRTH", "", birth).named) == 2
    outcome = node.take("NDATA", "", payload([metric(9.5, alias=0)], NOW_MS, 1))
    assert (outcome.named, node.refused) == ((), 1)


@pytest.mark.parametrize("kind", ["NBIRTH", "NDATA", "DDATA"])
def test_messages_without_a_number_are_refused(kind: str) -> None:
    with pytest.raises(BadFrame):
        born()[0].take(kind, "", payload([], NOW_MS))


def test_a_birth_names_its_metrics() -> None:
    with pytest.raises(BadFrame, match="no name"):
        Node().take("NBIRTH", "", payload([metric(1.5, alias=1)], NOW_MS, 0))
