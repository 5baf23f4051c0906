"""The edge detector on hand-made signals."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pipeline.nilm.edges import EdgeSettings, detect, new_detector, reset

SETTINGS = EdgeSettings(threshold_w=12.0, noise_factor=4.0, ramp_max=5, settle=2)


def edges(power: list[float], settings: EdgeSettings = SETTINGS) -> list[tuple[int, float]]:
    detector = new_detector()
    found = [(index, detect(value, settings, detector)) for index, value in enumerate(power)]
    return [(index, round(size, 3)) for index, size in found if size]


def test_a_step_is_one_edge_when_it_has_settled() -> None:
    assert edges([100.0] * 10 + [1100.0] * 10 + [100.0] * 10) == [(11, 1000.0), (21, -1000.0)]


def test_a_ramp_over_several_samples_is_one_edge_at_its_end() -> None:
    assert edges([50.0] * 10 + [300.0, 700.0, 1050.0, 1050.0] + [1050.0] * 10) == [(13, 1000.0)]


def test_a_ramp_that_does_not_end_is_cut_at_the_longest() -> None:
    found = edges([50.0] * 10 + [50.0 + 200 * k for k in range(1, 11)] + [2050.0] * 10)
    assert sum(size for _, size in found) == pytest.approx(2000)
    assert len(found) == 2


def test_a_spike_is_no_edge() -> None:
    assert edges([100.0] * 10 + [900.0] + [100.0] * 10) == []


def test_a_start_up_spike_leaves_the_edge_to_the_settled_level() -> None:
    assert edges([100.0] * 10 + [720.0, 240.0] + [190.0] * 10) == [(13, 90.0)]


def test_slow_drift_is_no_edge() -> None:
    assert edges([100.0 + 0.5 * k for k in range(400)]) == []


def test_noise_raises_the_threshold() -> None:
    rng = random.Random(1)
    noisy = [500.0 + rng.gauss(0, 6) for _ in range(3000)]
    deaf = EdgeSettings(threshold_w=12.0, noise_factor=0.0, ramp_max=5, settle=2)
    assert len(edges(noisy)) < 30 < len(edges(noisy, deaf))
    assert [round(size, -2) for _, size in edges([*noisy[:500], *(v + 800 for v in noisy[:100])]) if size > 100] == [
        800
    ]


def test_after_a_reset_the_new_level_is_no_edge() -> None:
    detector = new_detector()
    for value in [100.0] * 10 + [900.0]:
        detect(value, SETTINGS, detector)
    reset(detector)
    assert [detect(2000.0, SETTINGS, detector) for _ in range(5)] == [0.0] * 5
    detect(100.0, SETTINGS, detector)
    assert detect(100.0, SETTINGS, detector) == -1900.0


@given(st.lists(st.floats(0, 1e5, allow_nan=False), min_size=1, max_size=60), st.floats(0, 1e5))
def test_edges_and_drift_account_for_the_whole_change(power: list[float], last: float) -> None:
    """The settled level is the first one plus all edges plus what it drifted within thresholds."""
    detector = new_detector()
    total = 0.0
    for value in [*power, *[last] * 80]:
        total += detect(value, SETTINGS, detector)
    threshold = max(12.0, 4.0 * 60.0)
    drift = abs(power[0] + total - last)
    assert drift <= threshold * (len(power) + 81)
    assert abs(detector.f[0] - last) <= threshold
