"""The schema of the configuration file.

Durations are seconds (``10``, ``"10s"``, ``"5min"``, ``"1h"``), sizes are bytes (``"64MB"``).

Every model refuses unknown keys. A secret is never a value in this file: it is the name of a file (``*_file``).
Names of files are relative to the folder of the configuration file.

The text under each key is its documentation: ``python -m gateway.cli.docs`` reads it from the source, so that it costs
no memory on the box.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gateway.config.buses import BusConfig
from gateway.config.kinds import Bytes, FilePath, Hours, Interface, Listen, Name, Part, Port, Seconds

Carried = Literal["alarm", "live", "history"]
PostgresUrl = Annotated[str, Field(pattern=r"^postgres(ql)?://([^:@/]+@)?[^@]+$")]


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


class MqttIngest(Part):
    """The MQTT broker between boxes and server. Whoever may publish `lamppost/v1/NAME/#` there is the gateway NAME."""

    host: str = "127.0.0.1"
    """Address or name of the MQTT broker."""
    port: Port = 1883
    """TCP port of the MQTT broker."""
    username: str | None = None
    """User name at the MQTT broker."""
    password_file: FilePath | None = None
    """File with the password."""
    tls: bool = False
    """True to use TLS; needed beyond loopback."""
    ca_file: FilePath | None = None
    """Certificates to trust instead of the ones of the system."""
    certificate_file: FilePath | None = None
    """Certificate of this server, where the broker asks for one."""
    key_file: FilePath | None = None
    """Private key of that certificate."""


class CoapIngest(Part):
    """The CoAP endpoint for boxes. Nothing unprotected is taken."""

    listen: Listen = Listen(port=5683)
    """Where boxes send to."""
    credentials_file: FilePath
    """File with the OSCORE keys of the boxes, one part a gateway, by its name."""
    state_path: FilePath | None = None
    """Folder for what OSCORE must remember; without it `oscore` beside the credentials."""


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
    database: PostgresUrl | None = None
    """PostgreSQL instead of the embedded database: `postgresql://user@host:5432/name`, for several server nodes."""
    database_password_file: FilePath | None = None
    """File with the password of that user."""
    database_replica: PostgresUrl | None = None
    """A hot standby of it, likewise, that queries are read from; without it they are read from the database itself."""
    storage_max: Bytes = 16 * 2**30
    """Largest database; beyond it writes are refused."""
    history_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """Values observed longer ago are removed from history; without it all of it stays, up to `storage_max`."""
    ca_file: FilePath | None = None
    """Authorities (PEM) to trust beside those of the system: of receivers (`https`, `mqtts`), sources, contexts."""
    notify_prefixes: Annotated[list[str], Field(max_length=100)] = []
    """URL prefixes inside private networks that subscriptions may notify, such as `http://192.168.1.5:8080/hook`.

    Without a port: every port of that host."""
    context_prefixes: Annotated[list[str], Field(max_length=100)] = []
    """URL prefixes inside private networks from which JSON-LD contexts may be loaded; likewise."""
    context_files: Annotated[dict[str, FilePath], Field(max_length=1000)] = {}
    """URL of a JSON-LD context: file with it, which is used instead of a download."""
    alias: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "lamppost"
    """What the server calls itself among sources of context (NGSI-LD `contextSourceAlias`)."""
    hosts: Annotated[list[str], Field(max_length=100)] = []
    """Further names of this server where it has no token: behind a reverse proxy on the same machine."""
    mqtt: MqttIngest | None = None
    """A broker where boxes publish compact batches; without it none is asked."""
    coap: CoapIngest | None = None
    """Where boxes send compact batches over CoAP; without it nothing listens."""


class Uplink(Part):
    """Where the edge role sends to."""

    url: str
    """Address of the server, `https://host[:port]`; compact also over `mqtts://` (a broker) and `coap://` (OSCORE)."""
    language: Literal["ngsi-ld", "compact"] = "ngsi-ld"
    """`ngsi-ld`: any NGSI-LD broker understands it; `compact`: a tenth of the bytes, towards a Lamppost server."""
    tenant: Annotated[str, Field(max_length=256)] | None = None
    """NGSI-LD tenant; without it the default tenant."""
    token_file: FilePath | None = None
    """File with the token to send."""
    ca_file: FilePath | None = None
    """Certificates to trust instead of the ones of the system."""
    certificate_file: FilePath | None = None
    """Certificate of this box (PEM), where the server asks for one."""
    key_file: FilePath | None = None
    """Private key of that certificate (PEM, without password), readable by the service only."""
    username: str | None = None
    """User name at the MQTT broker."""
    password_file: FilePath | None = None
    """File with the password at the MQTT broker."""
    credentials_file: FilePath | None = None
    """File with the OSCORE keys for a server that is reached over CoAP, under the name `server`."""
    interval: Seconds | None = None
    """How long readings are gathered before a batch is sent; events go at once. Without it 0.5 s where bytes cost
    nothing, so that what is acknowledged in time is never written to the card. On metered links a minute or more.
    """
    batch_max: Annotated[int, Field(ge=1, le=10_000)] = 2000
    """Largest number of readings in a batch."""
    backlog_share: Annotated[float, Field(ge=0.05, le=1.0)] = 0.8
    """Share of the time that sending the backlog may take; the rest is left to what is new."""
    timeout: Seconds = 10.0
    """How long the server may take to answer."""


class ModemConfig(Part):
    """The modem below a link. NetworkManager and ModemManager do the work; a refused PIN is never sent again."""

    apn: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Access point name of the operator; without it the link's `connection` has one."""
    user: Annotated[str, Field(max_length=100)] | None = None
    """User name at the access point, where the operator gives one."""
    password_file: FilePath | None = None
    """File with the password at the access point."""
    pin_file: FilePath | None = None
    """File with the PIN of the SIM."""
    allow_roaming: bool = False
    """True where the contract covers foreign networks."""


