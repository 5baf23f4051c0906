"""Joins the points of a Modbus map into as few requests as wire time justifies. Pure.

A request costs its own frame, the overhead of the answer, two silences of 3.5 characters and the device's turn-around;
a register read in vain costs two characters. The cheapest split of the sorted points is found by dynamic programming.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from drivers.template import REGISTERS_MAX, Point

REQUEST_CHARS = (
    8 + 5 + 7
)  # request frame, answer without its data, two silences of 3.5 (Modbus serial line v1.02, 2.5.1)
REGISTER_CHARS = 2
TURNAROUND_S = 0.01  # usual time between the end of a request and the begin of its answer


@dataclass(frozen=True, slots=True)
class Block:
    """One read request and the points that it serves."""

    function: int
    address: int
    count: int
    points: tuple[Point, ...]

    @property
    def has_gaps(self) -> bool:
        """Whether registers are read that no point asked for."""
        asked = {a for point in self.points for a in range(point.address, point.address + point.count)}
        return len(asked) < self.count


def plan(
    points: Iterable[Point], *, char_s: float, registers_max: int = REGISTERS_MAX, gap_max: int | None = None
) -> tuple[Block, ...]:
    """The cheapest requests for the points on a line where a character takes ``char_s`` seconds.

    ``gap_max`` bounds the registers read in vain between two points; None leaves it to the wire time.
    """
    request_chars = REQUEST_CHARS + TURNAROUND_S / char_s
    blocks: list[Block] = []
    by_function: dict[int, list[Point]] = {}
    for point in points:
        by_function.setdefault(point.function, []).append(point)
    for function, group in sorted(by_function.items()):
        group.sort(key=lambda point: (point.address, point.count))
        blocks += (_block(function, part) for part in _cheapest(group, request_chars, registers_max, gap_max))
    return tuple(blocks)


def wire_s(blocks: Iterable[Block], char_s: float) -> float:
    """Time on the wire of one poll, in seconds, with the usual turn-around."""
    return sum((REQUEST_CHARS + REGISTER_CHARS * block.count) * char_s + TURNAROUND_S for block in blocks)


def _block(function: int, points: Sequence[Point]) -> Block:
    first = points[0].address
    return Block(function, first, max(p.address + p.count for p in points) - first, tuple(points))


def _cheapest(
    points: Sequence[Point], request_chars: float, registers_max: int, gap_max: int | None
) -> list[Sequence[Point]]:
    best = [0.0] + [float("inf")] * len(points)  # best[i]: cheapest way to read the first i points
    begin = [0] * (len(points) + 1)
    for first in range(len(points)):
        end = points[first].address
        for last in range(first, len(points)):
            gap = points[last].address - end
            end = max(end, points[last].address + points[last].count)
            if last > first and (
                end - points[first].address > registers_max or (gap_max is not None and gap > gap_max)
            ):
                break
            cost = best[first] + request_chars + REGISTER_CHARS * (end - points[first].address)
            if cost < best[last + 1]:
                best[last + 1], begin[last + 1] = cost, first
    parts: list[Sequence[Point]] = []
    stop = len(points)
    while stop:
        parts.append(points[begin[stop] : stop])
        stop = begin[stop]
    return parts[::-1]
