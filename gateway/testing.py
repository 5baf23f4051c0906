"""The contract that buses and drivers of other distributions must keep, as a test that they run themselves.

::

    from gateway.testing import check_driver

    async def test_contract() -> None:
        async with simulated_device() as device:
            await check_driver(lambda: make(device.port), provoke=device.be)

``make`` gives a new bus and a new driver on it, not yet open. ``provoke`` puts the other side into a condition:
``well`` (it answers, or speaks, as it should), ``silent``, or ``garbage`` (it says what is none of its protocol). Give
the driver short time-outs: each condition is waited for. What is checked stands in ``PROMISES``; the first promise that
is not kept raises ContractError, an AssertionError that says how.

Nothing here needs a test framework; under pytest the functions are awaited in a test, elsewhere by ``asyncio.run``.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from drivers.base import Bus, Driver, Frame, Measurement, Observation, Position
from drivers.errors import BadFrame, DriverError, Timeout
from drivers.quantities import QUANTITIES

PROMISES = (
    "closing what was never opened, and closing twice, does nothing",
    "opening an open bus does nothing, and a closed bus can be opened again",
    "what is read is whole: known quantities in the right types, dated within the time it was read in",
    "the tap sees frames",
    "a device that is silent raises Timeout in time",
    "garbage raises BadFrame or Timeout, never gives a value, and does not last beyond its end",
    "a read may be cancelled wherever it waits, and the next one works",
    "nothing but a DriverError comes out",
    "no task, no open file and no reader of the event loop is left behind",
)
READS = 3
GARBAGE_READS = 3
DRAINED_MAX = 100  # reads of what had come before the other side changed its condition
POINTS_MAX = 200  # places to cancel at in one read
SLICES = 5  # of the time that a read takes; it is cancelled after each
STAMP_ERROR_NS = 20_000_000
SETTLE_S = 5.0  # threads and sockets of libraries end a little later

Condition = Literal["well", "silent", "garbage"]
Make = Callable[[], tuple[Bus, Driver]]
Provoke = Callable[[Condition], Awaitable[None]]


class ContractError(AssertionError):
    """A promise that was not kept."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was seen while all promises were kept."""

    observations: int
    points: int
    """Places at which a read was cancelled."""
    slowest_timeout_s: float


async def check_bus(make: Callable[[], Bus]) -> None:
    """Check a bus alone, whose medium must be there. Raises ContractError."""
    before = await _Left.now()
    bus = make()
    await _promised(bus.close(), "close before open")
    for life in ("first", "second"):
        for step in ("open", "open again", "close", "close again"):
            await _promised(bus.open() if "open" in step else bus.close(), f"{step} ({life} life)")
    await before.compare("two lives of the bus")


async def check_driver(make: Make, *, provoke: Provoke, limit_s: float = 10.0, age_s: float = 0.0) -> Kept:
    """Check a driver with its bus. Raises ContractError.

    ``limit_s``: how long a read may take in any condition; ``age_s``: how old what a device tells may be (history).
    """
    check = _Check(make, provoke, limit_s, age_s)
    await provoke("well")
    await check.never_opened()
    took_s = await check.reads()  # libraries have been loaded by then: what is open now stays open
    before = await _Left.now()
    await check.reads()
    await before.compare("reading and closing")
    await check.silence()
    await before.compare("a silent device")
    await check.garbage()
    await before.compare("garbage")
    await check.cancelled(took_s, before)
    return Kept(check.observations, check.points, check.slowest_timeout_s)


def check_observations(told: Any, *, since_ns: int, age_s: float = 0.0) -> None:
    """Check what ``Driver.read`` gave since that monotonic instant. Raises ContractError."""
    if not isinstance(told, tuple):
        _fail(f"read gave {type(told).__name__}, not a tuple of observations")
    for observation in told:
        if not isinstance(observation, Observation) or not isinstance(observation.measurements, tuple):
            _fail(f"not an observation with a tuple of measurements: {observation!r:.200}")
        names = [measured.quantity for measured in observation.measurements if isinstance(measured, Measurement)]
        if not names or len(names) < len(observation.measurements) or len(set(names)) < len(names):
            _fail(f"measurements that are none, are empty or name a quantity twice: {observation.measurements!r:.200}")
        for measured in observation.measurements:
            _check_value(measured)
        age_ns = time.monotonic_ns() - observation.mono_ns
        oldest_ns = time.monotonic_ns() - since_ns + int(age_s * 1e9) + STAMP_ERROR_NS
        if not isinstance(observation.mono_ns, int) or not -STAMP_ERROR_NS <= age_ns <= oldest_ns:
            _fail(f"dated {age_ns / 1e9:.3f} s ago, not within the read; mono_ns is time.monotonic_ns() at the answer")
        if observation.device_ns is not None and type(observation.device_ns) is not int:
            _fail(f"device_ns is {observation.device_ns!r}, not whole nanoseconds")


