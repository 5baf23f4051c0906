"""The schema of the configuration file.

Durations are seconds (``10``, ``"10s"``, ``"5min"``, ``"1h"``), sizes are bytes (``"64MB"``).

Every model refuses unknown keys. A secret is never a value in this file: it is the name of a file (``*_file``).
Names of files are relative to the folder of the configuration file.

The text under each key is its documentation: ``python -m gateway.cli.docs`` reads it from the source, so that it costs
no memory on the box.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
DURATION_PATTERN = r"^\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(ms|s|min|h|d)?\s*$"
_DURATION = re.compile(DURATION_PATTERN)
_DURATION_S = {"ms": 0.001, None: 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
SIZE_PATTERN = r"^\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(B|kB|MB|GB|KiB|MiB|GiB)?\s*$"
_SIZE = re.compile(SIZE_PATTERN)
_SIZE_B = {None: 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def _seconds(value: object) -> object:
    if isinstance(value, str) and (match := _DURATION.match(value)):
        return float(match[1]) * _DURATION_S[match[2]]
    return value


def _bytes(value: object) -> object:
    if isinstance(value, str) and (match := _SIZE.match(value)):
        return int(float(match[1]) * _SIZE_B[match[2]])
    return value


def _beside(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    return path if folder is None else folder / path


_DurationText = Annotated[str, Field(pattern=DURATION_PATTERN)]
_SizeText = Annotated[str, Field(pattern=SIZE_PATTERN)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Seconds = Annotated[float, Field(gt=0), BeforeValidator(_seconds, json_schema_input_type=float | _DurationText)]
Bytes = Annotated[int, Field(gt=0), BeforeValidator(_bytes, json_schema_input_type=int | _SizeText)]
FilePath = Annotated[Path, AfterValidator(_beside)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Part(BaseModel):
    """Base of every part of the configuration: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Location(Part):
    """WGS84 degrees."""

    latitude: Annotated[float, Field(ge=-90, le=90)]
    """Degrees north."""
    longitude: Annotated[float, Field(ge=-180, le=180)]
    """Degrees east."""


class Site(Part):
    """Where the box hangs. ``id`` is part of every entity id: keep it for the life of the site.

    The location is required because the Smart Data Models of air and of single circuits require one.
    """

    id: Name
    """Short name of the site: small letters, digits, hyphens."""
    name: Annotated[str, Field(max_length=200)] = ""
    """Name for people."""
    location: Location
    """Where the site is; a device may have its own."""
    time_zone: str = "UTC"
    """IANA name, such as `Europe/Copenhagen`; days and tariffs are counted in it."""


class Tls(Part):
    """Files in PEM."""

    certificate: FilePath
    """Certificate with its chain."""
    key: FilePath
    """Private key, readable by the service only."""


class Listen(Part):
    """Where something listens. Anything but loopback needs TLS and a token."""

    host: str = "127.0.0.1"
    """Address or host name to listen on."""
    port: Port
    """TCP port; 0 takes a free one."""


class Server(Part):
    """The server role."""

    listen: Listen = Listen(port=9090)
    """Where the API and the page are served."""
    tls: Tls | None = None
    """Certificate and key; needed beyond loopback."""
    token_file: FilePath | None = None
    """File with the token that every request must bear; needed beyond loopback."""
    body_max: Bytes = 4 * 2**20
    """Largest request body."""
    storage_max: Bytes = 16 * 2**30
    """Largest database; beyond it writes are refused."""
    notify_prefixes: Annotated[list[str], Field(max_length=100)] = []
    """URL prefixes inside private networks that subscriptions may notify."""
    hosts: Annotated[list[str], Field(max_length=100)] = []
    """Further names of this server where it has no token: behind a reverse proxy on the same machine."""


class Uplink(Part):
    """Where the edge role sends to."""

    url: str
    """Address of the server, `https://host[:port]`."""
    tenant: Annotated[str, Field(max_length=256)] | None = None
    """NGSI-LD tenant; without it the default tenant."""
    token_file: FilePath | None = None
    """File with the token to send."""
    ca_file: FilePath | None = None
    """Certificates to trust instead of the ones of the system."""
    interval: Seconds = 10.0
    """How long readings are gathered before a batch is sent; events go at once."""
    batch_max: Annotated[int, Field(ge=1, le=10_000)] = 2000
    """Largest number of readings in a batch."""
    timeout: Seconds = 10.0
    """How long the server may take to answer."""


class LinkConfig(Part):
    """One way out. Without any, there is one link ``default`` over whatever the routing table says."""

    name: Name
    """Name of the link."""
    interface: str | None = None
    """Network interface, such as `wwan0`."""
    metered: bool = False
    """True where bytes cost money: retries then wait longer."""


