"""Trust in time: who may vouch, and who may not."""

from __future__ import annotations

import time

import pytest

from gateway import clock as module
from gateway.clock import EARLIEST_NS, SystemClock, stamp

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
