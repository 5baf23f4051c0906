"""Aggregation of a series of numbers over periods (CIM 009 clause 4.5.19): totalCount ... sumsq.

Numbers come as columns and stay columns. A part of the series after the other becomes one row of ``Sums`` per period,
and sums of parts are combined, so memory is bounded by the part and by the periods. The standard deviation is that of
the population, by deviations from the mean (not by the difference of two large sums).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gateway.server.temporal.duration import Period

Method = Literal["totalCount", "distinctCount", "sum", "avg", "min", "max", "stddev", "sumsq"]
METHODS: tuple[Method, ...] = ("totalCount", "distinctCount", "sum", "avg", "min", "max", "stddev", "sumsq")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Column = NDArray[Any]
NEEDS: Mapping[Method, frozenset[str]] = {
    "totalCount": frozenset(),
    "distinctCount": frozenset({"pairs"}),
    "sum": frozenset({"total"}),
    "avg": frozenset({"total"}),
    "min": frozenset({"least"}),
    "max": frozenset({"most"}),
    "stddev": frozenset({"total", "squares"}),
    "sumsq": frozenset({"sumsq"}),
}


@dataclass(frozen=True, slots=True)
class Sums:
    """One row per period, in order: its number, how many values, and the columns that were needed.

    ``squares``: of the deviations from the mean. ``pairs``: distinct (period, value), of another length.
    """

    numbers: Ints
    counts: Ints
    columns: dict[str, Column]
    pairs: tuple[Ints, Floats] | None


def needs(methods: Iterable[Method]) -> frozenset[str]:
    """The columns that the methods are made of."""
    return frozenset().union(*(NEEDS[method] for method in methods))


def sums(period: Period, start_us: int, at_us: Ints, values: Floats, wanted: frozenset[str]) -> Sums:
    """Of one part of a series, in the order of time, with at least one value."""
    numbers = period.numbers(start_us, at_us)
    firsts = _firsts(numbers)
    counts = np.diff(np.append(firsts, len(numbers)))
    columns: dict[str, Column] = {}
    with np.errstate(over="ignore", invalid="ignore"):
        if "total" in wanted:
            columns["total"] = np.add.reduceat(values, firsts)
        if "squares" in wanted:
            apart = values - np.repeat(columns["total"] / counts, counts)
            columns["squares"] = np.add.reduceat(apart * apart, firsts)
        if "sumsq" in wanted:
            columns["sumsq"] = np.add.reduceat(values * values, firsts)
        if "least" in wanted:
            columns["least"] = np.minimum.reduceat(values, firsts)
        if "most" in wanted:
            columns["most"] = np.maximum.reduceat(values, firsts)
    return Sums(numbers[firsts], counts, columns, _distinct(numbers, values) if "pairs" in wanted else None)


def combine(parts: Sequence[Sums]) -> Sums:
    """The sums of a whole series from those of its parts, in order; the last period of one may go on in the next."""
    if len(parts) == 1:
        return parts[0]
    numbers = np.concatenate([part.numbers for part in parts])
    counts = np.concatenate([part.counts for part in parts])
    each = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    firsts = _firsts(numbers)
    whole = np.add.reduceat(counts, firsts)
    columns: dict[str, Column] = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for name, column in each.items():
            columns[name] = REDUCED.get(name, np.add).reduceat(column, firsts)
        if "squares" in columns:
            lengths = np.diff(np.append(firsts, len(numbers)))
            apart = each["total"] / counts - np.repeat(columns["total"] / whole, lengths)
            columns["squares"] = columns["squares"] + np.add.reduceat(counts * apart * apart, firsts)
    pairs = [part.pairs for part in parts if part.pairs is not None]
    numbered = [np.concatenate(each) for each in zip(*pairs, strict=True)]
    return Sums(numbers[firsts], whole, columns, _distinct(numbered[0], numbered[1]) if numbered else None)


def results(found: Sums, method: Method) -> Column:
    """One value for each of the periods; nan or inf where the numbers are beyond what can be added."""
    if method == "distinctCount":
        numbers = found.pairs[0] if found.pairs is not None else found.numbers
        return np.diff(np.append(_firsts(numbers), len(numbers)))
    with np.errstate(invalid="ignore"):
        return RESULTS[method](found)


REDUCED: dict[str, np.ufunc] = {"least": np.minimum, "most": np.maximum}
RESULTS: dict[Method, Callable[[Sums], Column]] = {
    "totalCount": lambda found: found.counts,
    "sum": lambda found: found.columns["total"],
    "avg": lambda found: found.columns["total"] / found.counts,
    "min": lambda found: found.columns["least"],
    "max": lambda found: found.columns["most"],
    "stddev": lambda found: np.sqrt(found.columns["squares"] / found.counts),
    "sumsq": lambda found: found.columns["sumsq"],
}


def _firsts(numbers: Ints) -> Ints:
    """Where each period begins."""
    return np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1]))


def _distinct(numbers: Ints, values: Floats) -> tuple[Ints, Floats]:
    order = np.lexsort((values, numbers))
    numbers, values = numbers[order], values[order]
    new = np.append(True, (numbers[1:] != numbers[:-1]) | (values[1:] != values[:-1]))
    return numbers[new], values[new]
