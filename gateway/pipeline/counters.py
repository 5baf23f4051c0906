"""Counters never jump: wraps, resets and implausible steps of every counter, in one place for all devices.

What is delivered is a total: what the device says plus an offset, which is 0 until something happens.

- A step that the rule of the counter allows is taken: GOOD.
- A wrap (the number begins again from 0 at a known modulus) is a small step modulo the modulus: GOOD at once.
- A fall is a device that restarted or was replaced, or a damaged value. The first one is delivered as it was said,
  SUSPECT (jump). The second that goes on from it makes it a fact: the total goes on from the last good one, GOOD.
- A rise beyond ``max_rate`` is a meter that was replaced by one that had counted already, or a damaged value. It is
  delivered as it was said, BAD (jump), until the third that goes on from it. That one makes it a fact: the total goes
  on from the last good one, once SUSPECT (jump).

So the GOOD values of a counter never fall, and a single damaged value never leaves a trace. The price: what was counted
before a change was believed is lost, never made up. Only what begins again from 0 by its nature (counts, metres; not
energy or water, whose meters keep their registers) is credited with what it says, as far as ``max_rate`` allows. Two
limits of what can be known: a restart within a step of the modulus looks like a wrap, and a damaged value within
``max_rate`` looks like a good one.

``max_rate`` counts from the last step of the counter, not from the last look: some meters tell their count once a day.

A city that must see what the display shows says ``counters: raw`` for that device: what it says is delivered, a fall is
once SUSPECT (jump), and nothing is remembered; going back to ``total`` begins with the offset 0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from drivers.base import Quality, Reason
from drivers.quantities import QUANTITIES

FALLS, RISES = 2, 3  # consistent values that make a fact
SLACK_S = 5.0  # values are not said at the very moment of the step
STILL_S = 86_400.0  # a counter of which no step has been seen yet may not have moved for so long
LONG_AGO_NS = -(2**62)  # 146 years
ENTRIES_MAX = 10_000  # kept of devices that are no longer configured, so that they may come back

Number = int | float
# device, quantity: what it said, offset, how long it had stood still (s), and when that was (UTC in ns, or None)
Saved = dict[str, dict[str, list[Number | None]]]

_KWH_A_S = 3000 / 3600  # 3 MW
_RATES = {
    **{"kWh": _KWH_A_S, "kvarh": _KWH_A_S, "kVAh": _KWH_A_S, "m3": 1.0, "kg": 1000.0, "h": 1.1 / 3600, "mm": 1.0},
    **{"m": 42.0, "kJ": 3.0, "Nm": 2000.0, "mSv": 1.0, "1": 1000.0},
}
_RESTARTING = ("1", "m", "mm", "Nm", "kJ")  # units of counters that begin again from 0 with their device
_RATES_OF = {
    **{"wheel_revolutions": 20.0, "crank_revolutions": 5.0, "swerve_count": 2.0, "hard_braking_count": 2.0},
    **{"impact_count": 10.0, "overtake_count": 2.0},
    **dict.fromkeys(("bicycle_count", "bicycle_count_in", "bicycle_count_out"), 10.0),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """What is known of a counter: at which value it begins again from 0, and how fast it can count, in units a second.

    None: it does not begin again; whatever its quantity implies.
    """

    modulus: float | None = None
    max_rate: float | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule with nothing left open; ``restarts``: from 0, with the device."""

    modulus: float | None
    rate: float
    restarts: bool

    def most(self, since_ns: int, now_ns: int) -> float:
        """How far the counter can come in that time."""
        return self.rate * (max(0.0, (now_ns - since_ns) / 1e9) + SLACK_S)


@dataclass(frozen=True, slots=True)
class Followed:
    """A total, and how far it may be trusted."""

    value: Number
    quality: Quality = Quality.GOOD
    reason: Reason = Reason.NONE


