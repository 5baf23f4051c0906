"""The BLE bus and its drivers against the simulated BlueZ: a real dbus-daemon, the unmodified bleak, real bytes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers import template
from drivers.base import Driver, Frame
from drivers.buses.ble import BleBus, make_advertisement_driver, make_bus
from drivers.buses.ble_gatt import make_csc_driver
from drivers.codecs.csc import parse
from drivers.errors import BadFrame, Disconnected, NoPort, Timeout
from firmware_sim.ble.peripherals import DEFAULT
from firmware_sim.world import World
from tests.sim.ble_air import PATIENCE_S, Air, fails, read, recovers, sensors, using

RUUVI, THERMOMETER, BICYCLE = (row["address"] for row in DEFAULT)


@pytest.fixture
def air(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Air]:
    with sensors(tmp_path, monkeypatch, [dict(row) for row in DEFAULT]) as made:
        yield made


@pytest.fixture
async def bus(air: Air) -> AsyncIterator[BleBus]:
    made = make_bus("radio", {"type": "ble", "adapter": "hci0"})
    assert isinstance(made, BleBus)
    yield made
    await made.close()


def ruuvi(bus: BleBus, **more: Any) -> Driver:
    return make_advertisement_driver(template.load("ruuvi-ruuvitag"), bus, RUUVI, more.get("period_s"), {})


def thermometer(bus: BleBus) -> Driver:
    return make_advertisement_driver(template.load("bthome-thermometer"), bus, THERMOMETER.lower(), None, {})


def bicycle(bus: BleBus) -> Driver:
    return make_csc_driver(template.load("csc-sensor"), bus, BICYCLE, None, {"wheel_mm": 2096})


async def test_values_of_three_devices_are_those_of_the_world(air: Air, bus: BleBus) -> None:
    world = World.load(air.run)
    tag, room, bike = ruuvi(bus), thermometer(bus), bicycle(bus)
    async with using(tag, room, bike):
        t = world.elapsed()
        found, corridor, first = await asyncio.gather(read(tag), read(room), read(bike))
        assert found["temperature"] == pytest.approx(world.temperature(t, "classroom"), abs=0.3)
        assert found["relative_humidity"] == pytest.approx(world.humidity(t, "classroom"), abs=0.5)
        assert found["pressure"] == pytest.approx(world.pressure(t), abs=0.1)
        assert found["battery_voltage"] == pytest.approx(2.977)
        assert corridor["temperature"] == pytest.approx(world.temperature(t, "corridor"), abs=0.1)
        assert corridor["battery_level"] == 93
        second, third = await read(bike), await read(bike)
        assert first["wheel_revolutions"] <= second["wheel_revolutions"] <= third["wheel_revolutions"]
        assert third["distance"] == pytest.approx(third["wheel_revolutions"] * 2.096, abs=0.01)
        fastest = max(world.bicycle(world.elapsed() - back).speed_kmh for back in range(6))
        assert 0 < third["speed"] <= fastest + 2


async def test_each_advertisement_counts_once(air: Air, bus: BleBus) -> None:
    tag = ruuvi(bus)
    frames: list[Frame] = []
    bus.tap = frames.append
    async with using(tag):
        await read(tag)
        before = (await air.do(do="counts"))["counts"]["ruuvi"]["advertisements"]
        taken = 0
        while taken < 3:
            taken += len(await tag.read())
        after = (await air.do(do="counts"))["counts"]["ruuvi"]["advertisements"]
    assert after - before == taken
    mine = [frame.data for frame in frames if frame.data[1:7].hex(":").upper() == RUUVI]
    assert len(mine) >= 4 and all(data[8:12] == b"\x1b\xff\x99\x04" for data in mine)


async def test_spacing_passes_over_what_comes_too_early(air: Air, bus: BleBus) -> None:
    tag = ruuvi(bus, period_s=0.9)
    async with using(tag):
        async with asyncio.timeout(PATIENCE_S):
            (first,), (second,) = await tag.read(), await tag.read()  # a time alone: the others were too early
    assert second.mono_ns - first.mono_ns >= 900_000_000


async def test_silence_is_a_timeout_and_ends_by_itself(air: Air, bus: BleBus) -> None:
    tag = ruuvi(bus)
    tag.silence_s = 1.2
    async with using(tag):
        await read(tag)
        await air.do(do="silence", device="ruuvi", on=True)
        assert isinstance(await fails(tag), Timeout)
        await air.do(do="silence", device="ruuvi", on=False)
        await recovers(tag)


async def test_a_dropped_link_is_flagged_once_and_comes_back(air: Air, bus: BleBus) -> None:
    bike, tag = bicycle(bus), ruuvi(bus)
    async with using(bike, tag):
        await read(bike)
        await read(tag)
        assert (await air.do(do="drop", device="bicycle"))["dropped"]
        assert isinstance(await fails(bike), Disconnected)
        assert await recovers(bike) == []
        await read(tag)  # nothing happened to the others


@pytest.mark.parametrize(
    ("harm", "cure"),
    [
        ({"do": "adapter", "state": "off"}, {"do": "adapter", "state": "on"}),
        ({"do": "adapter", "state": "removed"}, {"do": "adapter", "state": "added"}),
    ],
    ids=["off", "removed"],
)
async def test_every_device_is_told_when_the_adapter_goes(
    air: Air, bus: BleBus, harm: dict[str, str], cure: dict[str, str]
) -> None:
    devices = [ruuvi(bus), thermometer(bus), bicycle(bus)]
    async with using(*devices):
        await asyncio.gather(*(read(device) for device in devices))
        failing = [asyncio.create_task(fails(device)) for device in devices]
        await asyncio.sleep(0)
        await air.do(**harm)
        assert all(isinstance(error, Disconnected) for error in await asyncio.gather(*failing))
        for device in devices:
            with pytest.raises(NoPort):
                await device.read()
        await air.do(**cure)
        await asyncio.gather(*(recovers(device) for device in devices))


@pytest.mark.parametrize("victim", ["dbus", "bluez"])
async def test_a_restart_of_the_dbus_or_of_bluez_is_survived(air: Air, bus: BleBus, victim: str) -> None:
    devices = [ruuvi(bus), bicycle(bus)]
    async with using(*devices):
        await asyncio.gather(*(read(device) for device in devices))
        failing = [asyncio.create_task(fails(device)) for device in devices]
        await asyncio.sleep(0)
        await air.do(do=victim, state="restart")
        assert all(isinstance(error, Disconnected) for error in await asyncio.gather(*failing))
        await asyncio.gather(*(recovers(device) for device in devices))
        frames: list[Frame] = []
        bus.tap = frames.append
        await read(devices[0])
        await read(devices[0])
    heard = [frame.data for frame in frames if frame.data[0] == 1]
    assert len(heard) == len(set(heard))  # one scanner, not one per life of the bus


async def test_no_dbus_is_no_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nothing")
    bus = BleBus("radio")
    with pytest.raises(NoPort, match="D-Bus"):
        await ruuvi(bus).read()
    await bus.close()


async def test_another_adapter_is_no_port(air: Air) -> None:
    bus = BleBus("radio", "hci7")
    with pytest.raises(NoPort, match="hci7"):
        await ruuvi(bus).read()
    await bus.close()


async def test_a_link_left_by_a_process_that_was_killed_is_taken_over(air: Air, bus: BleBus) -> None:
    lines = f"""
