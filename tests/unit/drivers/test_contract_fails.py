"""The published contract finds what it promises to find: a driver that keeps it passes, each of its bad kin fails."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import Any

import pytest

from drivers.base import Frame, Measurement, Observation, Tap
from drivers.errors import BadFrame, Disconnected, Timeout
from gateway import testing
from gateway.testing import Condition, ContractError, check_bus, check_driver

ANSWER_S, TIMEOUT_S = 0.002, 0.01


class Device:
    condition: Condition = "well"

    async def be(self, condition: Condition) -> None:
        self.condition = condition


class GoodBus:
    def __init__(self) -> None:
        self.name = "b"
        self.tap: Tap | None = None

    async def open(self) -> None: ...

    async def close(self) -> None: ...


class GoodDriver:
    period_s: float | None = 1.0
    silence_s = 1.0

    def __init__(self, bus: GoodBus, device: Device) -> None:
        self.bus, self.device = bus, device
        self.reads = 0

    async def read(self) -> tuple[Observation, ...]:
        self.reads += 1
        await asyncio.sleep(ANSWER_S)
        if self.device.condition == "silent":
            await asyncio.sleep(TIMEOUT_S)
            raise Timeout("no answer")
        if self.device.condition == "garbage":
            raise BadFrame("rubbish")
        if self.bus.tap is not None:
            self.bus.tap(Frame("b", "rx", b"x", time.time_ns()))
        return (self.told(),)

    def told(self) -> Observation:
        return Observation((Measurement("co2", 612),), time.monotonic_ns())

    async def close(self) -> None: ...


async def check(driver: type[GoodDriver], bus: type[GoodBus] = GoodBus) -> testing.Kept:
    device = Device()

    def make() -> tuple[GoodBus, GoodDriver]:
        made = bus()
        return made, driver(made, device)

    return await check_driver(make, provoke=device.be, limit_s=0.5)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "SETTLE_S", 0.05)


async def test_good_driver_keeps_it() -> None:
    kept = await check(GoodDriver)
    assert kept.observations >= 10
    assert kept.points >= 2 + testing.SLICES  # before it began, at its one wait, and in slices
    assert TIMEOUT_S < kept.slowest_timeout_s < 0.5


class RaisesAnything(GoodDriver):
    async def read(self) -> tuple[Observation, ...]:
        if self.device.condition == "garbage":
            raise ValueError("rubbish")
        return await super().read()


class BelievesGarbage(GoodDriver):
    async def read(self) -> tuple[Observation, ...]:
        garbage = self.device.condition == "garbage"
        return (self.told(),) if garbage else await super().read()


class SaysDisconnectedWhenSilent(GoodDriver):
    async def read(self) -> tuple[Observation, ...]:
        if self.device.condition == "silent":
            raise Disconnected("no answer")
        return await super().read()


class WaitsForEver(GoodDriver):
    async def read(self) -> tuple[Observation, ...]:
        if self.device.condition == "silent":
            await asyncio.sleep(1000)
        return await super().read()


class GivesOldValues(GoodDriver):
    async def read(self) -> tuple[Observation, ...]:
        return (self.told(),) if self.device.condition == "silent" else await super().read()


class LeavesTask(GoodDriver):
    async def read(self) -> tuple[Observation, ...]:
        self.task = asyncio.create_task(asyncio.sleep(1000), name="forgotten")
        told = await super().read()
        self.task.cancel()
        return told


class LeavesFileWhenCancelled(GoodDriver):
    async def read(self) -> tuple[Observation, ...]:
        number = os.open("/dev/null", os.O_RDONLY)
        told = await super().read()
        os.close(number)
        return told


class LeavesReader(GoodDriver):
    async def read(self) -> tuple[Observation, ...]:
        end, _other = pair = socket.socketpair()
        asyncio.get_running_loop().add_reader(end, lambda: None)
        KEPT.append(pair)
        return await super().read()


KEPT: list[Any] = []


class SwallowsCancellation(GoodDriver):
    async def read(self) -> tuple[Observation, ...]:
        while True:
            try:
                return await super().read()
            except asyncio.CancelledError:
                await asyncio.sleep(3)


class BreaksWhenCancelled(GoodDriver):
    busy = False

    async def read(self) -> tuple[Observation, ...]:
        if self.busy:
            raise Timeout("busy")
        self.busy = True
        told = await super().read() if self.device.condition == "well" else ()
        self.busy = False
        return told or await super().read()


class StaysBad(GoodDriver):
    bad = False

    async def read(self) -> tuple[Observation, ...]:
        self.bad = self.bad or self.device.condition == "garbage"
        if self.bad:
            raise BadFrame("rubbish")
        return await super().read()


class GivesNothing(GoodDriver):
    async def read(self) -> tuple[Observation, ...]:
        await super().read()
        return ()


class Closes(GoodDriver):
    async def close(self) -> None:
        if not self.reads:
            raise Disconnected("not open")


class WithoutTap(GoodDriver):
    async def read(self) -> tuple[Observation, ...]:
        self.bus.tap = None
        return await super().read()


def telling(*measurements: Any, mono_ns: Any = None, device_ns: Any = None) -> type[GoodDriver]:
    class Tells(GoodDriver):
        def told(self) -> Observation:
            at = time.monotonic_ns() if mono_ns is None else mono_ns(time)
            return Observation(tuple(measurements), at, device_ns)

    return Tells


GOOD = Measurement("co2", 612)


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        (RaisesAnything, "garbage: read raised ValueError: rubbish, which is no DriverError"),
        (BelievesGarbage, "garbage gave a value"),
        (SaysDisconnectedWhenSilent, "a silent device raised Disconnected"),
        (WaitsForEver, "a silent device: read neither gave nor raised anything within"),
        (GivesOldValues, "a silent device gave values"),
        (LeavesTask, "left behind: task forgotten"),
        (LeavesFileWhenCancelled, "left behind: open file /dev/null"),
        (LeavesReader, "left behind: open file socket"),
        (SwallowsCancellation, "cancelled .* goes on"),
        (BreaksWhenCancelled, "a read that was cancelled .* raises Timeout: busy"),
        (StaysBad, "after garbage a device that is well again raises BadFrame"),
        (GivesNothing, "gave no observation"),
        (Closes, "close of a driver that has not read raised Disconnected"),
        (WithoutTap, "the tap of the bus got no frames"),
        (telling(), "measurements that are none, are empty"),
        (telling(GOOD, GOOD), "name a quantity twice"),
        (telling(Measurement("warmth", 1)), "'warmth' is no quantity"),
        (telling(Measurement("co2", "612")), "co2 is a number in ppm, not '612'"),
        (telling(Measurement("co2", float("nan"))), "co2 is a number in ppm, not nan"),
        (telling(Measurement("motion", 1)), "motion is a state"),
        (telling(GOOD, mono_ns=lambda clock: clock.time_ns()), "not within the read"),
        (telling(GOOD, mono_ns=lambda clock: clock.monotonic_ns() - 10**9), "not within the read"),
        (telling(GOOD, device_ns=1.5), "not whole nanoseconds"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else value[:24],
)
async def test_bad_driver_fails(driver: type[GoodDriver], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        await check(driver)
    while KEPT:
        for end in KEPT.pop():
            asyncio.get_running_loop().remove_reader(end)
            end.close()


class LeavesSocket(GoodBus):
    def __init__(self) -> None:
        super().__init__()
        self.sockets: list[socket.socket] = []

    async def open(self) -> None:
        KEPT.append((socket.socket(),))


class OpensOnce(GoodBus):
    opened = 0

    async def open(self) -> None:
        self.opened += 1
        if self.opened > 1:
            raise Disconnected("open already")


async def test_bus_alone() -> None:
    await check_bus(GoodBus)
    with pytest.raises(ContractError, match=r"open again .first life. raised Disconnected: open already"):
        await check_bus(OpensOnce)
    with pytest.raises(ContractError, match="two lives of the bus left behind: open file socket"):
        await check_bus(LeavesSocket)
    while KEPT:
        KEPT.pop()[0].close()


async def test_every_promise_stands_in_the_list() -> None:
    assert len(testing.PROMISES) == len(set(testing.PROMISES)) == 9
