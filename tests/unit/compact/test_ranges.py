"""Operations on ranges, against the same on plain sets of numbers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.compact import ranges
from gateway.model import Range

ANY = st.lists(st.builds(lambda a, n: Range(a, a + n), st.integers(0, 60), st.integers(-1, 9)), max_size=12)
NORMAL = ANY.map(ranges.merged)


def numbers(found: list[Range] | ranges.Ranges) -> set[int]:
    return {number for r in found for number in range(r.first, r.last + 1)}


def is_normal(found: ranges.Ranges) -> bool:
    return all(a.last + 1 < b.first for a, b in pairwise(found)) and all(r.first <= r.last for r in found)


@given(ANY)
def test_merged(any_order: list[Range]) -> None:
    made = ranges.merged(any_order)
    assert is_normal(made)
    assert numbers(made) == numbers(any_order)
    assert ranges.total(made) == len(numbers(any_order))


@given(NORMAL, ANY)
def test_add(known: ranges.Ranges, more: list[Range]) -> None:
    made = ranges.add(known, more)
    assert is_normal(made)
    assert numbers(made) == numbers(known) | numbers(more)


@given(NORMAL, NORMAL)
def test_subtract_and_intersect(known: ranges.Ranges, less: ranges.Ranges) -> None:
    left, both = ranges.subtract(known, less), ranges.intersect(known, less)
    assert is_normal(left)
    assert is_normal(both)
    assert numbers(left) == numbers(known) - numbers(less)
    assert numbers(both) == numbers(known) & numbers(less)


@given(NORMAL, st.integers(-1, 75), st.integers(0, 5))
def test_contains_and_covers(known: ranges.Ranges, number: int, more: int) -> None:
    assert ranges.contains(known, number) is (number in numbers(known))
    wanted = set(range(number, number + more + 1))
    assert ranges.covers(known, Range(number, number + more)) is (wanted <= numbers(known))


@given(NORMAL, st.integers(-1, 14))
def test_newest_never_says_too_much(known: ranges.Ranges, count: int) -> None:
    kept = ranges.newest(known, count)
    assert len(kept) == min(len(known), max(0, count))
    assert not kept or kept == known[-len(kept) :]
