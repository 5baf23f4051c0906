"""Codecs of wired devices: right on good bytes, BadFrame and nothing else on damaged ones."""

from __future__ import annotations

import contextlib
import struct
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import template
from drivers.codecs import p1, pms, registers
from drivers.codecs.framing import BUFFER_BYTES_MAX, Decoded, Take
from drivers.errors import BadFrame

TELEGRAM = template.load("dsmr-p1-v5").frames[0].answer
DUST = template.load("plantower-pms5003").frames[0].answer
TAKES = pytest.mark.parametrize(("take", "frame"), [(p1.take, TELEGRAM), (pms.take, DUST)], ids=["p1", "pms"])


def drain(take: Take, buffer: bytearray) -> tuple[list[Decoded], int]:
    good, bad = [], 0
    while True:
        try:
            decoded = take(buffer)
        except BadFrame:
            bad += 1
            continue
        if decoded is None:
            return good, bad
        good.append(decoded)


@given(
    raw=st.integers(0, 2**64 - 1),
    kind=st.sampled_from(["u16", "i16", "u32", "i32", "u64", "i64"]),
    low_first=st.booleans(),
)
def test_integers_come_back(raw: int, kind: str, low_first: bool) -> None:
    bits = int(kind[1:])
    value = raw % 2**bits - (2 ** (bits - 1) if kind[0] == "i" else 0)
    words = value.to_bytes(bits // 8, "big", signed=kind[0] == "i")
    if low_first:
        words = b"".join(words[i : i + 2] for i in range(len(words) - 2, -1, -2))
    order = "low-first" if low_first else "high-first"
    assert registers.decode(words + b"rest", kind, order) == value
    assert registers.decode(words, kind, order, nan=(value,)) is None


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_f32_names_the_same_float(value: float) -> None:
    decoded = registers.decode(struct.pack(">f", value), "f32")
    assert decoded is not None
    assert struct.pack(">f", decoded) == struct.pack(">f", value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_f32_without_a_value(value: float) -> None:
    assert registers.decode(struct.pack(">f", value), "f32") is None


@pytest.mark.parametrize("kind", ["u16", "i32", "f32", "f64", "u64"])
def test_missing_registers_are_a_bad_frame(kind: str) -> None:
    with pytest.raises(BadFrame):
        registers.decode(b"\x01", kind)


@given(st.integers(-(10**9), 10**9), st.integers(0, 4))
def test_decimal_scales_leave_no_tail(raw: int, places: int) -> None:
    assert registers.scaled(raw, float(f"1e-{places}")) == float(f"{raw}e-{places}")


def test_other_scales_multiply() -> None:
    assert registers.scaled(3, 10) == 30
    assert registers.scaled(3, 0.3) == pytest.approx(0.9)
    assert registers.scaled(7, -0.1) == -0.7


@TAKES
@given(st.data())
def test_one_flipped_bit_is_never_a_value(take: Take, frame: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(frame) - 3))
    damaged = bytearray(frame)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    good, _ = drain(take, damaged)
    whole, _ = drain(take, bytearray(frame))
    assert not good or good == whole  # the digits of the CRC are text: "a" is "A" with another bit


@TAKES
@given(st.floats(0.01, 0.99), st.lists(st.integers(1, 300), min_size=1, max_size=8))
def test_frames_survive_any_cutting(take: Take, frame: bytes, joined_at: float, sizes: list[int]) -> None:
    """However the bytes arrive, and joined in the middle of a frame: the whole frames come out."""
    stream = frame[max(1, int(joined_at * len(frame))) :] + frame * 3
    buffer, got = bytearray(), []
    for size in cycle(sizes):
        buffer += stream[:size]
        stream = stream[size:]
        got += drain(take, buffer)[0]
        if not stream:
            break
    assert len(got) == 3


@TAKES
def test_truncated_frame_costs_itself_only(take: Take, frame: bytes) -> None:
    good, bad = drain(take, bytearray(frame + frame[:-7] + frame + frame))
    assert (len(good), bad) == (3, 1)


@TAKES
@given(st.lists(st.binary(max_size=80) | st.sampled_from([b"/", b"!", b"\n/", b"!12AF\r\n", b"BM", b"BM\0\x1c"])))
def test_noise_is_bounded_and_harmless(take: Take, frame: bytes, chunks: list[bytes]) -> None:
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        with contextlib.suppress(BadFrame):
            while take(buffer) is not None:
                pass
        assert len(buffer) <= BUFFER_BYTES_MAX + 80


@given(st.binary(max_size=200))
def test_decoders_raise_nothing_but_bad_frame(data: bytes) -> None:
    for decode in (p1.decode, pms.decode):
        with contextlib.suppress(BadFrame):
            decode(data)
