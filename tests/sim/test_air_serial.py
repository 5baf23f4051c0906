"""Serial air sensors on real pseudo-terminals at true speed: those that send, and those that are asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers import registry, template
from drivers.base import Observation
from drivers.buses import serial_asked
from drivers.errors import BadFrame, Disconnected, Misconfigured, NoPort, Refused, Timeout
from firmware_sim.devices import air
from firmware_sim.devices.asked import Asked, Hpma, Mhz19, Sps30
from firmware_sim.devices.stream import Stream
from firmware_sim.line import Line, PtyPort
from gateway.testing import check_driver

PM = (11.0, 18.0, 22.0)
WITHIN_S = 10.0


def sps30(line: Line, **more: Any) -> Sps30:
    """One whose values are new more often than those of a real one."""
    made = Sps30(line, lambda: PM, **more)
    made.period_s = 0.25
    return made


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same waits as in the field, shorter."""
    monkeypatch.setattr(serial_asked, "ANSWER_S", 0.2)
    monkeypatch.setattr(serial_asked, "LATE_S", 0.2)
    monkeypatch.setattr(serial_asked, "SPS30_WARM_UP_S", 0.3)
    monkeypatch.setattr(serial_asked, "SPS30_NEW_S", 0.06)
    monkeypatch.setattr(serial_asked, "HPMA_WARM_UP_S", 0.1)
    monkeypatch.setattr(serial_asked, "HPMA_PAUSE_S", 0.06)


