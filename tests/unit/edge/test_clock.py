"""Trust in time: who may vouch, and who may not."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import clock as module
from gateway.clock import EARLIEST_NS, FIX_LATENCY_MAX_NS, SystemClock, stamp

SECOND = 1_000_000_000


@pytest.fixture(autouse=True)
def unsynchronised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "kernel_synchronised", lambda: False)


def test_nobody_vouches() -> None:
    clock = SystemClock()
    assert clock.source == "none"
    assert clock.utc_ns(5) is None
    observed, boot = stamp(clock, 5)
    assert observed == 0
    assert boot is not None
    assert (boot.boot_id, boot.mono_ns) == (clock.boot_id, 5)


def test_configuration_vouches_but_not_for_1970(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "time_ns", lambda: 600 * SECOND)
    clock = SystemClock(configured=True)
    assert clock.source == "none"
    monkeypatch.setattr(module.time, "time_ns", lambda: EARLIEST_NS + SECOND)
    clock.refresh()
    assert clock.source == "configured"
    assert abs((clock.utc_ns(clock.mono_ns()) or 0) - EARLIEST_NS - SECOND) < SECOND


def test_kernel_flag_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "kernel_synchronised", lambda: True)
    clock = SystemClock()
    assert clock.source == "kernel"
    assert abs((clock.utc_ns(clock.mono_ns()) or 0) - time.time_ns()) < SECOND


def test_server_time_is_the_middle_of_a_short_round_trip() -> None:
    clock = SystemClock()
    server = EARLIEST_NS + 100 * SECOND
    assert not clock.learn(server, 0, 3 * SECOND)
    assert not clock.learn(EARLIEST_NS - 1, 0, SECOND)
    assert clock.learn(server, 10 * SECOND, 11 * SECOND)
    assert clock.utc_ns(10 * SECOND + SECOND // 2) == server
    assert clock.source == "server"


def test_better_sources_are_not_overruled_by_the_server() -> None:
    clock = SystemClock(configured=True)
    assert not clock.learn(EARLIEST_NS + SECOND, 0, 1)
    assert clock.source == "configured"


NOON = EARLIEST_NS + 1000 * SECOND
HALF = FIX_LATENCY_MAX_NS // 2


def fixes(clock: SystemClock, utc_ns: int, *, late_ns: tuple[int, ...], mono_ns: int = 5 * SECOND) -> list[bool]:
    """One fix a second, each heard ``late_ns`` after its instant; the clock's monotonic time is 5 s at ``utc_ns``."""
    return [
        clock.learn_fix(utc_ns + number * SECOND, mono_ns + number * SECOND + late)
        for number, late in enumerate(late_ns)
    ]


def test_fixes_that_agree_are_believed_and_the_soonest_counts() -> None:
    clock = SystemClock()
    late = (300_000_000, 450_000_000, 90_000_000, 400_000_000)
    assert fixes(clock, NOON, late_ns=late) == [False, False, True, True]
    assert clock.source == "gnss"
    error_ns = (clock.utc_ns(5 * SECOND) or 0) - NOON
    assert abs(error_ns - (HALF - 90_000_000)) < 1_000_000  # the fourth may take back what a quartz drifts in a second
    assert abs(error_ns) <= HALF


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, FIX_LATENCY_MAX_NS), min_size=3, max_size=50))
def test_error_of_gnss_time_is_bounded_and_it_never_goes_back(late: list[int]) -> None:
    clock, last = SystemClock(), 0
    for number, late_ns in enumerate(late):
        mono_ns = 5 * SECOND + number * SECOND + late_ns
        if clock.learn_fix(NOON + number * SECOND, mono_ns):
            told = clock.utc_ns(5 * SECOND + number * SECOND) or 0
            assert abs(told - NOON - number * SECOND) <= HALF + len(late) * SECOND // 10_000
            assert told > last
            last = told
    assert last


def test_one_fix_that_is_off_changes_nothing_and_a_row_of_them_does() -> None:
    clock = SystemClock()
    fixes(clock, NOON, late_ns=(0, 0, 0))
    before = clock.utc_ns(0)
    clock.learn_fix(NOON + (4 + 18) * SECOND, 9 * SECOND)
    assert clock.utc_ns(0) == before
    fixes(clock, NOON + 60 * SECOND, late_ns=(0,) * 6, mono_ns=(65 - 18) * SECOND)
    assert abs((clock.utc_ns(0) or 0) - (before or 0) - 18 * SECOND) < SECOND // 100


def test_a_receiver_whose_week_rolled_over_is_not_believed() -> None:
    clock = SystemClock()
    assert not any(fixes(clock, NOON - 1024 * 7 * 86_400 * SECOND, late_ns=(0,) * 5))
    assert clock.source == "none"


def test_a_synchronised_or_configured_clock_is_not_touched_by_fixes(monkeypatch: pytest.MonkeyPatch) -> None:
    configured = SystemClock(configured=True)
    monkeypatch.setattr(module, "kernel_synchronised", lambda: True)
    for clock in (configured, SystemClock()):
        before = clock.source, clock.utc_ns(0)
        assert not any(fixes(clock, time.time_ns() - 60 * SECOND, late_ns=(0,) * 5, mono_ns=time.monotonic_ns()))
        assert (clock.source, clock.utc_ns(0)) == before


def test_the_kernel_takes_over_from_a_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    fixes(clock, NOON, late_ns=(0, 0, 0))
    monkeypatch.setattr(module, "kernel_synchronised", lambda: True)
    clock.refresh()
    assert clock.source == "kernel"


def test_receiver_and_server_agree_or_the_server_stands() -> None:
    clock = SystemClock()
    assert clock.learn(NOON, 5 * SECOND, 5 * SECOND)
    assert not any(fixes(clock, NOON + 3600 * SECOND, late_ns=(0,) * 4))
    assert clock.source == "server"
    assert fixes(clock, NOON + SECOND, late_ns=(0,) * 7)[-1]
    assert clock.source == "gnss"
    assert not clock.learn(NOON + SECOND, 5 * SECOND, 5 * SECOND)
    assert clock.source == "gnss"
    assert clock.learn(NOON + 60 * SECOND, 5 * SECOND, 5 * SECOND)
    assert clock.source == "server"
