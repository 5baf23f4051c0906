"""The planner: every point served once, limits kept, as cheap as can be, and the load of a line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import template
from drivers.planner import Block, device_load, halves, intervals, line_load, plan, plan_for, wire_s
from drivers.template import Point, Template

CHAR_9600_S = 10 / 9600


def point(address: int, kind: str = "u16", function: int = 4, **more: Any) -> Point:
    quantity = more.pop("quantity", f"q{function}-{address}-{kind}")
    return Point(quantity, address, function, kind, **more)  # type: ignore[arg-type]


points = st.lists(
    st.builds(point, st.integers(0, 600), st.sampled_from(["u16", "f32", "u64"]), st.sampled_from([3, 4])),
    min_size=1,
    max_size=25,
    unique_by=lambda p: (p.address, p.function),
)
spots = st.lists(st.integers(0, 90), min_size=1, max_size=8, unique=True)
ranges = st.lists(st.tuples(st.integers(0, 90), st.integers(0, 10)), max_size=3)


@given(points, st.integers(4, 125), st.none() | st.integers(0, 20), ranges)
def test_every_point_is_served_once_and_limits_hold(
    asked: list[Point], registers_max: int, gap_max: int | None, never: list[tuple[int, int]]
) -> None:
    no_fill = [(first, first + more) for first, more in never]
    blocks = plan(asked, char_s=CHAR_9600_S, registers_max=registers_max, gap_max=gap_max, no_fill=no_fill)
    served = [p for block in blocks for p in block.points]
    assert sorted(p.quantity for p in served) == sorted(p.quantity for p in asked)
    for block in blocks:
        assert 1 <= block.count <= registers_max
        wanted = {a for p in block.points for a in range(p.address, p.address + p.count)}
        assert all(p.function == block.function for p in block.points)
        assert wanted <= set(range(block.address, block.address + block.count))
        in_vain = set(range(block.address, block.address + block.count)) - wanted
        assert not any(first <= address <= last for address in in_vain for first, last in no_fill)
        assert block.has_gaps == bool(in_vain)
    if gap_max == 0:
        assert not any(block.has_gaps for block in blocks)


def partitions(items: Sequence[Point]) -> Iterator[list[list[Point]]]:
    """Every way to group the points, contiguous or not."""
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for groups in partitions(rest):
        yield [[first], *groups]
        for index in range(len(groups)):
            yield [*groups[:index], [first, *groups[index]], *groups[index + 1 :]]


def block_of(group: list[Point]) -> Block:
    first = min(p.address for p in group)
    return Block(4, first, max(p.address + p.count for p in group) - first, tuple(group))


@given(
    st.lists(
        st.tuples(st.integers(0, 120), st.sampled_from(["u16", "f32", "u64"])), min_size=1, max_size=7, unique=True
    ),
    st.sampled_from([300, 9600, 19_200, 115_200]),
    st.integers(4, 40),
    ranges,
)
def test_no_other_split_is_cheaper(
    spots: list[tuple[int, str]], baud: int, registers_max: int, never: list[tuple[int, int]]
) -> None:
    """Against all ways to group up to 7 points: the plan costs at most 1.05 times the best (and in fact never more)."""
    asked = [point(address, kind) for address, kind in spots]
    no_fill = [(first, first + more) for first, more in never]
    char_s = 10 / baud

    def allowed(block: Block) -> bool:
        wanted = {a for p in block.points for a in range(p.address, p.address + p.count)}
        in_vain = set(range(block.address, block.address + block.count)) - wanted
        return block.count <= registers_max and not any(a <= x <= b for x in in_vain for a, b in no_fill)

    costs = (
        wire_s(blocks, char_s)
        for blocks in ([block_of(group) for group in groups] for groups in partitions(asked))
        if all(map(allowed, blocks))
    )
    ours = plan(asked, char_s=char_s, registers_max=registers_max, no_fill=no_fill)
    assert wire_s(ours, char_s) <= min(costs) * (1 + 1e-9)


@given(points)
def test_never_dearer_than_one_by_one(asked: list[Point]) -> None:
    together = wire_s(plan(asked, char_s=CHAR_9600_S), CHAR_9600_S)
    singly = sum(wire_s(plan([p], char_s=CHAR_9600_S), CHAR_9600_S) for p in asked)
    assert together <= singly + 1e-9


def test_ten_registers_in_a_row_are_one_request() -> None:
    assert len(plan([point(a) for a in range(10)], char_s=CHAR_9600_S)) == 1


def test_wide_gap_is_dearer_than_a_request_and_a_faster_line_fills_wider_ones() -> None:
    pair = [point(0), point(30)]
    assert len(plan(pair, char_s=CHAR_9600_S)) == 2
    assert len(plan(pair, char_s=10 / 115_200)) == 1


def test_the_best_split_is_not_the_greedy_one() -> None:
    """With at most 4 registers, joining from the left would need three requests for 0, 3, 4..7."""
    blocks = plan([point(0), point(3), *(point(a) for a in range(4, 8))], char_s=CHAR_9600_S, registers_max=4)
    assert [(b.address, b.count) for b in blocks] in ([(0, 4), (4, 4)],)


def test_scale_registers_are_read_too_and_once() -> None:
    asked = [point(0, scale_register=5), point(1, scale_register=5), point(2, scale_register=200)]
    blocks = plan(asked, char_s=CHAR_9600_S)
    assert [(b.address, b.count, len(b.points), b.scales) for b in blocks] == [(0, 6, 3, (5,)), (200, 1, 0, (200,))]
    assert blocks[0].has_gaps  # 3 and 4


@given(points, st.lists(st.integers(0, 600), max_size=4))
def test_no_request_goes_across_a_cut(asked: list[Point], at: list[int]) -> None:
    blocks = plan(asked, char_s=CHAR_9600_S, cuts=[(function, a) for a in at for function in (3, 4)])
    assert sorted(p.quantity for b in blocks for p in b.points) == sorted(p.quantity for p in asked)
    for block in blocks:
        begins = [p.address for p in block.points]
        assert not any(min(begins) < cut <= max(begins) for cut in at)


@given(points)
def test_halves_hold_the_same_points(asked: list[Point]) -> None:
    for block in plan(asked, char_s=CHAR_9600_S):
        parts = halves(block)
        assert (parts is None) == (len(block.points) == 1)
        if parts is not None:
            assert sorted(p.quantity for part in parts for p in part.points) == sorted(p.quantity for p in block.points)
            assert all(len(part.points) < len(block.points) for part in parts)


def test_energies_each_minute_identity_once_a_day_the_rest_every_time() -> None:
    names = ("active_power_total", "energy_import_total", "reactive_energy_sum_total", "serial_number", "pulse_count_1")
    asked = [point(at, quantity=name) for at, name in enumerate(names)]
    assert list(intervals(asked, 1.0).values()) == [1.0, 60.0, 60.0, 86_400.0, 1.0]
    assert list(intervals(asked, 300.0).values()) == [300.0, 300.0, 300.0, 86_400.0, 300.0]


def test_what_a_point_states_holds() -> None:
    asked = [point(0, quantity="energy_import_total", every=5.0), point(1, quantity="voltage_l1", every=0.1)]
    assert intervals(asked, 1.0) == {"energy_import_total": 5.0, "voltage_l1": 1.0}


def test_device_with_counters_only_is_read_at_its_period() -> None:
    asked = [point(0, quantity="energy_import_total"), point(1, quantity="serial_number")]
    assert intervals(asked, 10.0) == {"energy_import_total": 10.0, "serial_number": 86_400.0}


def meter(*asked: Point, **limits: Any) -> Template:
    return dataclasses.replace(template.load("peacefair-pzem-004t-v3"), points=asked, **limits)


def test_load_of_a_line() -> None:
    """10 registers at 9600 baud: 13 + 20 characters, two silences of 3.5, 10 ms of turn-around: 51.7 ms."""
    ten = meter(*(point(a) for a in range(10)), registers_max=125)
    assert device_load(ten, 1.0, CHAR_9600_S) == pytest.approx(40 * CHAR_9600_S + 0.01)
    assert line_load([(ten, 1.0)] * 3 + [(ten, 10.0)], CHAR_9600_S) == pytest.approx(3.1 * (40 * CHAR_9600_S + 0.01))
    waits = meter(*(point(a) for a in range(10)), registers_max=125, gap_s=0.05)
    assert device_load(waits, 1.0, CHAR_9600_S) == pytest.approx(36.5 * CHAR_9600_S + 0.06)


def test_slow_points_weigh_little() -> None:
    fast = meter(point(0, quantity="voltage_l1"), registers_max=125)
    both = meter(point(0, quantity="voltage_l1"), point(500, quantity="energy_import_total"), registers_max=125)
    one_s = device_load(fast, 1.0, CHAR_9600_S)
    assert device_load(both, 1.0, CHAR_9600_S) == pytest.approx(one_s * (1 + 1 / 60))


@pytest.mark.parametrize("name", [n for n in template.names() if template.load(n).protocol == "modbus"])
def test_shipped_templates_fit_a_line(name: str) -> None:
    known = template.load(name)
    assert sum(len(b.points) for b in plan_for(known, known.points, CHAR_9600_S)) == len(known.points)
    assert 0 < device_load(known, 10.0, CHAR_9600_S) < 1
