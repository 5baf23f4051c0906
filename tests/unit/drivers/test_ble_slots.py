"""Connection slots: in order, shared in turns, never lost to somebody who gave up."""

from __future__ import annotations

import asyncio

import pytest

from drivers.buses.ble_slots import Slot, Slots


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_slots_go_to_those_who_asked_first() -> None:
    slots = Slots(2)
    order: list[str] = []

    async def work(name: str) -> None:
        async with Slot(slots, name):
            order.append(name)
            assert slots.taken <= 2
            await asyncio.sleep(0)

    await asyncio.gather(*(work(name) for name in "abcdefg"))
    assert order == list("abcdefg")
    assert (slots.taken, slots.waiting) == (0, 0)


async def test_taking_and_giving_back_twice_is_harmless() -> None:
    slots = Slots(1)
    mine, other = Slot(slots, "a"), Slot(slots, "b")
    await mine.take()
    await mine.take()
    mine.give_back()
    mine.give_back()
    await other.take()
    mine.give_back()
    assert slots.taken == 1


async def test_who_gives_up_waiting_costs_no_slot() -> None:
    slots = Slots(1)
    first, second, third = (Slot(slots, name) for name in "abc")
    await first.take()
    waiting = asyncio.create_task(second.take())
    last = asyncio.create_task(third.take())
    await settled()
    waiting.cancel()
    await settled()
    assert slots.waiting == 1
    first.give_back()
    async with asyncio.timeout(10):
        await last
    assert slots.taken == 1


async def test_cancelled_at_the_moment_of_its_turn_passes_the_slot_on() -> None:
    slots = Slots(1)
    first, second, third = (Slot(slots, name) for name in "abc")
    await first.take()
    waiting = asyncio.create_task(second.take())
    last = asyncio.create_task(third.take())
    await settled()
    first.give_back()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(10):
        await last


async def test_nobody_is_asked_to_let_go_while_nobody_waits() -> None:
    slots = Slots(1, hold_s=0.0)
    only = Slot(slots, "a")
    await only.take()
    await settled()
    assert not only.wanted.is_set()


async def test_the_longest_holder_is_asked_first_and_only_as_many_as_wait() -> None:
    slots = Slots(2, hold_s=0.02)
    one, two, late = (Slot(slots, name) for name in "abc")
    await one.take()
    await two.take()
    waiting = asyncio.create_task(late.take())
    async with asyncio.timeout(10):
        await one.wanted.wait()
    await asyncio.sleep(0.05)
    assert not two.wanted.is_set()
    one.give_back()
    await waiting
    assert not late.wanted.is_set()


async def test_devices_that_keep_their_link_take_turns() -> None:
    slots = Slots(2, hold_s=0.01)
    turns = dict.fromkeys("abcde", 0)

    async def stay(name: str) -> None:
        slot = Slot(slots, name)
        while min(turns.values()) < 3:
            async with slot:
                turns[name] += 1
                await slot.wanted.wait()

    async with asyncio.timeout(5):
        tasks = [asyncio.create_task(stay(name)) for name in turns]
        while min(turns.values()) < 3:
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert max(turns.values()) - min(turns.values()) <= 1
    assert slots.taken == 0
