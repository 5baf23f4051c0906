"""A scenario: which devices a simulated site has, how they are wired, what is wrong with them.

Scenario files are YAML. ``school`` names the file of that name beside this module; anything with a slash or an ending
is a path. Every mistake is reported at once, each with the place where it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from drivers import template
from firmware_sim.devices import utility

MODBUS_MODELS = ("eastron-sdm630", "peacefair-pzem-004t-v3", "senseair-s8", "loop-counter-modbus")
WIRED_MODELS = (  # air sensors and receivers that have a serial port for themselves
    *("plantower-pms5003", "plantower-pms5003t", "nova-sds011", "nova-sds198", "honeywell-hpma115s0"),
    *("honeywell-hpma115c0", "gy-mcu680", "sensirion-sps30", "winsen-mh-z19b", "gnss-nmea0183"),
)
SERIAL_MODELS = (*utility.PORTS, *WIRED_MODELS)
BLE_MODELS = (
    *("ruuvi-ruuvitag", "bthome-thermometer", "csc-sensor", "cycling-power-sensor", "lamppost-bike"),
    *("lamppost-bike-gatt", "openbikesensor", "airthings-wave-plus"),
)
MQTT_METERS = ("shelly-pro-3em", "shelly-3em", "shelly-plug-s", "tasmota-energy-3p", "sparkplug-meter")
MQTT_MODELS = (*MQTT_METERS, "tasmota-air", "zigbee2mqtt-air", "zigbee2mqtt-climate")
PHASED_MODELS = ("eastron-sdm630", "dsmr-p1-v5")  # meters that tell the power of each phase
METER_MODELS = ("eastron-sdm630", "peacefair-pzem-004t-v3", *utility.ELECTRICITY, *MQTT_METERS)
SINGLE_PHASE = ("peacefair-pzem-004t-v3", "shelly-plug-s", "sparkplug-meter")
KINDS: Mapping[str, str] = {  # what each of them belongs on; any other template of a Modbus device is a model too
    **dict.fromkeys(MODBUS_MODELS, "rs485"),
    **dict.fromkeys(SERIAL_MODELS, "serial"),
    **dict.fromkeys(utility.ON_MBUS, "mbus"),
    **dict.fromkeys(BLE_MODELS, "ble"),
    **dict.fromkeys(MQTT_MODELS, "mqtt"),
}
BLE, MQTT = "ble", "mqtt"  # the buses that every site has, beside its lines


def _known(model: str) -> str:
    if model not in KINDS and not _is_modbus(model):
        raise ValueError("Input should be a model that is simulated, or the template of a Modbus device")
    return model


def _is_modbus(model: str) -> bool:
    try:
        return template.load(model).protocol == "modbus"
    except template.TemplateError:
        return False


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Model = Annotated[str, AfterValidator(_known)]
Share = Annotated[float, Field(ge=0, le=1)]


class ScenarioError(ValueError):
    """A scenario file that cannot be used. The text has one line for each mistake."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Location(_Part):
    """WGS84 degrees."""

    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]


class Site(_Part):
    """The site as the gateway's configuration names it."""

    id: Name
    name: str = ""
    location: Location
    time_zone: str = "UTC"


class LineSpec(_Part):
    """A serial line. ``rs485`` carries Modbus, ``mbus`` meters of the M-Bus; ``serial`` has one device.

    ``noise`` and ``loss`` are probabilities per byte from the start on; ``turnaround_ms`` is how long a device that is
    asked thinks before it answers.
    """

    type: Literal["rs485", "mbus", "serial"]
    baud: Annotated[int, Field(ge=300, le=1_000_000)] = 9600
    parity: Literal["none", "even", "odd"] = "none"
    turnaround_ms: Annotated[float, Field(ge=0, le=500)] = 10.0
    noise: Share = 0.0
    loss: Share = 0.0
    echo: bool = False


