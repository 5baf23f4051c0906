from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.codecs import bthome
from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES

# bthome.io/format: id -> (quantity, bytes, signed, factor)
TABLE = {
    0x01: ("battery_level", 1, False, 1),
    0x02: ("temperature", 2, True, 0.01),
    0x03: ("relative_humidity", 2, False, 0.01),
    0x04: ("pressure", 3, False, 0.01),
    0x0C: ("battery_voltage", 2, False, 0.001),
    0x0D: ("pm25", 2, False, 1),
    0x0E: ("pm10", 2, False, 1),
    0x12: ("co2", 2, False, 1),
    0x2E: ("relative_humidity", 1, False, 1),
    0x45: ("temperature", 2, True, 0.1),
}
# objects that are no quantity here: id -> whole object
SKIPPED = [
    "05138a14",
    "0a138a14",
    "0b021b00",
    "2d01",
    "3a04",
    "3c0103",
    "3d0960",
    "3e2a2c0960",
    "42 4e3400",
    "4b138a14",
]
SKIPPED += [
    "4e87562a01",
    "505d396164",
    "530c48656c6c6f20576f726c6421",
    "5403010203",
    "5b ea0234ea",
    "630057d0ff",
    "f00100",
]


def values(data: bytes) -> dict[str, object]:
    return {one.quantity: one.value for one in bthome.decode(data).measurements}


@given(st.binary(max_size=60), st.sampled_from([b"", b"\x40", b"\x42", b"\x44"]))
@example(b"", b"")
def test_any_bytes_give_known_quantities_or_bad_frame(tail: bytes, head: bytes) -> None:
    try:
        broadcast = bthome.decode(head + tail)
    except BadFrame:
        return
    assert {one.quantity for one in broadcast.measurements} <= QUANTITIES.keys()


@given(st.data(), st.sampled_from(sorted(TABLE)), st.integers(0, 255), st.lists(st.sampled_from(SKIPPED), max_size=4))
def test_round_trip_behind_objects_that_are_skipped(
    data: st.DataObject, number: int, packet: int, skip: list[str]
) -> None:
    quantity, size, signed, factor = TABLE[number]
    half = 1 << (8 * size - 1)
    raw = data.draw(st.integers(-half, half - 1) if signed else st.integers(0, 2 * half - 1))
    frame = b"\x40\x00" + bytes((packet,)) + b"".join(bytes.fromhex(text) for text in skip)
    frame += bytes((number,)) + raw.to_bytes(size, "little", signed=signed)
    broadcast = bthome.decode(frame)
    assert broadcast.sequence == packet
    assert values(frame) == {quantity: pytest.approx(raw * factor)}


def test_the_first_of_two_values_counts() -> None:
    assert values(bytes.fromhex("4002ca0902cf09")) == {"temperature": 25.06}


def test_what_follows_an_unknown_object_is_left_out() -> None:
    assert values(bytes.fromhex("40015dfe5d0903b718")) == {"battery_level": 93}


def test_an_address_before_the_objects_is_passed_over() -> None:
    assert values(bytes.fromhex("42b2188d38c1a404138a01")) == {"pressure": 1008.83}


@given(st.integers(0, 255), st.binary(max_size=30))
def test_an_encrypted_frame_asks_for_a_bind_key(flags: int, rest: bytes) -> None:
    with pytest.raises(BadFrame, match="bind key"):
        bthome.decode(bytes((0x41 | flags & 0x1F,)) + rest)


@pytest.mark.parametrize("data", ["", "00", "2002ca09", "4002ca", "4000", "4053", "40530548", "42010203", "40 04138a"])
def test_damaged_is_a_bad_frame(data: str) -> None:
    with pytest.raises(BadFrame):
        bthome.decode(bytes.fromhex(data))
