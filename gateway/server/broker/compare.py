"""How ``q`` compares a literal with what is stored (CIM 009 clause 4.9, table of operators)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gateway.server.broker.model import time_us

ORDERED: Mapping[str, tuple[bool, bool]] = {  # operator -> (the larger one wins, equality counts)
    ">": (True, False),
    ">=": (True, True),
    "<": (False, False),
    "<=": (False, True),
}


@dataclass(frozen=True, slots=True)
class Moment:
    """A dateTime, date or time in a query: microseconds, comparable within its kind."""

    kind: str
    us: int

    @classmethod
    def of(cls, text: str) -> Moment:
        """Raises ValueError for an impossible date."""
        if "T" in text:
            return cls("dateTime", time_us(text))
        if text.endswith("Z"):
            return cls("time", time_us(f"1970-01-01T{text}"))
        return cls("date", time_us(f"{text}T00:00:00Z"))


Literal: TypeAlias = str | float | bool | Moment


@dataclass(frozen=True, slots=True)
class Range:
    """From ``low`` to ``high``, both included."""

    low: Literal
    high: Literal


def comparable(target: object, literal: Literal) -> object | None:
    """The stored value in the literal's data type; None where the types differ."""
    if isinstance(target, dict) and "@value" in target:
        target = target["@value"]
    if isinstance(literal, Moment):
        try:
            moment = Moment.of(target) if isinstance(target, str) else None
        except ValueError:
            return None
        return moment.us if moment is not None and moment.kind == literal.kind else None
    if isinstance(literal, bool) or isinstance(target, bool):
        return target if isinstance(target, bool) and isinstance(literal, bool) else None
    if isinstance(literal, float):
        return target if isinstance(target, int | float) else None
    return target if isinstance(target, str) else None


def _plain(literal: Literal) -> object:
    return literal.us if isinstance(literal, Moment) else literal


def equal(target: object, value: Literal | Range) -> bool:
    """Equal, within the range, or (a list) containing such an element."""
    if isinstance(target, list):
        return any(equal(part, value) for part in target)
    if isinstance(value, Range):
        return ordered(">=", target, value.low) and ordered("<=", target, value.high)
    found = comparable(target, value)
    return found is not None and found == _plain(value)


def ordered(operator: str, target: object, literal: Literal) -> bool:
    """Strict comparison within one data type; lists and booleans have no order."""
    found, plain = comparable(target, literal), _plain(literal)
    if found is None or isinstance(found, bool):
        return False
    larger, equality = ORDERED[operator]
    if found == plain:
        return equality
    return (found > plain) is larger  # type: ignore[operator]  # comparable() gave both the same type


def _any_equal(values: Sequence[Literal | Range]) -> Callable[[object], bool]:
    return lambda target: any(equal(target, value) for value in values)


def _none_equal(values: Sequence[Literal | Range]) -> Callable[[object], bool]:
    return lambda target: not any(equal(target, value) for value in values)


def _order(operator: str) -> Callable[[Sequence[Literal | Range]], Callable[[object], bool]]:
    return lambda values: lambda target: ordered(operator, target, values[0])  # type: ignore[arg-type]  # no ranges


OPERATORS: Mapping[str, Callable[[Sequence[Literal | Range]], Callable[[object], bool]]] = {
    "==": _any_equal,
    "!=": _none_equal,
    **{operator: _order(operator) for operator in ORDERED},
}
