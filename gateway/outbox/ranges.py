"""Sets of sequence numbers as sorted, disjoint ranges. Pure functions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from operator import attrgetter

from gateway.model import Range

Ranges = tuple[Range, ...]
_FIRST = attrgetter("first")


def merged(ranges: Iterable[Range]) -> Ranges:
    """The same numbers, sorted; what touches or overlaps is one range. Empty ranges vanish."""
    joined: list[Range] = []
    for part in sorted(ranges):
        if part.last < part.first:
            continue
        if joined and part.first <= joined[-1].last + 1:
            if part.last > joined[-1].last:
                joined[-1] = Range(joined[-1].first, part.last)
        else:
            joined.append(part)
    return tuple(joined)


def without(ranges: Ranges, gone: Ranges) -> Ranges:
    """The numbers of ``ranges`` that are not in ``gone``; both merged."""
    left: list[Range] = []
    for part in ranges:
        first = part.first
        for hole in gone[max(0, _at(gone, first)) :]:
            if hole.first > part.last:
                break
            if hole.first > first:
                left.append(Range(first, hole.first - 1))
            first = max(first, hole.last + 1)
        if first <= part.last:
            left.append(Range(first, part.last))
    return tuple(left)


def within(ranges: Ranges, span: Range) -> Ranges:
    """The numbers of merged ``ranges`` that lie in ``span``."""
    cut = []
    for part in ranges[max(0, _at(ranges, span.first)) :]:
        if part.first > span.last:
            break
        if part.last >= span.first:
            cut.append(Range(max(part.first, span.first), min(part.last, span.last)))
    return tuple(cut)


def covers(ranges: Sequence[Range], first: int, last: int) -> bool:
    """Whether one of the merged ranges holds all of first..last."""
    at = _at(ranges, first)
    return at >= 0 and ranges[at].last >= last


def touches(ranges: Sequence[Range], first: int, last: int) -> bool:
    """Whether the merged ranges hold any of first..last."""
    at = _at(ranges, last)
    return at >= 0 and ranges[at].last >= first


def size(ranges: Iterable[Range]) -> int:
    """How many numbers there are."""
    return sum(len(part) for part in ranges)


def _at(ranges: Sequence[Range], number: int) -> int:
    """The place of the last range that begins at or before ``number``, -1 without one."""
    return bisect_right(ranges, number, key=_FIRST) - 1