def _check_value(measured: Measurement) -> None:
    quantity, value = QUANTITIES.get(measured.quantity), measured.value
    if quantity is None:
        _fail(f"{measured.quantity!r} is no quantity; see drivers.quantities")
    if quantity.kind == "state":
        if not isinstance(value, str | bool | Position):
            _fail(f"{quantity.name} is a state: a word, true or false, not {value!r}")
    elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        _fail(f"{quantity.name} is a number in {quantity.unit or 'no unit'}, not {value!r}")


class _Check:
    def __init__(self, make: Make, provoke: Provoke, limit_s: float, age_s: float) -> None:
        self.observations = self.points = 0
        self.slowest_timeout_s = 0.0
        self._make_both, self._provoke = make, provoke
        self._made_ns = 0
        self._limit_s, self._age_s = limit_s, age_s

    def _make(self) -> tuple[Bus, Driver]:
        self._made_ns = time.monotonic_ns()
        return self._make_both()

    async def never_opened(self) -> None:
        bus, driver = self._make()
        if not isinstance(bus, Bus) or not isinstance(driver, Driver):
            _fail(f"{type(bus).__name__} and {type(driver).__name__} lack members of drivers.base.Bus and Driver")
        if driver.silence_s <= 0 or (driver.period_s is not None and driver.period_s <= 0):
            _fail(f"period_s {driver.period_s} and silence_s {driver.silence_s} must be positive")
        for _ in range(2):
            await _promised(driver.close(), "close of a driver that has not read")
            await _promised(bus.close(), "close of a bus that is not open")

    async def reads(self) -> float:
        """Two lives of one bus and driver; the time that a read takes."""
        bus, driver = self._make()
        frames: list[Frame] = []
        bus.tap = frames.append
        took_s = 0.0
        for life in ("first", "second"):
            await _promised(bus.open(), f"open ({life} life)")
            await _promised(bus.open(), f"open of an open bus ({life} life)")
            for _ in range(READS):
                began = time.monotonic()
                await self._value(driver, f"a device that is well ({life} life)")
                took_s = max(took_s, time.monotonic() - began)
            await self._end(bus, driver)
        if not frames or not all(isinstance(frame, Frame) and frame.data for frame in frames):
            _fail("the tap of the bus got no frames: what `lamppost capture` records")
        return took_s

    async def silence(self) -> None:
        bus, driver = self._make()
        await self._value(driver, "a device that is well")
        await self._provoke("silent")
        for _ in range(DRAINED_MAX):
            began = time.monotonic()
            error = await self._error(driver, "a silent device")
            if error is not None:
                self.slowest_timeout_s = max(self.slowest_timeout_s, time.monotonic() - began)
                if not isinstance(error, Timeout):
                    _fail(f"a silent device raised {_told(error)}, not Timeout")
                break
        else:
            _fail(f"a silent device gave values in {DRAINED_MAX} reads")
        await self._provoke("well")
        await self._recovers(driver, "silence")
        await self._end(bus, driver)

    async def garbage(self) -> None:
        await self._provoke("garbage")
        bus, driver = self._make()
        for _ in range(GARBAGE_READS):
            error = await self._error(driver, "garbage")
            if error is None:
                _fail("garbage gave a value")
            if not isinstance(error, BadFrame | Timeout):
                _fail(f"garbage raised {_told(error)}, neither BadFrame nor Timeout")
        await self._provoke("well")
        await self._recovers(driver, "garbage")
        await self._end(bus, driver)

    async def cancelled(self, took_s: float, before: _Left) -> None:
        """Cancel where a read waits, at once; then after slices of the time it takes. Then read on, and close."""
        for point in range(POINTS_MAX):
            if not await self._cancel(before, f"at its wait number {point}", point=point):
                break
        for number in range(1, SLICES + 1):
            await self._cancel(before, f"after {took_s * number / SLICES:.3f} s", after_s=took_s * number / SLICES)

    async def _cancel(self, before: _Left, where: str, *, point: int = -1, after_s: float = 0.0) -> bool:
        """Whether the read came to that point at all; point 0 is before it began."""
        bus, driver = self._make()
        reading = _CancelledRead(driver.read(), point)
        task = asyncio.create_task(reading.run())
        if after_s:
            await asyncio.wait([task], timeout=after_s)
        if point <= 0:
            task.cancel()
        done, _ = await asyncio.wait([task], timeout=self._limit_s)
        reading.close()
        if not done:
            _fail(f"a read that was cancelled {where} goes on")
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, DriverError):
            _fail(f"a read that was cancelled {where} raised {_told(error)}")
        await self._recovers(driver, f"a read that was cancelled {where}")
        await self._end(bus, driver)
        await before.compare(f"a read that was cancelled {where}")
        self.points += 1
        return point < 1 or reading.waits >= point

    async def _value(self, driver: Driver, what: str) -> None:
        error = await self._error(driver, what)
        if error is not None:
            _fail(f"{what} raised {_told(error)}")

    async def _recovers(self, driver: Driver, what: str) -> None:
        until = time.monotonic() + self._limit_s
        while (error := await self._error(driver, f"a device that is well after {what}")) is not None:
            if time.monotonic() > until:
                _fail(f"after {what} a device that is well again raises {_told(error)} for {self._limit_s:g} s")
            await asyncio.sleep(0.01)

    async def _error(self, driver: Driver, what: str) -> DriverError | None:
        """Read once; what it raised, None where it gave something."""
        # a device that speaks by itself may have spoken before it was asked
        since_ns = time.monotonic_ns() if driver.period_s is not None else self._made_ns
        task = asyncio.ensure_future(driver.read())
        done, _ = await asyncio.wait([task], timeout=self._limit_s)
        if not done:
            task.cancel()
            await asyncio.wait([task], timeout=self._limit_s)
            _fail(f"{what}: read neither gave nor raised anything within {self._limit_s:g} s")
        error = task.exception()
        if error is None:
            check_observations(task.result(), since_ns=since_ns, age_s=self._age_s)
            if not task.result():
                _fail(f"{what}: read gave no observation; it waits for one, or raises")
            self.observations += len(task.result())
            return None
        if not isinstance(error, DriverError):
            _fail(f"{what}: read raised {_told(error)}, which is no DriverError")
        return error

    async def _end(self, bus: Bus, driver: Driver) -> None:
        for time_ in ("", " again"):
            await _promised(driver.close(), f"close of the driver{time_}")
            await _promised(bus.close(), f"close of the bus{time_}")


