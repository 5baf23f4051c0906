"""The supervisor: isolation, one line down and one up, progress."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from drivers import registry, template
from drivers.base import Measurement, Observation
from drivers.errors import BadFrame, Refused, Timeout
from gateway.config.schema import Config
from gateway.edge import supervisor as module
from gateway.edge.health import DeviceHealth
from gateway.edge.supervisor import PollTimer, Supervisor

SITE = {"id": "s", "location": {"latitude": 0, "longitude": 0}}


class ScriptedBus:
    """A bus without a medium."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tap = None
        self.closed = 0

    async def open(self) -> None: ...

    async def close(self) -> None:
        self.closed += 1


class ScriptedDriver:
    """Raises or returns what its script says, then for ever the last entry."""

    def __init__(self, script: list[Any], period_s: float | None) -> None:
        self.period_s = period_s
        self.silence_s = 1.0
        self.reads = 0
        self.closed = False
        self._script = script

    async def read(self) -> tuple[Observation, ...]:
        step = self._script[min(self.reads, len(self._script) - 1)]
        self.reads += 1
        await asyncio.sleep(0.001)
        if isinstance(step, BaseException):
            raise step
        return (Observation((Measurement("co2", float(step)),), 1),)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, list[Any]], float | None], Config]:
    """A configuration whose devices follow scripts."""

    def build(scripts: Mapping[str, list[Any]], period_s: float | None = 0.01) -> Config:
        drivers = {name: ScriptedDriver(script, period_s) for name, script in scripts.items()}
        monkeypatch.setattr(registry, "make_bus", lambda name, _settings: ScriptedBus(name))
        monkeypatch.setattr(registry, "make_driver", lambda _t, _b, address, *_: drivers[address])
        known = template.load("senseair-s8")
        monkeypatch.setattr(template, "load", lambda _name: known)
        devices = {name: {"template": "t", "bus": "line", "address": name} for name in scripts}
        bus = {"type": "modbus-rtu", "port": "/dev/null"}
        return Config.model_validate({"site": SITE, "buses": {"line": bus}, "devices": devices})

    return build


async def run(config: Config, seconds: float) -> tuple[Supervisor, list[str]]:
    emitted: list[str] = []
    supervisor = Supervisor(lambda name, _observation: emitted.append(name))
    await supervisor.start(config)
    await asyncio.sleep(seconds)
    return supervisor, emitted


async def test_a_failing_device_leaves_the_others_alone(scripted: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lamppost.edge")
    supervisor, emitted = await run(
        scripted({"good": [400], "dead": [Timeout("nothing")], "bug": [KeyError("x")]}), 0.3
    )
    assert emitted.count("good") > 10
    assert set(emitted) == {"good"}
    assert supervisor.health["dead"].state == "silent"
    assert supervisor.health["bug"].state == "down"
    assert supervisor.health["bug"].error is not None
    assert supervisor.health["bug"].error.code == "driver.bug"
    lines = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("dead is silent") for line in lines) == 1
    await supervisor.close()


async def test_one_damaged_frame_is_counted_and_not_an_outage(scripted: Any) -> None:
    supervisor, emitted = await run(scripted({"m": [400, BadFrame("crc"), 410]}), 0.2)
    health = supervisor.health["m"]
    assert (health.outages, health.failed_total, health.state) == (0, 1, "up")
    assert len(emitted) > 3
    await supervisor.close()


async def test_down_and_up_are_said_once_each(
    scripted: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "lamppost.edge")
    monkeypatch.setattr(module.backoff, "delay_s", lambda *_: 0.0)
    script = [400, *[Timeout("nothing")] * 6, 400]
    supervisor, _ = await run(scripted({"m": script}), 0.4)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in lines] == ["m is up", "m is silent", "m is up"]
    assert supervisor.health["m"].outages == 1
    await supervisor.close()


async def test_a_stuck_device_stops_the_watchdog(scripted: Any) -> None:
    supervisor, _ = await run(scripted({"m": [400]}), 0.05)
    now = supervisor.health["m"].back_by_mono_ns
    assert supervisor.progresses(now)
    assert not supervisor.progresses(now + module.GRACE_NS + 1)
    await supervisor.close()


async def test_skipped_polls_are_counted() -> None:
    health = DeviceHealth("line", "t", "", state="up")
    timer = PollTimer(0.02, 0.0, health)
    await timer.next()
    await asyncio.sleep(0.075)
    await timer.next()
    assert health.skipped >= 2
    assert health.polls == 2


async def test_what_a_device_that_is_up_lacks_is_told_once(
    scripted: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "lamppost.edge")
    monkeypatch.setattr(ScriptedDriver, "lacking", Refused("no energy"), raising=False)
    supervisor, emitted = await run(scripted({"m": [400]}), 0.1)
    assert len(emitted) > 3
    assert (supervisor.health["m"].state, str(supervisor.health["m"].error)) == ("up", "no energy")
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if "no energy" in line] == [lines[1]]
    monkeypatch.setattr(ScriptedDriver, "lacking", None)
    await asyncio.sleep(0.05)
    assert supervisor.health["m"].error is None
    await supervisor.close()


async def test_waiting_for_the_bus_counts_as_late() -> None:
    health = DeviceHealth("line", "t", "", state="up")
    timer = PollTimer(0.05, 0.0, health)
    await timer.next()
    timer.taken(timer._due_ns - 20_000_000)  # 30 ms behind the instant that it was wanted for
    assert health.late_ms_max == 30.0
    timer.taken(timer._due_ns - 60_000_000)  # earlier than wanted is not late
    assert health.late_ms_sum == 30.0
