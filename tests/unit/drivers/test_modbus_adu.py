"""Modbus frames of the master, with pymodbus's own server side as the second opinion."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from drivers.buses import modbus_adu as adu

units = st.integers(1, 255)
functions = st.sampled_from([3, 4])


def answer(unit: int, function: int, data: bytes) -> bytes:
    body = bytes((unit, function, len(data))) + data
    return body + adu.crc(body)


@given(units, functions, st.integers(0, 0xFF00), st.integers(1, 125))
def test_pymodbus_reads_the_request(unit: int, function: int, address: int, count: int) -> None:
    frame = adu.encode_read(unit, function, address, count)
    used, heard_unit, _, pdu = FramerRTU(DecodePDU(True)).decode(frame)
    assert (used, heard_unit) == (8, unit)
    request = DecodePDU(True).decode(pdu)
    assert request is not None
    assert (request.function_code, request.address, request.count) == (function, address, count)


@given(units, functions, st.binary(min_size=1, max_size=125), st.binary(max_size=20), st.binary(max_size=20))
def test_answer_is_found_among_noise(unit: int, function: int, half: bytes, before: bytes, after: bytes) -> None:
    data = half + half
    found = adu.find_answer(before + answer(unit, function, data) + after, unit, function, len(half))
    assert found == adu.Answer(data)


@given(units, functions, st.binary(min_size=1, max_size=60), st.data())
def test_damaged_answer_is_not_found(unit: int, function: int, half: bytes, data: st.DataObject) -> None:
    frame = bytearray(answer(unit, function, half + half))
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = adu.find_answer(bytes(frame), unit, function, len(half))
    assert found is None


@given(units, functions, st.integers(1, 20), units, functions, st.integers(1, 20))
def test_another_ones_answer_is_not_taken(u1: int, f1: int, c1: int, u2: int, f2: int, c2: int) -> None:
    found = adu.find_answer(answer(u1, f1, bytes(2 * c1)), u2, f2, c2)
    assert (found is not None) == ((u1, f1, c1) == (u2, f2, c2))


@given(units, functions, st.integers(1, 11), st.binary(max_size=10))
def test_exception_is_found(unit: int, function: int, code: int, before: bytes) -> None:
    body = bytes((unit, function | 0x80, code))
    assert adu.find_answer(before + body + adu.crc(body), unit, function, 10) == adu.Answer(b"", code)


@given(st.binary(max_size=300), units, functions, st.integers(1, 125))
def test_anything_may_be_heard(heard: bytes, unit: int, function: int, count: int) -> None:
    adu.find_answer(heard, unit, function, count)
    adu.sound(heard)
