"""Air and bicycle as functions of time and seed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.world import WHEEL_M, World

seeds = st.integers(0, 10_000)


@given(seeds)
def test_a_school_day_of_air(seed: int) -> None:
    world = World(seed=seed, start_s=0.0)
    day = [world.co2(t) for t in range(0, 86_400, 300)]
    assert 405 < min(day) < 430
    assert 1200 < max(day) < 2000
    assert world.co2(11 * 3600) > world.co2(3 * 3600) + 200
    assert max(abs(b - a) for a, b in pairwise(day)) < 700
    weekend = [world.co2(5 * 86_400 + t) for t in range(0, 86_400, 900)]
    assert max(weekend) < 460


@given(seeds, st.floats(0, 10 * 86_400))
def test_air_stays_plausible(seed: int, t: float) -> None:
    world = World(seed=seed)
    pm1, pm25, pm10 = world.pm(t)
    assert 0 < pm1 < pm25 <= pm10 < 60
    for place in ("classroom", "corridor"):
        assert 14 < world.temperature(t, place) < 26  # type: ignore[arg-type]
        assert 30 < world.humidity(t, place) < 70  # type: ignore[arg-type]
    assert 990 < world.pressure(t) < 1030
    assert world.co2(t) == World(seed=seed).co2(t)


def test_the_day_runs_faster_the_bicycle_does_not() -> None:
    true, fast = World(seed=1), World(seed=1, speed=60)
    assert fast.co2(30) == pytest.approx(true.co2(1800))
    assert fast.bicycle(77.7) == true.bicycle(77.7)


@given(seeds, st.floats(0, 20_000), st.floats(0.05, 30))
def test_wheel_and_crank_only_go_forward(seed: int, t: float, dt: float) -> None:
    world = World(seed=seed)
    before, after = world.bicycle(t), world.bicycle(t + dt)
    turns = after.wheel_revs - before.wheel_revs
    assert 0 <= turns <= 12 * dt / WHEEL_M + 1
    assert 0 <= after.crank_revs - before.crank_revs <= (turns + 1) / 2.6 + 1  # whole turns of both
    # a new event has a new time, no event keeps the old one
    assert (turns > 0) == (after.wheel_event_1024 != before.wheel_event_1024)


@given(seeds, st.floats(60, 20_000))
def test_event_times_give_the_speed(seed: int, t: float) -> None:
    world = World(seed=seed)
    a, b = world.bicycle(t), world.bicycle(t + 2)
    if min(a.speed_kmh, b.speed_kmh) < 8:
        return
    seconds = (b.wheel_event_1024 - a.wheel_event_1024) % 2**16 / 1024
    speed = (b.wheel_revs - a.wheel_revs) * WHEEL_M / seconds * 3.6
    assert speed == pytest.approx((a.speed_kmh + b.speed_kmh) / 2, abs=4)
    assert 8 <= b.speed_kmh < 35


def test_another_process_sees_the_same_world(tmp_path: Path) -> None:
    world = World(seed=7, speed=12.5, start_s=30_000.0, origin_s=123.25)
    world.save(tmp_path)
    assert World.load(tmp_path) == world
    (tmp_path / "world.json").write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        World.load(tmp_path)
