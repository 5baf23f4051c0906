"""Registers to values: orders, offsets, texts, scale registers, states."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.buses.modbus_device import decode_blocks
from drivers.codecs import registers
from drivers.errors import BadFrame
from drivers.planner import Block
from drivers.template import Point


def point(quantity: str = "voltage_l1", kind: str = "u16", **more: Any) -> Point:
    return Point(quantity, more.pop("address", 0), 4, kind, **more)  # type: ignore[arg-type]


ORDERS = {  # of the bytes A B C D, highest first, as they come
    ("high-first", "high-first"): "ABCD",
    ("low-first", "high-first"): "CDAB",
    ("high-first", "low-first"): "BADC",
    ("low-first", "low-first"): "DCBA",
}


@pytest.mark.parametrize(("orders", "name"), ORDERS.items())
@given(number=st.integers(0, 2**32 - 1))
def test_four_orders(orders: tuple[str, str], name: str, number: int) -> None:
    data = number.to_bytes(4, "big")
    sent = bytes(data["ABCD".index(letter)] for letter in name)
    one = point(kind="u32", word_order=orders[0], byte_order=orders[1])
    assert registers.value(one, sent) == number


def test_offset_comes_after_scale() -> None:
    assert registers.value(point("temperature", "i16", scale=0.1, offset=-40), b"\x02\x58") == 20.0


@given(st.integers(-10, 10), st.integers(-1000, 1000))
def test_scale_register_is_a_power_of_ten(power: int, raw: int) -> None:
    one = point("voltage_l1", "i16", scale_register=7)
    data = struct.pack(">h6xh", raw, power)
    (measured,) = decode_blocks((Block(4, 0, 8, (one,), (7,)),), (data.ljust(16, b"\0")[:14] + data[-2:],))
    assert measured.value == pytest.approx(raw * 10.0**power)
    if power < 0:
        assert measured.value == float(f"{raw}e{power}")  # without a tail


@pytest.mark.parametrize("stored", [0x8000, 11, 0xFFF5, 0x1234])
def test_scale_that_is_not_there_or_makes_no_sense(stored: int) -> None:
    one = point(scale_register=1)
    assert list(decode_blocks((Block(4, 0, 2, (one,), (1,)),), (struct.pack(">HH", 5, stored),))) == []


def test_scale_in_another_block_and_none_read() -> None:
    one = point(scale_register=100)
    blocks = (Block(4, 0, 1, (one,)), Block(4, 100, 1, (), (100,)))
    (measured,) = decode_blocks(blocks, (b"\0\x07", b"\xff\xff"))
    assert measured.value == 0.7
    assert list(decode_blocks(blocks[:1], (b"\0\x07",))) == []


def test_texts() -> None:
    one = point("serial_number", "ascii", words=4)
    assert registers.value(one, b"AB12345\0") == "AB12345"
    assert registers.value(one, b"AB  \0\0\0\0rest") == "AB"
    assert registers.value(point("serial_number", "ascii", words=4, byte_order="low-first"), b"BA214365") == "AB123456"
    assert registers.value(one, b"\0" * 8) is None
    assert registers.value(one, b"\xff" * 8) is None
    assert registers.value(one, b"\x80\x81ABCDEF") is None
    with pytest.raises(BadFrame):
        registers.value(one, b"AB12")


def test_states() -> None:
    one = point("ev_state", map={0: "idle", 3: "charging"})
    assert registers.value(one, b"\0\3") == "charging"
    assert registers.value(one, b"\0\7") is None
    assert registers.value(point("ev_state"), b"\0\7") == "7"
    assert registers.value(point("relay_state", map={0: "false", 1: "true"}), b"\0\1") is True


@pytest.mark.parametrize(("kind", "nan", "data"), [("i16", 0x8000, b"\x80\0"), ("i16", -32768, b"\x80\0")])
def test_no_value_by_number_or_by_bits(kind: str, nan: int, data: bytes) -> None:
    assert registers.value(point(kind=kind, nan=(nan,)), data) is None


def test_no_value_of_a_float_by_its_bits() -> None:
    assert registers.value(point(kind="f32", nan=(0xC61C4000,)), struct.pack(">f", -10000.0)) is None


points = st.builds(
    lambda kind, word, byte, scale, words: point(
        kind=kind, word_order=word, byte_order=byte, scale=scale, words=words if kind == "ascii" else 0
    ),
    st.sampled_from(["u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "ascii"]),
    st.sampled_from(["high-first", "low-first"]),
    st.sampled_from(["high-first", "low-first"]),
    st.floats(allow_nan=False, allow_infinity=False).filter(bool),
    st.integers(1, 10),
)


@given(points, st.binary(max_size=40), st.integers(-10, 10))
def test_anything_may_stand_in_registers(one: Point, data: bytes, power: int) -> None:
    try:
        value = registers.value(one, data, power)
    except BadFrame:
        assert len(data) < 2 * one.count
    else:
        assert value is None or isinstance(value, str) or math.isfinite(value)
