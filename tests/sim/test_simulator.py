"""The simulator as a process: ready line, broker, control socket, faults, and that nothing outlives it."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import serial
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from firmware_sim.control import SimControl
from firmware_sim.modbus import crc16
from firmware_sim.process import SimulatorError
from firmware_sim.scenario import load

SCENARIO = """
name: wires
site: {id: wires, location: {latitude: 52, longitude: 5}}
lines:
  meters: {type: rs485, baud: 19200}
  grid: {type: serial, baud: 115200}
  dust: {type: serial}
devices:
  main-meter: {model: eastron-sdm630, bus: meters, address: 1}
  air: {model: senseair-s8, bus: meters, address: 254}
  spare: {model: eastron-sdm630, bus: meters, address: 9, silent: true}
  p1: {model: dsmr-p1-v5, bus: grid}
  dust: {model: plantower-pms5003, bus: dust}
  shelly: {model: shelly-pro-3em, bus: mqtt, address: shellypro3em-0011}
"""
PREFIX = "shellypro3em-0011"
PATIENCE_S = 30.0


class Site:
    """A running simulator."""

    def __init__(self, folder: Path, *options: str, scenario: str = "") -> None:
        self.run = folder / "run"
        wires = folder / "wires.yaml"
        wires.write_text(SCENARIO, encoding="utf-8")
        arguments = ["run", "--scenario", scenario or str(wires), "--run", str(self.run), "--loads", "model", *options]
        self.process = subprocess.Popen([sys.executable, "-m", "firmware_sim", *arguments], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(PATIENCE_S)
        self.about: dict[str, Any] = json.loads(self.process.stdout.readline())

    def ask(self, unit: int, address: int, count: int) -> bytes:
        request = bytes([unit, 4, address >> 8, address & 255, 0, count])
        with serial.Serial(self.about["ports"]["meters"], 19_200, timeout=0.5) as port:
            port.write(request + crc16(request).to_bytes(2, "little"))
            return port.read(5 + 2 * count)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happens():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="lsim") as folder:
        made = Site(Path(folder))
        yield made
        if made.process.poll() is None:
            made.end()


@pytest.fixture
def control(site: Site) -> Iterator[SimControl]:
    with SimControl(site.run, PATIENCE_S) as opened:
        yield opened


def test_it_says_what_it_made(site: Site) -> None:
    assert site.about["ready"] is True
    assert site.about["loads"] == "model"
    assert site.about["missing"] == {}
    assert json.loads((site.run / "sim.json").read_text()) == site.about
    assert set(site.about["ports"]) == {"meters", "grid", "dust"}
    assert all(Path(port).is_symlink() for port in site.about["ports"].values())


def test_devices_answer_and_are_counted(site: Site, control: SimControl) -> None:
    before = control.counts()
    answer = site.ask(1, 0x34, 2)
    assert len(answer) == 9
    assert site.ask(9, 0, 2) == b""
    co2 = site.ask(254, 3, 1)
    assert 380 < int.from_bytes(co2[3:5], "big") < 2500
    after = control.counts()
    gained = {name: after[name] - before[name] for name in after}
    assert (gained["main-meter"], gained["air"], gained["spare"]) == (1, 1, 0)


def test_p1_and_dust_speak_by_themselves(site: Site, control: SimControl) -> None:
    before = control.counts()
    with serial.Serial(site.about["ports"]["grid"], 115_200, timeout=5) as port:
        port.read_until(b"/")  # who opens a port in the middle of a telegram waits for the next one
        telegram = port.read_until(b"!") + port.read(6)
    with serial.Serial(site.about["ports"]["dust"], 9600, timeout=5) as port:
        port.read_until(b"BM")
        rest = port.read(30)
    assert b"1-0:1.7.0(" in telegram
    assert rest[:2] == b"\x00\x1c"  # the length that the frame states
    after = control.counts()
    assert after["p1"] > before["p1"]
    assert after["dust"] > before["dust"]


class Listener:
    """A subscriber of the broker."""

    def __init__(self, port: int) -> None:
        self.seen: list[tuple[str, Any]] = []
        self.heard = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._keep
        self._client.on_connect = lambda client, *_: client.subscribe("#")
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _keep(self, client: Client, data: object, message: MQTTMessage) -> None:
        self.seen.append((message.topic, json.loads(message.payload)))
        self.heard.set()

    def topics(self) -> set[str]:
        return {topic for topic, _ in list(self.seen)}

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def test_shelly_publishes_and_outlives_a_broker_restart(site: Site, control: SimControl) -> None:
    listener = Listener(site.about["mqtt_port"])
    try:
        wanted = {f"{PREFIX}/{end}" for end in ("status/em:0", "events/rpc", "online")}
        until(lambda: wanted <= listener.topics())
        reading = next(value for topic, value in listener.seen if topic == f"{PREFIX}/status/em:0")
        phases = sum(reading[f"{letter}_act_power"] for letter in "abc")
        assert reading["total_act_power"] == pytest.approx(phases, abs=0.3)
        control.mqtt(up=False)
        count = control.counts()["shelly"]
        control.mqtt(up=True)
        listener.seen.clear()
        until(lambda: f"{PREFIX}/status/em:0" in listener.topics())
        assert control.counts()["shelly"] > count
    finally:
        listener.close()


def test_faults(site: Site, control: SimControl) -> None:
    control.silence("main-meter")
    assert site.ask(1, 0, 2) == b""
    control.silence("main-meter", on=False)
    assert len(site.ask(1, 0, 2)) == 9
    control.noise("meters", 1.0)
    assert site.ask(1, 0, 2) == b""  # the request is broken already
    control.noise("meters", 0.0)
    control.loss("meters", 1.0)
    assert site.ask(1, 0, 2) == b""
    control.loss("meters", 0.0)
    control.echo("meters", True)
    assert site.ask(1, 0, 2)[:3] == bytes([1, 4, 0])
    control.echo("meters", False)
    control.unplug("meters")
    assert not Path(site.about["ports"]["meters"]).is_symlink()
    control.plug("meters")
    assert len(site.ask(1, 0, 2)) == 9


def test_wrong_requests_are_refused(control: SimControl) -> None:
    wrong = [
        {"do": "unplug", "line": "x"},
        {"do": "noise", "line": "meters", "rate": 2},
        {"do": "silence", "device": "nobody"},
        {"do": "ble", "request": {}},
        {"do": "dance"},
        {},
    ]
    for request in wrong:
        with pytest.raises(SimulatorError):
            control.ask(**request)
    assert control.counts()


def test_it_is_light(site: Site) -> None:
    process = psutil.Process(site.process.pid)
    before, begin = sum(process.cpu_times()[:2]), time.monotonic()
    time.sleep(2)
    used = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - begin)
    assert used < 0.10


def children(site: Site) -> list[psutil.Process]:
    return psutil.Process(site.process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_it(number: int) -> None:
    with tempfile.TemporaryDirectory(prefix="lsim") as folder:
        site = Site(Path(folder))
        born = children(site)
        assert [process.name() for process in born] == ["mosquitto"]
        code = site.end(number)
        until(lambda: gone(born))
        if number == signal.SIGTERM:
            assert code == 0
            left = {path.name for path in site.run.iterdir()}
            assert not left & {"ttyMETERS", "ttyGRID", "ttyDUST", "sim.sock"}


def test_the_school_with_its_bluetooth_process() -> None:
    with tempfile.TemporaryDirectory(prefix="lsim") as folder:
        site = Site(Path(folder), scenario="school")
        born = children(site)
        names = {process.name().rstrip("0123456789.") for process in born}
        assert names == {"dbus-daemon", "mosquitto", "python"}
        assert site.about["dbus_address"].startswith("unix:")
        with SimControl(site.run) as control:
            assert set(control.counts()) == set(load("school").devices)
            assert set(control.ble(do="counts")["counts"]) == {"corridor-climate", "classroom-climate", "test-bike"}
            control.silence("test-bike")
            control.silence("test-bike", on=False)
            with pytest.raises(SimulatorError):
                control.ble(do="dance")
        site.end(signal.SIGKILL)
        until(lambda: gone(born))


def test_two_run_side_by_side(site: Site) -> None:
    with tempfile.TemporaryDirectory(prefix="lsim") as folder:
        second = Site(Path(folder), "--seed", "2")
        assert second.about["mqtt_port"] != site.about["mqtt_port"]
        assert second.ask(1, 0, 2) != site.ask(1, 0, 2)
        second.end()


def test_a_wrong_scenario_is_explained_without_traceback(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "firmware_sim", "run", "--scenario", "nowhere", "--run", str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE_S, env=os.environ, check=False)
    assert done.returncode == 2
    assert "no such file" in done.stderr
    assert "Traceback" not in done.stderr
