"""What is read of a device at a time: classes that are due, and what it refused."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

from drivers import template
from drivers.buses.modbus_plan import FORGET_S, DevicePlan
from drivers.planner import Block, halves
from drivers.template import Point

CHAR_S = 10 / 9600
DAY_S = 86_400.0


def point(quantity: str, address: int, **more: Any) -> Point:
    return Point(quantity, address, 4, "u16", **more)


METER = (
    point("active_power_total", 0),
    point("voltage_l1", 1),
    point("energy_import_total", 2),
    point("energy_export_total", 200),
    point("serial_number", 400),
)


def plan_of(*points: Point, period_s: float = 1.0, unit: int = 1) -> DevicePlan:
    made = dataclasses.replace(template.load("peacefair-pzem-004t-v3"), points=points, registers_max=125)
    return DevicePlan(made, CHAR_S, period_s, unit)


def names(blocks: tuple[Block, ...]) -> set[str]:
    return {p.quantity for block in blocks for p in block.points}


def run(plan: DevicePlan, seconds: int, begin: float = 1000.0) -> list[set[str]]:
    read = []
    for second in range(seconds):
        now = begin + second * plan.period_s
        blocks = plan.due(now)
        plan.taken((point for block in blocks for point in block.points), now)
        read.append(names(blocks))
    return read


def test_all_at_first_then_each_class_in_its_time() -> None:
    read = run(plan_of(*METER), 601)
    assert read[0] == {p.quantity for p in METER}
    assert all({"active_power_total", "voltage_l1"} <= once for once in read)
    energies = [second for second, once in enumerate(read) if "energy_import_total" in once][1:]
    assert 1 <= energies[0] <= 61
    assert {after - before for before, after in pairwise(energies)} == {60}
    assert sum("serial_number" in once for once in read) == 1


def test_what_comes_every_time_goes_first() -> None:
    blocks = plan_of(*METER[::-1]).due(0.0)
    assert [b.address for b in blocks] == [0, 200, 400]


def test_devices_are_not_slow_at_the_same_time() -> None:
    firsts = []
    for unit in range(1, 31):
        read = run(plan_of(*METER, unit=unit), 70)
        firsts.append(next(s for s, once in enumerate(read[1:], 1) if "energy_import_total" in once))
    assert len(set(firsts)) >= 20
    assert max(firsts.count(second) for second in firsts) <= 2


def test_slow_class_that_fails_is_put_off_further_each_time() -> None:
    plan = plan_of(*METER[:2], METER[3])
    now, tries = 0.0, []
    for _ in range(200):
        for block in plan.due(now):
            if plan.is_slow(block):
                tries.append(now)
                plan.postponed(block, now)
            else:
                plan.taken(block.points, now)
        now += 1.0
    assert tries[:4] == [0.0, 4.0, 20.0, 80.0]


def test_refused_points_are_left_alone_for_an_hour() -> None:
    plan = plan_of(*METER)
    (block, *_) = plan.due(0.0)
    left, _right = halves(block) or (None, None)
    assert left is not None
    plan.refuse(left, 0.0)
    assert [p.quantity for p in plan.refused] == ["active_power_total"]
    assert "active_power_total" not in names(plan.due(1.0))
    assert names(plan.due(1.0)) >= {"voltage_l1"}
    assert "active_power_total" in names(plan.due(FORGET_S + 1))
    assert plan.refused == ()


def test_refused_registers_are_never_read_in_vain() -> None:
    plan = plan_of(*(point(q, at) for at, q in enumerate(("voltage_l1", "voltage_l2", "voltage_l3"))))
    plan.refuse(Block(4, 1, 1, (point("voltage_l2", 1),)), 0.0)
    assert [(b.address, b.count) for b in plan.due(1.0)] == [(0, 1), (2, 1)]


def test_point_goes_with_its_scale() -> None:
    plan = plan_of(point("voltage_l1", 0, scale_register=300), point("voltage_l2", 1))
    (scale,) = (b for b in plan.due(0.0) if b.scales)
    plan.refuse(scale, 0.0)
    assert [p.quantity for p in plan.refused] == ["voltage_l1"]
    assert [(b.address, b.count) for b in plan.due(1.0)] == [(1, 1)]


def test_cut_holds_in_other_plans_too() -> None:
    plan = plan_of(*METER)
    plan.cut(Block(4, 1, 1, ()), 0.0)
    assert [(b.address, b.count) for b in plan.due(0.0)] == [(0, 1), (1, 2), (200, 1), (400, 1)]
    plan.taken(METER, 0.0)
    assert [(b.address, b.count) for b in plan.due(1.0)] == [(0, 1), (1, 1)]


def test_nothing_left_is_probed() -> None:
    plan = plan_of(METER[0])
    plan.refuse(plan.due(0.0)[0], 0.0)
    assert plan.due(1.0) == ()
    assert plan.probe() == Block(4, 0, 1, ())
