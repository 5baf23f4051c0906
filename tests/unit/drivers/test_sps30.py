"""SHDLC of the SPS30: stuffing, sum, states, both forms of values."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.codecs import sps30
from drivers.codecs.framing import NO_HINTS
from drivers.errors import BadFrame

FLOATS = st.lists(st.floats(0, 1000, width=32), min_size=10, max_size=10)


def wire(command: int, state: int, data: bytes) -> bytes:
    """Written apart from the codec: stuffed by replacement, 7D first."""
    content = bytes([0, command, state, len(data)]) + data
    content += bytes([255 - sum(content) % 256])
    for byte in (0x7D, 0x7E, 0x11, 0x13):
        content = content.replace(bytes([byte]), bytes([0x7D, byte ^ 0x20]))
    return b"~" + content + b"~"


def drain(buffer: bytearray) -> tuple[list[sps30.Answer], int]:
    answers, bad = [], 0
    while True:
        try:
            answer = sps30.take(buffer)
        except BadFrame:
            bad += 1
            continue
        if answer is None:
            return answers, bad
        answers.append(answer)


def test_requests_of_the_datasheet() -> None:
    assert sps30.request(sps30.START, sps30.START_DATA["float"]) == bytes.fromhex("7e0000020103f97e")
    assert sps30.request(sps30.STOP) == bytes.fromhex("7e000100fe7e")
    assert sps30.request(sps30.READ) == bytes.fromhex("7e000300fc7e")
    assert sps30.request(sps30.WAKE_UP) == bytes.fromhex("7e007d3100ee7e")
    assert sps30.request(sps30.STATUS, b"\0") == bytes.fromhex("7e00d201002c7e")


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=255))
def test_whatever_is_stuffed_comes_back(command: int, state: int, data: bytes) -> None:
    answers, bad = drain(bytearray(wire(command, state, data)))
    assert answers == [sps30.Answer(command, state & 0x7F, state > 0x7F, data)]
    assert bad == 0


@given(FLOATS)
def test_floats(numbers: list[float]) -> None:
    found = sps30.decode_frame(wire(sps30.READ, 0, struct.pack(">10f", *numbers)), NO_HINTS)
    assert [m.value for m in found] == pytest.approx(numbers, rel=1e-8)
    assert found[4].quantity == "particles_to_05um"


def test_integers_have_the_size_in_nm() -> None:
    found = sps30.decode_frame(wire(sps30.READ, 0, struct.pack(">10H", *range(1, 10), 731)), NO_HINTS)
    assert [m.value for m in found] == [*range(1, 10), 0.731]


def test_floats_that_are_none_are_left_out() -> None:
    data = struct.pack(">10f", *[float("nan")] * 3, *range(7))
    assert len(sps30.decode_frame(wire(sps30.READ, 0, data), NO_HINTS)) == 7


def test_nothing_new_is_no_value_and_a_refusal_is_none_either() -> None:
    assert sps30.decode_frame(wire(sps30.READ, 0, b""), NO_HINTS) == ()
    for frame in (
        wire(sps30.READ, sps30.NOT_ALLOWED, b""),
        wire(sps30.READ, 0x80, bytes(40)),
        wire(sps30.READ, 0, bytes(39)),
        wire(sps30.START, 0, b""),
    ):
        with pytest.raises(BadFrame):
            sps30.decode_frame(frame, NO_HINTS)


def test_what_failed() -> None:
    status = sps30.Answer(sps30.STATUS, 0, True, struct.pack(">IB", 1 << 4 | 1 << 5 | 1 << 21, 0))
    assert sps30.failed(status) == ["fan", "laser"]
    assert sps30.failed(sps30.Answer(sps30.STATUS, 0, True, struct.pack(">IB", 1 << 21, 0))) == []


@given(FLOATS, st.data())
def test_flipped_bits_and_cuts_are_refused(numbers: list[float], data: st.DataObject) -> None:
    frame = wire(sps30.READ, 0, struct.pack(">10f", *numbers))
    at = data.draw(st.integers(0, len(frame) - 1))
    damaged = bytearray(frame)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    for broken in (bytes(damaged), frame[:at]):
        with pytest.raises(BadFrame):
            sps30.decode_frame(broken, NO_HINTS)


@given(st.lists(st.binary(max_size=200) | st.just(b"~") | st.just(b"}"), max_size=20))
def test_noise_is_bounded_and_the_next_answer_comes_through(chunks: list[bytes]) -> None:
    good, buffer = wire(sps30.READ, 0, bytes(40)), bytearray()
    for chunk in chunks:
        buffer += chunk
        drain(buffer)
        assert len(buffer) <= 2 * 260
    answers, _ = drain(buffer + good + good)
    assert answers[-1].data == bytes(40)


def test_a_lost_opening_flag_costs_one_answer() -> None:
    good = wire(sps30.READ, 0, bytes(40))
    answers, bad = drain(bytearray(good[1:] + good + good))
    assert len(answers) >= 2 or bad


@given(st.binary(max_size=600))
def test_arbitrary_bytes(data: bytes) -> None:
    with contextlib.suppress(BadFrame):
        sps30.decode_frame(data, NO_HINTS)
    drain(bytearray(data))