@dataclass(slots=True)
class _Counter:
    """What is believed: ``raw`` as said ``at_ns``, standing still since ``step_ns`` (both monotonic).

    ``first``, ``last``, ``last_ns`` and ``seen`` are those of values that do not fit and may become a fact.
    """

    raw: Number
    offset: Number
    at_ns: int
    step_ns: int
    utc_ns: int | None
    first: Number = 0
    last: Number = 0
    last_ns: int = 0
    seen: int = 0


class Counters:
    """All counters of a box. ``saved`` is what :meth:`save` gave in an earlier life.

    ``changed`` says that an offset has changed since the last :meth:`save`: what a power cut must not cost.
    """

    def __init__(self, saved: Saved | None = None) -> None:
        self.changed = False
        self._saved = saved or {}
        self._counters: dict[str, dict[str, _Counter]] = {}
        self._rules: Mapping[str, Mapping[str, Rule]] = {}
        self._raw: Collection[str] = ()

    def learn(self, rules: Mapping[str, Mapping[str, Rule]], raw: Collection[str]) -> None:
        """Take the rules by device and quantity, and the names of devices whose counters are left as they are."""
        self._rules, self._raw = rules, raw
        for device in raw:
            gone = [self._saved.pop(device, None), self._counters.pop(device, None)]
            self.changed |= any(gone)

    def follow(self, device: str, quantity: str, raw: Number, mono_ns: int, utc_ns: int | None) -> Followed:
        """The total after one more value; ``utc_ns`` is None while the time is not known."""
        counters = self._counters.setdefault(device, {})
        counter = counters.get(quantity)
        if device in self._raw:
            counters[quantity] = _Counter(raw, 0, mono_ns, mono_ns, utc_ns)
            fell = counter is not None and raw < counter.raw
            return Followed(raw, Quality.SUSPECT, Reason.JUMP) if fell else Followed(raw)
        if counter is None:
            saved = self._saved.get(device, {}).get(quantity)
            if saved is None:
                counters[quantity] = _Counter(raw, 0, mono_ns, mono_ns - int(STILL_S * 1e9), utc_ns)
                return Followed(raw)
            counters[quantity] = counter = _revived(saved, mono_ns, utc_ns)
        return self._next(counter, self._rule(device, quantity), raw, mono_ns, utc_ns)

    def offsets(self, device: str) -> dict[str, Number]:
        """What is added to what that device says, by quantity; those that are not 0."""
        kept = {name: row[1] or 0 for name, row in self._saved.get(device, {}).items()}
        kept |= {name: counter.offset for name, counter in self._counters.get(device, {}).items()}
        return {name: offset for name, offset in kept.items() if offset}

    def save(self) -> Saved:
        """What the next life must know, as JSON."""
        self.changed = False
        merged: Saved = {device: dict(rows) for device, rows in self._saved.items()}
        for device, counters in self._counters.items():
            if device not in self._raw:
                rows = merged.setdefault(device, {})
                rows |= {name: _row(one) for name, one in counters.items()}
        strangers = [device for device in merged if device not in self._counters]
        while strangers and sum(map(len, merged.values())) > ENTRIES_MAX:
            del merged[strangers.pop(0)]
        self._saved = merged
        return merged

    def _rule(self, device: str, quantity: str) -> _Rule:
        rule = self._rules.get(device, {}).get(quantity, Rule())
        unit = QUANTITIES[quantity].unit if quantity in QUANTITIES else ""
        rate = rule.max_rate or _RATES_OF.get(quantity) or _RATES.get(unit, inf)
        return _Rule(rule.modulus, rate, unit in _RESTARTING)

    def _next(self, counter: _Counter, rule: _Rule, raw: Number, mono_ns: int, utc_ns: int | None) -> Followed:
        step = _step(counter.raw, raw, rule.most(counter.step_ns, mono_ns), rule.modulus)
        if step is None:
            return self._doubt(counter, rule, raw, mono_ns, utc_ns)
        before = _total(counter)
        if raw < counter.raw:
            self._shift(counter, counter.offset + step - (raw - counter.raw))
        _believe(counter, raw, mono_ns, utc_ns, stepped=step > 0)
        return Followed(max(before, _total(counter)))

    def _doubt(self, counter: _Counter, rule: _Rule, raw: Number, mono_ns: int, utc_ns: int | None) -> Followed:
        fell = raw < counter.raw
        goes_on = (
            counter.seen > 0
            and (counter.last < counter.raw) == fell
            and _step(counter.last, raw, rule.most(counter.last_ns, mono_ns), rule.modulus) is not None
        )
        if not goes_on:
            counter.first, counter.seen = raw, 0
        counter.last, counter.last_ns, counter.seen = raw, mono_ns, counter.seen + 1
        if counter.seen < (FALLS if fell else RISES):
            return Followed(_sum(raw, counter.offset), Quality.SUSPECT if fell else Quality.BAD, Reason.JUMP)
        gained = max(0, raw - counter.first)
        if fell and rule.restarts and raw <= min(counter.raw / 2, rule.most(counter.at_ns, mono_ns)):
            gained = raw
        before = _total(counter)
        self._shift(counter, before + gained - raw)
        _believe(counter, raw, mono_ns, utc_ns, stepped=True)
        total = max(before, _total(counter))
        return Followed(total) if fell else Followed(total, Quality.SUSPECT, Reason.JUMP)

    def _shift(self, counter: _Counter, offset: Number) -> None:
        counter.offset = _rounded(offset)
        self.changed = True


