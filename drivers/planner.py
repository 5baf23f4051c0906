"""Joins the points of a Modbus map into as few requests as wire time justifies, and says how busy a line will be. Pure.

A request costs its own frame, the overhead of the answer, two silences and the device's turn-around; a register read in
vain costs two characters. The cheapest split of the sorted points is found by dynamic programming, and no other one is
cheaper: of two requests that overlap, what the first one has beyond the second one's begin can be read by the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from drivers.quantities import QUANTITIES
from drivers.template import REGISTERS_MAX, Point, Template

FRAME_CHARS = 8 + 5  # request frame, answer without its data (Modbus serial line v1.02, 2.5.1)
SILENCE_CHARS = 3.5  # the same document, 2.5.1.1
SILENCE_LEAST_S = 0.00175  # the same clause: fixed above 19200 baud
REGISTER_CHARS = 2
TURNAROUND_S = 0.01  # usual time between the end of a request and the begin of its answer

ENERGY_UNITS = ("kWh", "kvarh", "kVAh")
ENERGY_S = 60.0  # counters of energy move slowly and are differences of anyway
IDENTITY = ("serial_number", "firmware_version")
IDENTITY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Block:
    """One read request, the points that it serves, and the addresses of the scale registers in it."""

    function: int
    address: int
    count: int
    points: tuple[Point, ...]
    scales: tuple[int, ...] = ()

    @property
    def has_gaps(self) -> bool:
        """Whether registers are read that no point asked for."""
        asked = {a for point in self.points for a in range(point.address, point.address + point.count)}
        return len(asked.union(self.scales)) < self.count


@dataclass(frozen=True, slots=True)
class _Span:
    """Registers that must come in one answer; ``point`` is None for a scale register."""

    function: int
    begin: int
    end: int
    point: Point | None


def plan(
    points: Iterable[Point],
    *,
    char_s: float,
    registers_max: int = REGISTERS_MAX,
    gap_max: int | None = None,
    no_fill: Sequence[tuple[int, int]] = (),
    cuts: Sequence[tuple[int, int]] = (),
    gap_s: float = 0.0,
) -> tuple[Block, ...]:
    """The cheapest requests for the points on a line where a character takes ``char_s`` seconds.

    ``gap_max`` bounds the registers read in vain between two points; None leaves it to the wire time. No register of
    ``no_fill`` (first and last address) is read in vain. No request goes across one of ``cuts`` (function, address).
    ``gap_s`` is the silence that the device wants.
    """
    blocks: list[Block] = []
    by_function: dict[int, list[_Span]] = {}
    for span in _spans(points):
        by_function.setdefault(span.function, []).append(span)
    for function, spans in sorted(by_function.items()):
        spans.sort(key=_place)
        costs = _request_s(char_s, gap_s), REGISTER_CHARS * char_s
        limits = _Limits(registers_max, gap_max, tuple(no_fill), tuple(at for where, at in cuts if where == function))
        blocks += (_block(function, part) for part in _cheapest(spans, costs, limits))
    return tuple(blocks)


def plan_for(
    template: Template,
    points: Iterable[Point],
    char_s: float,
    no_fill: Sequence[tuple[int, int]] = (),
    cuts: Sequence[tuple[int, int]] = (),
) -> tuple[Block, ...]:
    """:func:`plan` within the limits of a template and of what its device has taught."""
    return plan(
        points,
        char_s=char_s,
        registers_max=template.registers_max,
        gap_max=template.gap_max,
        no_fill=(*template.no_fill, *no_fill),
        cuts=cuts,
        gap_s=template.gap_s or 0.0,
    )


def halves(block: Block) -> tuple[Block, Block] | None:
    """The block in two, None where it cannot be divided."""
    own = (_Span(block.function, p.address, p.address + p.count, p) for p in block.points)
    scales = (_Span(block.function, scale, scale + 1, None) for scale in block.scales)
    spans = sorted((*own, *scales), key=_place)
    if len(spans) < 2:
        return None
    middle = len(spans) // 2
    return _block(block.function, spans[:middle]), _block(block.function, spans[middle:])


def wire_s(blocks: Iterable[Block], char_s: float, gap_s: float = 0.0) -> float:
    """Time on the wire of one poll, in seconds, with the usual turn-around."""
    return sum(_request_s(char_s, gap_s) + REGISTER_CHARS * block.count * char_s for block in blocks)


def silence_s(char_s: float) -> float:
    """The silence that ends a frame, where a character takes ``char_s`` seconds."""
    return max(SILENCE_CHARS * char_s, SILENCE_LEAST_S)


def intervals(points: Sequence[Point], period_s: float) -> dict[str, float]:
    """How often each quantity is read, in seconds, where its device is polled every ``period_s``.

    What a point states as ``every`` holds. Else counters of energy are read each minute, what identifies a device once
    a day, and everything else every time; where nothing of that kind is left, the next slower class is read every time.
    """
    stated = {point.quantity: point.every for point in points if point.every is not None}
    usual = {point.quantity: _usual_s(point) for point in points if point.every is None}
    if all(every > period_s for every in stated.values()):
        fastest = min(usual.values(), default=0.0)
        usual = {quantity: 0.0 if every == fastest else every for quantity, every in usual.items()}
    return {quantity: max(period_s, every) for quantity, every in (usual | stated).items()}


def device_load(template: Template, period_s: float, char_s: float) -> float:
    """The share of a line's time that the polls of one device take, 1.0 for all of it."""
    every = intervals(template.points, period_s)

    def needs_s(most: float) -> float:
        points = [point for point in template.points if every[point.quantity] <= most]
        return wire_s(plan_for(template, points, char_s), char_s, template.gap_s or 0.0)

    load, before_s = 0.0, 0.0
    for interval in sorted(set(every.values())):
        load += (needs_s(interval) - before_s) / interval
        before_s = needs_s(interval)
    return load


