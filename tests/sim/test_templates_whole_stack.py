"""Every Modbus template that ships is read off a paced wire, through bus, driver, pipeline and mapping.

The device is made from the same file, so this proves the plumbing (blocks, types, orders, scales, units, entities) and
says nothing of the addresses: for these see ``evidence``. Models that speak TCP only are read over TCP, the others on
RS-485 lines with true wire time, many units on each.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from drivers import registry, template
from drivers.base import Bus, Observation, Quality
from drivers.buses.modbus_bus import ModbusBus
from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES
from drivers.template import Template
from firmware_sim.devices.from_template import TemplateDevice
from firmware_sim.line import Line, PtyPort
from firmware_sim.modbus import Unit
from firmware_sim.modbus_tcp import TcpHost
from gateway.clock import SystemClock
from gateway.mapping.mapper import GATEWAY, Mapper, Profile, count_readings
from gateway.mapping.tables import MODELS, target
from gateway.pipeline.stages import Pipeline

BAUD, LINES, TURNAROUND_S = 115_200, 8, 0.001
MODBUS = [one for name in template.names() if (one := template.load(name)).protocol == "modbus"]
BY_NAME = {one.name: one for one in MODBUS}
ON_WIRES = [one for one in MODBUS if "rtu" in one.transports]
ON_TCP = [one for one in MODBUS if "tcp" in one.transports]
PLAIN = Profile("Device", 52.0, 5.0)


def made(one: Template) -> TemplateDevice:
    return TemplateDevice(one, one.name, clock=lambda: 100.0)


async def read(bus: Bus, units: dict[int, TemplateDevice]) -> dict[str, Observation]:
    """The first observation of each device."""
    observed = {}
    for unit, device in units.items():
        driver = registry.make_driver(device.template, bus, unit, None, {})
        (observed[device.template.name],) = await driver.read()
        await driver.close()
    return observed


async def read_line(folder: Path, number: int, templates: Sequence[Template]) -> dict[str, Observation]:
    line = Line(f"line-{number}", BAUD)
    port = PtyPort(line, folder / f"port-{number}")
    port.plug()
    units = dict(enumerate(map(made, templates), 1))
    for unit, device in units.items():
        device.slave(line, unit, turnaround_s=TURNAROUND_S)
    bus = registry.make_bus(f"line-{number}", {"type": "modbus-rtu", "port": str(port.link), "baud": BAUD})
    try:
        return await read(bus, units)
    finally:
        await bus.close()
        port.unplug()
        line.close()


def same(value: object, held: object) -> bool:
    return value == (pytest.approx(held, rel=1e-6) if isinstance(held, float) else held)


def wrong(one: Template, observation: Observation) -> Iterator[str]:
    """What a reading or the entity says that the device does not hold, or the other way round."""
    held = made(one).held()
    values = {measured.quantity: measured.value for measured in observation.measurements}
    yield from (
        f"{one.name}: {q} is {values.get(q)!r}, not {v!r}" for q, v in held.items() if not same(values.get(q), v)
    )
    yield from (f"{one.name}: {q} came from nowhere" for q in values.keys() - held.keys())
    readings = Pipeline(SystemClock(configured=True), {}).process(one.name, observation)
    yield from (f"{one.name}: {r.quantity} is {r.quality.name}" for r in readings if r.quality is not Quality.GOOD)
    yield from (f"{one.name}: {r.quantity} in {r.unit!r}" for r in readings if r.unit != QUANTITIES[r.quantity].unit)
    profile = Profile(one.data_model, 52.0, 5.0, "Room")
    entities: list[dict[str, Any]] = Mapper("s", {one.name: profile, GATEWAY: PLAIN}).entities(readings)
    if len(entities) != 1 or entities[0]["type"] != MODELS[one.data_model].type:
        yield f"{one.name}: {len(entities)} entities"
        return
    if count_readings(entities[0]) != len(readings):
        yield f"{one.name}: {count_readings(entities[0])} of {len(readings)} readings are in the entity"
    for reading in readings:
        place = target(one.data_model, reading.quantity)
        member = entities[0][place.attribute]
        value = member["value"] if place.key is None else member["value"][place.key]
        expected = reading.value * place.factor if isinstance(reading.value, float | int) else reading.value
        if value != pytest.approx(expected) or member.get("unitCode", "C62") != place.unit_code:
            yield f"{one.name}: {reading.quantity} became {place.attribute} {value!r}"


async def test_every_template_is_read_from_a_paced_line(tmp_path: Path) -> None:
    parts = [ON_WIRES[number::LINES] for number in range(LINES)]
    answers = await asyncio.gather(*(read_line(tmp_path, number, part) for number, part in enumerate(parts)))
    observed = {name: observation for answer in answers for name, observation in answer.items()}
    assert set(observed) == {one.name for one in ON_WIRES}
    assert [fault for one in ON_WIRES for fault in wrong(one, observed[one.name])] == []


async def test_every_template_of_a_tcp_device_is_read_over_tcp() -> None:
    assert {one.name for one in MODBUS} == {one.name for one in (*ON_WIRES, *ON_TCP)}
    units = dict(enumerate(map(made, ON_TCP), 1))
    async with TcpHost({unit: device.unit() for unit, device in units.items()}).listening() as host:
        bus = registry.make_bus("gateway", {"type": "modbus-tcp", "host": "127.0.0.1", "port": host.port})
        observed = await read(bus, units)
        await bus.close()
    assert host.accepted == 1
    assert [fault for one in ON_TCP for fault in wrong(one, observed[one.name])] == []


@pytest.mark.parametrize(
    ("name", "quantity", "changes"),
    [
        ("eastron-sdm630", "voltage_l1", {"word_order": "low-first"}),
        ("carlo-gavazzi-em340", "active_power_total", {"word_order": "high-first"}),
        ("orno-we516", "active_power_total", {"scale": 1}),
        ("eastron-sdm120", "energy_import_total", {"address": 0x004A}),
        ("sunspec-meter-203", "voltage_l1", {"scale_register": None}),
        ("stiebel-eltron-isg", "outdoor_temperature", {"type": "u16", "scale": 0.01}),
        ("siemens-qsa2700d", "status", {"map": {0: "broken"}}),
        ("abb-b23", "energy_import_total", {"type": "u32"}),
    ],
)
async def test_a_mistake_in_the_plumbing_would_be_seen(name: str, quantity: str, changes: dict[str, Any]) -> None:
    """The device as it is, read with a template that has one mistake."""
    one = BY_NAME[name]
    points = tuple(dataclasses.replace(p, **changes) if p.quantity == quantity else p for p in one.points)
    async with TcpHost({1: made(one).unit()}).listening() as host:
        bus = registry.make_bus("host", {"type": "modbus-tcp", "host": "127.0.0.1", "port": host.port})
        driver = registry.make_driver(dataclasses.replace(one, points=points), bus, 1, None, {})
        (observation,) = await driver.read()
        await bus.close()
    faults = list(wrong(one, observation))
    assert faults
    assert all(quantity in fault for fault in faults)


async def test_what_a_device_does_not_have_is_left_out() -> None:
    """Each value that has a sign for "not there" is taken away; the others come as ever."""
    devices = {unit: made(one) for unit, one in enumerate(MODBUS, 1) if any(point.nan for point in one.points)}
    assert len(devices) >= 10
    for device in devices.values():
        device.absent |= {point.quantity for point in device.template.points if point.nan}
    async with TcpHost({unit: device.unit() for unit, device in devices.items()}).listening() as host:
        bus = registry.make_bus("host", {"type": "modbus-tcp", "host": "127.0.0.1", "port": host.port})
        for unit, device in devices.items():
            driver = registry.make_driver(device.template, bus, unit, None, {})
            if device.held():
                (observation,) = await driver.read()
                assert {measured.quantity for measured in observation.measurements} == set(device.held())
            else:
                with pytest.raises(BadFrame, match="no value in any register"):
                    await driver.read()
        await bus.close()


class Zeros(dict[int, int]):
    """Registers of a device that answers everything, with zeros."""

    def __contains__(self, _address: object) -> bool:
        return True

    def __missing__(self, _address: int) -> int:
        return 0


async def test_a_scan_names_the_model_of_every_device_and_none_in_zeros() -> None:
    units = {unit: made(one) for unit, one in enumerate(MODBUS, 1)}
    zeros = len(units) + 1
    hosted = {unit: device.unit() for unit, device in units.items()} | {zeros: Unit({3: Zeros, 4: Zeros})}
    async with TcpHost(hosted).listening() as host:
        bus = registry.make_bus("host", {"type": "modbus-tcp", "host": "127.0.0.1", "port": host.port})
        assert isinstance(bus, ModbusBus)
        found = {unit.address: unit.could_be for unit in await bus.scan(None, hosted)}
        await bus.close()
    assert found.pop(zeros) == ()
    missed = [device.template.name for unit, device in units.items() if device.template.name not in found[unit]]
    assert missed == []
    assert sum(len(names) == 1 for names in found.values()) > len(MODBUS) / 2, "most maps are like no other"
