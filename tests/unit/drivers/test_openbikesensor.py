from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Observation
from drivers.codecs import openbikesensor as obs
from drivers.codecs.framing import NO_HINTS
from drivers.errors import BadFrame

CM = st.integers(0, 1000) | st.just(0xFFFF)


def frame(left: int, right: int, clock_ms: int = 1000) -> bytes:
    return struct.pack("<IHH", clock_ms, left, right)


def told(observations: tuple[Observation, ...]) -> list[dict[str, object]]:
    return [{one.quantity: one.value for one in observation.measurements} for observation in observations]


@given(CM, CM, st.integers(0, 2**32 - 1))
def test_distances_in_metres_and_none_where_nothing_was_measured(left: int, right: int, clock_ms: int) -> None:
    found = obs.parse(frame(left, right, clock_ms))
    assert found.clock_ms == clock_ms
    assert found.left == (None if left == 0xFFFF else left / 100)
    assert found.right == (None if right == 0xFFFF else right / 100)
    decoded = {one.quantity: one.value for one in obs.decode_frame(frame(left, right), NO_HINTS)}
    expected = {"distance_left": found.left, "distance_right": found.right}
    assert decoded == {name: value for name, value in expected.items() if value is not None}


@given(st.binary(max_size=12))
def test_any_bytes_give_distances_or_bad_frame(data: bytes) -> None:
    try:
        obs.decode_frame(data, NO_HINTS)
    except BadFrame:
        return
    assert len(data) == 8


@pytest.mark.parametrize("data", [frame(1001, 50), frame(50, 60_000), b"", frame(1, 2)[:-1], frame(1, 2) + b"\0"])
def test_what_cannot_be_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        obs.parse(data)


@pytest.mark.parametrize("data", [b"", b"\x10\x00", b"\xff\xff\x10\x00"])
def test_offsets_that_cannot_be_are_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        obs.Sensor(1.0, "left").take(obs.OFFSET, data, 0)


def test_the_smallest_distance_of_each_second_from_the_end_of_the_handlebar() -> None:
    sensor = obs.Sensor(1.0, "left")
    assert sensor.take(obs.OFFSET, struct.pack("<HH", 30, 35), 0) == ()
    found: list[Observation] = []
    for number, (left, right) in enumerate([(250, 0xFFFF), (180, 90), (300, 20), (0xFFFF, 100), (400, 200)] * 2):
        found += sensor.take(obs.DISTANCE, frame(left, right), number * 250_000_000)
    assert told(tuple(found)) == [
        {"distance_left": 1.5, "distance_right": 0.0, "overtake_count": 0},
        {"distance_left": 1.5, "distance_right": 0.0, "overtake_count": 0},
    ]
    assert [one.mono_ns for one in found] == [1_000_000_000, 2_000_000_000]


def test_on_a_free_road_the_count_alone_is_told() -> None:
    sensor = obs.Sensor(1.0, "left")
    rows = [sensor.take(obs.DISTANCE, frame(0xFFFF, 0xFFFF), at * 500_000_000) for at in range(3)]
    assert [told(row) for row in rows] == [[], [], [{"overtake_count": 0}]]


@pytest.mark.parametrize(("side", "metres"), [("left", 0.9), ("right", 1.1)])
def test_a_close_pass_is_told_at_once_and_counted(side: obs.Side, metres: float) -> None:
    sensor = obs.Sensor(1.0, side)
    sensor.take(obs.OFFSET, struct.pack("<HH", 30, 30), 0)
    (first,) = sensor.take(obs.CLOSE_PASS, frame(120, 140), 7)
    (second,) = sensor.take(obs.CLOSE_PASS, frame(0xFFFF, 0xFFFF), 8)
    assert told((first,)) == [{"overtake_count": 1, "overtaker_distance": metres, "overtaker_side": side}]
    assert told((second,)) == [{"overtake_count": 2}]
