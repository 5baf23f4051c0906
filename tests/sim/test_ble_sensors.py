"""Every family of broadcasting sensors through the whole stack: simulated BlueZ, bleak, bus, codec, template."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers import template
from drivers.base import Driver, Frame
from drivers.buses import ble_adapter
from drivers.buses.ble import BadKey, BleBus, make_advertisement_driver, make_bus
from drivers.codecs.ad_structures import collect
from firmware_sim.ble.sensors import BATTERY, KEY
from firmware_sim.world import World
from tests.sim.ble_air import PATIENCE_S, Air, fails, read, recovers, sensors, until, using

# kind of the simulator: (template, address, encrypted)
SENSORS = {
    "ruuvi-air": ("ruuvi-air", "CB:B8:33:4C:88:01", False),
    "bthome-sealed": ("bthome-sensor", "54:48:E6:8F:80:02", True),
    "aranet4": ("aranet-aranet4", "F2:11:22:33:44:03", False),
    "aranet2": ("aranet-aranet2", "F2:11:22:33:44:04", False),
    "aranet-radiation": ("aranet-radiation", "F2:11:22:33:44:05", False),
    "aranet-radon": ("aranet-radon-plus", "F2:11:22:33:44:06", False),
    "mibeacon": ("xiaomi-lywsdcgq", "4C:65:A8:00:00:07", False),
    "mibeacon-sealed": ("xiaomi-lywsd03mmc", "A4:C1:38:00:00:08", True),
    "atc": ("atc-thermometer", "A4:C1:38:00:00:09", False),
    "atc-sealed": ("atc-thermometer", "A4:C1:38:00:00:0A", True),
    "qingping": ("qingping-thermometer", "58:2D:34:00:00:0B", False),
    "govee": ("govee-h5075", "A4:C1:38:00:00:0C", False),
}
EXPECTED = {
    "temperature": 0.3,
    "relative_humidity": 1.0,
    "pressure": 0.2,
    "co2": 30.0,
}


@pytest.fixture
def air(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Air]:
    (tmp_path / "key").write_text(KEY.hex())
    (tmp_path / "key").chmod(0o600)
    rows = [{"name": kind, "kind": kind, "address": row[1]} for kind, row in SENSORS.items()]
    with sensors(tmp_path, monkeypatch, rows) as made:
        yield made


@pytest.fixture
async def bus(air: Air) -> AsyncIterator[BleBus]:
    made = make_bus("radio", {"type": "ble"})
    assert isinstance(made, BleBus)
    yield made
    await made.close()


def driver(bus: BleBus, air: Air, kind: str, **options: Any) -> Driver:
    name, address, encrypted = SENSORS[kind]
    if encrypted:
        options.setdefault("key_file", str(air.run / "key"))
    return make_advertisement_driver(template.load(name), bus, address, 0.0, options)


async def everything(one: Driver, wanted: set[str]) -> dict[str, Any]:
    """All that a sensor says, in however many frames."""
    found: dict[str, Any] = {}
    async with asyncio.timeout(PATIENCE_S):
        while not wanted <= found.keys():
            found |= await read(one)
    return found


async def test_every_family_says_what_the_world_is_like(air: Air, bus: BleBus) -> None:
    world = World.load(air.run)
    devices = {kind: driver(bus, air, kind) for kind in SENSORS}
    wanted = {kind: {"temperature", "relative_humidity"} for kind in SENSORS}
    wanted |= {
        "ruuvi-air": {"temperature", "pm1", "pm10", "co2", "voc_index"},
        "bthome-sealed": {"temperature", "co2"},
        "aranet4": {"co2", "pressure", "battery_level"},
        "aranet-radiation": {"radiation_rate", "radiation_dose"},
        "aranet-radon": {"radon", "pressure", "relative_humidity"},
        "mibeacon": {"temperature", "relative_humidity", "battery_level"},
    }
    async with using(*devices.values()):
        found = dict(
            zip(
                devices,
                await asyncio.gather(*(everything(one, wanted[kind]) for kind, one in devices.items())),
                strict=True,
            )
        )
    t = world.elapsed()
    truth = {
        "temperature": world.temperature(t, "classroom"),
        "relative_humidity": world.humidity(t, "classroom"),
        "pressure": world.pressure(t),
        "co2": world.co2(t),
    }
    for kind, values in found.items():
        minute_old = 3 if kind.startswith("aranet") else 1  # these measure once a minute
        for quantity, tolerance in EXPECTED.items():
            if quantity in values:
                assert values[quantity] == pytest.approx(truth[quantity], abs=tolerance * minute_old), (kind, quantity)
        assert values.get("battery_level", BATTERY) == BATTERY
    assert found["aranet-radiation"]["radiation_rate"] == pytest.approx(0.11, abs=0.02)
    assert bus.mode == "active"  # one of them speaks only to those who ask


async def test_who_only_listens_hears_all_but_those_who_must_be_asked(air: Air, bus: BleBus) -> None:
    silent = [kind for kind in SENSORS if kind != "govee"]
    devices = [driver(bus, air, kind) for kind in silent]
    frames: list[Frame] = []
    bus.tap = frames.append
    async with using(*devices):
        await asyncio.gather(*(read(one) for one in devices))
        assert bus.mode == "passive"
        heard = [collect(frame.data[8:]) for frame in frames if frame.data[1:7].hex(":").upper() == SENSORS["govee"][1]]
        assert {(advert.name, bool(advert.manufacturer)) for advert in heard} == {("GVH5075_51AB", False)}
        async with using(asked := driver(bus, air, "govee")):
            assert "temperature" in await read(asked)
            assert bus.mode == "active"
        await bus.open()
        assert bus.mode == "passive"


async def test_a_bluez_that_cannot_be_passive_is_asked_actively_and_that_is_said_once(
    air: Air, bus: BleBus, caplog: pytest.LogCaptureFixture
) -> None:
    await air.do(do="monitors", on=False)
    one = driver(bus, air, "atc")
    async with using(one):
        await read(one)
        assert bus.mode == "active"
        await air.do(do="adapter", state="off")
        assert await fails(one)
        await air.do(do="adapter", state="on")
        await recovers(one)
    said = [record for record in caplog.records if "passively" in record.getMessage()]
    assert len(said) == 1


async def test_a_scan_names_the_models_and_goes_back_to_listening(air: Air, bus: BleBus) -> None:
    one = driver(bus, air, "qingping")
    async with using(one):
        await read(one)
        found = {row.address: row for row in await bus.scan(1.0)}
        assert bus.mode == "active"
        for kind, (name, address, encrypted) in SENSORS.items():
            assert name in found[address].could_be, kind
            assert found[address].encrypted is encrypted, kind
        await bus.open()
        assert bus.mode == "passive"


@pytest.mark.parametrize("kind", ["bthome-sealed", "mibeacon-sealed", "atc-sealed"])
async def test_keys(air: Air, bus: BleBus, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = make_advertisement_driver(template.load(SENSORS[kind][0]), bus, SENSORS[kind][1], None, {})
    async with using(missing):
        with pytest.raises(BadKey, match="key_file"):
            await missing.read()
    (air.run / "other").write_text("00" * 16)
    wrong = driver(bus, air, kind, key_file=str(air.run / "other"))
    async with using(wrong):
        with pytest.raises(BadKey, match="not the one"):
            await wrong.read()
    monkeypatch.setattr(ble_adapter, "RETRY_S", 0.1)
    right = driver(bus, air, kind)
    async with using(right):
        assert await read(right)


@pytest.mark.parametrize(("sickness", "deaf_s"), [("deaf", 1.0), ("stuck", 90.0)])
async def test_an_adapter_that_sticks_is_switched_off_and_on(
    air: Air,
    bus: BleBus,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    sickness: str,
    deaf_s: float,
) -> None:
    monkeypatch.setattr(ble_adapter, "DEAF_S", deaf_s)
    monkeypatch.setattr(ble_adapter, "RETRY_S", 0.1)
    one = driver(bus, air, "atc")
    one.silence_s = 0.4
    async with using(one):
        await read(one)
        await air.do(do="adapter", state=sickness)
        if sickness == "stuck":
            await bus.close()  # what runs goes on: it is the next start that is refused
        failures = 0
        async with asyncio.timeout(PATIENCE_S):
            while not any("hears again" in record.getMessage() for record in caplog.records):
                failures += bool(await _failure(one))
                await asyncio.sleep(0.05)
    assert failures
    told = [record.getMessage() for record in caplog.records if record.name == "lamppost.bluetooth"]
    told = [text for text in told if "passively" not in text]
    assert "scan anew" in told[0]
    assert told[-3].endswith("switch it off and on")
    assert told[-2:] == ["Bluetooth hci0: switch it off and on: done", "Bluetooth hci0: hears again"]


async def _failure(one: Driver) -> Exception | None:
    try:
        await one.read()
    except ble_adapter.DriverError as error:
        return error
    return None


async def test_an_adapter_that_somebody_switched_off_stays_off(
    air: Air, bus: BleBus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ble_adapter, "RETRY_S", 0.05)
    one = driver(bus, air, "atc")
    async with using(one):
        await read(one)
        await air.do(do="adapter", state="off")
        for _ in range(12):
            assert await _failure(one)
            await asyncio.sleep(0.05)
    assert not [record for record in caplog.records if record.name == "lamppost.bluetooth"]


async def test_values_that_a_slow_reader_leaves_are_counted(air: Air, bus: BleBus) -> None:
    inbox = bus.listen(SENSORS["atc"][1])
    await bus.open()
    await until(lambda: inbox.next() is not None)
    assert bus.heard >= 1
    assert bus.flooded == 0