class HostSpec(_Part):
    """A Modbus TCP host: a gateway with many units, or a device that is alone there. It listens on a free port."""

    turnaround_ms: Annotated[float, Field(ge=0, le=500)] = 5.0
    framing: Literal["tcp", "rtu"] = "tcp"


class DeviceSpec(_Part):
    """A device. ``silent``: the gateway is told of it, but it never says anything.

    ``model`` is a template that is simulated by hand, or that of any Modbus device: then registers come from the file.
    ``measures`` (meters): ``all``, or the appliances behind it. ``period`` is what the gateway is told, in seconds.
    """

    model: Model
    bus: Name
    address: int | str | None = None
    place: str = ""
    period: Annotated[float, Field(gt=0)] | None = None
    measures: Literal["all"] | tuple[str, ...] = "all"
    silent: bool = False


class Scenario(_Part):
    """The whole file."""

    name: Name
    site: Site
    start: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "08:26"
    lines: dict[Name, LineSpec] = {}
    hosts: dict[Name, HostSpec] = {}
    devices: Annotated[dict[Name, DeviceSpec], Field(min_length=1)]
    disaggregation: Name | None = None

    @property
    def start_s(self) -> float:
        """The time of day at which the script begins, in seconds since midnight."""
        hours, minutes = self.start.split(":")
        return int(hours) * 3600.0 + int(minutes) * 60.0

    def of(self, models: tuple[str, ...]) -> dict[str, DeviceSpec]:
        """The devices of some models, by name."""
        return {name: device for name, device in self.devices.items() if device.model in models}

    def on(self, bus: str) -> dict[str, DeviceSpec]:
        """The devices on one bus, by name."""
        return {name: device for name, device in self.devices.items() if device.bus == bus}

    @model_validator(mode="after")
    def _wired(self) -> Self:
        faults = [fault for name, device in self.devices.items() for fault in self._device_faults(name, device)]
        faults += [f"hosts.{host}: this name is taken" for host in self.hosts if host in (*self.lines, BLE, MQTT)]
        for line, spec in self.lines.items():
            if line in (BLE, MQTT):
                faults.append(f"lines.{line}: this name is taken, every site has that bus")
            if spec.type == "serial" and len(self.on(line)) != 1:
                faults.append(f"lines.{line}: a serial line has one device, not {len(self.on(line))}")
        if self.disaggregation is not None and self.disaggregation not in self.of(METER_MODELS):
            faults.append(f"disaggregation: {self.disaggregation} is not a meter of this site")
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _device_faults(self, name: str, device: DeviceSpec) -> list[str]:
        line = self.lines.get(device.bus)
        bus = "tcp" if device.bus in self.hosts else device.bus if line is None else line.type
        fitting = _buses(device.model)
        where, there = f"devices.{name}", [*self.lines, *self.hosts, BLE, MQTT]
        if device.bus not in there:
            return [f"{where}.bus: there is no line {device.bus}; there are: {', '.join(there)}"]
        if bus not in fitting:
            return [f"{where}.bus: {device.model} belongs on {' or '.join(fitting)}, {device.bus} is {bus}"]
        twins = [other for other, spec in self.on(device.bus).items() if spec.address == device.address]
        if bus in ("rs485", "tcp") and not (isinstance(device.address, int) and 1 <= device.address <= 254):
            return [f"{where}.address: a whole number from 1 to 254 is needed"]
        if bus == "mbus" and not (isinstance(device.address, int) and 0 <= device.address <= 250):
            return [f"{where}.address: a whole number from 0 to 250 is needed"]
        if bus in (BLE, MQTT) and not isinstance(device.address, str):
            return [f"{where}.address: a text is needed"]
        if device.model == "sparkplug-meter" and str(device.address).count("/") != 2:
            return [f"{where}.address: GROUP/NODE/DEVICE is needed"]
        if twins[0] != name:
            return [f"{where}.address: {device.address} is {twins[0]}'s already"]
        return []


