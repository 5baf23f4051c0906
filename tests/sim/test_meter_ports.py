"""P1, SML and D0 meters on pseudo-terminals at true speed, read by their drivers end to end."""

from __future__ import annotations

import asyncio
import termios
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from drivers import registry
from drivers import template as templates
from drivers.base import Observation
from drivers.buses import d0 as bus_d0
from drivers.buses.serial_port import PortSettings, SerialPort
from drivers.errors import BadFrame, Disconnected, Misconfigured, NoPort, Timeout
from drivers.template import Template
from firmware_sim.devices import d0, p1, sml
from firmware_sim.devices.d0 import D0Meter
from firmware_sim.devices.stream import Stream
from firmware_sim.electricity import Snapshot
from firmware_sim.line import Line, PtyPort
from gateway.testing import Condition, check_driver

SHOT = Snapshot(
    volts=(231.4, 229.9, 230.5),
    amps=(2.5, 9.7, 0.4),
    watts=(-512.0, 2211.0, 80.0),
    import_kwh=(4000.25, 4100.5, 3999.75),
    export_kwh=(0.0, 1.5, 0.0),
)
AT = datetime(2026, 7, 14, 13, 30, 7, tzinfo=UTC)


SPEAKING = [
    one
    for name in templates.names()
    if (one := templates.load(name)).protocol in ("p1", "sml", "d0") and one.options.get("mode", "push") == "push"
]


def template(protocol: str, silence_s: float = 5.0) -> Template:
    return Template(protocol, "meter", "Lamppost", protocol, protocol, "Device", "manual", silence_s=silence_s)


class Wire:
    """A line, its port, a bus and a driver."""

    def __init__(self, folder: Path, protocol: str, baud: int, options: dict[str, Any], port_baud: int = 0) -> None:
        self.line = Line("meter", baud)
        self.port = PtyPort(self.line, folder / "port")
        self.port.plug()
        settings = {"type": "serial", "port": str(folder / "port"), "baud": port_baud or baud}
        self.bus = registry.make_bus("b", settings)
        self.driver: Any = registry.make_driver(template(protocol), self.bus, None, None, options)

    async def close(self) -> None:
        await self.driver.close()
        await self.bus.close()
        self.port.unplug()
        self.line.close()


@asynccontextmanager
async def wired(folder: Path, protocol: str, baud: int, port_baud: int = 0, **options: Any) -> AsyncIterator[Wire]:
    wire = Wire(folder, protocol, baud, options, port_baud)
    try:
        yield wire
    finally:
        await wire.close()


@asynccontextmanager
async def speaking(wire: Wire, frame: Callable[[], bytes], period_s: float) -> AsyncIterator[Stream]:
    await wire.bus.open()
    stream = Stream(wire.line, frame, period_s)
    task = asyncio.create_task(stream.run())
    try:
        yield stream
    finally:
        task.cancel()


def values(observations: Sequence[Observation]) -> dict[str, Any]:
    return {m.quantity: m.value for m in observations[0].measurements}


@pytest.mark.parametrize("one", SPEAKING, ids=lambda one: one.name)
async def test_every_template_reads_what_it_shows(tmp_path: Path, one: Template) -> None:
    """At one speed for all: the true ones are in the tests below."""
    async with wired(tmp_path, one.protocol, 115_200) as wire:
        driver: Any = registry.make_driver(one, wire.bus, None, None, one.options)
        await wire.bus.open()
        reading = asyncio.create_task(driver.read())
        await asyncio.sleep(0.02)
        wire.line.send(Stream(wire.line, lambda: b"", 1.0), b"\r\n" + one.frames[0].answer)
        assert values(await reading) == dict(one.frames[0].expect)
        await driver.close()


async def test_old_p1_without_crc(tmp_path: Path) -> None:
    register = p1.Register()
    async with (
        wired(tmp_path, "p1", p1.BAUD_OLD) as wire,
        speaking(wire, lambda: p1.telegram_old(SHOT, register, AT, 1873.25), 0.6),
    ):
        found = values(await wire.driver.read())
    assert found["active_power_total"] == 1780.0  # two places of a kilowatt
    assert found["energy_import_total"] == pytest.approx(12_100.5, abs=0.002)
    assert found["gas_volume_total"] == 1873.25


async def test_p1_of_belgium(tmp_path: Path) -> None:
    register = p1.Register()
    async with (
        wired(tmp_path, "p1", p1.BAUD) as wire,
        speaking(wire, lambda: p1.telegram_fluvius(SHOT, register, AT, 112.384, 872.234), 0.5),
    ):
        (observation, *_) = await wire.driver.read()
    found = values((observation,))
    assert observation.device_ns == int(AT.timestamp()) * 10**9
    assert (found["gas_volume_total"], found["water_volume_total"]) == (112.384, 872.234)
    assert (found["active_power_import_avg"], found["active_power_import_peak"]) == (1779.0, 4500.0)
    assert (found["active_power_l1"], found["tariff"]) == (-512.0, "1")


