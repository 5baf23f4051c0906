"""The bytes of a body, no longer compressed, to entries. Whatever they are, CompactError is all that is raised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise, repeat

from drivers.codecs.cbor import Item, loads
from drivers.errors import BadFrame
from gateway.compact.bits import BitReader, between, unfolded
from gateway.compact.columns import read_integers
from gateway.compact.dictionary import names
from gateway.compact.entry import EXPONENT_MAX, LIMIT, MARKS, READINGS_MAX, Entry, Shape
from gateway.compact.errors import CompactError
from gateway.compact.values import ValueReader
from gateway.model import BootTime, Quality, Reading, Reason, Value

_MARKED = {mark: pair for pair, mark in MARKS.items()}
_GOOD = (Quality.GOOD, Reason.NONE)


@dataclass(frozen=True, slots=True)
class _Head:
    seq: int
    count: int
    bits: BitReader
    devices: list[str]
    names: list[str]
    texts: list[str]
    clocks: list[str]


# observed_ns, clock, values, and marks where there are any
_Row = tuple[int, BootTime | None, tuple[Value, ...], tuple[int, ...] | None]


@dataclass(slots=True)
class _Series:
    device: str
    shape: int
    count: int = 0
    rows: Iterator[_Row] = field(default_factory=lambda: iter(()))


def entries(raw: bytes) -> list[Entry]:
    """Raises CompactError."""
    head = _head(raw)
    skips = unfolded(head.bits.take_list(head.count))
    counts = [number + 1 for number in unfolded(head.bits.take_list(head.count))]
    _check(min(counts) >= 0 and sum(counts) <= READINGS_MAX, "more runs than there may be")
    series_count = head.bits.take_one() + 1 if any(counts) else 0
    _check(series_count <= sum(counts), "series without runs")
    order = _from_successors(head.bits.take_list(sum(counts)), series_count)
    series = _series(head, order, series_count)
    shapes = _shapes(head, max((one.shape for one in series), default=-1) + 1)
    _check(sum(len(shapes[one.shape]) * one.count for one in series) <= READINGS_MAX, "more readings than there may be")
    by_shape: list[list[_Series]] = [[] for _ in shapes]
    for one in series:
        by_shape[one.shape].append(one)
    for shape, chosen in zip(shapes, by_shape, strict=True):
        _read_shape(head, shape, chosen)
    head.bits.end()
    made = []
    seq = head.seq
    for skip, (begin, end) in zip(skips, pairwise(accumulate(counts, initial=0)), strict=True):
        seq += skip
        readings: list[Reading] = []
        for number in order[begin:end]:
            readings += _readings(series[number], shapes[series[number].shape], seq + len(readings))
        _check(0 <= seq < LIMIT - len(readings), "a sequence number beyond all")
        made.append(Entry(seq, tuple(readings)))
        seq += len(readings)
    return made


def _head(raw: bytes) -> _Head:
    length, begin = _leb128(raw)
    try:
        parts = loads(raw[begin : begin + length])
    except BadFrame as error:
        raise CompactError(str(error)) from error
    if not isinstance(parts, list) or len(parts) > 4:
        raise CompactError("a head of other parts")
    devices, names, texts, clocks = map(_strings, (*parts, [], [], [], [])[:4])
    bits = BitReader(raw[begin + length :])
    seq, count = bits.take_one(), bits.take_one() + 1
    _check(count <= READINGS_MAX, "more entries than there may be")
    return _Head(seq, count, bits, devices, names, texts, clocks)


def _leb128(raw: bytes) -> tuple[int, int]:
    """(number, where it ends) at the start of ``raw``."""
    number = 0
    for place, byte in enumerate(raw[:4]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, place + 1
    raise CompactError("a head without a length")


def _strings(item: Item) -> list[str]:
    if not isinstance(item, list):
        raise CompactError("a list of names that is none")
    strings = [text for text in item if isinstance(text, str)]
    _check(len(strings) == len(item), "a name that is no text")
    return strings


def _shapes(head: _Head, count: int) -> list[Shape]:
    lengths = [number + 1 for number in head.bits.take_list(count)]
    _check(sum(lengths) <= READINGS_MAX and len(head.names) % 2 == 0, "more quantities than there may be")
    places = list(accumulate(step + 1 for step in unfolded(head.bits.take_list(sum(lengths)))))
    known = [*names(), *zip(head.names[::2], head.names[1::2], strict=True)]
    flat = [known[place - 1] for place in between(1, places, len(known))]
    return [tuple(flat[begin:end]) for begin, end in pairwise(accumulate(lengths, initial=0))]


def _from_successors(codes: Sequence[int], count: int) -> list[int]:
    """The reverse of ``_by_successor`` of the encoder."""
    order = []
    followed: dict[int, int] = {}
    last, seen = -1, 0
    for code in codes:
        number = code - 1 if code else followed.get(last, seen % count)
        _check(number <= seen, "a series that is not there")
        followed[last] = number
        order.append(number)
        last, seen = number, max(seen, number + 1)
    _check(seen == count, "not as many series as there should be")
    return order


def _series(head: _Head, order: Sequence[int], count: int) -> list[_Series]:
    made = []
    known = last = 0
    for device_code, shape_code in zip(head.bits.take_list(count), head.bits.take_list(count), strict=True):
        device = device_code - 1 if device_code else known
        last = shape_code - 1 if shape_code else last
        _check(device < len(head.devices) and last < count, "a series of nothing")
        known = max(known, device + 1)
        made.append(_Series(head.devices[device], last))
    for number in order:
        made[number].count += 1
    return made


def _read_shape(head: _Head, shape: Shape, series: Sequence[_Series]) -> None:
    """Give the series of a shape their rows."""
    sizes = [one.count for one in series]
    total = sum(sizes)
    _check(total > 0, "a shape without rows")
    instants = _instants(head, sizes)
    reader = ValueReader(head.bits, sizes, head.texts)
    columns = [reader.read() for _ in shape]
    marks: Iterator[tuple[int, ...] | None] = repeat(None, total)
    if head.bits.take(1):
        marks = zip(*[head.bits.take_list(total) for _ in shape], strict=True)
    rows = [
        (ns, clock, values, mark)
        for (ns, clock), values, mark in zip(instants, zip(*columns, strict=True), marks, strict=True)
    ]
    for one, (begin, end) in zip(series, pairwise(accumulate(sizes, initial=0)), strict=True):
        one.rows = iter(rows[begin:end])


def _instants(head: _Head, sizes: Sequence[int]) -> list[tuple[int, BootTime | None]]:
    exponent = head.bits.take(4)
    _check(exponent <= EXPONENT_MAX, "instants of no unit")
    times = [number * 10**exponent for number in read_integers(head.bits, sizes)]
    _check(min(times) >= -LIMIT and max(times) < LIMIT, "an instant beyond all")
    clocks = list(accumulate(unfolded(head.bits.take_list(len(times)))))
    if not any(clocks):
        return [(ns, None) for ns in times]
    _check(min(clocks) >= 0 and max(clocks) <= len(head.clocks), "a clock that is not there")
    return [
        (0, BootTime(head.clocks[clock - 1], ns)) if clock else (ns, None)
        for ns, clock in zip(times, clocks, strict=True)
    ]


def _readings(series: _Series, shape: Shape, seq: int) -> list[Reading]:
    """The next run of a series."""
    device = series.device
    ns, clock, values, marks = next(series.rows)
    good, none = _GOOD
    if marks is None:
        return [
            Reading(device, quantity, value, unit, ns, clock, good, none, number)
            for number, ((quantity, unit), value) in enumerate(zip(shape, values, strict=True), seq)
        ]
    _check(all(mark in _MARKED for mark in marks), "a quality or a reason that is none")
    return [
        Reading(device, quantity, value, unit, ns, clock, *_MARKED[mark], number)
        for number, ((quantity, unit), value, mark) in enumerate(zip(shape, values, marks, strict=True), seq)
    ]


def _check(holds: bool, cause: str) -> None:
    if not holds:
        raise CompactError(cause)
