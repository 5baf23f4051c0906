"""The wired devices against what knows nothing of the simulator: pymodbus, other checksum algorithms, captures."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import ModbusSerialClient
from pymodbus.exceptions import ModbusIOException

from firmware_sim.devices import air, meters, p1, shelly
from firmware_sim.devices.stream import Stream
from firmware_sim.electricity import Electricity, Meter, Snapshot
from firmware_sim.line import Line, PtyPort
from firmware_sim.modbus import READ_HOLDING, READ_INPUT, Slave, crc16

T = TypeVar("T")
CAPTURES = Path(__file__).parents[2] / "../shared/data/frames"
SHOT = Snapshot(
    volts=(231.4, 229.9, 230.5),
    amps=(2.5, 9.7, 0.4),
    watts=(512.3, 2210.9, 80.1),
    vars=(240.0, 12.0, 30.0),
    import_kwh=(4000.25, 4100.5, 3999.75),
    export_kwh=(0.0, 1.5, 0.0),
)


def captures(name: str) -> list[dict[str, Any]]:
    file = CAPTURES / name
    if not file.is_file():
        pytest.skip("no captured frames beside the checkout")
    items: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return items


class Polite:
    """pymodbus does not keep the 3.5 characters of silence that devices rely on to tell frames apart; this does."""

    def __init__(self, client: ModbusSerialClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        time.sleep(0.01)
        return getattr(self._client, name)


async def ask(folder: Path, work: Callable[[Polite], T]) -> T:
    """Wire the three Modbus devices of the site to a line and let pymodbus ask."""
    line = Line("meters", 115_200)
    slaves = [
        (1, lambda: meters.sdm630(SHOT), meters.sdm630_settings(1), meters.SDM630_COUNT_MAX),
        (2, lambda: meters.pzem(SHOT), meters.pzem_settings(2), meters.PZEM_COUNT_MAX),
        (254, lambda: air.s8(1234.4), {}, 125),
    ]
    for address, inputs, settings, count_max in slaves:
        tables = {READ_INPUT: inputs, READ_HOLDING: lambda settings=settings: settings}
        Slave(line, address, tables, turnaround_s=0.002, count_max=count_max)
    port = PtyPort(line, folder / "tty")
    port.plug()

    def talk() -> T:
        with ModbusSerialClient(str(folder / "tty"), baudrate=115_200, timeout=1, retries=0) as client:
            return work(Polite(client))

    try:
        return await asyncio.to_thread(talk)
    finally:
        port.unplug()
        line.close()


def floats(registers: list[int]) -> list[float]:
    return [struct.unpack(">f", struct.pack(">HH", *registers[at : at + 2]))[0] for at in range(0, len(registers), 2)]


async def test_sdm630_as_pymodbus_reads_it(tmp_path: Path) -> None:
    def work(client: Polite) -> tuple[list[float], list[float], list[float]]:
        block = client.read_input_registers(0, count=76, device_id=1).registers
        total = client.read_input_registers(0x156, count=2, device_id=1).registers
        node = client.read_holding_registers(0x14, count=2, device_id=1).registers
        return floats(block), floats(total), floats(node)

    block, total, node = await ask(tmp_path, work)
    assert block[0:3] == pytest.approx(SHOT.volts)
    assert block[3:6] == pytest.approx(SHOT.amps)
    assert block[6:9] == pytest.approx(SHOT.watts)
    assert block[0x34 // 2] == pytest.approx(sum(SHOT.watts))
    assert block[0x38 // 2] == pytest.approx(sum(SHOT.apparent))
    assert block[0x3E // 2] == pytest.approx(sum(SHOT.watts) / sum(SHOT.apparent))
    assert block[0x46 // 2] == pytest.approx(50.0)
    assert block[0x48 // 2] == pytest.approx(sum(SHOT.import_kwh))
    assert block[0x4A // 2] == pytest.approx(1.5)
    assert total == pytest.approx([sum(SHOT.import_kwh) + 1.5])
    assert node == [1.0]


async def test_pzem_and_s8_as_pymodbus_reads_them(tmp_path: Path) -> None:
    def work(client: Polite) -> tuple[list[int], list[int]]:
        pzem = client.read_input_registers(0, count=10, device_id=2).registers
        return pzem, client.read_input_registers(3, count=1, device_id=254).registers

    pzem, s8 = await ask(tmp_path, work)
    volts, amps, watts, energy = pzem[0] / 10, pzem[1] | pzem[2] << 16, pzem[3] | pzem[4] << 16, pzem[5] | pzem[6] << 16
    assert volts == pytest.approx(231.4)
    assert amps == 2500
    assert watts == 5123
    assert energy == 4_000_250
    assert pzem[7:] == [500, round(100 * 512.3 / SHOT.apparent[0]), 0]
    assert s8 == [1234]


async def test_exceptions_and_silence(tmp_path: Path) -> None:
    def work(client: Polite) -> list[int]:
        codes = [
            client.read_input_registers(0x300, count=2, device_id=1).exception_code,
            client.read_input_registers(0, count=82, device_id=1).exception_code,
            client.read_coils(0, count=1, device_id=1).exception_code,
            client.write_register(0, 1, device_id=2).exception_code,
        ]
        with pytest.raises(ModbusIOException):
            client.read_input_registers(0, count=2, device_id=9)
        assert client.read_input_registers(3, count=1, device_id=254).registers == [1234]
        return codes

    assert await ask(tmp_path, work) == [2, 3, 1, 1]


async def test_an_absent_unit_leaves_the_line_silent(tmp_path: Path) -> None:
    line = Line("meters", 9600)
    Slave(line, 1, {READ_INPUT: lambda: {0: 1}}, turnaround_s=0)
    port = PtyPort(line, tmp_path / "tty")
    port.plug()
    request = bytes([9, 4, 0, 0, 0, 1])
    sealed = request + crc16(request).to_bytes(2, "little")

    def listen() -> bytes:
        with serial.Serial(str(tmp_path / "tty"), 9600, timeout=0.2) as opened:
            opened.write(sealed)
            nothing = opened.read(1)
            opened.write(b"\x01" + sealed[1:])  # for unit 1, but with the wrong checksum
            return nothing + opened.read(1)

    assert await asyncio.to_thread(listen) == b""
    assert line.carried == 16
    port.unplug()
    line.close()


def test_modbus_checksum_on_captured_frames() -> None:
    checked = 0
    for item in captures("modbus_frames.json"):
        for text in (item.get("request"), item.get("response"), item.get("raw"), item.get("hex")):
            frame = bytes.fromhex(text.replace(" ", "")) if isinstance(text, str) else b""
            if len(frame) > 4 and item.get("transport", "rtu") == "rtu" and "tcp" not in item["id"]:
                checked += crc16(frame[:-2]) == int.from_bytes(frame[-2:], "little")
    assert checked >= 20


# P1


def crc_by_long_division(data: bytes) -> int:
    """CRC-16/ARC another way: bit-reversed message polynomial divided by 0x8005, remainder reversed."""
    bits = [byte >> index & 1 for byte in data for index in range(8)] + [0] * 16
    remainder = 0
    for bit in bits:
        remainder = remainder << 1 | bit
        if remainder & 0x10000:
            remainder ^= 0x18005
    return int(f"{remainder:016b}"[::-1], 2)


AT = datetime(2026, 11, 22, 17, 0, 3, tzinfo=UTC)


def fields(text: str) -> dict[str, list[str]]:
    lines = [line for line in text.split("\r\n") if "(" in line]
    return {line[: line.index("(")]: line[line.index("(") + 1 : -1].split(")(") for line in lines}


def test_p1_telegram_says_what_the_meter_shows() -> None:
    text = p1.telegram(SHOT, p1.Register(), AT, 12.345).decode("ascii")
    body, _, crc = text.rpartition("!")
    assert crc_by_long_division((body + "!").encode()) == int(crc.strip(), 16)
    assert text.startswith("/")
    assert text.endswith("\r\n")
    found = fields(text)
    assert found["0-0:1.0.0"] == ["261122180003W"]
    assert found["1-0:1.7.0"] == ["02.803*kW"]
    assert found["1-0:41.7.0"] == ["02.211*kW"]
    assert found["1-0:52.7.0"] == ["229.9*V"]
    assert found["1-0:51.7.0"] == ["009.70*A"]
    assert found["0-1:24.2.1"] == ["261122180000W", "00012.345*m3"]
    energy = sum(float(found[f"1-0:1.8.{tariff}"][0].removesuffix("*kWh")) for tariff in (1, 2))
    assert energy == pytest.approx(sum(SHOT.import_kwh), abs=0.002)


def test_p1_gives_back_what_is_fed_in() -> None:
    fed = Snapshot(watts=(-1500.0, 200.0, 0.0))
    found = fields(p1.telegram(fed, p1.Register(), AT, 0).decode())
    assert (found["1-0:1.7.0"], found["1-0:2.7.0"]) == (["00.000*kW"], ["01.300*kW"])
    assert (found["1-0:21.7.0"], found["1-0:22.7.0"]) == (["00.000*kW"], ["01.500*kW"])


def test_p1_looks_like_a_captured_telegram() -> None:
    (real,) = [item["text"] for item in captures("dsmr_p1.json") if item["id"] == "dsmr_v5"]
    assert p1.crc16_arc(real.rpartition("!")[0].encode() + b"!") == int(real.rpartition("!")[2].strip(), 16)
    gas_two = {"0-2:24.1.0", "0-2:96.1.0"}
    assert set(fields(real)) - gas_two == set(fields(p1.telegram(SHOT, p1.Register(), AT, 1).decode()))


@given(st.binary(max_size=200))
def test_p1_checksum(data: bytes) -> None:
    assert p1.crc16_arc(data) == crc_by_long_division(data)


@pytest.mark.parametrize(
    ("utc", "local", "letter"),
    [
        ("2026-03-29T00:59:59", "01:59:59", "W"),
        ("2026-03-29T01:00:00", "03:00:00", "S"),
        ("2026-10-25T00:59:59", "02:59:59", "S"),
        ("2026-10-25T01:00:00", "02:00:00", "W"),
        ("2027-01-01T00:00:00", "01:00:00", "W"),
    ],
)
def test_p1_clock_changes_with_the_seasons(utc: str, local: str, letter: str) -> None:
    at, found = p1.local_time(datetime.fromisoformat(utc).replace(tzinfo=UTC))
    assert (f"{at:%H:%M:%S}", found) == (local, letter)


def test_p1_counts_by_tariff() -> None:
    register = p1.Register()
    register.count(Snapshot(import_kwh=(100.0, 0, 0)), low=True)
    register.count(Snapshot(import_kwh=(101.0, 0, 0)), low=True)
    register.count(Snapshot(import_kwh=(103.5, 0, 0)), low=False)
    assert register.taken == pytest.approx([46.0, 57.5])


async def test_a_stream_makes_one_frame_a_period() -> None:
    line = Line("grid", 1_000_000)
    seconds: list[int] = []

    def frame() -> bytes:
        seconds.append(int(datetime.now(UTC).timestamp() / 0.2 + 1e-9))
        return b"x"

    stream = Stream(line, frame, 0.2)
    task = asyncio.create_task(stream.run())
    await asyncio.sleep(1.8)
    task.cancel()
    line.close()
    assert stream.given == len(seconds) >= 6
    assert len(set(seconds)) == len(seconds)


# dust


@given(st.floats(0, 900), st.floats(0, 900), st.floats(0, 900))
def test_pms_frame(one: float, two: float, three: float) -> None:
    pm = tuple(sorted((one, two, three)))
    frame = air.pms5003((pm[0], pm[1], pm[2]))
    words = struct.unpack(">15H", frame[2:])
    assert len(frame) == 32
    assert frame[:2] == b"BM"
    assert words[0] == 28
    assert words[14] == sum(frame[:30])
    assert list(words[4:7]) == [round(value) for value in pm]
    assert list(words[7:13]) == sorted(words[7:13], reverse=True)


def test_pms_frames_have_the_form_of_captured_ones() -> None:
    real = [
        bytes.fromhex(item["hex"]) for item in captures("air_serial.json") if item.get("hex", "").startswith("424d001c")
    ]
    assert real
    for frame in real:
        assert sum(frame[:30]) == int.from_bytes(frame[30:], "big")


# electricity


class Constant:
    """Loads that never change."""

    appliances = ("kettle", "heat_pump")

    def at(self, t_s: float) -> dict[str, float]:
        del t_s
        return {"kettle": 2000.0, "heat_pump": 900.0, "other": 100.0}


class Night:
    """Another circuit."""

    appliances = ("car",)

    def at(self, t_s: float) -> dict[str, float]:
        del t_s
        return {"car": 3600.0, "kettle": 1.0, "other": 1.0}


def test_meters_see_what_is_behind_them_and_count_true_time() -> None:
    site = Electricity(Constant(), Night)
    rows = {"main": "all", "kitchen": ("kettle", "oven"), "car": ("car",)}
    made = {name: Meter(name, 1, measures, 1 if name == "kitchen" else 3) for name, measures in rows.items()}  # type: ignore[arg-type]
    for name, measures in rows.items():
        site.add(made[name], measures)  # type: ignore[arg-type]
    site.advance(0)
    before = {name: sum(meter.snapshot.import_kwh) for name, meter in made.items()}
    for second in range(1, 1801):
        site.advance(float(second))
    for name, watts in (("main", 3000), ("kitchen", 2000), ("car", 3600)):
        meter = made[name]
        assert sum(meter.snapshot.watts) == pytest.approx(watts, rel=0.005)
        counted = sum(meter.snapshot.import_kwh) - before[name]
        assert counted == pytest.approx(sum(meter.snapshot.watts) / 2000, rel=1e-6)
    assert made["kitchen"].snapshot.watts[1:] == (0, 0)
    for volts, amps, apparent in zip(
        made["main"].snapshot.volts, made["main"].snapshot.amps, made["main"].snapshot.apparent, strict=True
    ):
        assert volts * amps == pytest.approx(apparent)
        assert 220 < volts < 240


# Shelly


def test_shelly_has_the_fields_of_a_captured_message() -> None:
    (real,) = [json.loads(item["payload"]) for item in captures("mqtt_json.json") if item["id"] == "shelly_pro3em_em0"]
    ours = shelly.present(SHOT)
    assert set(real) <= set(ours)
    assert ours["total_act_power"] == pytest.approx(sum(SHOT.watts))


def test_shelly_topics() -> None:
    at = (datetime.now(UTC) + timedelta(0)).timestamp()
    first = dict(shelly.messages("shellypro3em-x", SHOT, 0, at))
    later = dict(shelly.messages("shellypro3em-x", SHOT, 1, at))
    assert set(first) - set(later) == {"shellypro3em-x/status/emdata:0"}
    assert json.loads(later["shellypro3em-x/events/rpc"])["params"]["em:0"]["b_act_power"] == 2210.9
    assert json.loads(first["shellypro3em-x/status/emdata:0"])["total_act"] == pytest.approx(12_100_500)
