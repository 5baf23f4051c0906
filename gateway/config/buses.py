"""The buses of the configuration file, by ``type``.

Types of other distributions (entry-point group ``lamppost.buses``) are let through as they stand: their own
``make_bus`` checks them.

The text under each key is its documentation, as in ``gateway.config.schema``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidatorFunctionWrapHandler, WrapValidator

from drivers.plugins import offered
from gateway.config.kinds import Bytes, FilePath, Listen, Part, Port, Seconds

Baud = Annotated[int, Field(ge=300, le=1_000_000)]
Parity = Literal["none", "even", "odd"]


class ModbusRtuBus(Part):
    """A Modbus RTU line (RS-485 or RS-232)."""

    type: Literal["modbus-rtu"]
    """Kind of bus."""
    port: str
    """Serial port: a name below `/dev/serial/by-id/`, or `usb:SERIALNUMBER`; they stay the same after a restart."""
    baud: Baud = 9600
    """Speed in bits a second, as set in all devices of the line."""
    parity: Parity = "none"
    """Parity, as set in all devices of the line."""
    stop_bits: Literal[1, 2] = 1
    """Stop bits, as set in all devices of the line."""
    timeout: Seconds = 0.5
    """How long a device may take to begin its answer."""
    late: Seconds | None = None
    """How long after its time-out an answer may still come; without it three time-outs, at least 1 s."""
    gap: Seconds | None = None
    """Silence before each request; without it 3.5 characters."""
    echo: bool = False
    """True for adapters that hear what they send."""
    rs485: bool = False
    """True where the port itself switches the direction of the line (RTS), as those of some boards do."""


class ModbusTcpBus(Part):
    """A Modbus TCP host: a device, or a gateway to a line behind it."""

    type: Literal["modbus-tcp"]
    """Kind of bus."""
    host: str
    """Address or name of the host."""
    port: Port = 502
    """TCP port."""
    framing: Literal["tcp", "rtu"] = "tcp"
    """`tcp` for Modbus TCP, `rtu` for converters that pass the bytes of a line through."""
    baud: Baud | None = None
    """Speed of the line behind a gateway, where there is one: its load is computed from it."""
    timeout: Seconds = 1.0
    """How long a device may take to answer."""
    late: Seconds | None = None
    """How long after its time-out an answer may still come (`rtu` framing)."""
    gap: Seconds | None = None
    """Pause before each request, for devices that need one."""


class SerialBus(Part):
    """A serial port with one device on it: a P1 meter, a particle sensor, a GNSS receiver."""

    type: Literal["serial"]
    """Kind of bus."""
    port: str
    """Serial port: a name below `/dev/serial/by-id/`, or `usb:SERIALNUMBER`; they stay the same after a restart."""
    baud: Baud = 9600
    """Speed in bits a second."""
    parity: Parity = "none"
    """Parity."""
    data_bits: Literal[7, 8] = 8
    """Data bits."""
    stop_bits: Literal[1, 2] = 1
    """Stop bits."""


class MBusBus(Part):
    """An M-Bus (EN 13757-2) behind a level converter on a serial port."""

    type: Literal["mbus"]
    """Kind of bus."""
    port: str
    """Serial port: a name below `/dev/serial/by-id/`, or `usb:SERIALNUMBER`; they stay the same after a restart."""
    baud: Baud = 2400
    """Speed in bits a second."""
    parity: Parity = "even"
    """Parity."""
    timeout: Seconds = 0.5
    """How long a meter may take to begin its answer."""


class BleBus(Part):
    """A Bluetooth Low Energy adapter of BlueZ."""

    type: Literal["ble"]
    """Kind of bus."""
    adapter: str = "hci0"
    """Name of the adapter in BlueZ."""
    connections_max: Annotated[int, Field(ge=1, le=16)] = 4
    """How many sensors may be connected at the same time; the others wait for their turn."""


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
    certificate_file: FilePath | None = None
    """Certificate of this box, where the broker asks for one."""
    key_file: FilePath | None = None
    """Private key of that certificate."""


class CoapBus(Part):
    """A CoAP endpoint: observes sensors, and takes what sensors push."""

    type: Literal["coap"]
    """Kind of bus."""
    listen: Listen | None = None
    """Where sensors may push to, as `POST /push/ADDRESS`; without it nothing listens."""
    credentials_file: FilePath | None = None
    """File with the OSCORE keys of the sensors; with it nothing unprotected is taken or asked."""
    unprotected: bool = False
    """True to listen beyond loopback without OSCORE: anybody who reaches the port can then send values."""
    state_path: FilePath | None = None
    """Folder for what OSCORE must remember; without it `oscore` beside the credentials."""
    timeout: Seconds = 30.0
    """How long a sensor may take to answer."""
    body_max: Bytes = 256 * 2**10
    """Largest body that is taken."""


class HttpBus(Part):
    """Sensors that are asked over HTTP, and sensors that push."""

    type: Literal["http"]
    """Kind of bus."""
    listen: Listen | None = None
    """Where sensors may push to; without it nothing listens."""
    username: str | None = None
    """User name that sensors must give when they push."""
    password_file: FilePath | None = None
    """File with the password that sensors must give."""
    ca_file: FilePath | None = None
    """Certificates to trust instead of the ones of the system, for sensors asked by https."""
    timeout: Seconds = 10.0
    """How long a sensor may take to answer."""
    body_max: Bytes = 256 * 2**10
    """Largest body that is taken."""


class OtherBus(Part):
    """A bus of a type that another distribution brings."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str


def _other(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind in TYPES:
        return handler(value)
    if kind in offered("lamppost.buses"):
        return OtherBus.model_validate(value)
    return handler(value)


BusConfig = Annotated[
    ModbusRtuBus | ModbusTcpBus | SerialBus | MBusBus | BleBus | MqttBus | CoapBus | HttpBus,
    Field(discriminator="type"),
    WrapValidator(_other),
]
TYPES = ("modbus-rtu", "modbus-tcp", "serial", "mbus", "ble", "mqtt", "coap", "http")
