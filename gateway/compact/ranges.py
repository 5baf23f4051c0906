"""Sets of sequence numbers as ranges: sorted, disjoint, no two of them adjacent. All operations are pure.

What is passed as ``ranges`` must be in that form, as :func:`merged` makes it and every function here returns it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from gateway.model import Range

Ranges = tuple[Range, ...]


def merged(ranges: Iterable[Range]) -> Ranges:
    """Ranges in any order, overlapping or not, in the form that all else here wants; empty ones vanish."""
    made: list[Range] = []
    for found in sorted(ranges):
        if found.last < found.first:
            continue
        if made and found.first <= made[-1].last + 1:
            if found.last > made[-1].last:
                made[-1] = Range(made[-1].first, found.last)
        else:
            made.append(found)
    return tuple(made)


def add(ranges: Ranges, more: Iterable[Range]) -> Ranges:
    """The numbers that are in one or the other."""
    return merged((*ranges, *more))


def subtract(ranges: Ranges, less: Ranges) -> Ranges:
    """The numbers of ``ranges`` that are not in ``less``."""
    left: list[Range] = []
    index = 0
    for whole in ranges:
        first = whole.first
        while index < len(less) and less[index].last < first:
            index += 1
        at = index
        while at < len(less) and less[at].first <= whole.last:
            if first < less[at].first:
                left.append(Range(first, less[at].first - 1))
            first = less[at].last + 1
            at += 1
        if first <= whole.last:
            left.append(Range(first, whole.last))
    return tuple(left)


def intersect(ranges: Ranges, others: Ranges) -> Ranges:
    """The numbers that are in both."""
    return subtract(ranges, subtract(ranges, others))


def contains(ranges: Sequence[Range], number: int) -> bool:
    """Whether a number is in one of the ranges."""
    return covers(ranges, Range(number, number))


def covers(ranges: Sequence[Range], wanted: Range) -> bool:
    """Whether all of ``wanted`` is in the ranges."""
    index = bisect_right(ranges, wanted.first, key=lambda r: r.first) - 1
    return index >= 0 and wanted.last <= ranges[index].last


def total(ranges: Iterable[Range]) -> int:
    """How many numbers there are."""
    return sum(map(len, ranges))


def newest(ranges: Ranges, count: int) -> Ranges:
    """At most ``count`` ranges, those of the highest numbers: it says less than the truth, never more."""
    return ranges[max(0, len(ranges) - count) :] if count > 0 else ()
