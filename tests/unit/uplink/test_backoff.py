from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.uplink.backoff import CAP_S, RETRY_AFTER_MAX_S, delay_s, pause_s, retry_after_s

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@given(st.integers(1, 10**6), st.booleans(), st.floats(0, 1))
def test_delays_are_bounded_and_spread(failures: int, human: bool, jitter: float) -> None:
    delay = delay_s(failures, metered=False, human=human, jitter=jitter)
    full = delay_s(failures, metered=False, human=human, jitter=1)
    assert full / 2 <= delay <= full <= (60 if human else CAP_S)


def test_they_double() -> None:
    delays = [delay_s(n, metered=False, human=False, jitter=1) for n in range(1, 6)]
    assert delays == [0.25, 0.5, 1.0, 1.5, 1.5]
    assert delay_s(50, metered=True, human=False, jitter=1) == 60


@given(st.floats(0, 100), st.floats(0, 100), st.none() | st.floats(0, 300))
def test_never_earlier_than_asked(delay: float, spent: float, asked: float | None) -> None:
    assert pause_s(delay, spent, asked) >= max(asked or 0, delay - spent)


@pytest.mark.parametrize(
    ("value", "date", "expected"),
    [
        (None, None, None),
        ("7", None, 7.0),
        (" 0 ", None, 0.0),
        ("999999999999999999999", None, RETRY_AFTER_MAX_S),
        ("-5", None, None),
        ("soon", None, None),
        ("\u0663", None, None),
        ("Sun, 01 Mar 2026 12:00:09 GMT", None, 9.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", None, 0.0),
        ("Tue, 01 Mar 2033 12:00:00 GMT", None, RETRY_AFTER_MAX_S),
        ("Thu, 01 Jan 1970 00:00:20 GMT", "Thu, 01 Jan 1970 00:00:05 GMT", 15.0),
        ("Sun, 01 Mar 2026 12:00:09 -0000", None, 9.0),
        ("Sun, 99 Mar 2026 12:00:09 GMT", None, None),
    ],
)
def test_retry_after(value: str | None, date: str | None, expected: float | None) -> None:
    assert retry_after_s(value, date, NOW) == expected


@given(st.text(), st.text())
def test_retry_after_survives_anything(value: str, date: str) -> None:
    asked = retry_after_s(value, date, NOW)
    assert asked is None or 0 <= asked <= RETRY_AFTER_MAX_S
