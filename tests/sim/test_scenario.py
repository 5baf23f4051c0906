"""Scenario files: strict, every mistake at once; the gateway configuration that follows from one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from drivers import template
from firmware_sim.scenario import ScenarioError, gateway_config, load
from gateway.config.load import load_bytes
from gateway.config.schema import Config

GOOD = """
name: small
site: {id: small, location: {latitude: 52, longitude: 5}}
lines:
  meters: {type: rs485}
  grid: {type: serial, baud: 115200}
devices:
  a: {model: eastron-sdm630, bus: meters, address: 1}
  b: {model: dsmr-p1-v5, bus: grid}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "s.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_school_has_what_the_demonstration_needs() -> None:
    school = load("school")
    assert {spec.model for spec in school.devices.values()} == {
        "eastron-sdm630",
        "peacefair-pzem-004t-v3",
        "senseair-s8",
        "dsmr-p1-v5",
        "plantower-pms5003",
        "ruuvi-ruuvitag",
        "bthome-thermometer",
        "csc-sensor",
        "shelly-pro-3em",
    }
    assert [name for name, spec in school.devices.items() if spec.silent] == ["spare-meter"]
    assert school.start_s == 8 * 3600 + 26 * 60


def test_the_gateway_accepts_the_configuration(tmp_path: Path) -> None:
    text = gateway_config(load("school"), tmp_path, "http://127.0.0.1:9090", mqtt_port=4711)
    config = Config.model_validate(yaml.safe_load(text))
    assert set(config.devices) == set(load("school").devices)
    assert config.disaggregation is not None
    assert config.disaggregation.meter == "grid-meter"
    assert config.privacy.appliances == "send"
    assert config.clock.trusted
    assert str(tmp_path / "ttyMETERS") in text
    without = gateway_config(load("school"), tmp_path, "http://x", mqtt_port=0, without=("ble", "mqtt"))
    less = Config.model_validate(yaml.safe_load(without))
    assert set(less.buses) == {"meters", "grid", "dust"}
    assert set(less.devices) == {name for name, device in config.devices.items() if device.bus not in ("ble", "mqtt")}


def test_a_small_scenario(tmp_path: Path) -> None:
    small = load(write(tmp_path, GOOD))
    assert small.lines["meters"].baud == 9600
    assert list(small.on("grid")) == ["b"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("bus: grid", "bus: nowhere", "devices.b.bus: there is no line nowhere; there are: meters, grid, ble, mqtt"),
        ("address: 1", "address: x", "devices.a.address: a whole number from 1 to 254"),
        (
            "model: dsmr-p1-v5",
            "model: senseair-s8",
            "devices.b.bus: senseair-s8 belongs on rs485 or tcp, grid is serial",
        ),
        ("model: dsmr-p1-v5", "model: dsmr-p1-v6", "devices.b.model: Input should be"),
        ("  b:", "  c: {model: senseair-s8, bus: meters, address: 1}\n  b:", "devices.c.address: 1 is a's already"),
        ("name: small", "name: small\ncolour: red", "colour: Extra inputs"),
        ("type: rs485", "type: rs485, noise: 1.5", "lines.meters.noise: Input should be less than or equal to 1"),
        ("name: small", "name: small\nstart: '25:00'", "start: String should match"),
        ("name: small", "name: small\ndisaggregation: c", "disaggregation: c is not a meter"),
        ("  grid:", "  idle: {type: serial}\n  grid:", "lines.idle: a serial line has one device, not 0"),
        ("name: small", "name: small\nhosts: {grid: {}}", "hosts.grid: this name is taken"),
        ("name: small", "name: [", "while parsing"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_any_modbus_template_is_a_model_on_lines_and_hosts(tmp_path: Path) -> None:
    text = (
        GOOD.replace("devices:", "hosts:\n  gw: {framing: rtu}\ndevices:")
        + "  c: {model: abb-b23, bus: gw, address: 3}\n"
    )
    scenario = load(write(tmp_path, text))
    buses = Config.model_validate(
        yaml.safe_load(gateway_config(scenario, tmp_path, "http://x", mqtt_port=0, tcp_ports={"gw": 1502}))
    ).buses
    assert buses["gw"].model_dump(include={"type", "host", "port", "framing"}) == {
        "type": "modbus-tcp",
        "host": "127.0.0.1",
        "port": 1502,
        "framing": "rtu",
    }


def test_the_zoo_is_wide_and_its_lines_have_room(tmp_path: Path) -> None:
    zoo = load("bus-zoo")
    assert len({spec.model for spec in zoo.devices.values()}) >= 20
    assert all(template.load(spec.model).protocol == "modbus" for spec in zoo.devices.values())
    text = gateway_config(zoo, tmp_path, "http://127.0.0.1:9090", mqtt_port=0, tcp_ports={"tcp-gateway": 1502})
    loaded = load_bytes(text.encode(), tmp_path / "zoo.yaml")
    assert [f"{problem.code}: {problem.message}" for problem in loaded.problems] == []


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("bus: grid", "bus: nowhere").replace("address: 1", "address: 999")
    with pytest.raises(ScenarioError) as caught:
        load(write(tmp_path, text))
    lines = str(caught.value).splitlines()
    assert len(lines) == 3  # both devices, and the line that has none now


def test_unknown_scenarios_are_answered_with_what_there_is() -> None:
    with pytest.raises(ScenarioError, match=r"scenarios that ship: .*school"):
        load("scool")