class LinkConfig(Part):
    """One way out; the first is preferred, then the next. Without any, there is one link ``default`` over whatever the
    routing table says.
    """

    name: Name
    """Name of the link."""
    interface: Interface | None = None
    """Network interface, such as `wwan0`: all that goes over this link is bound to it."""
    connection: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Name of a connection of NetworkManager, instead of an interface."""
    on_demand: bool = False
    """True: the connection is brought up where no link before it works, and taken down after."""
    idle: Seconds | None = None
    """With `on_demand`: after so long without an exchange the connection is taken down, and up for the next one."""
    cost: Literal["free", "metered"] = "free"
    """`metered` where bytes cost money: batches are larger, retries and probes rare."""
    budget: Bytes | None = None
    """Bytes a month, both ways, as the kernel counts them on the interface; when 5 % are left only alarms go."""
    budget_day: Annotated[int, Field(ge=1, le=28)] = 1
    """Day of the month on which the budget begins anew, in the time zone of the site."""
    hours: Annotated[list[Hours], Field(max_length=8)] = []
    """When the link may be used, such as `22:00-06:00`, in the time zone of the site; without it always."""
    carries: Annotated[list[Carried], Field(min_length=1, max_length=3)] = ["alarm", "live", "history"]
    """What may travel on it: events, the newest readings, what had to wait."""
    probe: str | None = None
    """URL that is asked to see whether the link works; without it the time of the server in `uplink`."""
    dns: Annotated[list[str], Field(max_length=4)] = []
    """Addresses of the name servers of this link; without it those of NetworkManager or of /etc/resolv.conf."""
    modem: ModemConfig | None = None
    """The modem below the link: access point, PIN, roaming. A modem that is stuck is worked on."""

    @property
    def metered(self) -> bool:
        """Whether bytes cost money."""
        return self.cost == "metered"

    @model_validator(mode="before")
    @classmethod
    def _metered(cls, data: object) -> object:
        """`metered: true`, as it was written before there was `cost`."""
        if isinstance(data, dict) and isinstance(data.get("metered"), bool) and "cost" not in data:
            rest = {key: value for key, value in data.items() if key != "metered"}
            return {**rest, "cost": "metered" if data["metered"] else "free"}
        return data


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
    """Modbus id, M-Bus address, Bluetooth address (`AA:BB:CC:DD:EE:FF`), MQTT prefix or URL; none on a serial bus."""
    place: Annotated[str, Field(max_length=200)] = ""
    """Where it hangs, for people."""
    location: Location | None = None
    """Where it is, if not where the site is."""
    location_type: Literal["indoor", "outdoor"] | None = None
    """Whether an air sensor hangs inside or outside; without it nothing is said."""
    period: Seconds | None = None
    """Time between polls; without it as the template says."""
    key_file: FilePath | None = None
    """File with the device's key (hexadecimal), where what it sends is encrypted."""
    calibration: dict[str, Calibration] = {}
    """Correction by quantity: value = raw x scale + offset."""
    counters: Literal["total", "raw"] = "total"
    """`total`: counters go on when the device wraps, restarts or is replaced; `raw`: as its display shows them."""
    options: dict[str, str | int | float | bool] = {}
    """Settings that the template knows."""

    @property
    def driver_options(self) -> dict[str, str | int | float | bool]:
        """What the driver is told: the options, and where the device's key is."""
        return self.options if self.key_file is None else {**self.options, "key_file": str(self.key_file)}


class Disaggregation(Part):
    """Which appliance uses what, from the power of one meter."""

    meter: Name
    """Name of the device whose power is looked at."""
    quantity: str = "active_power_total"
    """Quantity of that device, in W. `active_power` (or `apparent_power`): each phase by itself, which tells more
    apart. A model is made for one or the other."""
    model: FilePath | None = None
    """File with the learned appliances; without it and `key` nothing is told apart."""
    key: Annotated[str, Field(pattern=r"^ed25519:[A-Za-z0-9+/]{43}=$")] | None = None
    """Public key that models are signed with (`lamppost models key` prints it): the gateway pulls its models from
    `uplink.url`, which must be http(s) for it, and uses only what is signed with this key."""


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
    """How long a reading that is not delivered yet may stay in memory: what a power cut can cost. Alarms never wait."""
    full: Literal["drop", "thin"] = "drop"
    """Where `outbox_max` is reached, or the disk is full: drop the oldest readings, or thin the older half of them to
    every second observation, again and again. Alarms give way last."""
    keep_for: Seconds | None = None
    """Readings that were not delivered for so long are given up, counted; without it never."""
    acked_max: Bytes | Literal[0] = 16 * 2**20
    """How much of what was delivered is kept, for a day at most, for a server that was restored from an older backup;
    `0` keeps none. It is part of `outbox_max` and gives way first."""


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
