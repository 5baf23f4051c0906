"""Layer (a): runs without training, bounded whatever comes, and what it has found outlives a restart."""

import math
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.pipeline.nilm import events, onsite
from gateway.pipeline.nilm.events import EventTracker
from gateway.pipeline.nilm.result import ApplianceResult, ModelError

SECOND = 1_000_000_000


def follow(tracker: EventTracker, power: list[float], begin: int = 1) -> list[ApplianceResult]:
    results = [tracker.step((begin + index) * SECOND, watts) for index, watts in enumerate(power)]
    return [result for result in results if result is not None]


def day(runs: int = 6) -> list[float]:
    """A kettle, then a pump with a start-up spike and the same steady power as a lamp that has none."""
    rng = random.Random(3)
    power: list[float] = []
    for _ in range(runs):
        power += [100.0] * 40 + [2100.0] * 90 + [100.0] * 50
        power += [300.0, 100.0 + 80] + [180.0] * 300 + [100.0] * 60
        power += [180.0] * 300 + [100.0] * 60
    return [watts + rng.gauss(0, 1) for watts in power]


def test_alike_runs_are_one_load_and_a_spike_tells_two_apart() -> None:
    tracker = EventTracker(1.0)
    results = follow(tracker, day())
    sizes = sorted(round(one.mean.size_w, -1) for one in tracker.clusters if one.number)
    assert sizes == [80, 80, 2000]
    ends = [event for result in results for event in result.events]
    kettle = next(one for one in tracker.clusters if one.mean.size_w > 1000)
    mine = [event for event in ends if event.name == f"load_{kettle.number}"]
    assert len(mine) == 6 - events.SEEN_MIN + 1
    assert all(event.duration_s == pytest.approx(90, abs=4) for event in mine)
    assert mine[-1].energy_kwh == pytest.approx(2000 * 90 / 3.6e6, rel=0.05)


def test_reactive_power_tells_two_apart() -> None:
    tracker = EventTracker(1.0)
    at = 0
    for kind in (0, 1) * 5:
        for watts, reactive in [(100.0, 0.0)] * 60 + [(400.0, 200.0 * kind)] * 120 + [(100.0, 0.0)] * 60:
            at += 1
            tracker.step(at * SECOND, watts, reactive)
    assert sorted(round(one.mean.reactive_var) for one in tracker.clusters if one.number) == [0, 200]


def test_a_restart_goes_on_with_the_same_loads() -> None:
    before = EventTracker(1.0)
    follow(before, day())
    kept = msgspec.json.decode(msgspec.json.encode(before.state()))
    after = EventTracker(1.0, kept)
    assert after.names == before.names
    follow(after, day(1), 10_000)
    assert after.names == before.names
    assert sum(after.energy_kwh) > sum(before.energy_kwh)


def test_found_loads_get_names_and_lessons_take_their_place() -> None:
    found = onsite.renamed(onsite.untrained(1.0), "load_1", "kettle")
    assert onsite.renamed(found, "kettle", "boiler").found == {"load_1": "boiler"}
    for old, new in (("fridge", "cold"), ("load_2", "load_3"), ("load_2", "kettle"), ("load_2", "other")):
        with pytest.raises(ModelError):
            onsite.renamed(found, old, new)
    taught = onsite.with_load(found, onsite.load_from("kettle", [2000.0], [-1990.0], 1.0), 1.0, 100.0, "")
    assert (taught.names, taught.found) == (["kettle"], None)


@pytest.mark.parametrize("kept", [None, 5, [], [{}], [{"mean": [1]}], {"a": 1}, [[1, 2]], [{"mean": ["x", 0, 0]}]])
def test_what_is_no_state_is_as_none(kept: object) -> None:
    assert EventTracker(1.0, kept).names == []


@given(
    st.lists(st.one_of(st.floats(-1e5, 1e5), st.sampled_from([math.nan, math.inf, 0.0, 50.0, 2000.0])), max_size=150)
)
@settings(max_examples=50, deadline=None)
def test_whatever_comes_the_parts_sum_to_the_mains(power: list[float]) -> None:
    tracker = EventTracker(1.0)
    for result in follow(tracker, power * 3):
        parts = sum(part.power_w for part in result.parts)
        assert parts + result.other_w == pytest.approx(result.mains_w)
        assert parts <= max(result.mains_w, 0.0) + 1e-6


def test_memory_is_bounded() -> None:
    tracker, rng, power = EventTracker(1.0), random.Random(1), []
    for _ in range(1200):
        power += [100.0] * rng.randint(3, 6) + [100.0 + rng.uniform(20, 6000)] * rng.randint(3, 9)
    follow(tracker, power)
    assert len(tracker.clusters) <= events.CLUSTERS_MAX
    assert len(tracker._open) <= events.OPEN_MAX
    assert len(tracker.names) <= events.CLUSTERS_MAX