def line_load(devices: Iterable[tuple[Template, float]], char_s: float) -> float:
    """The share of a line's time that the polls of its devices (template and period) take, 1.0 for all of it."""
    return sum(device_load(template, period_s, char_s) for template, period_s in devices)


def _usual_s(point: Point) -> float:
    """The class of a point that states none: seconds between readings, 0 for every time."""
    if point.quantity in IDENTITY:
        return IDENTITY_S
    known = QUANTITIES.get(point.quantity)
    return ENERGY_S if known is not None and known.kind == "counter" and known.unit in ENERGY_UNITS else 0.0


def _request_s(char_s: float, gap_s: float) -> float:
    silence = silence_s(char_s)
    return FRAME_CHARS * char_s + silence + max(silence, gap_s) + TURNAROUND_S


def _spans(points: Iterable[Point]) -> list[_Span]:
    points = list(points)
    scales = {(p.function, p.scale_register) for p in points if p.scale_register is not None}
    return [
        *(_Span(p.function, p.address, p.address + p.count, p) for p in points),
        *(_Span(function, scale, scale + 1, None) for function, scale in scales),
    ]


def _place(span: _Span) -> tuple[int, int]:
    return span.begin, span.end


def _block(function: int, spans: Sequence[_Span]) -> Block:
    first = spans[0].begin
    points = tuple(span.point for span in spans if span.point is not None)
    scales = tuple(span.begin for span in spans if span.point is None)
    return Block(function, first, max(span.end for span in spans) - first, points, scales)


@dataclass(frozen=True, slots=True)
class _Limits:
    registers_max: int
    gap_max: int | None
    no_fill: tuple[tuple[int, int], ...]
    cuts: tuple[int, ...]

    def allow(self, first: _Span, end: int, next_one: _Span) -> bool:
        """Whether the request that begins with ``first`` and reads up to ``end`` may read the next span too."""
        if max(end, next_one.end) - first.begin > self.registers_max:
            return False
        if any(first.begin < cut <= next_one.begin for cut in self.cuts):
            return False
        if next_one.begin <= end:
            return True
        if self.gap_max is not None and next_one.begin - end > self.gap_max:
            return False
        return not any(begin < next_one.begin and end <= last for begin, last in self.no_fill)


def _cheapest(spans: Sequence[_Span], costs: tuple[float, float], limits: _Limits) -> list[Sequence[_Span]]:
    request_s, register_s = costs
    best = [0.0] + [float("inf")] * len(spans)  # best[i]: cheapest way to read the first i spans
    begin = [0] * (len(spans) + 1)
    for first in range(len(spans)):
        end = spans[first].begin
        for last in range(first, len(spans)):
            if last > first and not limits.allow(spans[first], end, spans[last]):
                break
            end = max(end, spans[last].end)
            cost = best[first] + request_s + register_s * (end - spans[first].begin)
            if cost < best[last + 1]:
                best[last + 1], begin[last + 1] = cost, first
    parts: list[Sequence[_Span]] = []
    stop = len(spans)
    while stop:
        parts.append(spans[begin[stop] : stop])
        stop = begin[stop]
    return parts[::-1]
