"""The field tools on a simulated site, no daemon running: real bytes on real pseudo-terminals."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_sim.scenario import gateway_config, load
from tests.unit.cli.command import LAMPPOST, Run, environment

SCENARIO = """\
name: field
site:
  id: field-1
  name: Field
  location: {latitude: 52.3702, longitude: 4.8952}
  time_zone: Europe/Amsterdam
start: "08:26"
lines:
  meters: {type: rs485, baud: 9600, turnaround_ms: 12}
  grid: {type: serial, baud: 115200}
  dust: {type: serial, baud: 9600}
devices:
  main-meter: {model: eastron-sdm630, bus: meters, address: 1, period: 2, measures: all, place: Main board}
  classroom-co2: {model: senseair-s8, bus: meters, address: 3, period: 10, place: Classroom 2b}
  spare-meter: {model: eastron-sdm630, bus: meters, address: 9, period: 5, silent: true, place: Main board}
  grid-meter: {model: dsmr-p1-v5, bus: grid, measures: all, place: Meter cupboard}
  classroom-dust: {model: plantower-pms5003, bus: dust, place: Classroom 2b}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A simulated site; the path is that of the gateway's configuration."""
    folder = tmp_path_factory.mktemp("site")
    scenario = folder / "field.yaml"
    scenario.write_text(SCENARIO)
    command = [sys.executable, "-m", "firmware_sim", "run", "--scenario", str(scenario), "--run", str(folder)]
    with subprocess.Popen([*command, "--loads", "model"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["ready"]
        config = folder / "lamppost.yaml"
        text = gateway_config(load(str(scenario)), folder, "http://127.0.0.1:9", mqtt_port=1883)
        config.write_text(
            text.replace("template: senseair-s8", "template: senseair-s8\n    calibration: {co2: {offset: 5000}}")
        )
        try:
            yield config
        finally:
            process.terminate()


def test_read(run: Run, site: Path) -> None:
    done = run("read", "main-meter", "--config", site, "--json")
    assert done.returncode == 0, done.stderr
    values = {item["quantity"]: item for item in json.loads(done.stdout)}
    assert 180 < values["voltage_l1"]["value"] < 260
    assert (values["voltage_l1"]["unit"], values["voltage_l1"]["quality"]) == ("V", "good")
    assert "active_power_total" in run("read", "grid-meter", "--config", site).stdout


def test_read_applies_the_calibration(run: Run, site: Path) -> None:
    items = json.loads(run("read", "classroom-co2", "--config", site, "--json").stdout)
    assert {item["quantity"]: item["value"] for item in items}["co2"] > 5000


def test_read_of_a_silent_device(run: Run, site: Path) -> None:
    done = run("read", "spare-meter", "--config", site)
    assert done.returncode == 1
    assert done.stderr.startswith("error[driver.timeout]")


def test_read_of_a_device_that_is_not_configured(run: Run, site: Path) -> None:
    done = run("read", "main-metre", "--config", site)
    assert done.returncode == 2
    assert "did you mean 'main-meter'" in done.stderr


def test_watch_until_nobody_reads(site: Path, tmp_path: Path) -> None:
    command = [LAMPPOST, "read", "grid-meter", "--config", str(site), "--watch", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(tmp_path)
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["device"] == "grid-meter"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_capture_and_replay(run: Run, site: Path, tmp_path: Path) -> None:
    file = tmp_path / "meters.jsonl"
    done = run("capture", "meters", "--config", site, "--seconds", 2, "--output", file)
    assert done.returncode == 0, done.stderr
    frames = [json.loads(line) for line in file.read_text().splitlines()]
    assert {frame["direction"] for frame in frames} == {"tx", "rx"}
    assert {frame["bus"] for frame in frames} == {"meters"}
    several = run("replay", file, "--template", "eastron-sdm630")
    assert several.returncode == 2
    assert "several devices" in several.stderr
    replayed = run("replay", file, "--template", "eastron-sdm630", "--address", 1, "--json")
    values = {item["quantity"]: item["value"] for item in map(json.loads, replayed.stdout.splitlines())}
    assert 180 < values["voltage_l1"] < 260
    assert values["frequency"] > 49
    wrong = run("replay", file, "--template", "dsmr-p1-v5")
    assert wrong.returncode == 1
    assert "error[replay.nothing]" in wrong.stderr


def test_capture_of_what_speaks_by_itself(run: Run, site: Path, tmp_path: Path) -> None:
    for bus, template, quantity in (
        ("grid", "dsmr-p1-v5", "active_power_total"),
        ("dust", "plantower-pms5003", "pm25"),
    ):
        file = tmp_path / f"{bus}.jsonl"
        run("capture", bus, "--config", site, "--seconds", 2, "--output", file)
        replayed = run("replay", file, "--template", template)
        assert replayed.returncode == 0, replayed.stderr
        assert quantity in replayed.stdout


def test_capture_until_nobody_reads(site: Path, tmp_path: Path) -> None:
    command = [LAMPPOST, "capture", "grid", "--config", str(site), "--seconds", "30"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(tmp_path)
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_port_that_is_not_there(run: Run, site: Path, tmp_path: Path) -> None:
    config = tmp_path / "lamppost.yaml"
    config.write_text(site.read_text().replace("ttyGRID", "ttyGONE"))
    for arguments in (("read", "grid-meter"), ("capture", "grid")):
        done = run(*arguments, "--config", config)
        assert done.returncode == 1
        assert done.stderr.startswith("error[driver.no-port]")


@pytest.mark.slow
def test_scan(run: Run, site: Path) -> None:
    done = run("scan", "meters", "--config", site, "--json", timeout=300)
    found = {unit["address"]: unit["could_be"] for unit in json.loads(done.stdout)}
    assert found.keys() == {1, 3}
    assert found[1][0] == "eastron-sdm630"  # proven by frames; those that share its registers follow
    assert "senseair-s8" in found[3]
    assert not set(found[1]) & set(found[3])


def test_scan_of_ports_and_of_what_cannot_be_scanned(run: Run, site: Path) -> None:
    assert isinstance(json.loads(run("scan", "--json").stdout), list)
    assert run("scan", "grid", "--config", site).returncode == 2
    assert "did you mean 'grid'" in run("scan", "girds", "--config", site).stderr


def test_doctor(run: Run, site: Path) -> None:
    done = run("doctor", "--config", site, "--json")
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1  # the server of this site is not there
    assert findings["port meters"]["result"] == "ok"
    assert findings["line meters"]["result"] == "warn"
    assert findings["line meters"]["detail"] == "absent (90%): unit 1, 3 answers, and unit 9 does not"
    assert findings["server"]["result"] == "fail"
    assert findings["daemon"]["result"] == "warn"
    assert all(finding["fix"] for finding in findings.values() if finding["result"] != "ok")


def test_doctor_with_everything_gone(run: Run, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    config = tmp_path / "lamppost.yaml"
    token = tmp_path / "token"
    token.write_text("secret-token")
    token.chmod(0o640)
    with socket.create_server(("127.0.0.1", 0)) as http, socket.socket(type=socket.SOCK_DGRAM) as coap:
        coap.bind(("127.0.0.1", 0))
        config.write_text(_everything_gone(tmp_path, port, http.getsockname()[1], coap.getsockname()[1]))
        done = run("doctor", "--config", config, DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={tmp_path}/no-bus")
    assert done.returncode == 1
    failed = {line[6:26].strip() for line in done.stdout.splitlines() if line.startswith("fail")}
    ports = {"port line", "port stick", "port heat", "bluetooth air", "mqtt broker", "server"}
    assert failed - {"clock"} == {*ports, "host tcp", "listener airrohr", "listener nodes"}
    assert "no USB adapter with serial number 'FT0' is plugged in" in done.stdout
    assert "secret-token" not in done.stdout + done.stderr


def _everything_gone(tmp_path: Path, port: int, http: int, coap: int) -> str:
    """A configuration with nobody at ``port``, and others at the two ports to listen on."""
    return f"""\
site: {{id: box, location: {{latitude: 52.0, longitude: 5.0}}}}
uplink: {{url: "http://127.0.0.1:{port}", token_file: token}}
buses:
  line: {{type: modbus-rtu, port: {tmp_path}/gone}}
  air: {{type: ble}}
  broker: {{type: mqtt, port: {port}}}
  stick: {{type: modbus-rtu, port: "usb:FT0"}}
  heat: {{type: mbus, port: {tmp_path}/gone-too}}
  tcp: {{type: modbus-tcp, host: 127.0.0.1, port: {port}}}
  airrohr: {{type: http, listen: {{port: {http}}}}}
  nodes: {{type: coap, listen: {{port: {coap}}}}}
devices:
  meter: {{template: eastron-sdm630, bus: line, address: 1}}
  other: {{template: eastron-sdm630, bus: stick, address: 1}}
  far: {{template: eastron-sdm630, bus: tcp, address: 1}}
  tag: {{template: ruuvi-ruuvitag, bus: air, address: "C8:25:2D:8E:9C:2C"}}
  pump: {{template: shelly-pro-3em, bus: broker, address: shelly}}
storage: {{path: {tmp_path}/data}}
"""


def test_doctor_leaves_a_check_that_hangs() -> None:
    import threading

    from gateway.cli.doctor import Finding, examine

    never = threading.Event()

    def hangs() -> list[Finding]:
        never.wait(30)
        return []

    findings = examine([("quick", lambda: [Finding("quick", "ok", "")]), ("stuck", hangs)], limit_s=0.3)
    never.set()
    assert [(finding.name, finding.result) for finding in findings] == [("quick", "ok"), ("stuck", "fail")]


def test_a_capture_that_is_none(run: Run, tmp_path: Path) -> None:
    good = {"bus": "b", "direction": "rx", "hex": "00", "at_ns": 1}
    for change in ({"hex": "0g"}, {"direction": "up"}, {"at_ns": "later"}, {"hex": 7}):
        file = tmp_path / "frames.jsonl"
        file.write_text(json.dumps(good) + "\n" + json.dumps({**good, **change}) + "\n")
        done = run("replay", file, "--template", "dsmr-p1-v5")
        assert done.returncode == 1
        assert f"error[replay.bad-line]: {file}:2:" in done.stderr
    assert "did you mean" in run("replay", file, "--template", "dsmr-p1-v55").stderr
