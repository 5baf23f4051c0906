"""The planner: every point served once, limits kept, never dearer than reading singly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.planner import plan, wire_s
from drivers.template import Point

CHAR_9600_S = 10 / 9600


def point(address: int, kind: str = "u16", function: int = 4) -> Point:
    return Point(f"q{function}-{address}-{kind}", address, function, kind)  # type: ignore[arg-type]


points = st.lists(
    st.builds(point, st.integers(0, 600), st.sampled_from(["u16", "f32", "u64"]), st.sampled_from([3, 4])),
    min_size=1,
    max_size=25,
    unique_by=lambda p: (p.address, p.function),
)


@given(points, st.integers(4, 125), st.none() | st.integers(0, 20))
def test_every_point_is_served_once_and_limits_hold(
    asked: list[Point], registers_max: int, gap_max: int | None
) -> None:
    blocks = plan(asked, char_s=CHAR_9600_S, registers_max=registers_max, gap_max=gap_max)
    served = [p for block in blocks for p in block.points]
    assert sorted(p.quantity for p in served) == sorted(p.quantity for p in asked)
    for block in blocks:
        assert 1 <= block.count <= registers_max
        for p in block.points:
            assert p.function == block.function
            assert block.address <= p.address
            assert p.address + p.count <= block.address + block.count
    if gap_max == 0:
        assert not any(block.has_gaps for block in blocks)


@given(points)
def test_never_dearer_than_one_by_one(asked: list[Point]) -> None:
    together = wire_s(plan(asked, char_s=CHAR_9600_S), CHAR_9600_S)
    singly = sum(wire_s(plan([p], char_s=CHAR_9600_S), CHAR_9600_S) for p in asked)
    assert together <= singly + 1e-9


def test_ten_registers_in_a_row_are_one_request() -> None:
    assert len(plan([point(a) for a in range(10)], char_s=CHAR_9600_S)) == 1


def test_wide_gap_is_dearer_than_a_request_and_a_faster_line_fills_wider_ones() -> None:
    pair = [point(0), point(30)]
    assert len(plan(pair, char_s=CHAR_9600_S)) == 2
    assert len(plan(pair, char_s=10 / 115_200)) == 1


def test_the_best_split_is_not_the_greedy_one() -> None:
    """With at most 4 registers, joining from the left would need three requests for 0, 3, 4..7."""
    blocks = plan([point(0), point(3), *(point(a) for a in range(4, 8))], char_s=CHAR_9600_S, registers_max=4)
    assert [(b.address, b.count) for b in blocks] in ([(0, 4), (4, 4)],)
