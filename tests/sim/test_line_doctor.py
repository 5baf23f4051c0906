"""What the doctor says of a Modbus line, on a paced line with the fault in it, and of bytes alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.buses import line_doctor, modbus_adu
from drivers.buses.line_doctor import Trial, Verdict, classify, diagnose, judge
from drivers.buses.serial_port import PortSettings, SerialPort
from drivers.errors import NoPort
from firmware_sim.line import Line, PtyPort
from firmware_sim.modbus import READ_HOLDING, READ_INPUT, Faults, Slave, Twins, sealed
from firmware_sim.uart import Parity, Uart, misheard
from gateway.cli import doctor_buses
from gateway.cli.doctor import Finding
from gateway.config.load import load

BAUD = 38_400
TABLES = {READ_INPUT: lambda: {0: 2310, 1: 499}, READ_HOLDING: lambda: {0: 7}}
OTHERS = {READ_INPUT: lambda: {0: 1234, 1: 12}, READ_HOLDING: lambda: {0: 9}}


class Patient:
    """A line with a port that a doctor listens at."""

    def __init__(self, folder: Path, parity: Parity = "none") -> None:
        self.line = Line("ill", BAUD, parity)
        self.port = PtyPort(self.line, folder / "port")
        self.port.plug()
        self.settings = PortSettings(str(self.port.link), BAUD, parity)

    async def hear(self, settings: PortSettings, requests: Sequence[bytes], wait_s: float, until: float) -> list[bytes]:
        """As on a real port; what a pseudo-terminal cannot show, the parity, is told to the simulated one."""
        self.port.parity = settings.parity  # type: ignore[assignment]
        return await line_doctor.hear_port(settings, requests, min(wait_s, 0.05), until)

    async def diagnosis(self, settings: PortSettings | None = None, *, units: Sequence[int] = (1,)) -> list[Verdict]:
        requests = [modbus_adu.encode_read(unit, 4, 0, 1) for unit in units]
        async with asyncio.timeout(20):
            return await diagnose(settings or self.settings, requests, hear=self.hear, limit_s=15)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer settings and units to try, so that the tests are quick."""
    monkeypatch.setattr(line_doctor, "BAUDS", (9600, BAUD))
    monkeypatch.setattr(line_doctor, "OTHER_UNITS", (2, 3))
    monkeypatch.setattr(line_doctor, "ASKED_MIN", 4)
    monkeypatch.setattr(line_doctor, "LISTEN_S", 0.1)
    monkeypatch.setattr(line_doctor, "WAIT_S", 0.1)
    monkeypatch.setattr(line_doctor, "TRY_S", 0.1)


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Patient]:
    made = Patient(tmp_path)
    yield made
    made.port.unplug()
    made.line.close()


def slave(patient: Patient, unit: int = 1) -> Slave:
    return Slave(patient.line, unit, TABLES, turnaround_s=0.002)


async def test_well(patient: Patient) -> None:
    slave(patient)
    first, *_ = await patient.diagnosis()
    assert first.cause == "fine"
    assert first.confidence > 0.9


async def test_nobody(patient: Patient) -> None:
    first, *_ = await patient.diagnosis()
    assert first.cause == "silent"
    assert "power" in first.fix
    assert "nobody at 5 other settings" in first.because


