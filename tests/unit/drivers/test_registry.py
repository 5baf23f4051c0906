"""The registry: the built-ins come through the entry points, and what does not go together is said so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drivers import registry, template
from drivers.base import Bus, Driver
from drivers.errors import Misconfigured, NoPermission

BUSES: dict[str, dict[str, Any]] = {
    "modbus-rtu": {"type": "modbus-rtu", "port": "/dev/nowhere", "baud": 19200, "parity": "even", "timeout": 0.3},
    "serial": {"type": "serial", "port": "/dev/nowhere", "baud": 115200},
    "mqtt": {"type": "mqtt", "host": "127.0.0.1", "port": 1},
    "ble": {"type": "ble", "adapter": "hci9"},
}
FITTING = {
    "eastron-sdm630": ("modbus-rtu", 3),
    "peacefair-pzem-004t-v3": ("modbus-rtu", None),
    "senseair-s8": ("modbus-rtu", "254"),
    "dsmr-p1-v5": ("serial", None),
    "plantower-pms5003": ("serial", None),
    "shelly-pro-3em": ("mqtt", "shellypro3em-abc"),
}


@pytest.mark.parametrize("name", FITTING)
def test_makes_every_wired_device(name: str) -> None:
    bus_type, address = FITTING[name]
    bus = registry.make_bus("b", BUSES[bus_type])
    assert isinstance(bus, Bus)
    driver = registry.make_driver(template.load(name), bus, address, None, {})
    assert isinstance(driver, Driver)
    assert (driver.period_s is not None) == (bus_type == "modbus-rtu")


def test_own_period_goes_before_the_templates() -> None:
    driver = registry.make_driver(
        template.load("senseair-s8"), registry.make_bus("b", BUSES["modbus-rtu"]), None, 3.5, {}
    )
    assert driver.period_s == 3.5


@pytest.mark.parametrize(
    ("name", "bus_type", "address", "options"),
    [
        ("eastron-sdm630", "serial", 1, {}),
        ("eastron-sdm630", "modbus-rtu", 0, {}),
        ("eastron-sdm630", "modbus-rtu", 256, {}),
        ("eastron-sdm630", "modbus-rtu", "one", {}),
        ("eastron-sdm630", "modbus-rtu", 1, {"crc": False}),
        ("dsmr-p1-v5", "modbus-rtu", None, {}),
        ("dsmr-p1-v5", "serial", 1, {}),
        ("dsmr-p1-v5", "serial", None, {"crc": "no"}),
        ("dsmr-p1-v5", "serial", None, {"csc": True}),
        ("plantower-pms5003", "serial", None, {"crc": True}),
        ("shelly-pro-3em", "mqtt", None, {}),
        ("shelly-pro-3em", "mqtt", "a/#", {}),
        ("shelly-pro-3em", "serial", "a", {}),
    ],
)
def test_what_does_not_go_together(name: str, bus_type: str, address: Any, options: dict[str, Any]) -> None:
    bus = registry.make_bus("b", BUSES[bus_type])
    with pytest.raises(Misconfigured) as caught:
        registry.make_driver(template.load(name), bus, address, None, options)
    assert str(caught.value)


def test_unknown_bus_type_names_the_known_ones() -> None:
    with pytest.raises(Misconfigured, match="modbus-rtu"):
        registry.make_bus("b", {"type": "modbus"})


async def test_password_is_read_when_needed_and_never_told(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    settings = {**BUSES["mqtt"], "username": "u", "password_file": secret}
    bus = registry.make_bus("b", settings)
    with pytest.raises(NoPermission, match="secret"):
        await bus.open()
    secret.write_bytes(b"\xff\xfe")
    with pytest.raises(NoPermission):
        await bus.open()
    await bus.close()