def _buses(model: str) -> tuple[str, ...]:
    """Where a model can be wired; a template says nothing about gateways between."""
    kind = KINDS.get(model, "rs485")
    return ("rs485", "tcp") if kind == "rs485" else (kind,)


def find(name: str) -> Path:
    """The file of a scenario, given by name or path. Raises ScenarioError where there is none."""
    shipped = Path(__file__).parent / "scenarios"
    path = Path(name) if "/" in name or name.endswith((".yaml", ".yml")) else shipped / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in shipped.glob("*.yaml")))
        raise ScenarioError(f"{path}: no such file; scenarios that ship: {known}")
    return path


def load(name: str | Path) -> Scenario:
    """Read a scenario by name or path. Raises ScenarioError with one line for each mistake."""
    path = find(str(name))
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            where = ".".join(str(part) for part in item["loc"])
            text = item["msg"].removeprefix("Value error, ")
            lines += [f"{path}: {where}: {line}" if where else f"{path}: {line}" for line in text.split("\n")]
        raise ScenarioError("\n".join(lines)) from error


def port_path(run: Path, line: str) -> Path:
    """Where a line's port appears in the run folder."""
    return run / f"tty{line.upper()}"


def _bus_config(
    scenario: Scenario, run: Path, mqtt_port: int, tcp_ports: Mapping[str, int]
) -> dict[str, dict[str, object]]:
    buses: dict[str, dict[str, object]] = {}
    for name, line in scenario.lines.items():
        kind = "modbus-rtu" if line.type == "rs485" else line.type
        buses[name] = {"type": kind, "port": str(port_path(run, name)), "baud": line.baud, "parity": line.parity}
        if line.echo and line.type == "rs485":
            buses[name]["echo"] = True
    for name, host in scenario.hosts.items():
        where = {"host": "127.0.0.1", "port": tcp_ports.get(name, 0), "framing": host.framing}
        buses[name] = {"type": "modbus-tcp", **where}
    if scenario.on(BLE):
        buses[BLE] = {"type": "ble", "adapter": "hci0"}
    if scenario.on(MQTT):
        buses[MQTT] = {"type": "mqtt", "host": "127.0.0.1", "port": mqtt_port}
    return buses


def _device_config(device: DeviceSpec) -> dict[str, object]:
    wanted: dict[str, object] = {"template": device.model, "bus": device.bus, "address": device.address}
    wanted |= {"place": device.place or None, "period": device.period}
    return {key: value for key, value in wanted.items() if value is not None}


def gateway_config(
    scenario: Scenario,
    run: Path,
    server_url: str,
    *,
    mqtt_port: int,
    tcp_ports: Mapping[str, int] = MappingProxyType({}),
    storage: Path | None = None,
    local_port: int = 0,
    without: tuple[str, ...] = (),
) -> str:
    """The gateway's configuration for this site, as YAML.

    ``run`` is the simulator's run folder, ``mqtt_port`` and ``tcp_ports`` (by host) are what its ready message names,
    ``storage`` the edge's folder (``<run>/edge`` by default), ``without`` names buses to leave out (``ble`` where there
    is no D-Bus).
    """
    devices = {name: device for name, device in scenario.devices.items() if device.bus not in without}
    buses = {name: bus for name, bus in _bus_config(scenario, run, mqtt_port, tcp_ports).items() if name not in without}
    config: dict[str, object] = {
        "site": scenario.site.model_dump(mode="json"),
        "uplink": {"url": server_url},
        "buses": buses,
        "devices": {name: _device_config(device) for name, device in devices.items()},
        "privacy": {"appliances": "send"},
        "clock": {"trusted": True},
        "storage": {"path": str(storage or run / "edge")},
        "local": {"listen": {"host": "127.0.0.1", "port": local_port}},
    }
    if scenario.disaggregation in devices:
        phased = devices[scenario.disaggregation].model in PHASED_MODELS
        quantity = {"quantity": "active_power"} if phased else {}
        config["disaggregation"] = {"meter": scenario.disaggregation, **quantity}
    return str(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