class Bench:
    """A line with a sensor at its end, and the driver of a template at the other."""

    def __init__(self, folder: Path, name: str, sensor: Callable[[Line], Any], options: dict[str, Any]) -> None:
        known = template.load(name)
        self.line = Line("bench", known.line.baud)
        self.port = PtyPort(self.line, folder / "port")
        self.port.plug()
        self.sensor: Any = sensor(self.line)
        self.bus_settings = {"type": "serial", "port": str(folder / "port"), "baud": known.line.baud}
        self.bus: Any = registry.make_bus("b", self.bus_settings)
        self.driver: Any = registry.make_driver(known, self.bus, None, None, {**known.options, **options})

    async def values(self) -> dict[str, Any]:
        """The first observation that comes."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                for observation in await self.driver.read():
                    return values(observation)


def values(observation: Observation) -> dict[str, Any]:
    return {m.quantity: m.value for m in observation.measurements}


@asynccontextmanager
async def bench(folder: Path, name: str, sensor: Callable[[Line], Any], **options: Any) -> Any:
    made = Bench(folder, name, sensor, options)
    life = asyncio.create_task(made.sensor.run()) if hasattr(made.sensor, "run") else None
    try:
        yield made
    finally:
        if life is not None:
            life.cancel()
        await made.driver.close()
        await made.driver.close()
        await made.bus.close()
        made.port.unplug()
        made.line.close()


@pytest.mark.parametrize(
    ("name", "frame", "expected"),
    [
        ("nova-sds011", lambda: air.sds011(PM), {"pm25": 18.0, "pm10": 22.0}),
        ("nova-sds198", lambda: air.sds198(137), {"pm100": 137}),
        ("honeywell-hpma115s0", lambda: air.hpma115(PM), {"pm25": 18, "pm10": 22}),
        ("honeywell-hpma115c0", lambda: air.hpma115(PM, compact=True), {"pm1": 11, "pm25": 18, "pm4": 20, "pm10": 22}),
        ("plantower-pms5003t", lambda: air.pms5003t(PM, 21.5, 43.2), {"pm25": 18, "temperature": 21.5}),
        ("gy-mcu680", lambda: air.mcu680(22.4, 41.9, 1013.4), {"temperature": 22.4, "pressure": 1013.4}),
    ],
)
async def test_sensors_that_send(
    tmp_path: Path, name: str, frame: Callable[[], bytes], expected: dict[str, float]
) -> None:
    async with bench(tmp_path, name, lambda line: Stream(line, frame, 0.1)) as made:
        found = await made.values()
        assert {quantity: found[quantity] for quantity in expected} == pytest.approx(expected)


async def test_sps30_is_started_warmed_up_read_and_stopped(tmp_path: Path) -> None:
    async with bench(tmp_path, "sensirion-sps30", sps30) as made:
        begun_s = time.monotonic()
        found = await made.values()
        assert (found["pm1"], found["pm25"], found["pm10"]) == PM
        assert time.monotonic() - begun_s > serial_asked.SPS30_WARM_UP_S
        assert made.sensor.measures
        begun = time.monotonic_ns()
        (observation,) = await made.driver.read()  # waits for the next new values
        assert begun < observation.mono_ns < time.monotonic_ns()
        await made.driver.close()
        await asyncio.sleep(0.05)
        assert not made.sensor.measures


async def test_sps30_that_measures_already_is_read_at_once_and_left_running(tmp_path: Path) -> None:
    async with bench(tmp_path, "sensirion-sps30", sps30) as made:
        made.sensor.measures = True
        assert len(await made.driver.read()) == 1
        await made.driver.close()
        await asyncio.sleep(0.05)
        assert made.sensor.measures


async def test_sps30_that_sleeps_is_woken(tmp_path: Path) -> None:
    async with bench(tmp_path, "sensirion-sps30", lambda line: sps30(line, asleep=True)) as made:
        assert (await made.values())["pm25"] == 18.0
        assert not made.sensor.asleep


async def test_sps30_in_whole_numbers(tmp_path: Path) -> None:
    async with bench(tmp_path, "sensirion-sps30", sps30, format="integer") as made:
        found = await made.values()
        assert (found["pm1"], found["particle_size"]) == (11, 0.7)
        assert not made.sensor.floats


async def test_sps30_whose_fan_failed_gives_no_values(tmp_path: Path) -> None:
    async with bench(tmp_path, "sensirion-sps30", sps30) as made:
        await made.driver.read()
        made.sensor.failures = 1 << 4
        with pytest.raises(Refused, match="fan failed"):
            await made.driver.read()
        made.sensor.failures = 1 << 21  # out of its speed range: a warning
        assert (await made.values())["pm25"] == 18.0


async def test_sps30_with_nothing_new_is_refused_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_asked, "SPS30_NEW_S", 0.01)
    async with bench(tmp_path, "sensirion-sps30", sps30) as made:
        await made.driver.read()
        made.sensor.period_s = 60.0
        with pytest.raises(Refused, match="nothing new"):
            await made.driver.read()


async def test_damaged_answers_are_bad_frames_and_the_next_is_right(tmp_path: Path) -> None:
    async with bench(tmp_path, "sensirion-sps30", sps30) as made:
        await made.driver.read()
        await asyncio.sleep(0.3)
        made.sensor.answers = [b"~\0\x03\0\x28garbage~"]
        with pytest.raises(BadFrame, match="nothing but damaged"):
            await made.driver.read()
        assert (await made.values())["pm25"] == 18.0


async def test_mhz19(tmp_path: Path) -> None:
    async with bench(tmp_path, "winsen-mh-z19b", lambda line: Mhz19(line, lambda: 812.0)) as made:
        begun = time.monotonic_ns()
        (observation,) = await made.driver.read()
        assert values(observation) == {"co2": 812}
        assert begun < observation.mono_ns < time.monotonic_ns()
        assert made.sensor.given == 1


async def test_a_late_answer_is_never_that_to_the_next_question(tmp_path: Path) -> None:
    ppm = iter(range(1000, 2000))
    async with bench(tmp_path, "winsen-mh-z19b", lambda line: Mhz19(line, lambda: next(ppm))) as made:
        wrong = []
        for expected in range(1000, 1004):
            made.sensor.late_s = 0.25 if expected % 2 else 0.0  # later than the time for an answer
            try:
                (observation,) = await made.driver.read()
            except Timeout:
                assert expected % 2
                continue
            if values(observation) != {"co2": expected}:
                wrong.append((expected, values(observation)))
        assert wrong == []
        assert next(ppm) == 1004


async def test_what_an_idle_line_says_is_not_an_answer(tmp_path: Path) -> None:
    async with bench(tmp_path, "winsen-mh-z19b", lambda line: Mhz19(line, lambda: 812.0)) as made:
        await made.driver.read()
        made.sensor.silent = True
        made.line.send(made.sensor, bytes.fromhex("ff86032c40000000") + b"\x0b")  # a good one that nobody asked for
        await asyncio.sleep(0.05)
        with pytest.raises(Timeout):
            await made.driver.read()


async def test_a_noisy_line_gives_right_values_or_none(tmp_path: Path) -> None:
    async with bench(tmp_path, "winsen-mh-z19b", lambda line: Mhz19(line, lambda: 812.0)) as made:
        made.line.noise = 0.05
        right = 0
        for _ in range(14):
            try:
                (observation,) = await made.driver.read()
            except (BadFrame, Timeout):
                made.line.noise = 0.01
                continue
            assert values(observation) == {"co2": 812}
            right += 1
        assert right >= 5


async def test_hpma_that_is_asked_stops_to_send(tmp_path: Path) -> None:
    async with bench(
        tmp_path, "honeywell-hpma115c0", lambda line: Hpma(line, lambda: PM, compact=True), mode="asked"
    ) as m:
        assert await m.values() == {"pm1": 11, "pm25": 18, "pm4": 20, "pm10": 22}
        assert m.sensor.measures
        assert not m.sensor.sends


async def test_hpma_that_lost_its_power_is_made_ready_again(tmp_path: Path) -> None:
    async with bench(tmp_path, "honeywell-hpma115s0", lambda line: Hpma(line, lambda: PM), mode="asked") as made:
        await made.values()
        made.sensor.sends, made.sensor.measures = True, False
        with pytest.raises((Timeout, BadFrame)):
            await made.driver.read()
        assert await made.values() == {"pm25": 18, "pm10": 22}
        assert not made.sensor.sends


@pytest.mark.parametrize(
    ("name", "sensor"),
    [
        ("winsen-mh-z19b", lambda line: Mhz19(line, lambda: 812.0)),
        ("sensirion-sps30", sps30),
    ],
)
async def test_silence_unplugging_and_cancelling(tmp_path: Path, name: str, sensor: Callable[[Line], Asked]) -> None:
    async with bench(tmp_path, name, sensor) as made:
        first = await made.values()
        made.sensor.silent = True
        with pytest.raises(Timeout):
            await made.driver.read()
        reading = asyncio.create_task(made.driver.read())
        await asyncio.sleep(0.05)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        made.sensor.silent = False
        made.port.unplug()
        async with asyncio.timeout(WITHIN_S):
            with pytest.raises((Disconnected, NoPort)):
                await made.driver.read()
            with pytest.raises(NoPort):
                await made.driver.read()
        made.port.plug()
        assert await made.values() == first


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("sensirion-sps30", {"format": "double"}, "float, integer"),
        ("winsen-mh-z19b", {"format": "float"}, "unknown option 'format'"),
        ("honeywell-hpma115s0", {"mode": "loud"}, "sends, asked"),
        ("plantower-pms5003", {"model": "X"}, "plain, T, S"),
        ("nova-sds011", {"model": "X"}, "unknown option 'model'"),
    ],
)
def test_options_that_are_refused(name: str, options: dict[str, Any], words: str) -> None:
    bus = registry.make_bus("b", {"type": "serial", "port": "/dev/null"})
    with pytest.raises(Misconfigured, match=words):
        registry.make_driver(template.load(name), bus, None, None, options)
    with pytest.raises(Misconfigured, match="takes no address"):
        registry.make_driver(template.load(name), bus, 5, None, {})


async def test_sps30_keeps_the_contract_of_drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for constant in ("ANSWER_S", "LATE_S", "SPS30_WARM_UP_S", "SPS30_NEW_S"):
        monkeypatch.setattr(serial_asked, constant, 0.03)
    async with bench(tmp_path, "sensirion-sps30", sps30) as made:
        take = made.sensor.take
        made.sensor.period_s, made.sensor.turnaround_s = 0.0, 0.002

        def make() -> tuple[Any, Any]:
            bus = registry.make_bus("b", made.bus_settings)
            return bus, registry.make_driver(template.load("sensirion-sps30"), bus, None, 1.0, {})

        async def be(condition: str) -> None:
            made.sensor.silent = condition == "silent"
            made.sensor.take = take if condition != "garbage" else lambda: b"~\0\xff@junk~" if take() else None

        assert (await check_driver(make, provoke=be, limit_s=5.0)).points >= 7
