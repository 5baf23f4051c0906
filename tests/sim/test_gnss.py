"""A GNSS receiver on a real pseudo-terminal: cold start, fix, faults; and the clock that trusts it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from drivers import registry, template
from drivers.base import Observation, Position
from drivers.errors import BadFrame
from firmware_sim.devices.gnss import Fault, Gnss
from firmware_sim.line import Line, PtyPort
from gateway import clock as clock_module
from gateway.config.schema import Config
from gateway.edge.service import Edge

PLACE = (55.6761, 12.5683)
PERIOD_S = 0.1
BAUD = 115_200
WITHIN_S = 10.0


class Bench:
    """The receiver, its line and port."""

    def __init__(self, folder: Path) -> None:
        self.line = Line("gnss", BAUD)
        self.port = PtyPort(self.line, folder / "port")
        self.port.plug()
        self.gnss = Gnss(self.line, *PLACE, cold_s=0.0, radius_m=60.0, speed_kmh=18.0, period_s=PERIOD_S)
        self.settings = {"type": "serial", "port": str(folder / "port"), "baud": BAUD}
        self.bus: Any = registry.make_bus("b", self.settings)
        self.driver: Any = registry.make_driver(template.load("gnss-nmea0183"), self.bus, None, None, {})

    async def observations(self, count: int) -> list[Observation]:
        """The next ones."""
        found: list[Observation] = []
        async with asyncio.timeout(WITHIN_S):
            while len(found) < count:
                found += await self.driver.read()
        return found


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    life = asyncio.create_task(made.gnss.run())
    yield made
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)
    await made.driver.close()
    await made.bus.close()
    made.port.unplug()
    made.line.close()


def values(observation: Observation) -> dict[str, Any]:
    return {m.quantity: m.value for m in observation.measurements}


async def test_position_time_and_its_latency(bench: Bench) -> None:
    *_, last = await bench.observations(6)
    found = values(last)
    assert isinstance(found["position"], Position)
    assert found["position"].latitude == pytest.approx(PLACE[0], abs=0.001)
    assert found["position"].altitude == 104.5
    assert found["speed"] == 18.0
    assert found["satellites"] == 9
    assert last.time_trusted
    assert last.device_ns is not None
    late_ns = time.time_ns() - (time.monotonic_ns() - last.mono_ns) - last.device_ns
    assert 0 < late_ns < clock_module.FIX_LATENCY_MAX_NS


async def test_cold_start_says_that_there_is_nothing(bench: Bench) -> None:
    bench.gnss._cold_s = 1e9
    for observation in await bench.observations(3):
        assert values(observation) == {"satellites": 0}
        assert (observation.device_ns, observation.time_trusted) == (None, False)
    bench.gnss._cold_s = 0.0
    async with asyncio.timeout(WITHIN_S):
        while "position" not in values((await bench.observations(1))[-1]):
            pass


@pytest.mark.parametrize("fault", ["rollover", "dead-reckoning"])
async def test_faults_are_never_trusted(bench: Bench, fault: Fault) -> None:
    bench.gnss.fault = fault
    for observation in await bench.observations(3):
        assert observation.device_ns is None
        assert not observation.time_trusted
        assert ("position" in values(observation)) == (fault == "rollover")


async def test_sentences_whose_sum_is_wrong(bench: Bench) -> None:
    bench.gnss.fault = "sum"
    bench.driver.silence_s = 0.5
    with pytest.raises(BadFrame, match="nothing but damaged"):
        await bench.driver.read()


async def test_noise_never_makes_a_wrong_position(bench: Bench) -> None:
    bench.line.noise = 0.003  # some seven of ten bursts are hit
    await bench.observations(2)
    for observation in await bench.observations(8):
        position = values(observation).get("position")
        if isinstance(position, Position):
            assert position.latitude == pytest.approx(PLACE[0], abs=0.001)
            assert position.longitude == pytest.approx(PLACE[1], abs=0.002)
    assert bench.driver.bad_frames


async def test_the_edge_trusts_its_time_and_dates_by_it(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_module, "kernel_synchronised", lambda: False)
    text = {
        "site": {"id": "s", "location": {"latitude": 52.0, "longitude": 5.0}},
        "buses": {"gnss": bench.settings},
        "devices": {"van": {"template": "gnss-nmea0183", "bus": "gnss"}},
        "storage": {"path": str(tmp_path / "store")},
        "local": {"listen": {"port": 0}},
    }
    edge, stop, running = Edge(Config.model_validate(text), None), asyncio.Event(), asyncio.Event()
    assert edge.clock.source == "none"
    life = asyncio.create_task(edge.run(stop, running))
    try:
        async with asyncio.timeout(WITHIN_S):
            while edge.clock.source != "gnss":
                await asyncio.sleep(0.02)
            while not (dated := [r for r, _ in edge._latest.items("van") if r.clock is None]):
                await asyncio.sleep(0.02)
    finally:
        stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await life
    error_ns = (edge.clock.utc_ns(time.monotonic_ns()) or 0) - time.time_ns()
    assert abs(error_ns) <= clock_module.FIX_LATENCY_MAX_NS // 2
    assert all(abs(reading.observed_ns - time.time_ns()) < WITHIN_S * 1e9 for reading in dated)
