"""Work on a bus without a daemon: the command opens it itself, as the configuration says, and closes it again."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from drivers import registry, template
from drivers.base import Bus, Driver, Frame
from drivers.errors import DriverError
from gateway.clock import SystemClock
from gateway.config.schema import Config
from gateway.edge.latest import as_json
from gateway.edge.modbus import modbus_exchange
from gateway.edge.profiles import corrections
from gateway.errors import UsageError
from gateway.pipeline.stages import Pipeline

READ_S = 120.0  # more than any device's silence; the driver gives up earlier by itself
SCAN_S = 300.0
CLOSE_S = 5.0
RETRY_S = 1.0
BACKLOG_MAX = 10_000
Result = TypeVar("Result")


def known(kind: str, name: str, names: Iterable[str]) -> None:
    """Raise UsageError, with what there is, where the configuration has no such bus or device."""
    from gateway.config.problem import meant

    words = list(names)
    if name not in words:
        listed = f"Configured: {', '.join(words) or 'none'}."
        hint = meant(name, words, listed_max=0)
        raise UsageError(f"there is no {kind} {name!r}{f'; {hint}' if hint else ''}", fix=listed)


@asynccontextmanager
async def opened(config: Config, name: str) -> AsyncIterator[Bus]:
    """A bus of the configuration, closed at the end."""
    known("bus", name, config.buses)
    bus = registry.make_bus(name, config.buses[name].model_dump())
    try:
        yield bus
    finally:
        async with asyncio.timeout(CLOSE_S):
            await bus.close()


@asynccontextmanager
async def driving(config: Config, name: str, bus: Bus) -> AsyncIterator[Driver]:
    """The driver of a device on an open bus, closed at the end. Raises Misconfigured for settings it refuses."""
    device = config.devices[name]
    kind = template.load(device.template)  # it is there: the configuration has been checked
    driver = registry.make_driver(kind, bus, device.address, device.period, device.driver_options)
    try:
        yield driver
    finally:
        async with asyncio.timeout(CLOSE_S):
            await driver.close()


async def readings(config: Config, name: str) -> AsyncGenerator[list[dict[str, Any]], None]:
    """The readings of one device, an observation at a time, for ever. Raises DriverError; it may be asked again."""
    known("device", name, config.devices)
    pipeline = Pipeline(SystemClock(configured=True), corrections(config))
    async with opened(config, config.devices[name].bus) as bus, driving(config, name, bus) as driver:
        while True:
            async with asyncio.timeout(READ_S):
                observations = await driver.read()
            now = time.monotonic_ns()
            for observation in observations:
                yield [as_json(reading, observation.mono_ns, now) for reading in pipeline.process(name, observation)]
            if driver.period_s is not None:
                await asyncio.sleep(driver.period_s)


async def read_once(config: Config, name: str) -> list[dict[str, Any]]:
    """The first observation of a device. Raises DriverError."""
    reading = readings(config, name)
    try:
        return await anext(reading)
    finally:
        await reading.aclose()


async def watch(
    config: Config, name: str, show: Callable[[list[dict[str, Any]]], None], tell: Callable[[DriverError], None]
) -> None:
    """Show every observation until cancelled; errors are told and the device is tried again."""
    while True:
        reading = readings(config, name)
        try:
            async for items in reading:
                show(items)
        except DriverError as error:
            tell(error)
        finally:
            await reading.aclose()
        await asyncio.sleep(RETRY_S)


async def scan(config: Config, name: str, seconds: float, progress: Callable[[int, int], None]) -> list[dict[str, Any]]:
    """What answers on a bus. Raises DriverError, or UsageError for a bus that cannot be scanned."""
    known("bus", name, config.buses)
    return await scan_bus(config.buses[name].model_dump(), seconds, progress)


async def scan_bus(
    settings: dict[str, Any], seconds: float, progress: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """What answers on a bus that no configuration needs to name. Raises DriverError, or UsageError as :func:`scan`."""
    bus = registry.make_bus("scan", settings)
    try:
        look = getattr(bus, "scan", None)
        if look is None:
            cause = f"a bus of type {settings['type']} cannot be scanned"
            raise UsageError(cause, fix="Scan one of type modbus-rtu, modbus-tcp, mbus, ble or mqtt.")
        timed = "seconds" in inspect.signature(look).parameters
        async with asyncio.timeout(SCAN_S):
            found = await look(seconds if timed else progress)
        return [registry.found_json(one) for one in found]
    finally:
        async with asyncio.timeout(CLOSE_S):
            await bus.close()


async def scan_port(path: str, progress: Callable[[str, int, int], None], thorough: bool) -> list[dict[str, Any]]:
    """What is on a serial port of which nothing is known. Raises NoPort, NoPermission or Disconnected."""
    from drivers.buses import line_scan

    return [registry.found_json(one) for one in await line_scan.scan_port(path, progress, thorough=thorough)]


async def exchange(settings: dict[str, Any], wanted: dict[str, int]) -> dict[str, Any]:
    """Read registers over a bus that no configuration needs to name: {request, answer}. Raises DriverError."""
    bus = registry.make_bus(str(settings.get("port") or settings.get("host")), settings)
    try:
        async with asyncio.timeout(READ_S):
            return await modbus_exchange(bus, **wanted)
    finally:
        async with asyncio.timeout(CLOSE_S):
            await bus.close()


async def capture(config: Config, name: str, seconds: float, show: Callable[[Frame], None]) -> None:
    """Read the devices of a bus for a time, and show every frame. Raises DriverError where the bus does not open."""
    frames: asyncio.Queue[Frame] = asyncio.Queue(BACKLOG_MAX)
    async with opened(config, name) as bus:
        # a tap must not raise, and what writes the frames may: they change hands here
        bus.tap = lambda frame: None if frames.full() else frames.put_nowait(frame)
        await bus.open()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                for device, settings in config.devices.items():
                    if settings.bus == name:
                        group.create_task(_keep_reading(config, device, bus))
                while True:
                    show(await frames.get())


async def _keep_reading(config: Config, name: str, bus: Bus) -> None:
    async with driving(config, name, bus) as driver:
        while True:
            try:
                await driver.read()
            except DriverError:
                await asyncio.sleep(RETRY_S)
                continue
            await asyncio.sleep(driver.period_s or 0)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """asyncio.run, where an exception in a callback of the loop ends the work and is raised instead of logged."""
    failures: list[BaseException] = []

    async def watched() -> Result:
        task = asyncio.ensure_future(work)

        def fail(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            failures.append(context.get("exception") or RuntimeError(context["message"]))
            task.cancel()

        asyncio.get_running_loop().set_exception_handler(fail)
        return await task

    try:
        return asyncio.run(watched())
    except asyncio.CancelledError:
        if failures:
            raise failures[0] from None
        raise