class _Steps:
    """A coroutine that tells each time it waits; to be awaited."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waits: Callable[[], None]) -> None:
        self._coroutine, self._waits = coroutine, waits

    def __await__(self) -> Any:
        return self  # it has all that await asks of a generator

    def __iter__(self) -> _Steps:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        waited_for = self._coroutine.send(value)
        self._waits()
        return waited_for

    def throw(self, *error: Any) -> Any:
        waited_for = self._coroutine.throw(*error)
        self._waits()
        return waited_for

    def close(self) -> None:
        self._coroutine.close()


class _CancelledRead:
    """A read whose task is cancelled when it waits for the ``point``-th time."""

    def __init__(self, read: Awaitable[Any], point: int) -> None:
        assert isinstance(read, Coroutine)
        self.waits = 0
        self._read, self._point = read, point

    async def run(self) -> Any:
        return await _Steps(self._read, self._waiting)

    def close(self) -> None:
        """Forget a read that never began."""
        if self.waits == 0:
            self._read.close()

    def _waiting(self) -> None:
        self.waits += 1
        task = asyncio.current_task()
        if self.waits == self._point and task is not None:
            asyncio.get_running_loop().call_soon(task.cancel)


@dataclass(frozen=True, slots=True)
class _Left:
    """What a process has open: tasks, file descriptors and readers of the event loop."""

    tasks: frozenset[asyncio.Task[Any]]
    files: dict[str, str]
    readers: int

    @staticmethod
    async def now() -> _Left:
        await asyncio.sleep(0)
        selector = getattr(asyncio.get_running_loop(), "_selector", None)  # another kind of loop has none
        readers = 0 if selector is None else len(selector.get_map())
        return _Left(frozenset(task for task in asyncio.all_tasks() if not task.done()), _open_files(), readers)

    async def compare(self, what: str) -> None:
        """Raise ContractError where there is more than before, some time for libraries to end granted."""
        until = time.monotonic() + SETTLE_S
        left = await _Left.now()
        while (more := self._more(left)) and time.monotonic() < until:
            gc.collect()  # some libraries close their files only then, and only when their threads have let go
            await asyncio.sleep(0.02)
            left = left.of(await _Left.now())
        if more:
            _fail(f"{what} left behind: {more}")

    def of(self, later: _Left) -> _Left:
        """What is still there later: what comes and goes meanwhile, of a simulated device perhaps, is no leftover."""
        files = {number: name for number, name in later.files.items() if self.files.get(number) == name}
        return _Left(self.tasks & later.tasks, files, min(self.readers, later.readers))

    def _more(self, now: _Left) -> str:
        tasks = [task.get_name() for task in now.tasks - self.tasks]
        files = [now.files[number] for number in now.files.keys() - self.files.keys()]
        found = [f"task {name}" for name in tasks]
        if len(now.files) > len(self.files):
            found += [f"open file {name}" for name in files]
        if now.readers > self.readers:
            found.append(f"{now.readers - self.readers} readers of the event loop")
        return ", ".join(found)


def _open_files() -> dict[str, str]:
    found = {}
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths: they may be gone by now
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115
        except OSError:
            continue
    return found


async def _promised(work: Awaitable[None], what: str) -> None:
    try:
        async with asyncio.timeout(SETTLE_S):
            await work
    except TimeoutError:
        _fail(f"{what} does not end within {SETTLE_S:g} s")
    except DriverError as error:
        _fail(f"{what} raised {_told(error)}")


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _fail(cause: str) -> NoReturn:
    raise ContractError(cause)
