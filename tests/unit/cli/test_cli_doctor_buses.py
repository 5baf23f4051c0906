"""What the doctor says of ports, hosts and listeners: real files and sockets, no bus behind them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gateway.cli import doctor_buses
from gateway.config.load import load
from gateway.config.schema import Config

SITE = "site: {{id: box, location: {{latitude: 52.0, longitude: 5.0}}}}\nstorage: {{path: {0}/data}}\n"


def configured(folder: Path, buses: str) -> Config:
    file = folder / "lamppost.yaml"
    file.write_text(SITE.format(folder) + f"buses:\n  bus: {{{buses}}}\n")
    loaded = load(file)
    assert loaded.config is not None, loaded.problems
    return loaded.config


def findings(config: Config) -> list[tuple[str, str]]:
    return [(one.name, one.result) for _, check in doctor_buses.checks(config) for one in check()]


@pytest.mark.parametrize(
    ("name", "result", "text"),
    [
        ("ttyUSB7", "warn", "may be another adapter after a restart"),
        ("ttyACM0", "warn", "may be another adapter after a restart"),
        ("ttyAMA0", "ok", ""),
        ("by-id/ttyUSB7", "ok", ""),
    ],
)
def test_names_that_do_not_stay(tmp_path: Path, name: str, result: str, text: str) -> None:
    port = tmp_path / name
    port.parent.mkdir(exist_ok=True)
    port.touch()
    (finding,) = doctor_buses.port_of("bus", str(port))
    assert (finding.result, finding.name) == (result, "port bus")
    assert text in finding.detail
    assert bool(finding.fix) == (result != "ok")


def test_a_link_to_a_port_that_moves_stays(tmp_path: Path) -> None:
    (tmp_path / "ttyUSB7").touch()
    (tmp_path / "ttyUSBmeter").symlink_to(tmp_path / "ttyUSB7")
    assert doctor_buses.port_of("bus", str(tmp_path / "ttyUSBmeter"))[0].result == "ok"


@pytest.mark.parametrize("port", ["usb:NO-SUCH", "usb:", "ttyUSB99", "/dev/serial/by-id/gone"])
def test_ports_that_are_not_there(port: str) -> None:
    (finding,) = doctor_buses.port_of("bus", port)
    assert finding.result == "fail"
    assert finding.fix


def test_a_modbus_tcp_host(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = configured(tmp_path, f"type: modbus-tcp, host: 127.0.0.1, port: {server.getsockname()[1]}")
        assert findings(config) == [("host bus", "ok")]
    assert findings(config) == [("host bus", "fail")]


@pytest.mark.parametrize(
    ("bus", "kind"),
    [("http", socket.SOCK_STREAM), ("coap", socket.SOCK_DGRAM)],
)
def test_a_port_to_listen_on(tmp_path: Path, bus: str, kind: socket.SocketKind) -> None:
    with socket.socket(type=kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            other.listen()
        config = configured(tmp_path, f"type: {bus}, listen: {{port: {other.getsockname()[1]}}}")
        assert findings(config) == [("listener bus", "fail")]
    assert findings(config) == [("listener bus", "ok")]


def test_a_bus_that_does_not_listen_has_no_listener(tmp_path: Path) -> None:
    assert findings(configured(tmp_path, "type: http")) == []
