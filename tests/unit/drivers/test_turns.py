"""Whose turn it is: earliest deadline first, nothing lost when waiters are cancelled."""

from __future__ import annotations

import asyncio

from drivers.buses.turns import Turns


async def waiters(turns: Turns, deadlines: list[float], order: list[float]) -> list[asyncio.Task[None]]:
    async def one(deadline: float) -> None:
        await turns.take(deadline)
        order.append(deadline)
        await asyncio.sleep(0)
        turns.give()

    tasks = [asyncio.create_task(one(deadline)) for deadline in deadlines]
    await asyncio.sleep(0)
    return tasks


async def test_earliest_deadline_goes_first() -> None:
    turns, order = Turns(), list[float]()
    await turns.take(0)
    tasks = await waiters(turns, [5.0, 1.0, 3.0, 1.0], order)
    turns.give()
    await asyncio.gather(*tasks)
    assert order == [1.0, 1.0, 3.0, 5.0]
    async with asyncio.timeout(10):
        await turns.take(9)


async def test_cancelled_waiters_leave_no_hole() -> None:
    turns, order = Turns(), list[float]()
    await turns.take(0)
    tasks = await waiters(turns, [1.0, 2.0, 3.0], order)
    tasks[0].cancel()
    turns.give()  # to the second one: the first is gone
    tasks[1].cancel()  # it has its turn already, and hands it on
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [3.0]
    async with asyncio.timeout(10):
        await turns.take(9)
