"""Sizes and pauses of the uplink: pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.uplink.pace import EXCHANGE_S, SIZE_MIN, next_size, rest_s


@pytest.mark.parametrize(("rate", "floor_s"), [(100, 0.1), (2_000, 0.02), (10_000, 0.7), (50_000, 0.001)])
def test_batches_come_to_take_about_half_a_second(rate: int, floor_s: float) -> None:
    size = 500
    for _ in range(12):
        size = next_size(size, size, floor_s + size / rate, floor_s, 10_000)
    spent = floor_s + size / rate
    assert size in (SIZE_MIN, 10_000) or spent == pytest.approx(max(EXCHANGE_S, floor_s + EXCHANGE_S / 2), rel=0.1)


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.floats(0, 100), st.floats(0, 1), st.integers(1, 10_000))
def test_a_size_is_always_usable(size: int, readings: int, spent_s: float, floor_s: float, most: int) -> None:
    found = next_size(min(size, most), readings, spent_s, floor_s, most)
    assert 1 <= found <= most
    assert found <= max(2 * size, SIZE_MIN)


def test_a_short_batch_says_nothing_of_long_ones() -> None:
    assert next_size(1000, 10, 0.001, 0.001, 2000) == 1000
    assert next_size(1000, 10, 3.0, 0.001, 2000) == 500, "but a slow one does"


@given(st.floats(0.001, 60), st.floats(0.05, 1))
def test_the_backlog_has_its_share_of_the_time(spent_s: float, share: float) -> None:
    assert spent_s / (spent_s + rest_s(spent_s, share)) == pytest.approx(share)
