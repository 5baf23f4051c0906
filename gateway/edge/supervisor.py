"""One task a device: poll or listen, back off when it fails, one log line down, one up.

This is the only place that catches every exception: a bug in one driver must not take the box down.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from drivers import registry, template
from drivers.base import Bus, Driver, Observation
from drivers.errors import DriverError, Timeout, Transient
from gateway.config.diff import ConfigDiff
from gateway.config.schema import Config, Device
from gateway.edge import backoff
from gateway.edge.health import DeviceHealth

log = logging.getLogger("lamppost.edge")
Emit = Callable[[str, Observation], None]
GRACE_NS = 60_000_000_000  # a task that is this much later than it meant to be has stopped making progress


class DriverBug(Transient):
    """A driver raised something that it must not."""

    code = "driver.bug"
    fix = "Report it with the output of `lamppost doctor`; the other devices go on."


class Supervisor:
    """Owns the buses and the tasks of the devices. ``emit`` gets every observation."""

    def __init__(self, emit: Emit) -> None:
        self.health: dict[str, DeviceHealth] = {}
        self.buses: dict[str, Bus] = {}
        self.drivers: dict[str, Driver] = {}
        self._emit = emit
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, config: Config) -> None:
        """Make all buses and start all devices; nothing is opened before its first use."""
        for name, settings in config.buses.items():
            self.buses[name] = registry.make_bus(name, settings.model_dump())
        for name in config.devices:
            self._start_device(name, config)

    async def apply(self, config: Config, change: ConfigDiff) -> None:
        """Follow a new configuration; devices that did not change go on without a gap."""
        await self._stop_devices({*change.devices_removed, *change.devices_changed})
        for name in (*change.buses_removed, *change.buses_changed):
            await self.buses.pop(name).close()
        for name in (*change.buses_added, *change.buses_changed):
            self.buses[name] = registry.make_bus(name, config.buses[name].model_dump())
        for name in change.devices_removed:
            self.health.pop(name, None)
            self.drivers.pop(name, None)
        for name in (*change.devices_added, *change.devices_changed):
            self._start_device(name, config)

    async def close(self) -> None:
        """Stop every device, then close every bus."""
        await self._stop_devices(set(self._tasks))
        for bus in self.buses.values():
            await bus.close()

    def progresses(self, now_mono_ns: int) -> bool:
        """Whether every device task is where it means to be; the watchdog is fed only then."""
        return all(health.back_by_mono_ns + GRACE_NS > now_mono_ns for health in self.health.values())

    async def _stop_devices(self, names: set[str]) -> None:
        tasks = [self._tasks.pop(name) for name in names]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start_device(self, name: str, config: Config) -> None:
        device = config.devices[name]
        known = template.load(device.template)
        self.health[name] = health = DeviceHealth(device.bus, device.template, device.place, known.evidence)
        health.back_by_mono_ns = time.monotonic_ns()
        self.drivers[name] = driver = registry.make_driver(
            known, self.buses[device.bus], device.address, device.period, device.driver_options
        )
        phase = _phase(name, device, config.devices)
        self._tasks[name] = asyncio.create_task(self._device(name, driver, phase), name=f"device {name}")

    async def _device(self, name: str, driver: Driver, phase: float) -> None:
        health = self.health[name]
        timer = PollTimer(driver.period_s, phase, health) if driver.period_s else None
        try:
            while True:
                if timer is not None:
                    await timer.next()
                observations = await self._read_once(name, health, driver)
                if timer is not None and observations:
                    timer.taken(observations[0].mono_ns)
        finally:
            await driver.close()

    async def _read_once(self, name: str, health: DeviceHealth, driver: Driver) -> tuple[Observation, ...]:
        """Read and hand on; () where that failed."""
        health.back_by_mono_ns = time.monotonic_ns() + int(driver.silence_s * 1e9)
        error: DriverError
        try:
            observations = await driver.read()
        except DriverError as failed:
            error = failed
        except Exception as bug:  # the one place: see the module's docstring
            log.exception("%s: driver failed unexpectedly", name)
            error = DriverBug(f"{type(bug).__name__}: {bug}")
        else:
            self._succeeded(name, health, getattr(driver, "lacking", None))
            for observation in observations:
                self._emit(name, observation)
            return observations
        await self._failed(name, health, error, polled=driver.period_s is not None)
        return ()

    async def _failed(self, name: str, health: DeviceHealth, error: DriverError, *, polled: bool) -> None:
        health.failures += 1
        health.failed_total += 1
        if backoff.is_down(error, health.failures, polled) and not health.is_down:
            health.outages += 1
            health.state = "silent" if isinstance(error, Timeout) else "down"
            log.warning(
                "%s is %s: %s (%s). %s", name, health.state, error, error.code, error.fix, extra=_fields(name, error)
            )
        health.error = error
        delay = backoff.delay_s(error, health.failures, polled, random.random())
        health.back_by_mono_ns = time.monotonic_ns() + int(delay * 1e9)
        await asyncio.sleep(delay)

    def _succeeded(self, name: str, health: DeviceHealth, lacking: DriverError | None) -> None:
        """``lacking``: what a device that is up does not give."""
        if health.state != "up":
            log.info("%s is up", name, extra=_fields(name, None))
        if lacking is not None and str(lacking) != health.lacking_told:
            log.warning("%s: %s (%s). %s", name, lacking, lacking.code, lacking.fix, extra=_fields(name, lacking))
            health.lacking_told = str(lacking)
        health.state, health.failures, health.error = "up", 0, lacking
        health.last_mono_ns = time.monotonic_ns()


class PollTimer:
    """Instants at a fixed period from a phase; one that passed while busy is skipped and counted."""

    def __init__(self, period_s: float, phase: float, health: DeviceHealth) -> None:
        self._period_ns = int(period_s * 1e9)
        self._due_ns = time.monotonic_ns() + int(phase * self._period_ns)
        self._wanted_ns = self._due_ns
        self._health = health

    async def next(self) -> None:
        """Sleep until the next instant."""
        self._health.back_by_mono_ns = self._due_ns
        await asyncio.sleep(max(0.0, (self._due_ns - time.monotonic_ns()) / 1e9))
        missed = max(0, time.monotonic_ns() - self._due_ns) // self._period_ns
        if self._health.state == "up":  # a device that is down misses polls by design
            self._health.skipped += missed
        self._health.polls += 1
        self._wanted_ns = self._due_ns + missed * self._period_ns
        self._due_ns = self._wanted_ns + self._period_ns

    def taken(self, mono_ns: int) -> None:
        """The values wanted at the last instant are of this one: what waited for the bus was late."""
        late_ms = max(0, mono_ns - self._wanted_ns) / 1e6
        self._health.late_ms_max = max(self._health.late_ms_max, late_ms)
        self._health.late_ms_sum += late_ms


def _phase(name: str, device: Device, devices: Mapping[str, Device]) -> float:
    """Spread the devices of one bus over the period, so that they do not all ask at once."""
    together = [other for other, settings in devices.items() if settings.bus == device.bus]
    return together.index(name) / len(together) * 0.5


def _fields(name: str, error: DriverError | None) -> dict[str, Any]:
    return {"device": name, "code": error.code if error else "", "fix": error.fix if error else ""}
