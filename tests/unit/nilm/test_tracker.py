"""The tracker: what it must do on a clear day, and what must hold on any."""

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from nilm_houses import house

from gateway.pipeline.nilm.learn import learn
from gateway.pipeline.nilm.model import Model
from gateway.pipeline.nilm.result import ApplianceResult
from gateway.pipeline.nilm.tracker import Tracker

SECOND = 1_000_000_000


def make() -> Model:
    series, mains = house(1)
    return learn(series, mains, 1.0, "a synthetic house, seed 1")


MODEL = make()


def follow(power: list[float], tracker: Tracker | None = None) -> list[ApplianceResult]:
    tracker = tracker or Tracker(MODEL)
    results = [tracker.step((index + 1) * SECOND, value) for index, value in enumerate(power)]
    return [result for result in results if result is not None]


def watts(results: list[ApplianceResult], name: str) -> list[float]:
    return [part.power_w for result in results for part in result.parts if part.name == name]


def check_sum(result: ApplianceResult) -> None:
    parts = sum(part.power_w for part in result.parts)
    assert abs(parts + result.other_w - result.mains_w) <= 0.01 * max(1.0, abs(result.mains_w))
    assert parts <= max(result.mains_w, 0.0) * 1.0001 + 1e-9
    for part in result.parts:
        assert math.isfinite(part.power_w)
        assert part.power_w >= 0
        assert math.isfinite(part.energy_kwh)
        assert 0 <= part.confidence <= 1


def test_a_kettle_is_seen_within_three_samples_and_counted() -> None:
    results = follow([120.0] * 50 + [2120.0] * 90 + [120.0] * 50)
    kettle = watts(results, "kettle")
    assert kettle[49] == 0
    assert kettle[53] == pytest.approx(2000, rel=0.05)
    assert kettle[143:] == [0.0] * len(kettle[143:])
    events = [event for result in results for event in result.events]
    assert [(event.name, event.kind) for event in events] == [("kettle", "start"), ("kettle", "end")]
    assert events[1].duration_s == pytest.approx(90, abs=3)
    assert events[1].energy_kwh == pytest.approx(2000 * 90 / 3.6e6, rel=0.05)
    assert results[-1].parts[1].energy_kwh == pytest.approx(2000 * 90 / 3.6e6, rel=0.05)
    for result in results:
        check_sum(result)


def test_two_loads_at_the_same_instant() -> None:
    """With a kettle whose edge is known to 8 W, 2090 W can only be kettle and fridge together."""
    fridge, kettle, _ = MODEL.loads
    arcs = tuple(replace(arc, spread_w=8.0) for arc in kettle.transitions)
    tracker = Tracker(replace(MODEL, loads=(fridge, replace(kettle, transitions=arcs))))
    results = follow([120.0] * 300 + [2210.0] * 80 + [210.0] * 60, tracker)
    assert watts(results, "kettle")[350] == pytest.approx(2000, rel=0.05)
    assert watts(results, "fridge")[350] == pytest.approx(90, rel=0.1)
    assert watts(results, "kettle")[-1] == 0
    assert watts(results, "fridge")[-1] == pytest.approx(90, rel=0.1)


def test_what_nobody_explains_is_other() -> None:
    results = follow([120.0] * 50 + [820.0] * 90)
    assert results[-1].other_w == pytest.approx(820, abs=1)


def test_another_day_of_the_house_is_better_than_zero_and_mean() -> None:
    truth, mains = house(2)
    results = follow(mains.tolist())
    wrong = sum(float(np.abs(np.array(watts(results, name)) - own).sum()) for name, own in truth.items())
    assert 1 - wrong / (2 * sum(own.sum() for own in truth.values())) > 0.85


def test_a_load_is_never_on_for_longer_than_its_longest() -> None:
    results = follow([120.0] * 50 + [2120.0] * 1500)
    longest = MODEL.loads[1].longest_run
    assert sum(part.on for result in results for part in result.parts if part.name == "kettle") <= longest
    assert results[-1].other_w == pytest.approx(2120, abs=1)


def test_a_missed_fall_is_repaired_by_the_level() -> None:
    slow = [2120.0 - 8 * k for k in range(250)]  # drifts down without an edge
    results = follow([120.0] * 50 + [2120.0] * 20 + slow + [120.0] * 20)
    assert watts(results, "kettle")[-1] == 0


def test_a_gap_ends_the_belief_and_its_energy_is_not_counted() -> None:
    tracker = Tracker(MODEL)
    before = follow([120.0] * 50 + [2120.0] * 20, tracker)[-1]
    after = tracker.step(4000 * SECOND, 120.0)
    assert after is not None
    assert not any(part.on for part in after.parts)
    assert [event.kind for event in after.events] == ["end"]
    assert after.parts[1].energy_kwh == before.parts[1].energy_kwh
    assert tracker.resets == 2


def test_a_missed_sample_is_no_gap() -> None:
    tracker = Tracker(MODEL)
    follow([120.0] * 50 + [2120.0] * 20, tracker)
    result = tracker.step(73 * SECOND, 2120.0)
    assert result is not None
    assert result.parts[1].on
    assert tracker.samples == 73


@pytest.mark.parametrize("power", [math.nan, math.inf, -math.inf, 1e9])
def test_what_is_no_power_is_passed_over(power: float) -> None:
    tracker = Tracker(MODEL)
    follow([120.0] * 50, tracker)
    assert tracker.step(51 * SECOND, power) is None
    assert tracker.ignored == 1


def test_time_that_does_not_go_on_is_passed_over() -> None:
    tracker = Tracker(MODEL)
    follow([120.0] * 5, tracker)
    assert tracker.step(5 * SECOND, 120.0) is None
    assert tracker.step(1 * SECOND, 120.0) is None


def test_feed_in_leaves_nothing_to_the_parts() -> None:
    results = follow([120.0] * 50 + [2120.0] * 20 + [-500.0] * 10)
    assert results[-1].other_w == -500
    assert all(part.power_w == 0 for part in results[-1].parts)


def test_energies_go_on_from_where_they_were() -> None:
    tracker = Tracker(MODEL, {"kettle": 12.5, "unheard_of": 1.0})
    results = follow([120.0] * 3, tracker)
    assert results[-1].parts[1].energy_kwh == 12.5


steps = st.sampled_from([0.0, 90.0, 110.0, 200.0, 2000.0, 2300.0, 2090.0, 700.0])
signal = st.lists(st.tuples(st.one_of(steps, st.floats(-300, 9000)), st.integers(1, 12)), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None)
@given(signal, st.integers(1, 6), st.integers(0, 1000))
def test_invariants_on_any_signal(stretches: list[tuple[float, int]], jump: int, seed: int) -> None:
    rng = random.Random(seed)
    tracker, now = Tracker(MODEL), 0
    results = []
    for level, length in stretches:
        for _ in range(length):
            now += SECOND * (jump if rng.random() < 0.05 else 1)
            result = tracker.step(now, level + rng.gauss(0, 3))
            assert result is not None
            results.append(result)
    for result in results:
        check_sum(result)
    for before, after in pairwise(results):
        assert all(b.energy_kwh <= a.energy_kwh for b, a in zip(before.parts, after.parts, strict=True))
        changed = {a.name for b, a in zip(before.parts, after.parts, strict=True) if a.on != b.on}
        assert changed == {event.name for event in after.events}


@pytest.mark.slow
def test_the_belief_neither_grows_nor_drifts() -> None:
    _, mains = house(3, 60_000)
    tracker = Tracker(MODEL)
    for result in follow(mains.tolist(), tracker):
        check_sum(result)