import asyncio
from drivers import template
from drivers.buses.ble import make_bus
from drivers.buses.ble_gatt import make_csc_driver
async def main():
    bike = make_csc_driver(template.load("csc-sensor"), make_bus("radio", {{}}), "{BICYCLE}", None, {{}})
    await bike.read()
    print("linked", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", lines, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        assert await child.stdout.readline() == b"linked\n"
        child.kill()
        await child.wait()
    bike = bicycle(bus)
    async with using(bike):
        await read(bike)


async def test_scan_names_what_is_in_the_air(air: Air, bus: BleBus) -> None:
    found = {one.address: one for one in await bus.scan(1.0)}
    assert found[RUUVI].could_be == ("ruuvi-ruuvitag",)
    assert found[THERMOMETER].could_be[0] == "bthome-thermometer" and found[THERMOMETER].name == "THERMO"
    assert found[BICYCLE].could_be == ("csc-sensor",)
    assert all(-100 < one.rssi < -20 for one in found.values())


async def test_a_sensor_that_broadcasts_rubbish_is_a_bad_frame(air: Air, bus: BleBus) -> None:
    tag = make_advertisement_driver(template.load("ruuvi-ruuvitag"), bus, THERMOMETER, None, {})
    tag.silence_s = 1.2
    async with using(tag):
        assert isinstance(await fails(tag), Timeout)  # BTHome, no word of Ruuvi's
    with pytest.raises(BadFrame):
        parse(b"\x03")


async def test_the_tap_sees_notifications(air: Air, bus: BleBus) -> None:
    frames: list[Frame] = []
    bus.tap = frames.append
    bike = bicycle(bus)
    async with using(bike):
        await read(bike)
    (first, *_) = [frame.data for frame in frames if frame.data[0] == 2]
    assert first[1:7].hex(":").upper() == BICYCLE and first[7:9] == b"\x5b\x2a"
    assert parse(first[9:]).wheel is not None


async def test_cancelled_while_connecting_leaves_nothing_behind(air: Air, bus: BleBus) -> None:
    bike = bicycle(bus)
    async with using(bike):
        for patience_s in (0.05, 1.2, 1.4):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(patience_s):
                    while True:
                        await bike.read()
        await recovers(bike)


@pytest.mark.parametrize("address", [None, 5, "", "ruuvi", "AA:BB:CC:DD:EE", "AA:BB:CC:DD:EE:GG"])
async def test_an_address_that_is_none_is_refused(address: str | int | None) -> None:
    with pytest.raises(ValueError, match="address"):
        make_advertisement_driver(template.load("ruuvi-ruuvitag"), BleBus("radio"), address, None, {})


@pytest.mark.parametrize("options", [{"wheel": 2105}, {"wheel_mm": 5}, {"wheel_mm": "wide"}, {"wheel_mm": True}])
async def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="wheel"):
        make_csc_driver(template.load("csc-sensor"), BleBus("radio"), BICYCLE, None, options)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_dbus_daemon_never_outlives_the_simulator(tmp_path: Path, number: int) -> None:
    air = Air(tmp_path, "--seed", "5")
    assert json.loads((tmp_path / "ble.json").read_text())["dbus_address"] == air.ready["dbus_address"]
    children = Path(f"/proc/{air.process.pid}/task/{air.process.pid}/children").read_text().split()
    assert children
    status = air.end(number)
    assert status == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    end = time.monotonic() + PATIENCE_S
    while any(_alive(int(pid)) for pid in children):
        assert time.monotonic() < end
        os.sched_yield()
