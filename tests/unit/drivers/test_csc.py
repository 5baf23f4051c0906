from __future__ import annotations

import struct

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from drivers.codecs import csc
from drivers.codecs.csc import Event, Ride, Sample
from drivers.errors import BadFrame

U16, U32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)


def wheel(count: int, ticks: int) -> Sample:
    return Sample(Event(count % 2**32, ticks % 2**16), None)


def crank(count: int, ticks: int) -> Sample:
    return Sample(None, Event(count % 2**16, ticks % 2**16))


def follow(*steps: tuple[Sample, float]) -> Ride:
    ride = Ride()
    for sample, elapsed_s in steps:
        ride = csc.follow(ride, sample, elapsed_s)
    return ride


@given(st.binary(max_size=20))
def test_any_bytes_give_a_sample_or_bad_frame(data: bytes) -> None:
    try:
        sample = csc.parse(data)
    except BadFrame:
        return
    assert sample.wheel or sample.crank


@given(U32, U16, U16, U16)
def test_round_trip_of_all_three_forms(revolutions: int, at: int, turns: int, crank_at: int) -> None:
    wheel_bytes, crank_bytes = struct.pack("<IH", revolutions, at), struct.pack("<HH", turns, crank_at)
    assert csc.parse(b"\x01" + wheel_bytes) == Sample(Event(revolutions, at), None)
    assert csc.parse(b"\x02" + crank_bytes) == Sample(None, Event(turns, crank_at))
    assert csc.parse(b"\x03" + wheel_bytes + crank_bytes) == Sample(Event(revolutions, at), Event(turns, crank_at))


@pytest.mark.parametrize("data", ["", "00", "03", "01000000", "0300000000100121", "02010203040506"])
def test_damaged_is_a_bad_frame(data: str) -> None:
    with pytest.raises(BadFrame):
        csc.parse(bytes.fromhex(data))


@given(U32, U16, st.integers(1, 19), st.integers(512, 4096))
def test_speed_is_right_across_the_wraps_of_count_and_time(count: int, at: int, turns: int, ticks: int) -> None:
    assume(turns * 1024 / ticks <= csc.PER_S_MAX)
    ride = follow((wheel(count, at), 0.0), (wheel(count + turns, at + ticks), ticks / 1024))
    assert ride.wheel is not None
    assert ride.wheel.total == count + turns
    found = {one.quantity: one.value for one in csc.measurements(ride, 2.0)}
    assert found["speed"] == pytest.approx(turns * 2.0 / (ticks / 1024) * 3.6, abs=0.01)
    assert found["distance"] == pytest.approx((count + turns) * 2.0)


@given(U16, U16, st.integers(1, 4))
def test_crank_count_goes_on_beyond_its_16_bits(count: int, at: int, turns: int) -> None:
    ride = follow((crank(count, at), 0.0), (crank(count + turns, at + 1024), 1.0))
    assert ride.crank is not None
    assert ride.crank.total == count + turns
    found = {one.quantity: one.value for one in csc.measurements(ride, 2.0)}
    assert found == {"crank_revolutions": count + turns, "cadence": pytest.approx(turns * 60)}


def test_the_first_sample_has_no_speed() -> None:
    found = {one.quantity for one in csc.measurements(follow((wheel(5, 100), 0.0)), 2.0)}
    assert found == {"wheel_revolutions", "distance"}


def test_standing_still_slows_down_and_stops() -> None:
    steps = [(wheel(10, 0), 0.0), (wheel(13, 1024), 1.0), *[(wheel(13, 1024), 1.0)] * 5]
    speeds = [follow(*steps[: n + 1]).wheel for n in range(1, len(steps))]
    assert [turning.per_s for turning in speeds if turning] == [3.0, 1.0, 0.5, pytest.approx(1 / 3), 0.0, 0.0]


def test_after_a_stop_longer_than_the_clock_of_64_s_the_first_speed_is_unknown() -> None:
    ride = follow((wheel(10, 0), 0.0), *[(wheel(10, 0), 1.0)] * 70)
    assert ride.wheel is not None and ride.wheel.per_s == 0.0
    ride = csc.follow(ride, wheel(11, 71 * 1024), 1.0)
    assert ride.wheel is not None and ride.wheel.per_s is None and ride.wheel.total == 11
    ride = csc.follow(ride, wheel(13, 72 * 1024), 1.0)
    assert ride.wheel is not None and ride.wheel.per_s == 2.0


def test_a_counter_that_began_again_gives_no_speed_and_no_leap() -> None:
    ride = follow((wheel(500, 0), 0.0), (wheel(502, 1024), 1.0), (wheel(1, 300), 1.0))
    assert ride.wheel is not None
    assert ride.wheel.total == 1 and ride.wheel.per_s is None
    ride = follow((crank(500, 0), 0.0), (crank(3, 1024), 10.0))
    assert ride.crank is not None and ride.crank.total == 3 and ride.crank.per_s is None


@given(st.lists(st.tuples(U32, U16, U16, U16, st.floats(0, 1e6)), max_size=8))
def test_no_sequence_of_samples_breaks_it_or_gives_an_impossible_speed(
    rows: list[tuple[int, int, int, int, float]],
) -> None:
    ride = Ride()
    for revolutions, at, turns, crank_at, elapsed_s in rows:
        ride = csc.follow(ride, Sample(Event(revolutions, at), Event(turns, crank_at)), elapsed_s)
        found = {one.quantity: one.value for one in csc.measurements(ride, 2.0)}
        assert 0 <= float(str(found.get("speed", 0))) <= csc.PER_S_MAX * 2 * 3.6
