from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Quality, Reading, Reason
from gateway.outbox.dating import Boot, Distinct, place, redate
from tests.unit.outbox.outbox_kit import SECOND, UTC_2026, at_boot

LENGTHS = st.integers(0, 10**6).map(lambda s: s * SECOND // 7)


def test_placed_between_the_trusted_times_around() -> None:
    boots = [
        Boot("a", UTC_2026, False, 100 * SECOND),
        Boot("b", None, False, 50 * SECOND),
        Boot("c", None, False, 30 * SECOND),
        Boot("d", UTC_2026 + 1000 * SECOND, False, SECOND),
    ]
    placed = place(boots)
    assert placed["b"] > UTC_2026 + 100 * SECOND
    assert placed["b"] + 50 * SECOND < placed["c"]
    assert placed["c"] + 30 * SECOND < UTC_2026 + 1000 * SECOND


def test_nothing_is_known_before() -> None:
    placed = place([Boot("a", None, False, 50 * SECOND), Boot("b", UTC_2026, False, SECOND)])
    assert UTC_2026 - 51 * SECOND < placed["a"] < UTC_2026 - 50 * SECOND


def test_nothing_is_known_after() -> None:
    assert place([Boot("a", UTC_2026, False, 50), Boot("b", None, False, 60)]) == {}


@given(st.lists(LENGTHS, min_size=1, max_size=6), LENGTHS, st.booleans())
def test_order_spacing_and_bounds(lengths: list[int], slack: int, known: bool) -> None:
    unknown = [Boot(f"u{n}", None, False, length) for n, length in enumerate(lengths)]
    end = UTC_2026 + sum(lengths) + slack + 10_000 * len(lengths)
    before = [Boot("before", UTC_2026 - 77, False, 77)] if known else []
    placed = place([*before, *unknown, Boot("after", end, False, 0)])
    cursor = UTC_2026 if known else 0
    for boot in unknown:
        offset = placed[boot.boot_id]
        assert offset % 1000 == 0 and offset >= cursor - 1000 * len(lengths)
        cursor = offset + boot.last_mono_ns
        assert cursor < end


def test_redate() -> None:
    reading = at_boot("b", 5 * SECOND)
    assert redate(reading, UTC_2026, placed=False).observed_ns == UTC_2026 + 5 * SECOND
    assert redate(reading, UTC_2026, placed=False).quality is Quality.GOOD
    suspect = redate(reading, UTC_2026, placed=True)
    assert (suspect.quality, suspect.reason, suspect.clock) == (Quality.SUSPECT, Reason.CLOCK, None)
    bad = Reading("m", "q", 1, "W", 0, reading.clock, Quality.BAD, Reason.RANGE)
    assert redate(bad, UTC_2026, placed=True).reason is Reason.RANGE
    dated = Reading("m", "q", 1, "W", UTC_2026)
    assert redate(dated, 5, placed=True) is dated


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 3000)), min_size=1, max_size=4
        ),
        max_size=40,
    )
)
def test_no_two_of_a_series_share_a_microsecond(observations: list[list[tuple[str, str, int]]]) -> None:
    distinct = Distinct()
    seen: set[tuple[str, str, int]] = set()
    for observation in observations:
        given_ = [Reading(d, q, 1.0, "W", UTC_2026 + ns) for d, q, ns in observation]
        settled = distinct.settle(given_)
        assert [(r.device, r.quantity) for r in settled] == [(r.device, r.quantity) for r in given_]
        for reading in settled:
            key = (reading.device, reading.quantity, reading.observed_ns // 1000)
            assert key not in seen
            seen.add(key)


def test_a_repeated_second_of_a_device_clock_moves_as_a_whole() -> None:
    distinct = Distinct()
    telegram = [Reading("p1", q, 1.0, "W", UTC_2026) for q in ("a", "b")]
    for n in range(30):
        settled = distinct.settle(telegram)
        assert {r.observed_ns for r in settled} == {UTC_2026 + n * 1000}


def test_what_needs_no_move_keeps_its_nanoseconds() -> None:
    reading = Reading("m", "q", 1.0, "W", UTC_2026 + 123)
    assert Distinct().settle([reading]) == (reading,)
