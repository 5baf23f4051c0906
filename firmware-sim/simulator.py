"""A scenario made real: lines, devices, the broker, the Bluetooth process, all in one run folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from drivers import template
from firmware_sim import bluetooth, mqtt, rider
from firmware_sim.bluetooth import Bluetooth
from firmware_sim.devices import air, meters, publishers, utility, wired
from firmware_sim.devices.from_template import TemplateDevice
from firmware_sim.devices.loop import LoopCounter
from firmware_sim.electricity import Electricity, Meter, Snapshot
from firmware_sim.line import Line, PtyPort
from firmware_sim.loads import source
from firmware_sim.loads.sources import Kind, LoadSource
from firmware_sim.modbus import READ_HOLDING, READ_INPUT, Slave, Table, Unit
from firmware_sim.modbus_tcp import TcpHost
from firmware_sim.mqtt import Broker, Published, Publisher, SparkplugNode
from firmware_sim.process import SimulatorError
from firmware_sim.scenario import (
    BLE,
    KINDS,
    METER_MODELS,
    MQTT,
    SINGLE_PHASE,
    WIRED_MODELS,
    DeviceSpec,
    Scenario,
    port_path,
)
from firmware_sim.world import World

TICK_S = 1.0


D = TypeVar("D")


class Device(Protocol):
    """What all simulated devices have: a switch that silences them, and the count of what they handed over."""

    silent: bool
    given: int


class Simulator:
    """One site. ``devices`` are those on wires and on MQTT; those on Bluetooth live in a process of their own."""

    def __init__(
        self, scenario: Scenario, run: Path, *, seed: int = 1, speed: float = 1.0, loads: Kind = "auto"
    ) -> None:
        self.scenario = scenario
        self.run_folder = run
        self.lines: dict[str, Line] = {}
        self.ports: dict[str, PtyPort] = {}
        self.hosts: dict[str, TcpHost] = {}
        self.devices: dict[str, Device] = {}
        self.missing: dict[str, str] = {}
        self.broker: Broker | None = None
        self.bluetooth: Bluetooth | None = None
        self.loads: LoadSource = source(loads, seed, speed)
        self._world = World(seed, speed, scenario.start_s, time.monotonic())
        self._electricity = Electricity(self.loads, lambda: source("model", seed, speed))
        self._lives: list[Callable[[], Coroutine[Any, Any, None]]] = [self._tick]

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Everything is up inside. Raises SimulatorError or OSError where it does not come up."""
        self.run_folder.mkdir(parents=True, exist_ok=True)
        self._world.save(self.run_folder)
        try:
            await self._up()
            async with asyncio.TaskGroup() as tasks:
                lives = [tasks.create_task(life()) for life in self._lives]
                try:
                    yield
                finally:
                    for life in lives:
                        life.cancel()
        finally:
            await self._down()

    def about(self) -> dict[str, Any]:
        """What others need to know of this run; JSON."""
        return {
            "scenario": self.scenario.name,
            "run": str(self.run_folder),
            "ports": {name: str(port.link) for name, port in self.ports.items()},
            "tcp_ports": {name: host.port for name, host in self.hosts.items()},
            "mqtt_port": self.broker.port if self.broker else None,
            "dbus_address": self.bluetooth.dbus_address if self.bluetooth else None,
            "missing": self.missing,
            "loads": self.loads.kind,
            "attribution": self.loads.attribution,
        }

    async def counts(self) -> dict[str, int]:
        """What each device handed over: answers, frames, messages, advertisements that reached the D-Bus."""
        counts = {name: device.given for name, device in self.devices.items()}
        return counts | (await self.bluetooth.counts() if self.bluetooth else {})

    async def _up(self) -> None:
        for name, spec in self.scenario.lines.items():
            line = Line(name, spec.baud, spec.parity, seed=self._world.seed)
            line.noise, line.loss, line.echo = spec.noise, spec.loss, spec.echo
            self.lines[name] = line
            self.ports[name] = PtyPort(line, port_path(self.run_folder, name))
            self.ports[name].plug()
        for name, host in self.scenario.hosts.items():
            self.hosts[name] = TcpHost({}, host.framing)
            await self.hosts[name].up()
        if self.scenario.on(MQTT):
            await self._up_mqtt()
        for name, device in self.scenario.devices.items():
            if device.bus in (*self.lines, *self.hosts) or (device.bus == MQTT and self.broker):
                self.devices[name] = self._make(name, device)
                self.devices[name].silent = device.silent
        self._electricity.advance(self._world.elapsed())
        if self.scenario.on(BLE):
            await self._up_bluetooth()

    async def _up_mqtt(self) -> None:
        if not mqtt.available():
            self.missing[MQTT] = mqtt.MISSING
            return
        self.broker = Broker(self.run_folder)
        await self.broker.up()

    async def _up_bluetooth(self) -> None:
        missing = bluetooth.missing()
        if missing is not None:
            self.missing[BLE] = missing
            return
        self.bluetooth = Bluetooth(self.scenario, self.run_folder)
        await self.bluetooth.up()

    async def _down(self) -> None:
        for port in self.ports.values():
            port.unplug()
        for line in self.lines.values():
            line.close()
        for host in self.hosts.values():
            await host.down()
        if self.bluetooth is not None:
            await self.bluetooth.close()
        if self.broker is not None:
            await self.broker.close()

    async def _tick(self) -> None:
        while True:
            self._electricity.advance(self._world.elapsed())
            await asyncio.sleep(TICK_S)

    def _make(self, name: str, spec: DeviceSpec) -> Device:
        if spec.model not in KINDS or spec.bus in self.hosts:
            return self._make_from_template(name, spec)
        if spec.model in METER_MODELS:
            return self._make_meter(name, spec)
        if spec.model == "senseair-s8":
            return self._slave(spec, lambda: air.s8(self._world.co2(self._world.elapsed())), {})
        if spec.model == "loop-counter-modbus":
            counter = LoopCounter(lambda: rider.passing(self._world.elapsed()))
            return self._slave(spec, counter.registers, {})
        if spec.model in utility.ON_MBUS:
            return self._utility(spec, Snapshot)
        if spec.model in WIRED_MODELS:
            site = self.scenario.site.location
            place = site.latitude, site.longitude
            return self._alive(wired.make(spec.model, self.lines[spec.bus], self._air, place))
        if spec.bus == MQTT:
            return self._publisher(publishers.sensor(spec.model, str(spec.address), self._air))
        raise SimulatorError(f"{name}: {spec.model} is not a device on a wire")

    def _make_from_template(self, name: str, spec: DeviceSpec) -> Unit:
        device = TemplateDevice(template.load(spec.model), name, self._world.seed, self._world.elapsed)
        address = int(spec.address or 0)
        if spec.bus in self.lines:
            turnaround_s = self.scenario.lines[spec.bus].turnaround_ms / 1000
            return device.slave(self.lines[spec.bus], address, turnaround_s=turnaround_s)
        unit = device.unit(turnaround_s=self.scenario.hosts[spec.bus].turnaround_ms / 1000)
        self.hosts[spec.bus].units[address] = unit
        return unit

    def _make_meter(self, name: str, spec: DeviceSpec) -> Device:
        meter = Meter(name, self._world.seed, spec.measures, 1 if spec.model in SINGLE_PHASE else 3)
        self._electricity.add(meter, spec.measures)
        if spec.model == "sparkplug-meter":
            return self._sparkplug(str(spec.address), meter)
        if spec.bus == MQTT:
            return self._publisher(publishers.meter(spec.model, str(spec.address), lambda: meter.snapshot))
        if spec.model == "peacefair-pzem-004t-v3":
            settings = meters.pzem_settings(int(spec.address or 0))
            return self._slave(spec, lambda: meters.pzem(meter.snapshot), settings, meters.PZEM_COUNT_MAX)
        if spec.model == "eastron-sdm630":
            settings = meters.sdm630_settings(int(spec.address or 0))
            return self._slave(spec, lambda: meters.sdm630(meter.snapshot), settings, meters.SDM630_COUNT_MAX)
        if spec.model in utility.ELECTRICITY:
            return self._utility(spec, lambda: meter.snapshot)
        raise SimulatorError(f"{name}: {spec.model} is not a meter")

    def _publisher(self, device: Published) -> Publisher:
        assert self.broker is not None
        publisher = Publisher(device, self.broker.port)
        self._lives.append(publisher.run)
        return publisher

    def _sparkplug(self, address: str, meter: Meter) -> SparkplugNode:
        assert self.broker is not None
        group, name, device = address.split("/")
        node = SparkplugNode(group, name, device, lambda: publishers.metrics(meter.snapshot), self.broker.port)
        self._lives.append(node.run)
        return node

    def _air(self) -> air.Air:
        t = self._world.elapsed()
        world = self._world
        return air.Air(world.co2(t), world.pm(t), world.temperature(t), world.humidity(t), world.pressure(t))

    def _utility(self, spec: DeviceSpec, shot: Callable[[], Snapshot]) -> Device:
        line, elapsed = self.lines[spec.bus], self._world.elapsed
        if spec.model in utility.ON_MBUS:
            thinks_s = self.scenario.lines[spec.bus].turnaround_ms / 1000
            return utility.on_mbus(spec.model, line, int(spec.address or 0), shot, elapsed, thinks_s)
        return self._alive(utility.port(spec.model, line, str(spec.address or ""), shot, elapsed))

    def _slave(self, spec: DeviceSpec, inputs: Table, settings: dict[int, int], count_max: int = 125) -> Slave:
        turnaround_s = self.scenario.lines[spec.bus].turnaround_ms / 1000
        tables: dict[int, Table] = {READ_INPUT: inputs, READ_HOLDING: lambda: settings}
        address = int(spec.address or 0)
        return Slave(self.lines[spec.bus], address, tables, turnaround_s=turnaround_s, count_max=count_max)

    def _alive(self, device: D) -> D:
        """What does things by itself is let live."""
        run = getattr(device, "run", None)
        if run is not None:
            self._lives.append(run)
        return device
