"""Devices that are connected to, against the simulated BlueZ: values, slots, losses, and who has nothing to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from drivers import registry, template
from drivers.base import Driver, Frame, Observation
from drivers.buses import ble_gatt
from drivers.buses.ble import BleBus, make_bus
from drivers.buses.ble_gatt import NotifyDriver
from drivers.codecs import openbikesensor
from drivers.codecs.bike import MEASUREMENT
from drivers.errors import Disconnected, Misconfigured, Timeout, WrongDevice
from firmware_sim import rider
from firmware_sim.ble import airthings
from firmware_sim.ble.bicycles import OBS
from firmware_sim.world import WHEEL_M, World
from gateway.testing import Condition, check_driver
from tests.sim.ble_air import PATIENCE_S, Air, fails, read, recovers, sensors, using, values

POWER, BIKE, PASSES, ROOM = (f"D0:5F:64:51:1C:0{number}" for number in range(4))
ROWS: list[dict[str, Any]] = [
    {"name": "power", "kind": "power", "address": POWER},
    {"name": "bike", "kind": "bike", "address": BIKE, "period_s": 0.1},
    {"name": "passes", "kind": "openbikesensor", "address": PASSES, "period_s": 0.1},
    {"name": "room", "kind": "airthings", "address": ROOM},
]


@pytest.fixture(scope="module")
def air(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Air]:
    with pytest.MonkeyPatch.context() as patch, sensors(tmp_path_factory.mktemp("air"), patch, ROWS) as made:
        yield made


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """BlueZ knows these devices from the tests before, and does not tell again what has not changed."""
    monkeypatch.setattr(ble_gatt, "FRESH_S", 0.3)


@pytest.fixture
async def bus(air: Air) -> AsyncIterator[BleBus]:
    made = make_bus("radio", {"type": "ble", "adapter": "hci0"})
    assert isinstance(made, BleBus)
    yield made
    await made.close()


def driver(name: str, bus: BleBus, address: str, period_s: float | None = None, **options: Any) -> Driver:
    return registry.make_driver(template.load(name), bus, address, period_s, options)


async def collect(device: Driver, wanted: set[str]) -> dict[str, tuple[Any, int]]:
    """Read until each of these quantities was told; the first value of each with its time."""
    found: dict[str, tuple[Any, int]] = {}
    async with asyncio.timeout(PATIENCE_S):
        while not wanted <= set(found):
            for observation in await device.read():
                for quantity, value in values(observation).items():
                    found.setdefault(quantity, (value, observation.mono_ns))
    return found


async def test_a_power_meter_has_the_power_and_speed_of_the_world(air: Air, bus: BleBus) -> None:
    world = World.load(air.run)
    meter = driver("cycling-power-sensor", bus, POWER, wheel_mm=round(1000 * WHEEL_M))
    async with using(meter):
        rows = [(await read(meter), world.elapsed()) for _ in range(6)]
    for found, t in rows:
        near = [rider.power(world, t - back / 20) for back in range(20)]
        assert min(near) - 1 <= found["rider_power"] <= max(near) + 1
    found, t = rows[-1]
    assert found["distance"] == pytest.approx(found["wheel_revolutions"] * WHEEL_M, abs=0.01)
    fastest = max(world.bicycle(t - back).speed_kmh for back in range(6))
    assert 0 <= found["speed"] <= fastest + 2


async def test_a_bicycle_sensor_tells_counts_surface_and_light(air: Air, bus: BleBus) -> None:
    world = World.load(air.run)
    sensor = driver("lamppost-bike-gatt", bus, BIKE)
    wanted = {"swerve_count", "hard_braking_count", "impact_count", "overtake_count", "surface_vibration"}
    wanted |= {"speed_band", "speed", "battery_level", "illuminance", "distance_left"}
    async with using(sensor):
        before = rider.counts(world, world.elapsed() - 3)
        found = await collect(sensor, wanted)
        after = rider.counts(world, world.elapsed())
    names = ("swerve_count", "hard_braking_count", "impact_count", "overtake_count")
    for name, low, high in zip(names, before, after, strict=True):
        assert low <= found[name][0] <= high
    low_kmh, _, high_kmh = str(found["speed_band"][0]).partition("-")
    assert int(high_kmh) - int(low_kmh) == rider.BAND_KMH
    assert found["battery_level"][0] == 84


async def test_the_same_sensor_is_read_from_its_advertisements(air: Air, bus: BleBus) -> None:
    sensor = driver("lamppost-bike", bus, BIKE)
    async with using(sensor):
        found = await collect(sensor, {"swerve_count", "impact_count", "surface_vibration", "illuminance"})
    assert found["illuminance"][0] >= 9000


async def test_an_openbikesensor_measures_from_the_handlebar_and_counts_passes(air: Air, bus: BleBus) -> None:
    sensor = driver("openbikesensor", bus, PASSES, period_s=0.3)
    async with using(sensor):
        found = await collect(sensor, {"distance_left", "distance_right"})
    assert 0.6 <= found["distance_left"][0] <= 3.4  # with the 0.30 m to the end of the handlebar taken off
    assert 0.9 <= found["distance_right"][0] <= 3.4


async def test_an_airthings_is_read_and_left_alone(air: Air, bus: BleBus) -> None:
    world = World.load(air.run)
    sensor = driver("airthings-wave-plus", bus, ROOM, period_s=60)
    async with using(sensor):
        for _ in range(2):
            (observation,) = await sensor.read()
            found = values(observation)
            assert set(found) == {
                *("temperature", "relative_humidity", "pressure", "co2", "voc_ppb", "radon_avg_24h"),
            }
            assert found["co2"] == pytest.approx(world.co2(world.elapsed()), abs=20)
            assert bus.slots.taken == 0
            assert await bus.connected(ROOM, airthings.SERVICE) is None


async def test_devices_share_one_connection_in_turns(air: Air) -> None:
    bus = BleBus("radio", "hci0", 1, slot_hold_s=0.4)
    staying = [driver("cycling-power-sensor", bus, POWER), driver("lamppost-bike-gatt", bus, BIKE)]
    asking = driver("airthings-wave-plus", bus, ROOM, period_s=60)
    told: list[int] = [0, 0]

    async def stay(number: int) -> None:
        while True:
            await staying[number].read()
            told[number] += 1

    async with using(*staying, asking):
        tasks = [asyncio.create_task(stay(number)) for number in range(2)]
        async with asyncio.timeout(PATIENCE_S):
            while min(told) < 1:
                await asyncio.sleep(0.05)
            first = list(told)
            assert await asking.read()
            while not all(now > before for now, before in zip(told, first, strict=True)):
                await asyncio.sleep(0.05)
                assert bus.slots.taken <= 1
        assert not any(task.done() for task in tasks)  # nobody was told of a loss
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert (bus.slots.taken, bus.slots.waiting) == (0, 0)
    await bus.close()


async def test_no_turn_in_time_is_told_as_such(air: Air) -> None:
    bus = BleBus("radio", "hci0", 1)
    staying, waiting = driver("cycling-power-sensor", bus, POWER), driver("lamppost-bike-gatt", bus, BIKE)
    waiting.silence_s = 0.8
    async with using(staying, waiting):
        await read(staying)
        with pytest.raises(Timeout, match="waits for one of the adapter's connections"):
            await waiting.read()
        await read(staying)
    await bus.close()


async def test_a_lost_link_gives_its_slot_back_and_heals(air: Air, bus: BleBus) -> None:
    sensor = driver("lamppost-bike-gatt", bus, BIKE)
    async with using(sensor):
        await read(sensor)
        assert bus.slots.taken == 1
        assert (await air.do(do="drop", device="bike"))["dropped"]
        assert isinstance(await fails(sensor), Disconnected)
        assert bus.slots.taken == 0
        assert await recovers(sensor) == []


async def test_another_device_at_that_address_is_told(air: Air, bus: BleBus) -> None:
    sensor = driver("csc-sensor", bus, POWER)
    async with using(sensor):
        error = await fails(sensor)
    assert isinstance(error, WrongDevice)
    assert "00002a5b" in str(error)
    assert bus.slots.taken == 0


class Taciturn:
    """Somebody who takes all that is notified and finds nothing in it worth telling."""

    service = OBS.format(0)
    asked: tuple[str, ...] = ()
    notified: tuple[str, ...] = (openbikesensor.DISTANCE,)

    def take(self, uuid: str, value: bytes, mono_ns: int) -> tuple[Observation, ...]:
        assert uuid == openbikesensor.DISTANCE and len(value) == 8 and mono_ns
        return ()


async def test_a_device_that_says_nothing_that_is_known_is_told_as_such(air: Air, bus: BleBus) -> None:
    quiet = NotifyDriver(bus, PASSES, 1.0, Taciturn())
    async with using(quiet):
        with pytest.raises(Timeout, match="says nothing that is known"):
            await quiet.read()


async def test_the_tap_names_characteristics_of_128_bits(air: Air, bus: BleBus) -> None:
    frames: list[Frame] = []
    bus.tap = frames.append
    sensor = driver("lamppost-bike-gatt", bus, BIKE)
    async with using(sensor):
        await read(sensor)
    first = next(frame.data for frame in frames if frame.data[0] == 3)
    assert first[1:7].hex(":").upper() == BIKE
    assert first[7:23][::-1].hex() == MEASUREMENT.replace("-", "")
    assert first[23] == 0x20


@pytest.mark.slow
async def test_the_contract_of_drivers_is_kept(air: Air) -> None:
    def make() -> tuple[BleBus, Driver]:
        bus = BleBus("radio")
        sensor = driver("lamppost-bike-gatt", bus, BIKE)
        sensor.silence_s = 1.5
        return bus, sensor

    async def provoke(condition: Condition) -> None:
        await air.do(do="silence", device="bike", on=condition == "silent")
        await air.do(do="garble", device="bike", on=condition == "garbage")

    kept = await check_driver(make, provoke=provoke, limit_s=15, age_s=1.0)
    assert kept.observations > 10 and kept.points > 10


@pytest.mark.parametrize(
    ("name", "period_s", "options", "words"),
    [
        ("csc-sensor", 5.0, {}, "takes no period"),
        ("cycling-power-sensor", None, {"wheel_mm": 5}, "expected millimetres"),
        ("lamppost-bike-gatt", None, {"wheel_mm": 2100}, "unknown option"),
        ("openbikesensor", None, {"overtaken_on": "above"}, "left or right"),
        ("airthings-wave-plus", None, {"model": "wave-9"}, "wave-2, wave-plus"),
    ],
)
async def test_options_that_make_no_sense_are_refused(
    name: str, period_s: float | None, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(Misconfigured, match=words):
        driver(name, BleBus("radio"), BIKE, period_s, **options)