class ModbusRtuBus(Part):
    """A Modbus RTU line (RS-485 or RS-232)."""

    type: Literal["modbus-rtu"]
    """Kind of bus."""
    port: str
    """Serial port; prefer a name below `/dev/serial/by-id/`, it stays the same after a restart."""
    baud: Annotated[int, Field(ge=300, le=1_000_000)] = 9600
    """Speed in bits a second, as set in all devices of the line."""
    parity: Literal["none", "even", "odd"] = "none"
    """Parity, as set in all devices of the line."""
    stop_bits: Literal[1, 2] = 1
    """Stop bits, as set in all devices of the line."""
    timeout: Seconds = 0.5
    """How long a device may take to begin its answer."""
    echo: bool = False
    """True for adapters that hear what they send."""


class SerialBus(Part):
    """A serial port with one device that speaks by itself (P1, particle sensor)."""

    type: Literal["serial"]
    """Kind of bus."""
    port: str
    """Serial port; prefer a name below `/dev/serial/by-id/`, it stays the same after a restart."""
    baud: Annotated[int, Field(ge=300, le=1_000_000)] = 9600
    """Speed in bits a second."""
    parity: Literal["none", "even", "odd"] = "none"
    """Parity."""
    data_bits: Literal[7, 8] = 8
    """Data bits."""
    stop_bits: Literal[1, 2] = 1
    """Stop bits."""


class BleBus(Part):
    """A Bluetooth Low Energy adapter of BlueZ."""

    type: Literal["ble"]
    """Kind of bus."""
    adapter: str = "hci0"
    """Name of the adapter in BlueZ."""


class MqttBus(Part):
    """A session with an MQTT broker."""

    type: Literal["mqtt"]
    """Kind of bus."""
    host: str = "127.0.0.1"
    """Address or name of the MQTT broker."""
    port: Port = 1883
    """TCP port of the MQTT broker."""
    username: str | None = None
    """User name at the MQTT broker."""
    password_file: FilePath | None = None
    """File with the password."""
    tls: bool = False
    """True to use TLS."""
    ca_file: FilePath | None = None
    """Certificates to trust instead of the ones of the system."""


BusConfig = Annotated[ModbusRtuBus | SerialBus | BleBus | MqttBus, Field(discriminator="type")]


class Calibration(Part):
    """value = raw x scale + offset, per quantity."""

    scale: float = 1.0
    """Factor."""
    offset: float = 0.0
    """Added after scaling, in the unit of the quantity."""


class Device(Part):
    """One device. Its name and the site make the entity id: a replaced meter goes on as the same entity."""

    template: str
    """Name of the template; see docs/reference/templates.md."""
    bus: Name
    """Name of the bus that it is on."""
    address: str | int | None = None
    """Modbus id (1-247), Bluetooth address (`AA:BB:CC:DD:EE:FF`) or MQTT topic prefix; none on a serial bus."""
    place: Annotated[str, Field(max_length=200)] = ""
    """Where it hangs, for people."""
    location: Location | None = None
    """Where it is, if not where the site is."""
    period: Seconds | None = None
    """Time between polls; without it as the template says."""
    calibration: dict[str, Calibration] = {}
    """Correction by quantity: value = raw x scale + offset."""
    options: dict[str, str | int | float | bool] = {}
    """Settings that the template knows."""


class Disaggregation(Part):
    """Which appliance uses what, from the total power of one meter."""

    meter: Name
    """Name of the device whose power is looked at."""
    quantity: str = "active_power_total"
    """Quantity of that device, in W."""
    model: FilePath | None = None
    """File with the learned appliances; without it nothing is told apart."""


class Privacy(Part):
    """What may leave the box. Appliance data is personal in homes: it stays unless granted."""

    appliances: Literal["keep", "send"] = "keep"
    """`keep`: what is known of single appliances stays on the box; `send`: it is sent."""


class ClockConfig(Part):
    """``trusted: true``: the system clock may be believed at once (an RTC, a demo)."""

    trusted: bool = False
    """True where the system clock is right from the start."""


class Storage(Part):
    """Files of this box."""

    path: FilePath = Path("/var/lib/lamppost")
    """Folder of the outbox, the control socket and the server's database."""
    outbox_max: Bytes = 512 * 2**20
    """Largest size of the outbox on disk; then the oldest readings give way, counted."""
    commit_interval: Seconds = 1.0
    """How often readings are made safe on disk: what a power cut can cost."""


class Local(Part):
    """The local port of the edge role: Prometheus metrics and health."""

    listen: Listen = Listen(port=9091)
    """Where metrics and health are served; loopback only."""


class Config(Part):
    """The parts of the file."""

    site: Site
    """Where the box hangs."""
    server: Server | None = None
    """The server role; without it the defaults."""
    uplink: Uplink | None = None
    """Where the edge role sends to; with both roles in one process the address of its own server."""
    links: Annotated[list[LinkConfig], Field(max_length=8)] = []
    """Ways out."""
    buses: dict[Name, BusConfig] = {}
    """Media by name."""
    devices: dict[Name, Device] = {}
    """Devices by name."""
    disaggregation: Disaggregation | None = None
    """Appliances from total power; without it none."""
    privacy: Privacy = Privacy()
    """What may leave the box."""
    clock: ClockConfig = ClockConfig()
    """Whether the system clock may be believed."""
    storage: Storage = Storage()
    """Files of this box."""
    local: Local = Local()
    """The local port of the edge role."""
