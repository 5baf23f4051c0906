"""The newest readings, and those who watch."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from drivers.base import Position, Reading
from gateway.edge.latest import BACKLOG_MAX, WATCHERS_MAX, Latest, as_json
from gateway.errors import ControlError


def reading(device: str, value: float, quantity: str = "co2") -> Reading:
    return Reading(device, quantity, value, "ppm", 1)


def test_newest_wins_and_a_removed_device_is_forgotten_with_its_appliances() -> None:
    latest = Latest()
    latest.put([reading("a", 1), reading("a/kettle", 2)], 1)
    latest.put([reading("a", 3), reading("b", 4)], 2)
    assert [(r.value, at) for r, at in latest.items("a")] == [(3, 2)]
    latest.forget("a")
    assert [r.device for r, _ in latest.items()] == ["b"]


def test_a_slow_watcher_loses_the_oldest() -> None:
    latest = Latest()
    with latest.watch() as queue:
        for number in range(BACKLOG_MAX + 5):
            latest.put([reading("a", number)], number)
        assert queue.qsize() == BACKLOG_MAX
        assert queue.get_nowait()[0].value == 5


def test_watchers_are_bounded() -> None:
    latest = Latest()
    with ExitStack() as stack:
        for _ in range(WATCHERS_MAX):
            stack.enter_context(latest.watch())
        with pytest.raises(ControlError, match="watch already"), latest.watch():
            pass


def test_json_form() -> None:
    at = Reading("bike", "position", Position(52.0, 5.0), "", 0)
    assert as_json(at, 0, 1_500_000_000) == {
        "device": "bike",
        "quantity": "position",
        "value": {"latitude": 52.0, "longitude": 5.0, "altitude": None},
        "unit": "",
        "observed_ns": None,
        "quality": "good",
        "reason": "",
        "age_s": 1.5,
    }