async def test_p1_that_is_encrypted_needs_its_key(tmp_path: Path) -> None:
    key, title, counter = bytes(range(16)), b"LMP\0\0\0\0\x01", b"\0\0\0\x07"
    plain = p1.telegram(SHOT, p1.Register(), AT, 1.0)
    body = AESGCM(key).encrypt(title + counter, plain, b"\x30" + bytes.fromhex("00112233445566778899aabbccddeeff"))[:-4]
    frame = b"\xdb\x08" + title + b"\x82" + (len(body) + 5).to_bytes(2, "big") + b"\x30" + counter + body
    (tmp_path / "key").write_text(key.hex())
    async with (
        wired(tmp_path, "p1", p1.BAUD, key_file=str(tmp_path / "key")) as wire,
        speaking(wire, lambda: frame, 0.15),
    ):
        assert values(await wire.driver.read())["active_power_total"] == 1779.0
    async with wired(tmp_path, "p1", p1.BAUD) as wire, speaking(wire, lambda: frame, 0.4):
        wire.driver.silence_s = 1.0
        with pytest.raises(BadFrame, match="key_file"):
            await wire.driver.read()


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"crc": "no"}, "option crc"),
        ({"time_zone": "Mars/Olympus"}, "option time_zone"),
        ({"time_zone": "/etc/passwd"}, "option time_zone"),
        ({"key_file": "/nowhere/key"}, "No such file"),
        ({"baud": 5}, "unknown option"),
    ],
)
async def test_p1_options_that_are_wrong(tmp_path: Path, options: dict[str, Any], cause: str) -> None:
    bus = registry.make_bus("b", {"type": "serial", "port": str(tmp_path / "port")})
    with pytest.raises(Misconfigured, match=cause):
        registry.make_driver(template("p1"), bus, None, None, options)
    (tmp_path / "key").write_text("secret, but no key")
    with pytest.raises(Misconfigured, match="32 or 64 hexadecimal digits") as caught:
        registry.make_driver(template("p1"), bus, None, None, {"key_file": str(tmp_path / "key")})
    assert "secret" not in str(caught.value)


async def test_p1_letter_of_another_zone(tmp_path: Path) -> None:
    async with (
        wired(tmp_path, "p1", p1.BAUD, time_zone="Europe/Vilnius") as wire,
        speaking(wire, lambda: p1.telegram(SHOT, p1.Register(), AT, 1.0), 0.4),
    ):
        (observation, *_) = await wire.driver.read()
    assert observation.device_ns == int(AT.timestamp() - 3600) * 10**9  # an hour east


async def test_port_stays_as_it_is_when_its_speed_changes(tmp_path: Path) -> None:
    line = Line("p", 300)
    port = PtyPort(line, tmp_path / "port")
    port.plug()
    opened = SerialPort(PortSettings(str(tmp_path / "port"), 300, "even", 7), check_parity=True)
    for baud in (300, 9600, 300):
        opened.set_speed(baud)
        flags, *_, output, characters = termios.tcgetattr(opened.fd)
        assert flags & termios.INPCK
        assert not flags & (termios.IGNPAR | termios.PARMRK)
        assert output == getattr(termios, f"B{baud}")
        assert characters[termios.VMIN] == 1  # silence is told from a hang-up
        assert opened.read() == b""
    opened.close()
    with pytest.raises(Disconnected, match="is closed"):
        opened.set_speed(300)
    port.unplug()
    line.close()


async def test_sml_among_noise_and_cut_telegrams(tmp_path: Path) -> None:
    whole = sml.telegram(SHOT, 1000)
    async with wired(tmp_path, "sml", 38_400) as wire:
        reading = asyncio.create_task(wire.driver.read())
        await asyncio.sleep(0.05)
        talker = Stream(wire.line, lambda: b"", 1.0)
        wire.line.send(talker, b"\x1b\x1b\x1b" + whole[100:] + whole[:300] + whole)
        found = values(await reading)
        assert wire.driver.bad_frames == 1
    assert found["active_power_total"] == 1779.0
    assert found["active_power_l1"] == -512.0
    assert found["energy_export_total"] == 1.5


async def test_sml_each_second_unplugged_and_plugged_again(tmp_path: Path) -> None:
    second = iter(range(1000, 2000))
    async with (
        wired(tmp_path, "sml", sml.BAUD) as wire,
        speaking(wire, lambda: sml.telegram(SHOT, next(second)), 0.6),
    ):
        assert values(await wire.driver.read())["voltage_l1"] == 231.4
        reading = asyncio.create_task(wire.driver.read())
        await asyncio.sleep(0.05)
        wire.port.unplug()
        with pytest.raises(Disconnected):
            await reading
        with pytest.raises(NoPort):
            await wire.driver.read()
        wire.port.plug()
        assert values(await wire.driver.read())["voltage_l1"] == 231.4


