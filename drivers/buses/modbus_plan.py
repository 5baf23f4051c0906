"""What to read of a device at a time: the classes of its points that are due, and what the device has taught.

Points are read every time, each minute or once a day (``drivers.planner.intervals``). A device that refuses a block is
asked for its halves, until it is known where it must be cut and which points it does not have; those are left alone for
an hour. No I/O here.
"""

from __future__ import annotations

from collections.abc import Iterable

from drivers.planner import Block, intervals, plan_for
from drivers.template import Point, Template

FORGET_S = 3600.0  # then a device is asked again for what it refused
PATIENCE_TIMES = 4  # a slow class that failed is tried again after so many periods, then four times as many ...
GOLDEN = 0.618_034  # multiples of it spread evenly over 0..1


class DevicePlan:
    """Times are the caller's clock, in seconds."""

    def __init__(self, template: Template, char_s: float, period_s: float, unit: int) -> None:
        self.refused: tuple[Point, ...] = ()
        self._template = template
        self._char_s = char_s
        self._every = intervals(template.points, period_s)
        self.period_s = min(self._every.values())
        self._due: dict[float, float] = dict.fromkeys(set(self._every.values()), float("-inf"))
        self._failed: dict[float, int] = {}
        self._phase = 0.1 + 0.9 * (unit * GOLDEN % 1.0)  # of many devices not all are slow at the same time
        self._cuts: set[tuple[int, int]] = set()
        self._forget_at = float("inf")
        self._plans: dict[tuple[float, ...], tuple[Block, ...]] = {}

    def due(self, now: float) -> tuple[Block, ...]:
        """The requests of this time, those with points of every time first."""
        if now >= self._forget_at:
            self.forget()
        wanted = tuple(every for every in self._due if every == self.period_s or self._is_due(every, now))
        if wanted not in self._plans:
            points = [point for point in self._has() if self._every[point.quantity] in wanted]
            no_fill = [(p.address, p.address + p.count - 1) for p in self.refused]
            blocks = plan_for(self._template, points, self._char_s, no_fill, tuple(self._cuts))
            self._plans[wanted] = tuple(sorted(blocks, key=self.is_slow))
        return self._plans[wanted]

    def probe(self) -> Block:
        """One register that the device should have."""
        points = self._has() or self._template.points
        first = min(points, key=lambda point: (self._every[point.quantity], point.function, point.address))
        return Block(first.function, first.address, 1, ())

    def is_slow(self, block: Block) -> bool:
        """Whether nothing in the block is read every time."""
        return bool(block.points) and all(self._every[point.quantity] > self.period_s for point in block.points)

    def taken(self, points: Iterable[Point], now: float) -> bool:
        """These were read, all of this time together. Returns whether a slow class was among them, and all of it."""
        read = {self._every[point.quantity] for point in points}
        classes = {every for every in read if self._is_due(every, now)}  # not those that were put off just now
        for every in classes:
            at, self._failed[every] = self._due[every], 0
            if at == float("-inf"):
                self._due[every] = now + every * self._phase
            else:
                self._due[every] = at + every if at + every > now else now + every
        return any(every > self.period_s for every in classes)

    def postponed(self, block: Block, now: float) -> int:
        """A slow block could not be read. Returns how often that happened in a row."""
        for every in {self._every[point.quantity] for point in block.points}:
            self._failed[every] = times = self._failed.get(every, 0) + 1
            self._due[every] = now + min(every, self.period_s * PATIENCE_TIMES ** min(times, 16))
        return max(self._failed[self._every[point.quantity]] for point in block.points)

    def cut(self, right: Block, now: float) -> None:
        """No request may go across the begin of this block."""
        self._cuts.add((right.function, right.address))
        self._learned(now)

    def refuse(self, block: Block, now: float) -> None:
        """The device does not have what is in this block."""
        lost = [*block.points]
        lost += (p for p in self._template.points if p.function == block.function and p.scale_register in block.scales)
        known = {point.quantity for point in self.refused}
        self.refused += tuple({p.quantity: p for p in lost if p.quantity not in known}.values())
        self._learned(now)

    def forget(self) -> None:
        """Ask again for everything."""
        self.refused = ()
        self._cuts.clear()
        self._plans.clear()
        self._forget_at = float("inf")

    def _is_due(self, every: float, now: float) -> bool:
        return self._due[every] <= now + self.period_s / 2

    def _has(self) -> list[Point]:
        refused = {point.quantity for point in self.refused}
        return [point for point in self._template.points if point.quantity not in refused]

    def _learned(self, now: float) -> None:
        self._plans.clear()
        self._forget_at = min(self._forget_at, now + FORGET_S)
