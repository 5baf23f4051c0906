"""M-Bus meters on one simulated line at true speed, read by the bus and the driver end to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from drivers import registry
from drivers import template as templates
from drivers.base import Frame, Observation
from drivers.buses.mbus import MBusBus
from drivers.codecs import mbus
from drivers.errors import BadFrame, Disconnected, NoPort, Refused, Timeout, WrongDevice
from drivers.template import Template
from firmware_sim.devices.mbus import Identity, MBusMeter, heat_records, water_records
from firmware_sim.line import Line, PtyPort

TEMPLATE = Template("m", "meter", "Lamppost", "M", "mbus", "Device", "manual")
BAUD = 19_200  # eight times the usual: what takes time in these tests is silence
HEAT = Identity("12345678", "KAM", 8, 4)
METERS = [one for name in templates.names() if (one := templates.load(name)).protocol == "mbus"]
WATER = Identity("12999678", "ELS", 41, 7)
TIMEOUT_S = 0.1


class Site:
    """A line with meters, and the bus of the gateway."""

    def __init__(self, folder: Path, baud: int = BAUD) -> None:
        self.line = Line("mbus", baud, "even")
        self.port = PtyPort(self.line, folder / "port")
        self.port.plug()
        settings = {"type": "mbus", "port": str(folder / "port"), "baud": baud, "timeout": TIMEOUT_S}
        self.bus: Any = registry.make_bus("b", settings)
        assert isinstance(self.bus, MBusBus)
        self.frames: list[Frame] = []
        self.bus.tap = self.frames.append

    def meter(self, address: int, who: Identity, *telegrams: bytes) -> MBusMeter:
        return MBusMeter(self.line, address, who, lambda: telegrams, thinks_s=0.01)

    def driver(self, address: int | str, **options: str) -> Any:
        return registry.make_driver(TEMPLATE, self.bus, address, None, options)

    async def close(self) -> None:
        await self.bus.close()
        self.port.unplug()
        self.line.close()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    yield made
    await made.close()


def values(observations: Sequence[Observation]) -> dict[str, object]:
    (observation,) = observations
    return {m.quantity: m.value for m in observation.measurements}


def heat(kwh: int = 37_351) -> bytes:
    return heat_records(kwh, 561_080, 34_700, 543, 101.6, 46.1)


async def test_primary_and_secondary_addressing(site: Site) -> None:
    site.meter(5, HEAT, heat())
    site.meter(6, WATER, water_records(2_850_427))
    by_primary, by_number, by_all = site.driver(5), site.driver("12999678"), site.driver("12999678931529ff")
    assert values(await by_primary.read())["heat_energy_total"] == 37_351.0
    assert values(await by_number.read())["water_volume_total"] == 2850.427
    assert values(await by_all.read())["water_volume_total"] == 2850.427
    assert values(await by_primary.read())["flow_temperature"] == 101.6


@pytest.mark.parametrize("one", METERS, ids=lambda one: one.name)
async def test_every_template_reads_what_it_shows(site: Site, one: Template) -> None:
    header = mbus.decode(one.frames[0].answer).header
    who = Identity(header.serial, header.maker, header.version or 0, header.medium)
    site.meter(7, who, one.frames[0].answer[19:-2])  # behind the header, before the sum
    driver = registry.make_driver(one, site.bus, header.serial, None, one.options)
    assert values(await driver.read()) == dict(one.frames[0].expect)


async def test_count_bits(site: Site) -> None:
    meter = site.meter(5, HEAT, heat())
    driver = site.driver(5)
    for _ in range(3):
        await driver.read()
    sent = [request.hex() for request in meter.requests]
    assert sent == ["4005", "7b05", "5b05", "7b05"]  # one reset, then the bit goes back and forth


async def test_an_answer_in_several_telegrams(site: Site) -> None:
    first, second, third = b"\x0c\x06\x51\x73\x03\x00", b"\x0c\x13\x80\x10\x56\x00", b"\x02\x5b\x15\x00"
    for address, way in ((5, 5), (6, "12999678")):
        site.meter(address, HEAT if address == 5 else Identity("12999678", "KAM", 8, 4), first, second, third)
        driver = site.driver(way)
        for _ in range(2):
            assert values(await driver.read()) == {
                "heat_energy_total": 37_351.0,
                "volume_total": 561.08,
                "flow_temperature": 21.0,
                "meter_status": "ok",
            }


async def test_a_meter_that_never_ends_gives_what_it_said(site: Site) -> None:
    site.meter(5, HEAT, *[b"\x0c\x06\x51\x73\x03\x00"] * 40)
    assert values(await site.driver(5).read())["heat_energy_total"] == 37_351.0


async def test_damaged_and_missing_answers_are_asked_for_again(site: Site) -> None:
    meter = site.meter(5, HEAT, heat())
    driver = site.driver(5)
    await driver.read()
    site.line.loss = 1.0
    reading = asyncio.create_task(driver.read())
    await asyncio.sleep(0.1)
    site.line.loss = 0.0
    assert values(await reading)["heat_energy_total"] == 37_351.0
    assert meter.given == 2


async def test_noise_never_makes_a_value(tmp_path: Path) -> None:
    site = Site(tmp_path, 38_400)
    site.meter(5, HEAT, heat())
    driver = site.driver(5)
    known = values(await driver.read())
    site.line.noise = 0.01
    good = 0
    for _ in range(8):
        try:
            assert values(await driver.read()) == known
            good += 1
        except (BadFrame, Timeout):
            pass
    assert good
    await site.close()


async def test_silent_meter_costs_little_after_its_first_time(site: Site) -> None:
    site.meter(6, WATER, water_records(1))
    dead = site.driver(5)
    with pytest.raises(Timeout, match="meter 5"):
        await dead.read()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(Timeout):
        await dead.read()
    assert loop.time() - begun < 4 * TIMEOUT_S
    with pytest.raises(Timeout, match="12345678"):
        await site.driver("12345678").read()
    assert values(await site.driver(6).read())["water_volume_total"] == 0.001


async def test_answers_of_others_are_never_taken(site: Site) -> None:
    """A meter that answers late speaks into the next question: its address, or its number, tells it."""
    late, other = site.meter(5, HEAT, heat()), site.meter(6, WATER, water_records(7))
    late.thinks_s = TIMEOUT_S + 0.05
    first, second = site.driver(5), site.driver(6)
    for _ in range(4):
        for driver, quantity in ((first, "heat_energy_total"), (second, "water_volume_total")):
            try:
                assert quantity in values(await driver.read())
            except (Timeout, BadFrame):
                continue
    assert late.given
    assert other.given


async def test_two_meters_at_one_address(site: Site) -> None:
    site.meter(5, HEAT, heat())
    site.meter(5, WATER, water_records(7))
    with pytest.raises(BadFrame):
        await site.driver(5).read()
    assert values(await site.driver("12999678").read())["water_volume_total"] == 0.007


async def test_another_meter_than_configured(site: Site) -> None:
    site.meter(5, HEAT, heat())
    with pytest.raises(WrongDevice, match="measures heat, not water"):
        await site.driver(5, medium="water").read()
    with pytest.raises(WrongDevice, match="made by KAM"):
        await site.driver(5, maker="ELS").read()
    assert values(await site.driver(5, medium="heat", maker="KAM").read())


async def test_echo_of_the_converter(site: Site) -> None:
    site.line.echo = True
    site.meter(5, HEAT, heat())
    assert values(await site.driver(5).read())["heat_energy_total"] == 37_351.0
    assert values(await site.driver("12345678").read())["heat_energy_total"] == 37_351.0


async def test_error_of_the_application(site: Site) -> None:
    meter = site.meter(5, HEAT, heat())
    body = bytes([0x08, 5, 0x70, 0x08])
    error = bytes([0x68, 4, 4, 0x68]) + body + bytes([sum(body) & 0xFF, 0x16])
    meter._data = lambda address, bit: error  # type: ignore[method-assign]
    with pytest.raises(Refused, match="meter 5"):
        await site.driver(5).read()


async def test_wrong_speed_is_no_value(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.meter(5, HEAT, heat())
    site.line.set_baud(2400)
    with pytest.raises((Timeout, BadFrame)):
        await site.driver(5).read()
    await site.close()


async def test_unplugged_and_plugged_again(site: Site) -> None:
    site.meter(5, HEAT, heat())
    driver = site.driver(5)
    await driver.read()
    reading = asyncio.create_task(driver.read())
    await asyncio.sleep(0.05)
    site.port.unplug()
    with pytest.raises(Disconnected):
        await reading
    with pytest.raises(NoPort):
        await driver.read()
    site.port.plug()
    assert values(await driver.read())["heat_energy_total"] == 37_351.0


async def test_scan_finds_meters_by_both_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from drivers.buses import mbus_scan

    monkeypatch.setattr(mbus_scan, "PRIMARY", range(6))  # all 251 take a minute of silence
    monkeypatch.setattr(mbus_scan, "_SLACK_S", 0.0)
    site = Site(tmp_path, 38_400)
    site.meter(5, HEAT, heat())
    site.meter(0, WATER, water_records(7))  # as it comes from its maker: two of them at address 0
    site.meter(0, Identity("20999612", "SEN", 6, 7), water_records(9))
    steps: list[tuple[int, int]] = []
    found = await site.bus.scan(lambda done, total: steps.append((done, total)))
    assert [(one.address, one.answer) for one in found] == [
        (5, "KAM, heat, number 12345678, version 8"),
        ("1299967893152907", "ELS, water, number 12999678, version 41"),
        ("20999612ae4c0607", "SEN, water, number 20999612, version 6"),
    ]
    assert steps[0] == (0, 16)
    assert steps[-1] == (16, 16)
    for one in found:
        assert values(await site.driver(one.address).read())
    await site.close()


@pytest.mark.parametrize("asks", [lambda bus: bus.read(5), lambda bus: bus.open()])
async def test_a_port_that_is_not_there(tmp_path: Path, asks: Callable[[Any], Any]) -> None:
    bus = registry.make_bus("b", {"type": "mbus", "port": str(tmp_path / "none")})
    with pytest.raises(NoPort):
        await asks(bus)
    await bus.close()
    await bus.close()
