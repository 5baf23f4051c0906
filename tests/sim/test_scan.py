"""What is on a port of which nothing is known, found on real pseudo-terminals; and the field engineer's commands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from drivers import template
from drivers.buses import line_scan
from drivers.buses.line_scan import FoundOnPort
from firmware_sim.line import Line, PtyPort
from firmware_sim.modbus import READ_HOLDING, READ_INPUT, Slave, float_words
from tests.unit.cli.command import LAMPPOST, environment

METER = {0: 231.5, 2: 229.75, 4: 230.25, 0x46: 49.96, 0x48: 1234.5}


class Wire:
    """A line with a port."""

    def __init__(self, folder: Path, baud: int) -> None:
        self.line = Line("scan", baud)
        self.path = str(folder / "port")
        self.port = PtyPort(self.line, folder / "port")
        self.port.plug()

    def meter(self, unit: int) -> None:
        registers = dict.fromkeys(range(0x200), 0)
        for address, value in METER.items():
            registers[address], registers[address + 1] = float_words(value)
        Slave(self.line, unit, {READ_INPUT: lambda: registers, READ_HOLDING: lambda: registers}, turnaround_s=0.002)

    def close(self) -> None:
        self.port.unplug()
        self.line.close()


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    made = Wire(tmp_path, 19_200)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def few_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole line takes a minute: here only a few addresses are asked."""
    monkeypatch.setattr(line_scan, "FIRST_UNITS", (1, 3))
    monkeypatch.setattr(line_scan, "LISTEN_S", 0.3)
    monkeypatch.setattr(line_scan, "PATIENCE_S", 0.1)
    monkeypatch.setattr(line_scan, "BAUDS", (9600, 19_200))


async def lamppost(folder: Path, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        LAMPPOST,
        *arguments,
        env=environment(folder, LAMPPOST_TEMPLATES=str(folder / "templates.d")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_silent_port_with_nobody_on_it(wire: Wire) -> None:
    steps: list[tuple[str, int, int]] = []
    assert await line_scan.scan_port(wire.path, lambda *step: steps.append(step), listen_s=0.2) == []
    assert steps[-1][1] == steps[-1][2]
    assert {what for what, _, _ in steps} >= {"asking at 9600 8N1", "asking at 19200 8E1"}


async def test_a_device_that_speaks_by_itself_is_heard_at_its_speed(wire: Wire) -> None:
    frame = template.load("plantower-pms5003").frames[0].answer

    class Speaker:
        echoes = False

        def heard(self, data: bytes) -> None:
            """It does not listen."""

        def quiet(self) -> None:
            """It does not care."""

    speaker = Speaker()
    wire.line.attach(speaker)

    async def speak() -> None:
        while True:
            wire.line.send(speaker, frame)
            await asyncio.sleep(0.1)

    speaking = asyncio.create_task(speak())
    line_scan_at = line_scan.HEARD_AT
    try:
        line_scan.HEARD_AT = ((9600, "none", 8), (19_200, "none", 8))
        (found,) = await line_scan.scan_port(wire.path, lambda *_: None, listen_s=0.5)
    finally:
        line_scan.HEARD_AT = line_scan_at
        speaking.cancel()
    assert (found.port.baud, found.address) == (19_200, None)
    assert "plantower-pms5003" in found.could_be


async def test_modbus_units_are_found_at_their_speed(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_scan.modbus_scan, "SCAN_UNITS", (1, 2, 3))
    wire.meter(3)
    found = await line_scan.scan_port(wire.path, lambda *_: None, listen_s=0.2)
    assert [(one.port.baud, one.address, one.protocol) for one in found] == [(19_200, 3, "modbus")]
    assert isinstance(found[0], FoundOnPort)
    assert "eastron-sdm630" in found[0].could_be


async def test_from_an_unknown_device_to_its_template(wire: Wire, tmp_path: Path) -> None:
    wire.meter(7)
    line = ("--port", wire.path, "--baud", "19200", "--id", "7")
    code, out, err = await lamppost(tmp_path, "modbus", "read", "0x46", "4", *line)
    assert code == 0, err
    assert "0x0046" in out
    assert any("frequency" in row and "49.96" in row and "ABCD" in row for row in out.splitlines())
    code, out, err = await lamppost(tmp_path, "modbus", "read", "0x46", "4", *line, "--json")
    (tmp_path / "rows.json").write_text(out)
    assert code == 0, err
    make = ("template", "new", "acme-x1", "--vendor", "Acme", "--from", str(tmp_path / "rows.json"))
    points = ("--point", "frequency=0x46:f32", "--point", "energy_import_total=0x48:f32")
    code, out, err = await lamppost(tmp_path, *make, *points)
    assert code == 0, err
    made = yaml.safe_load((tmp_path / "templates.d" / "local" / "acme-x1.yaml").read_text())
    assert made["frames"][0]["expect"]["energy_import_total"] == 1234.5
    assert made["identify"] == {"frequency": [45, 65]}
    code, out, err = await lamppost(tmp_path, "template", "check", "acme-x1")
    assert (code, "1 frame decoded as expected" in out) == (0, True), err
    code, out, err = await lamppost(tmp_path, *make, *points)
    assert (code, "is there already" in err) == (2, True)
    code, out, err = await lamppost(tmp_path, *make, "--force", "--point", "voltage_l1=0x0:f32")
    assert (code, "no frame carries a value for voltage_l1" in err) == (2, True)


async def test_reading_registers_with_mistakes(wire: Wire, tmp_path: Path) -> None:
    for arguments, words in (
        (("0x46", "4", "--id", "7"), "which line?"),
        (("0xFFFF", "4", "--id", "7", "--port", wire.path), "up to 0xFFFF"),
        (("zero", "4", "--id", "7", "--port", wire.path), "not a whole number"),
        (("0", "1", "--id", "7", "--port", wire.path, "--timeout", "0.1"), "driver.timeout"),
        (("0", "1", "--id", "7", "--port", str(tmp_path / "none")), "driver.no-port"),
        (("0", "1", "--id", "7", "--host", "127.0.0.1:x"), "HOST:PORT"),
    ):
        code, _, err = await lamppost(tmp_path, "modbus", "read", *arguments)
        assert code != 0
        assert words in err
        assert "Traceback" not in err


async def test_scan_prints_a_stanza_that_can_be_pasted(wire: Wire, tmp_path: Path) -> None:
    wire.meter(1)
    config = {
        "site": {"id": "s", "location": {"latitude": 1, "longitude": 2}},
        "buses": {"line": {"type": "modbus-rtu", "port": wire.path, "baud": 19_200, "timeout": 0.1}},
        "devices": {"a": {"template": "eastron-sdm630", "bus": "line", "address": 1}},
        "storage": {"path": str(tmp_path / "data")},
    }
    (tmp_path / "lamppost.yaml").write_text(json.dumps(config))
    code, _, err = await lamppost(tmp_path, "scan", "--config", str(tmp_path / "lamppost.yaml"), "--mqtt", "a:b")
    assert (code, "HOST:PORT" in err) == (2, True)
    code, _, err = await lamppost(tmp_path, "scan", "line", "--ble", "hci0")
    assert (code, "one thing at a time" in err) == (2, True)
