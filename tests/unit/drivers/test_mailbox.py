"""What waits between a device that speaks by itself and its reader."""

from __future__ import annotations

import asyncio
import time

import pytest

from drivers.base import Measurement, Observation
from drivers.buses.mailbox import WAITING_MAX, Collector, Mailbox
from drivers.errors import Disconnected, LoginRefused

MS = 1_000_000


def said(**values: float) -> tuple[Measurement, ...]:
    return tuple(Measurement(quantity, value) for quantity, value in values.items())


def plain(observations: list[Observation]) -> list[tuple[dict[str, object], int]]:
    return [({one.quantity: one.value for one in seen.measurements}, seen.mono_ns) for seen in observations]


async def test_what_is_said_in_one_breath_is_one_observation() -> None:
    got: list[Observation] = []
    collector = Collector(got.append, gather_s=0.05, period_s=0)
    now = time.monotonic_ns()
    collector.add(said(a=1), now)
    collector.add(said(b=2), now + 10 * MS)
    assert got == []
    await asyncio.sleep(0.08)
    assert plain(got) == [({"a": 1, "b": 2}, now)]
    collector.add((), now)
    collector.close()


async def test_what_is_said_again_begins_the_next_observation() -> None:
    got: list[Observation] = []
    collector = Collector(got.append, gather_s=60, period_s=0)
    now = time.monotonic_ns()
    for number in range(3):
        collector.add(said(a=number, b=number), now + number)
    assert plain(got) == [({"a": 0, "b": 0}, now), ({"a": 1, "b": 1}, now + 1)]
    collector.flush()
    assert plain(got)[-1] == ({"a": 2, "b": 2}, now + 2)
    assert collector.thinned == 0


async def test_without_a_breath_every_message_is_handed_on_at_once() -> None:
    got: list[Observation] = []
    collector = Collector(got.append, gather_s=0, period_s=0)
    now = time.monotonic_ns()
    collector.add(said(a=1), now)
    collector.add(said(a=1), now + 1)
    assert len(got) == 2


async def test_of_a_period_the_last_value_of_each_quantity_is_kept_with_its_own_date() -> None:
    got: list[Observation] = []
    collector = Collector(got.append, gather_s=0, period_s=0.1)
    start = time.monotonic_ns()
    collector.add(said(a=1), start)
    assert plain(got) == [({"a": 1}, start)]
    for number in range(5):
        collector.add(said(a=number), start + number + 1)
    collector.add(said(b=7), start + 9)
    assert len(got) == 1
    await asyncio.sleep(0.15)
    assert plain(got)[1:] == [({"a": 4}, start + 5), ({"b": 7}, start + 9)]
    assert collector.thinned == 4


async def test_loss_is_told_once_behind_what_had_come() -> None:
    mailbox = Mailbox()
    mailbox.put(Observation(said(a=1), 1))
    mailbox.lose("pulled out")
    assert len(await mailbox.get(1)) == 1
    with pytest.raises(Disconnected, match="pulled out"):
        await mailbox.get(1)
    mailbox.lose("not you", LoginRefused)
    with pytest.raises(LoginRefused, match="not you"):
        await mailbox.get(1)


async def test_what_nobody_takes_is_counted() -> None:
    mailbox = Mailbox()
    for number in range(WAITING_MAX + 3):
        mailbox.put(Observation(said(a=number), number))
    assert (len(await mailbox.get(1)), mailbox.dropped) == (WAITING_MAX, 3)
