"""Counters never jump: wraps, restarts, replaced meters, damaged values, and a gateway that itself restarts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import Quality, Reason
from drivers.quantities import QUANTITIES
from gateway.pipeline import counters as stage
from gateway.pipeline.counters import Counters, Followed, Number, Rule, parse

SECOND = 1_000_000_000
PERIOD_S = 10
U16 = Rule(modulus=65_536, max_rate=1.0)
U32 = Rule(modulus=2**32, max_rate=1.0)
NOW_NS = 1_793_000_000 * SECOND


def run(values: list[Number], rule: Rule = U32, quantity: str = "bicycle_count") -> list[Followed]:
    counters = Counters()
    counters.learn({"loop": {quantity: rule}}, ())
    return [
        counters.follow("loop", quantity, value, at * PERIOD_S * SECOND, NOW_NS + at * PERIOD_S * SECOND)
        for at, value in enumerate(values)
    ]


def told(followed: list[Followed]) -> list[tuple[Number, str]]:
    return [(one.value, one.quality.name.lower()) for one in followed]


def test_a_counter_that_just_counts_is_left_alone() -> None:
    assert told(run([7, 7, 9, 19])) == [(7, "good"), (7, "good"), (9, "good"), (19, "good")]


@pytest.mark.parametrize(("rule", "modulus"), [(U16, 2**16), (U32, 2**32), (Rule(10**6, 1.0), 10**6)])
def test_a_wrap_is_good_at_once(rule: Rule, modulus: int) -> None:
    found = told(run([modulus - 6, modulus - 1, 4, 9], rule))
    assert found == [(modulus - 6, "good"), (modulus - 1, "good"), (modulus + 4, "good"), (modulus + 9, "good")]


def test_it_wraps_again_and_again() -> None:
    raw = [count % 65_536 for count in range(65_530, 65_530 + 65_536 * 3, 9)]
    found = run(raw, U16)
    assert all(one.quality is Quality.GOOD for one in found)
    assert found[-1].value - found[0].value == 9 * (len(raw) - 1)


def test_a_scaled_counter_wraps_at_its_scaled_modulus() -> None:
    found = run([6553.3, 6553.5, 0.4], Rule(6553.6, 1.0), "energy_import_total")
    assert [one.value for one in found] == [6553.3, 6553.5, pytest.approx(6554.0)]


def test_a_restart_is_flagged_once_and_the_total_goes_on() -> None:
    found = run([1000, 1004, 3, 5, 9])
    assert told(found) == [(1000, "good"), (1004, "good"), (3, "suspect"), (1009, "good"), (1013, "good")]
    assert found[2].reason is Reason.JUMP


def test_a_restart_far_below_the_modulus_is_no_wrap() -> None:
    values: list[Number] = [30_000, 30_005, 2, 4]
    assert told(run(values, Rule(65_536, 1000.0)))[-1] == (30_009, "good")


def test_a_meter_replaced_by_an_older_one_with_less_on_it() -> None:
    found = told(run([5000.0, 5000.5, 1200.0, 1200.25], Rule(max_rate=0.05), "energy_import_total"))
    assert found == [(5000.0, "good"), (5000.5, "good"), (1200.0, "suspect"), (5000.75, "good")]


def test_a_meter_replaced_by_one_with_more_on_it() -> None:
    values = [5000.0, 5000.5, 9000.0, 9000.25, 9000.5, 9001.0]
    found = run(values, Rule(max_rate=0.05), "energy_import_total")
    assert told(found) == [
        *((5000.0, "good"), (5000.5, "good"), (9000.0, "bad"), (9000.25, "bad")),
        *((5001.0, "suspect"), (5001.5, "good")),
    ]
    assert {one.reason for one in found[2:5]} == {Reason.JUMP}


@pytest.mark.parametrize("glitch", [17_410, 4_000_000, 0, 3])
def test_a_single_damaged_value_leaves_no_trace(glitch: int) -> None:
    found = run([1000, 1003, glitch, 1006, 1009])
    assert found[2].quality is not Quality.GOOD
    assert found[2].value == glitch
    assert told(found[3:]) == [(1006, "good"), (1009, "good")]


def test_damaged_values_that_disagree_are_never_a_fact() -> None:
    found = run([1000, 9_000_000, 5_000_000, 2_000_000, 40, 12, 1002])
    assert [one.quality for one in found[1:6]] == [Quality.BAD] * 3 + [Quality.SUSPECT] * 2
    assert told(found[-1:]) == [(1002, "good")]


def test_a_meter_that_tells_its_count_once_a_day_does_not_jump() -> None:
    counters = Counters()
    counters.learn({"water": {"volume_total": Rule(max_rate=0.001)}}, ())
    hours = [(hour, 100.0 + 50.0 * (hour // 24)) for hour in range(72)]
    for hour, raw in hours:
        if hour % 5 == 0:
            counters = reborn(counters)
            counters.learn({"water": {"volume_total": Rule(max_rate=0.001)}}, ())
        at_ns = hour * 3600 * SECOND
        assert counters.follow("water", "volume_total", raw, at_ns, NOW_NS + at_ns) == Followed(raw)


def test_a_counter_of_which_nothing_is_known_is_only_kept_from_falling() -> None:
    found = run([5, 10**9, 3, 4], Rule(), "no_such_quantity")
    assert told(found) == [(5, "good"), (10**9, "good"), (3, "suspect"), (10**9 + 1, "good")]


def test_every_counter_has_a_rate_that_is_possible() -> None:
    for quantity in QUANTITIES.values():
        if quantity.kind == "counter":
            assert quantity.unit in stage._RATES, f"{quantity.name}: how fast can {quantity.unit} be counted?"


def test_a_device_left_raw_shows_what_its_display_shows() -> None:
    counters = Counters({"loop": {"count": [50, 1000, 0, None]}})
    counters.learn({}, ("loop",))
    found = [counters.follow("loop", "count", raw, at * SECOND, None) for at, raw in enumerate((60, 3, 5))]
    assert told(found) == [(60, "good"), (3, "suspect"), (5, "good")]
    assert counters.offsets("loop") == {}
    assert counters.save() == {}
    counters.learn({}, ())
    assert counters.follow("loop", "count", 7, 3 * SECOND, None) == Followed(7)


def reborn(counters: Counters) -> Counters:
    document = json.loads(json.dumps(counters.save()))
    return Counters(parse(document))


def test_offsets_outlive_the_gateway() -> None:
    counters = Counters()
    for at, raw in enumerate((1000, 1004, 3, 5)):
        counters.follow("loop", "bicycle_count", raw, at * SECOND, NOW_NS + at * SECOND)
        assert counters.changed == (at == 3)
    assert counters.offsets("loop") == {"bicycle_count": 1004}
    again = reborn(counters)
    assert not counters.changed
    assert again.offsets("loop") == {"bicycle_count": 1004}
    assert again.follow("loop", "bicycle_count", 8, 0, NOW_NS + 60 * SECOND) == Followed(1012)


def test_a_restart_of_the_device_while_the_gateway_was_off_is_noticed() -> None:
    counters = Counters()
    counters.follow("loop", "bicycle_count", 1000, 0, NOW_NS)
    again = reborn(counters)
    found = [again.follow("loop", "bicycle_count", raw, raw * SECOND, NOW_NS + 3600 * SECOND) for raw in (4, 6)]
    assert told(found) == [(4, "suspect"), (1006, "good")]


def test_what_was_counted_while_the_gateway_was_off_counts_but_not_more_than_can_be() -> None:
    counters = Counters()
    counters.follow("loop", "bicycle_count", 1000, 0, NOW_NS)
    an_hour = NOW_NS + 3600 * SECOND
    assert reborn(counters).follow("loop", "bicycle_count", 30_000, 5, an_hour) == Followed(30_000)
    assert reborn(counters).follow("loop", "bicycle_count", 2_000_000, 5, an_hour).quality is Quality.BAD


@pytest.mark.parametrize("utc_ns", [None, NOW_NS - SECOND])
def test_without_a_clock_any_rise_over_a_restart_is_believed(utc_ns: int | None) -> None:
    counters = Counters()
    counters.follow("loop", "bicycle_count", 1000, 0, NOW_NS)
    assert reborn(counters).follow("loop", "bicycle_count", 10**7, 5, utc_ns) == Followed(10**7)


def test_what_is_kept_of_devices_that_are_gone_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "ENTRIES_MAX", 3)
    counters = Counters({f"old-{number}": {"count": [1, 2, 0, None]} for number in range(9)})
    counters.follow("new", "count", 5, 0, None)
    assert list(counters.save()) == ["old-7", "old-8", "new"]


@pytest.mark.parametrize(
    "document",
    [
        *([], "x", {"a": 1}, {"a": {"b": 1}}, {"a": {"b": [1, 2]}}, {"a": {"b": [1, "2", 0, None]}}),
        *({"a": {"b": [None, 1, 0, 2]}}, {"a": {"b": [True, 1, 0, None]}}, {"a": {"b": [1, 1, 0, "x"]}}),
        *({"a": {"b": [float("nan"), 1, 0, None]}}, {"a": {"b": [1, 1, None, None]}}),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="no counter"):
        parse(document)


# Any life of a counter. The device counts; it wraps, restarts, is replaced; values are damaged, one at a time; the
# gateway restarts. What nobody can know is left out: a restart that looks like a wrap, another device or a damaged
# value that says what this one could have said, and another device that looks like this one begun again.

BOUND = 2000  # more than any life here can count: 100 polls of 10 s at 1 a second, with slack


@dataclass
class Life:
    """A device and what it has really counted."""

    modulus: int
    count: int
    truth: int = 0
    damaged: bool = False
    raws: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.truth = self.count
        self.raws.append(self.count)

    def live(self, act: str, amount: int) -> int | None:
        """One period; what is read at its end, None where nothing is read."""
        if act in ("restart", "replace") and self.modulus - self.count > BOUND:
            other = 0 if act == "restart" else amount * 1009 % self.modulus
            if act == "restart" or (BOUND < other < self.modulus - BOUND and self._cannot_be(other)):
                self.count = other
        self.count = (self.count + amount % (PERIOD_S + 1)) % self.modulus
        self.truth += amount % (PERIOD_S + 1)
        self.raws.append(self.count)
        damaged = (self.count + BOUND + amount * 1009) % self.modulus
        self.damaged = act == "damage" and not self.damaged and self._cannot_be(damaged)
        if self.damaged:
            return damaged
        return None if act == "silence" else self.count

    def _cannot_be(self, value: int) -> bool:
        return all((value - raw) % self.modulus > BOUND for raw in self.raws)


acts = st.sampled_from(["count"] * 6 + ["restart", "replace", "damage", "damage", "silence", "reborn"])


@settings(max_examples=400)
@given(
    st.sampled_from([2**16, 10**6, 2**32]),
    st.integers(0, 100),
    st.booleans(),
    st.lists(st.tuples(acts, st.integers(0, 1500)), min_size=1, max_size=90),
)
def test_good_values_never_fall_and_never_exceed_what_was_counted(
    modulus: int, start: int, late: bool, script: list[tuple[str, int]]
) -> None:
    life = Life(modulus, modulus - BOUND // 40 - start if late else start)
    rules = {"loop": {"bicycle_count": Rule(modulus, 1.0)}}
    counters = Counters()
    counters.learn(rules, ())
    good = life.count
    script = [("count", 0), ("count", 1), *script]  # it has moved once
    for at, (act, amount) in enumerate(script):
        if act == "reborn":
            counters = reborn(counters)
            counters.learn(rules, ())
        raw = life.live(act, amount)
        if raw is None:
            continue
        found = counters.follow("loop", "bicycle_count", raw, at * PERIOD_S * SECOND, NOW_NS + at * PERIOD_S * SECOND)
        if found.quality is Quality.GOOD:
            assert good <= found.value <= life.truth
            good = int(found.value)


@given(st.lists(st.tuples(st.floats(0, 50.0), st.booleans()), max_size=60))
def test_floats_do_not_fall_by_a_rounding(steps: list[tuple[float, bool]]) -> None:
    counters = Counters()
    raw, good = 1234.56789, 0.0
    for at, (step, replaced) in enumerate(steps):
        raw = raw / 3 if replaced else raw + step / 10
        found = counters.follow("m", "energy_import_total", raw, at * 60 * SECOND, None)
        if found.quality is Quality.GOOD:
            assert found.value >= good
            good = float(found.value)