async def test_time_is_bounded(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # all that there is to try
    requests = [modbus_adu.encode_read(unit, 4, 0, 1) for unit in range(1, 31)]
    loop = asyncio.get_running_loop()
    begun = loop.time()
    monkeypatch.setattr(line_doctor, "LISTEN_S", 0.1)
    first, *_ = await diagnose(patient.settings, requests, limit_s=0.7)
    assert loop.time() - begun < 0.7 + line_doctor.WAIT_S + 1.0  # what was begun, and room for a busy machine
    assert first.cause == "silent"


async def test_another_speed(patient: Patient) -> None:
    slave(patient)
    first, *_ = await patient.diagnosis(PortSettings(str(patient.port.link), 9600))
    assert (first.cause, first.because) == ("settings", f"unit 1 answers at {BAUD} baud, parity none")


@pytest.mark.parametrize(("device", "ours"), [("even", "none"), ("none", "even"), ("odd", "even")])
async def test_another_parity(tmp_path: Path, device: Parity, ours: str) -> None:
    patient = Patient(tmp_path, device)
    slave(patient)
    first, *_ = await patient.diagnosis(PortSettings(str(patient.port.link), BAUD, ours))
    assert (first.cause, first.because) == ("settings", f"unit 1 answers at {BAUD} baud, parity {device}")
    patient.port.unplug()
    patient.line.close()


async def test_swapped_wires(patient: Patient) -> None:
    slave(patient)
    patient.port.swapped = True
    first, second, *_ = await patient.diagnosis()
    assert (first.cause, second.cause) == ("swapped", "undriven")
    assert "0x00" in first.because


@pytest.mark.parametrize("skew", [0, 1, 3, 40])
async def test_two_at_one_address(patient: Patient, skew: int) -> None:
    Twins(patient.line, 1, TABLES, OTHERS, turnaround_s=0.002, skew_chars=skew)
    first, *_ = await patient.diagnosis()
    assert first.cause == "two-units"
    assert first.confidence > (0.5 if skew == 1 else 0.8)


async def test_noise(patient: Patient) -> None:
    slave(patient).faults = Faults(corrupt=0.12)
    first, *_ = await patient.diagnosis()
    assert first.cause in ("noise", "fine")
    assert "noise" in {verdict.cause for verdict in await patient.diagnosis()}


async def test_absent_unit_among_others(patient: Patient) -> None:
    slave(patient, 3)
    first, *_ = await patient.diagnosis(units=[9])
    assert (first.cause, first.because) == ("absent", "unit 3 answers at these settings, and unit 9 does not")


async def test_each_unit_of_a_line(patient: Patient) -> None:
    slave(patient, 1)
    slave(patient, 3)
    first, second, *_ = await patient.diagnosis(units=[1, 2, 3])
    assert (first.cause, first.because) == ("absent", "unit 1, 3 answers, and unit 2 does not")
    assert (second.cause, second.because) == ("fine", "100% of the requests to unit 1, 3 were answered well")


async def test_two_at_one_of_several_addresses(patient: Patient) -> None:
    slave(patient, 3)
    Twins(patient.line, 1, TABLES, OTHERS, turnaround_s=0.002, skew_chars=3)
    first, *_ = await patient.diagnosis(units=[1, 3])
    assert first.cause == "two-units"
    assert "unit 1 were damaged, and those of unit 3 were not" in first.because


async def test_a_pair_that_reads_as_zeros_at_rest(patient: Patient) -> None:
    slave(patient).faults = Faults(glitches=True)
    first, *others = await patient.diagnosis()
    assert first.cause == "fine"
    assert ("undriven", "0x00 came 4 times while nobody spoke") in {(one.cause, one.because) for one in others}


async def test_another_master_at_another_speed(patient: Patient) -> None:
    patient.line.set_baud(9600)
    other = PtyPort(patient.line, patient.port.link.with_name("other"))

    async def poll() -> None:
        while True:
            patient.line.send(other, modbus_adu.encode_read(7, 3, 0, 10))
            await asyncio.sleep(0.03)

    polling = asyncio.create_task(poll())
    first, *_ = await patient.diagnosis()
    polling.cancel()
    assert (first.cause, first.because) == ("settings", "sound frames of others are heard at 9600 baud, parity none")


async def test_another_master(patient: Patient) -> None:
    slave(patient)
    other = PtyPort(patient.line, patient.port.link.with_name("other"))

    async def poll() -> None:
        while True:
            patient.line.send(other, modbus_adu.encode_read(7, 3, 0, 10))
            await asyncio.sleep(0.013)

    polling = asyncio.create_task(poll())
    first, *_ = await patient.diagnosis()
    polling.cancel()
    assert first.cause == "other-master"


async def test_echo_is_no_fault_and_no_answer(patient: Patient) -> None:
    patient.line.echo = True
    first, *_ = await patient.diagnosis()
    assert first.cause == "silent"
    assert "echo" in first.because
    slave(patient)
    first, *_ = await patient.diagnosis()
    assert first.cause == "fine"
    assert "the adapter hears what it sends" in first.because


async def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NoPort, match="is not there"):
        await diagnose(PortSettings(str(tmp_path / "gone")), [REQUEST])


def command_says(patient: Patient, baud: int) -> Sequence[Finding]:
    """The check of `lamppost doctor`, for a site with one meter on the line."""
    file = patient.port.link.with_name("lamppost.yaml")
    file.write_text(
        f"""\
site: {{id: box, location: {{latitude: 52.0, longitude: 5.0}}}}
uplink: {{url: "http://127.0.0.1:9"}}
storage: {{path: {file.parent}/data}}
buses: {{ill: {{type: modbus-rtu, port: {patient.port.link}, baud: {baud}}}}}
devices: {{meter: {{template: eastron-sdm630, bus: ill, address: 1}}}}
"""
    )
    loaded = load(file)
    assert loaded.config is not None, loaded.problems
    (check,) = [check for name, check in doctor_buses.checks(loaded.config) if name == "line ill"]
    return check()


