from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.compact.bits import BitReader, BitWriter, folded, unfolded
from gateway.compact.errors import CompactError

SMALL = st.integers(0, 9)
NUMBERS = st.lists(SMALL | st.integers(0, 2000) | st.integers(0, 2**68), max_size=40) | st.lists(
    st.sampled_from([0] * 12 + [1, 7, 2**40]), max_size=300
)


@given(st.lists(NUMBERS, max_size=6))
def test_lists_come_out_as_they_went_in(lists: list[list[int]]) -> None:
    writer = BitWriter()
    for numbers in lists:
        writer.put_list(numbers)
    reader = BitReader(writer.to_bytes())
    assert [reader.take_list(len(numbers)) for numbers in lists] == lists
    reader.end()


@given(st.lists(st.integers(1, 70).flatmap(lambda width: st.tuples(st.just(width), st.integers(0, 2**width - 1)))))
def test_numbers_come_out_as_they_went_in(pairs: list[tuple[int, int]]) -> None:
    writer = BitWriter()
    for width, number in pairs:
        writer.put(width, number)
    data = writer.to_bytes()
    assert len(data) == -(-sum(width for width, _ in pairs) // 8)
    reader = BitReader(data)
    assert [reader.take(width) for width, _ in pairs] == [number for _, number in pairs]
    reader.end()


@given(st.lists(st.integers(-(2**70), 2**70)))
def test_folding(numbers: list[int]) -> None:
    assert unfolded(folded(numbers)) == numbers
    assert all(number >= 0 for number in folded(numbers))


@given(st.binary(max_size=60), st.integers(0, 100))
def test_rubbish_is_an_error_and_nothing_else(data: bytes, count: int) -> None:
    reader = BitReader(data)
    with contextlib.suppress(CompactError):
        while True:
            assert len(reader.take_list(count)) == count


def test_what_is_left_over_is_found() -> None:
    for data in (b"\x01", b"\x00\x00"):
        with pytest.raises(CompactError):
            BitReader(data).end()


def test_short() -> None:
    """Noise of sigma 100 has an entropy of log2(100 sqrt(2 pi e)) = 8.7 bits; nothing but zeros costs 6 bits."""
    state, noise = 1, []
    for _ in range(2000):
        total = 0
        for _ in range(12):  # the sum of twelve uniform numbers is normal enough
            state = (state * 1103515245 + 12345) % 2**31
            total += state * 1000 >> 31
        noise.append((total - 6000) // 10)
    writer = BitWriter()
    writer.put_list(folded(noise))
    assert len(writer.to_bytes()) * 8 / len(noise) < 8.7 * 1.06
    writer = BitWriter()
    writer.put_list([0] * 20_000)
    assert len(writer.to_bytes()) == 1
    writer = BitWriter()
    writer.put_list([0] * 599 + [1])
    assert len(writer.to_bytes()) <= 7


def test_lists_within_lists_come_to_an_end() -> None:
    """Few numbers among zeros are lists themselves; each must be much shorter than the one it is for."""
    text = "".join("111111" + format(count, "016b") for count in range(19_999, 1, -1))
    text += "0" * (-len(text) % 8)
    data = int(text, 2).to_bytes(len(text) // 8, "big")
    with pytest.raises(CompactError):
        BitReader(data).take_list(20_000)
