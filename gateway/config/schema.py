"""The schema of the configuration file.

Durations are seconds (``10``, ``"10s"``, ``"5min"``, ``"1h"``), sizes are bytes (``"64MB"``).

Every model refuses unknown keys. A secret is never a value in this file: it is the name of a file (``*_file``).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)?\s*$")
_DURATION_S = {"ms": 0.001, None: 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|KiB|MiB|GiB)?\s*$")
_SIZE_B = {None: 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def _seconds(value: object) -> object:
    if isinstance(value, str) and (match := _DURATION.match(value)):
        return float(match[1]) * _DURATION_S[match[2]]
    return value


def _bytes(value: object) -> object:
    if isinstance(value, str) and (match := _SIZE.match(value)):
        return int(float(match[1]) * _SIZE_B[match[2]])
    return value


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
Bytes = Annotated[int, BeforeValidator(_bytes), Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Part(BaseModel):
    """Base of every part of the configuration: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Location(Part):
    """WGS84 degrees."""

    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]


class Site(Part):
    """Where the box hangs. ``id`` is part of every entity id: keep it for the life of the site.

    The location is required because the Smart Data Models of air and of single circuits require one.
    """

    id: Name
    name: Annotated[str, Field(max_length=200)] = ""
    location: Location
    time_zone: str = "UTC"


class Tls(Part):
    """Files in PEM."""

    certificate: Path
    key: Path


class Listen(Part):
    """Where something listens. Anything but loopback needs TLS and a token."""

    host: str = "127.0.0.1"
    port: Port


class Server(Part):
    """The server role."""

    listen: Listen = Listen(port=9090)
    tls: Tls | None = None
    token_file: Path | None = None
    body_max: Bytes = 4 * 2**20


class Uplink(Part):
    """Where the edge role sends to."""

    url: str
    tenant: Annotated[str, Field(max_length=256)] | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    interval: Seconds = 10.0
    batch_max: Annotated[int, Field(ge=1, le=10_000)] = 2000
    timeout: Seconds = 10.0


class LinkConfig(Part):
    """One way out. Without any, there is one link ``default`` over whatever the routing table says."""

    name: Name
    interface: str | None = None
    metered: bool = False


class ModbusRtuBus(Part):
    """A Modbus RTU line (RS-485 or RS-232)."""

    type: Literal["modbus-rtu"]
    port: str
    baud: Annotated[int, Field(ge=300, le=1_000_000)] = 9600
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1
    timeout: Seconds = 0.5
    echo: bool = False


class SerialBus(Part):
    """A serial port with one device that speaks by itself (P1, particle sensor)."""

    type: Literal["serial"]
    port: str
    baud: Annotated[int, Field(ge=300, le=1_000_000)] = 9600
    parity: Literal["none", "even", "odd"] = "none"
    data_bits: Literal[7, 8] = 8
    stop_bits: Literal[1, 2] = 1


class BleBus(Part):
    """A Bluetooth Low Energy adapter of BlueZ."""

    type: Literal["ble"]
    adapter: str = "hci0"


class MqttBus(Part):
    """A session with an MQTT broker."""

    type: Literal["mqtt"]
    host: str = "127.0.0.1"
    port: Port = 1883
    username: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None


BusConfig = Annotated[ModbusRtuBus | SerialBus | BleBus | MqttBus, Field(discriminator="type")]


class Calibration(Part):
    """value = raw x scale + offset, per quantity."""

    scale: float = 1.0
    offset: float = 0.0


class Device(Part):
    """One device. Its name and the site make the entity id: a replaced meter goes on as the same entity."""

    template: str
    bus: Name
    address: str | int | None = None
    place: Annotated[str, Field(max_length=200)] = ""
    location: Location | None = None
    period: Seconds | None = None
    calibration: dict[str, Calibration] = {}
    options: dict[str, str | int | float | bool] = {}


class Disaggregation(Part):
    """Which appliance uses what, from the total power of one meter."""

    meter: Name
    quantity: str = "active_power_total"
    model: Path | None = None


class Privacy(Part):
    """What may leave the box. Appliance data is personal in homes: it stays unless granted."""

    appliances: Literal["keep", "send"] = "keep"


class ClockConfig(Part):
    """``trusted: true``: the system clock may be believed at once (an RTC, a demo)."""

    trusted: bool = False


class Storage(Part):
    """Files of this box."""

    path: Path = Path("/var/lib/lamppost")
    outbox_max: Bytes = 512 * 2**20
    commit_interval: Seconds = 1.0


class Local(Part):
    """The local port of the edge role: Prometheus metrics and health."""

    listen: Listen = Listen(port=9091)


class Config(Part):
    """The whole file."""

    site: Site
    server: Server | None = None
    uplink: Uplink | None = None
    links: Annotated[list[LinkConfig], Field(max_length=8)] = []
    buses: dict[Name, BusConfig] = {}
    devices: dict[Name, Device] = {}
    disaggregation: Disaggregation | None = None
    privacy: Privacy = Privacy()
    clock: ClockConfig = ClockConfig()
    storage: Storage = Storage()
    local: Local = Local()
