"""Bytes against the budget of the month, the schedule, and the pace that follows from them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.uplink.link_budget import Sample, Usage, is_open, load, month_of, sample, save
from gateway.uplink.link_pace import ALARMS_SHARE, PROBE_BYTES, Budget, Pace, pace

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
DAY = 86_400.0


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def counted(*samples: Sample) -> int:
    usage = Usage()
    for one in samples:
        usage = usage.count(one)
    return usage.used


@pytest.mark.parametrize(
    ("samples", "used"),
    [
        ([Sample("b", 3, 5000, 500)], 0),  # what was before the first look is nobody's
        ([Sample("b", 3, 5000, 500), Sample("b", 3, 5100, 520)], 120),
        ([Sample("b", 3, 5000, 500), Sample("b", 4, 30, 7)], 37),  # plugged in again
        ([Sample("b", 3, 5000, 500), Sample("c", 3, 6000, 900)], 6900),  # another boot: all of it is new
        ([Sample("b", 3, 2**32 - 10, 500), Sample("b", 3, 5, 500)], 15),  # wrapped
        ([Sample("b", 3, 2**33, 500), Sample("b", 3, 5, 500)], 5),  # too large to wrap: begun again
        ([Sample("b", 3, 5000, 500), Sample("b", 3, 5, 5)], 10),
    ],
)
def test_counters(samples: list[Sample], used: int) -> None:
    assert counted(*samples) == used


@given(st.lists(st.integers(0, 2**30), min_size=1, max_size=30))
def test_nothing_is_lost_where_counters_wrap(steps: list[int]) -> None:
    total, samples = 0, [Sample("b", 1, 0, 0)]
    for step in steps:
        total += step
        samples.append(Sample("b", 1, total % 2**32, 0))
    assert counted(*samples) == total


@pytest.mark.parametrize(
    ("now", "day", "begin", "end"),
    [
        ("2026-11-22T12:00", 1, "2026-11-01T00:00+01:00", "2026-12-01T00:00+01:00"),
        ("2026-11-22T12:00", 25, "2026-10-25T00:00+02:00", "2026-11-25T00:00+01:00"),
        ("2026-10-31T22:59", 1, "2026-10-01T00:00+02:00", "2026-11-01T00:00+01:00"),
        ("2026-10-31T23:00", 1, "2026-11-01T00:00+01:00", "2026-12-01T00:00+01:00"),  # midnight there
        ("2027-01-01T12:00", 28, "2026-12-28T00:00+01:00", "2027-01-28T00:00+01:00"),
    ],
)
def test_months(now: str, day: int, begin: str, end: str) -> None:
    assert [moment.isoformat(timespec="minutes") for moment in month_of(ns(now), day, COPENHAGEN)] == [begin, end]


@given(st.integers(ns("2024-01-01"), ns("2040-01-01")), st.integers(1, 28))
def test_every_instant_is_in_its_month(now: int, day: int) -> None:
    begin, end = month_of(now, day, COPENHAGEN)
    assert begin.timestamp() <= now / 1e9 < end.timestamp()
    assert begin.day == end.day == day
    assert 27 * DAY < end.timestamp() - begin.timestamp() < 32 * DAY


def test_a_new_month_begins_with_what_was_counted_before_the_time_was_known() -> None:
    usage = Usage("2026-10-01", 900, 0, Sample("b", 1, 0, 0))
    usage = usage.count(Sample("b", 1, 50, 0))
    assert usage.date("2026-10-01").used == 950
    new = usage.date("2026-11-01")
    assert (new.used, new.undated) == (50, 0)
    assert new.date("2026-12-01").used == 0
    assert Usage(used=7, undated=7).date("2026-11-01").used == 7


@pytest.mark.parametrize(
    ("hours", "now", "open_"),
    [
        ([], "2026-11-22T12:00", True),
        (["22:00-06:00"], "2026-11-22T20:59", False),
        (["22:00-06:00"], "2026-11-22T21:00", True),  # 22:00 there
        (["22:00-06:00"], "2026-11-22T04:59", True),
        (["22:00-06:00"], "2026-11-22T05:00", False),
        (["01:00-02:00", "12:00-14:00"], "2026-11-22T12:30", True),
        (["01:00-02:00", "12:00-14:00"], "2026-11-22T13:00", False),
    ],
)
def test_hours(hours: list[str], now: str, open_: bool) -> None:
    assert is_open(hours, ns(now), COPENHAGEN) is open_


def test_hours_do_not_keep_a_box_from_learning_the_time() -> None:
    assert is_open(["22:00-06:00"], None, COPENHAGEN)


def test_usage_is_saved_and_nonsense_refused() -> None:
    usages = {"gsm": Usage("2026-11-01", 12, 3, Sample("b", 1, 2, 3)), "wifi": Usage()}
    assert load(save(usages)) == usages
    for nonsense in ([], {"a": 1}, {"a": {}}, {"a": {"month": "", "used": "x", "undated": 0, "last": None}}):
        with pytest.raises(ValueError):
            load(nonsense)


def test_the_kernels_counters(tmp_path: Path) -> None:
    (tmp_path / "wwan0" / "statistics").mkdir(parents=True)
    (tmp_path / "wwan0" / "ifindex").write_text("7\n")
    (tmp_path / "wwan0" / "statistics" / "rx_bytes").write_text("1000\n")
    (tmp_path / "wwan0" / "statistics" / "tx_bytes").write_text("100\n")
    assert sample("wwan0", "b", tmp_path) == Sample("b", 7, 1000, 100)
    assert sample("wwan1", "b", tmp_path) is None
    here = sample("lo", "b")
    assert here is not None
    assert here.index == 1


def test_pace_of_a_free_link_is_as_configured() -> None:
    assert pace(False, None, 10.0, 2000) == Pace(10.0, 2000)


def test_pace_on_plan_and_beyond() -> None:
    plan = pace(True, Budget(500_000_000, 250_000_000, 15 * DAY, 30 * DAY), 10.0, 2000)
    assert (plan.interval_s, plan.thin, plan.holds, plan.backlog_share) == (60.0, 1, False, 0.25)
    fast = pace(True, Budget(500_000_000, 400_000_000, 24 * DAY, 30 * DAY), 10.0, 2000)  # a quarter of the plan
    assert (fast.interval_s, fast.thin, fast.holds) == (240.0, 2, True)
    ahead = pace(True, Budget(500_000_000, 170_000_000, 29 * DAY, 30 * DAY), 10.0, 2000)
    assert (ahead.thin, ahead.holds) == (1, True), "what waited is held before anything is thinned"
    assert pace(True, None, 300.0, 2000).interval_s == 300.0


BUDGETS = st.builds(
    Budget, st.integers(1, 10**12), st.integers(0, 2 * 10**12), st.floats(1, 31 * DAY), st.just(31 * DAY)
)


@given(BUDGETS, st.floats(1, 7200), st.integers(1, 10_000))
def test_pace_is_bounded_and_never_faster_than_configured(budget: Budget, interval_s: float, batch_max: int) -> None:
    found = pace(True, budget, interval_s, batch_max)
    assert max(interval_s, 60.0) <= found.interval_s <= max(interval_s, 900.0)
    assert found.batch_max >= batch_max
    assert 0 < found.backlog_share <= 0.25
    assert 1 <= found.thin <= 60
    assert 300 <= found.probe_s <= 21_600
    if found.probe_s not in (300, 21_600):  # probes of the rest of the month take one part in a hundred of what is left
        assert budget.left_s / found.probe_s * PROBE_BYTES <= 0.0101 * budget.left
    assert budget.exhausted == (budget.left <= ALARMS_SHARE * budget.limit)


@given(BUDGETS, st.integers(1, 10**11))
def test_more_used_is_never_faster(budget: Budget, more: int) -> None:
    worse = Budget(budget.limit, budget.used + more, budget.left_s, budget.month_s)
    a, b = (pace(True, one, 10.0, 2000) for one in (budget, worse))
    assert a.interval_s <= b.interval_s and a.thin <= b.thin and a.holds <= b.holds and a.probe_s <= b.probe_s
    assert a.backlog_share >= b.backlog_share
