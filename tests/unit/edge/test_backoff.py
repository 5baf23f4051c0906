"""When a device counts as down and when it is tried again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadFrame, Disconnected, DriverError, NoPermission, NoPort, Timeout
from gateway.edge.backoff import delay_s, is_down

ERRORS = st.sampled_from([Timeout(), BadFrame(), Disconnected(), NoPort(), NoPermission()])


def test_one_damaged_frame_is_no_outage() -> None:
    assert not is_down(BadFrame(), 1, polled=True)
    assert is_down(BadFrame(), 3, polled=True)
    assert is_down(NoPort(), 1, polled=True)
    assert is_down(Timeout(), 1, polled=False)


def test_silent_unit_is_asked_at_most_once_in_half_a_minute_in_the_end() -> None:
    assert delay_s(Timeout(), 50, True, 0.0) == 30.0
    assert delay_s(Timeout(), 50, True, 1.0) == 60.0


def test_missing_port_is_looked_for_every_few_seconds() -> None:
    assert delay_s(NoPort(), 50, True, 1.0) == 5.0


def test_a_listener_goes_on_listening() -> None:
    assert delay_s(Timeout(), 10, False, 1.0) == 0.0


@given(ERRORS, st.integers(1, 10_000), st.booleans(), st.floats(0, 1))
def test_delay_is_bounded(error: DriverError, failures: int, polled: bool, jitter: float) -> None:
    assert 0.0 <= delay_s(error, failures, polled, jitter) <= 60.0