@pytest.mark.parametrize(
    ("baud", "result", "detail"),
    [
        (BAUD, "ok", "100% of the requests to unit 1 were answered well"),
        (9600, "fail", f"settings (98%): unit 1 answers at {BAUD} baud, parity none"),
    ],
)
async def test_the_command(patient: Patient, baud: int, result: str, detail: str) -> None:
    slave(patient)
    (finding,) = await asyncio.to_thread(command_says, patient, baud)
    assert (finding.name, finding.result, finding.detail) == ("line ill", result, detail)


async def test_the_command_where_another_program_has_the_port(patient: Patient) -> None:
    other = SerialPort(patient.settings)
    (finding,) = await asyncio.to_thread(command_says, patient, BAUD)
    other.close()
    assert finding.result == "fail"
    assert "in use by another program" in finding.detail
    assert "fuser" in finding.fix


async def test_the_command_where_nobody_answers(patient: Patient) -> None:
    (finding,) = await asyncio.to_thread(command_says, patient, BAUD)
    assert finding.result == "fail"
    assert finding.detail.startswith("silent (")
    assert "lamppost scan --port" in finding.fix


SETTINGS = PortSettings("x", 9600)
REQUEST = modbus_adu.encode_read(1, 4, 0, 1)
ANSWER = sealed(bytes.fromhex("0104020906"))


@pytest.mark.parametrize(
    ("heard", "kind"),
    [
        (b"", "silence"),
        (b"\0\0\0", "zeros"),
        (ANSWER, "answer"),
        (REQUEST + b"\0" + ANSWER + b"\0", "answer"),
        (sealed(bytes.fromhex("018402")), "answer"),
        (ANSWER + ANSWER, "two answers"),
        (ANSWER[:-1] + b"\0", "broken"),
        (sealed(bytes.fromhex("0204020906")), "foreign"),
        (b"\x7f\xdf\xdb", "garbage"),
        (REQUEST, "silence"),
    ],
)
def test_kinds(heard: bytes, kind: str) -> None:
    assert classify(Trial(SETTINGS, REQUEST, heard)) == kind


@pytest.mark.parametrize(
    ("sender", "cause"),
    [
        (Uart(9600, "none", swapped=True), "swapped"),
        (Uart(4800), "settings"),
        (Uart(2400, "even"), "settings"),
        (Uart(19_200), "garbage"),  # of the part of it that is known there is one byte left
    ],
)
def test_what_a_misheard_answer_says(sender: Uart, cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_doctor, "BAUDS", (2400, 4800, 9600, 19_200))
    heard = misheard(ANSWER, sender, Uart(9600))
    verdicts = judge([Trial(SETTINGS, REQUEST, heard)] * 4)
    assert verdicts[0].cause == cause
    assert verdicts[0].confidence >= 0.5


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), max_size=6))
def test_anything_may_be_heard(heard: list[tuple[bool, bytes]]) -> None:
    verdicts = judge([Trial(SETTINGS, REQUEST if asked else b"", data) for asked, data in heard])
    assert verdicts
    assert all(0 <= verdict.confidence <= 1 for verdict in verdicts)
    assert [verdict.confidence for verdict in verdicts] == sorted((v.confidence for v in verdicts), reverse=True)
    assert all(verdict.fix and verdict.because for verdict in verdicts)


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([b"", b"\0", ANSWER, ANSWER[:-1] + b"\1", b"\x55\xaa"]))))
def test_units_are_told_apart(heard: list[tuple[int, bytes]]) -> None:
    """Whatever is heard of several units: one is well only if it answered, and is not both well and absent."""
    asked = [(modbus_adu.encode_read(unit, 4, 0, 1), data) for unit, data in heard]
    verdicts = judge([Trial(SETTINGS, request, data) for request, data in asked])
    fine = [verdict for verdict in verdicts if verdict.cause == "fine"]
    assert bool(fine) == any(classify(Trial(SETTINGS, *pair)) == "answer" for pair in asked if pair[0][0] == 1)
    assert all("unit 1 does not" not in verdict.because for verdict in verdicts) or not fine


def test_pure_noise_names_no_cause() -> None:
    chance = random.Random(3)
    sure = [
        verdict
        for _ in range(200)
        for verdict in judge([Trial(SETTINGS, REQUEST, chance.randbytes(12)) for _ in range(4)])
        if verdict.cause in ("swapped", "settings", "two-units") and verdict.confidence > 0.5
    ]
    assert sure == []