def _row(counter: _Counter) -> list[Number | None]:
    still_s = round((counter.at_ns - counter.step_ns) / 1e9, 3)
    return [counter.raw, counter.offset, still_s, counter.utc_ns]


def _revived(saved: list[Number | None], mono_ns: int, utc_ns: int | None) -> _Counter:
    """A belief of an earlier life, as old as the clock says; where it cannot say, any rise is believed."""
    raw, offset, still_s, then_ns = saved
    then_ns = None if then_ns is None else int(then_ns)
    if utc_ns is not None and then_ns is not None and then_ns < utc_ns:
        at_ns = mono_ns - (utc_ns - then_ns)
        step_ns = at_ns - int((still_s or 0) * 1e9)
    else:
        at_ns, step_ns = mono_ns, LONG_AGO_NS
    return _Counter(raw or 0, offset or 0, at_ns, step_ns, then_ns)


def _believe(counter: _Counter, raw: Number, mono_ns: int, utc_ns: int | None, *, stepped: bool) -> None:
    if stepped:
        counter.step_ns = mono_ns
    counter.raw, counter.at_ns, counter.utc_ns, counter.seen = raw, mono_ns, utc_ns, 0


def _step(before: Number, now: Number, most: float, modulus: float | None) -> Number | None:
    """How far it is from one value to the next, None where nothing plausible leads there."""
    step = now - before
    if step < 0 and modulus is not None:
        step = step + (int(modulus) if float(modulus).is_integer() else modulus)
        most = min(most, modulus / 4)  # a number of which only the lower part has been seen did not wrap
    return step if 0 <= step <= most else None


def _total(counter: _Counter) -> Number:
    return _sum(counter.raw, counter.offset)


def _sum(raw: Number, offset: Number) -> Number:
    return _rounded(raw + offset) if offset else raw


def _rounded(value: Number) -> Number:
    return round(value, 9) if isinstance(value, float) else value


def parse(document: Any) -> Saved:
    """What :meth:`Counters.save` gave, out of JSON. Raises ValueError for anything else."""
    if not isinstance(document, dict):
        raise ValueError("no counters")
    for device, rows in document.items():
        if not isinstance(device, str) or not isinstance(rows, dict):
            raise ValueError(f"no counters of {device!r}")
        for quantity, row in rows.items():
            if not isinstance(quantity, str) or not _is_row(row):
                raise ValueError(f"no counter {quantity!r} of {device}")
    return document


def _is_row(row: Any) -> bool:
    def number(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)

    return isinstance(row, list) and len(row) == 4 and all(map(number, row[:3])) and (row[3] is None or number(row[3]))