@pytest.mark.parametrize("protocol", ["sml", "d0", "p1"])
async def test_wrong_speed_is_no_value(tmp_path: Path, protocol: str) -> None:
    frames = {"sml": sml.telegram(SHOT, 1), "d0": d0.pushed(SHOT), "p1": p1.telegram_old(SHOT, p1.Register(), AT, 1)}
    async with wired(tmp_path, protocol, 19_200, 9600) as wire, speaking(wire, lambda: frames[protocol], 0.25):
        wire.driver.silence_s = 0.6
        with pytest.raises((Timeout, BadFrame)):
            await wire.driver.read()


async def test_d0_that_pushes(tmp_path: Path) -> None:
    async with wired(tmp_path, "d0", 9600) as wire, speaking(wire, lambda: d0.pushed(SHOT), 0.6):
        found = values(await wire.driver.read())
    assert found["active_power_total"] == 1779.0
    assert found["active_power_l1"] == -512.0
    assert found["energy_import_total"] == 12_100.5


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meters that think less long than the standard allows."""
    monkeypatch.setattr(d0, "REACTION_S", 0.05)
    monkeypatch.setattr(d0, "PATIENCE_S", 0.5)
    monkeypatch.setattr(bus_d0, "PAUSE_S", 0.8)
    monkeypatch.setattr(bus_d0, "LINE_SILENT_S", 0.1)


async def test_d0_at_the_speeds_and_times_of_the_standard(tmp_path: Path) -> None:
    async with wired(tmp_path, "d0", d0.BAUD_FIRST, mode="c") as wire:
        D0Meter(wire.line, "5", lambda: SHOT)
        assert values(await wire.driver.read())["energy_import_total"] == 12_100.5


@pytest.mark.parametrize(
    ("mode", "offer"),
    [("c", "6"), ("c", None), ("a", None), ("a", "6")],
    ids=["fast", "no offer", "mode a", "offer not taken"],
)
@pytest.mark.usefixtures("quick")
async def test_d0_that_is_asked(tmp_path: Path, mode: str, offer: str | None) -> None:
    async with wired(tmp_path, "d0", 9600, mode=mode) as wire:  # at 300 baud the data take 12 seconds
        meter = D0Meter(wire.line, offer, lambda: SHOT)
        found = values(await wire.driver.read())
        assert meter.given == 1
    assert found["energy_import_total"] == 12_100.5
    assert found["voltage_l3"] == 230.5
    assert found["current_l2"] == 9.7


@pytest.mark.usefixtures("quick")
async def test_d0_asked_again_and_by_its_number(tmp_path: Path) -> None:
    async with wired(tmp_path, "d0", 9600, mode="c") as wire:
        meter = D0Meter(wire.line, "6", lambda: SHOT, "42000815")
        driver: Any = registry.make_driver(template("d0"), wire.bus, "42000815", None, {"mode": "c"})
        for _ in range(2):
            assert values(await driver.read())["energy_export_total"] == 1.5
        assert meter.given == 2
        await driver.close()


@pytest.mark.usefixtures("quick")
async def test_d0_heads_that_echo(tmp_path: Path) -> None:
    async with wired(tmp_path, "d0", 9600, mode="c") as wire:
        wire.line.echo = True
        D0Meter(wire.line, "6", lambda: SHOT)
        assert values(await wire.driver.read())["voltage_l1"] == 231.4


@pytest.mark.usefixtures("quick")
async def test_d0_that_is_silent_or_damaged_or_unplugged(tmp_path: Path) -> None:
    async with wired(tmp_path, "d0", 9600, mode="c") as wire:
        with pytest.raises(Timeout, match="optical head"):
            await wire.driver.read()
        D0Meter(wire.line, "6", lambda: SHOT)
        wire.line.noise = 0.05
        with pytest.raises((BadFrame, Timeout)):
            await wire.driver.read()
        wire.line.noise = 0.0
        reading = asyncio.create_task(wire.driver.read())
        await asyncio.sleep(0.25)
        wire.port.unplug()
        with pytest.raises(Disconnected):
            await reading
        wire.port.plug()
        assert values(await wire.driver.read())["voltage_l1"] == 231.4


@pytest.mark.usefixtures("quick")
async def test_d0_keeps_the_contract_of_drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_d0, "PAUSE_S", 0.3)
    monkeypatch.setattr(bus_d0, "LINE_SILENT_S", 0.02)
    monkeypatch.setattr(d0, "REACTION_S", 0.01)
    monkeypatch.setattr(d0, "PATIENCE_S", 0.05)
    line = Line("contract", 115_200)
    port = PtyPort(line, tmp_path / "port")
    port.plug()
    meter = D0Meter(line, None, lambda: SHOT)
    told = d0.block

    async def be(condition: Condition) -> None:
        meter.silent = condition == "silent"
        monkeypatch.setattr(d0, "block", told if condition != "garbage" else lambda _: b"\x02\xff(\x00\x03" * 9)

    def make() -> tuple[Any, Any]:
        bus = registry.make_bus("b", {"type": "serial", "port": str(tmp_path / "port"), "baud": 115_200})
        return bus, registry.make_driver(template("d0"), bus, None, 1.0, {"mode": "a"})

    kept = await check_driver(make, provoke=be)
    assert kept.points >= 7
    port.unplug()
    line.close()
