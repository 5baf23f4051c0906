"""The error tree of the device side.

::

    DriverError
    ├── Transient          try again: the supervisor backs off by itself
    │   ├── Timeout            no answer in time
    │   ├── BadFrame           an answer that fails its checksum, length or match
    │   ├── Refused            the device answered with an exception (Modbus exception, BLE error)
    │   └── Disconnected       the medium went away while in use
    └── NeedsHuman         retried slowly; somebody has to do something
        ├── NoPort             the port, adapter or host is not there
        ├── NoPermission       it is there and may not be opened
        │   ├── LoginRefused       name, password or certificate are refused
        │   └── NotTrusted         the certificate of the other side cannot be trusted
        ├── WrongDevice        another device answers at that address
        └── Misconfigured      bus, template, address and options do not go together

Each class has a stable ``code`` and a ``fix``: what to do about it, in one sentence.
"""

from __future__ import annotations

from typing import ClassVar


class DriverError(Exception):
    """Base of all that a bus or a driver raises."""

    code: ClassVar[str] = "driver.error"
    fix: ClassVar[str] = "Run `lamppost doctor`."


class Transient(DriverError):  # noqa: N818 - a kind of error, never raised itself
    """It may work the next time."""

    code = "driver.transient"


class Timeout(Transient):
    """No answer in time."""

    code = "driver.timeout"
    fix = "Check power, wiring (A and B swapped?), address and baud rate of the device."


class BadFrame(Transient):
    """An answer that is damaged or does not belong to the question."""

    code = "driver.bad-frame"
    fix = "Check termination, shielding and baud rate of the line; two devices may share one address."


class Refused(Transient):
    """The device answered that it will not or cannot."""

    code = "driver.refused"
    fix = "Check that the template fits the model and firmware of the device."


class Disconnected(Transient):
    """The medium went away while in use."""

    code = "driver.disconnected"
    fix = "Check the plug and the cable; the bus is opened again by itself when it is back."


class NeedsHuman(DriverError):  # noqa: N818 - a kind of error, never raised itself
    """It will not work until somebody does something; retried slowly all the same."""

    code = "driver.needs-human"


class NoPort(NeedsHuman):
    """The port, adapter or host is not there."""

    code = "driver.no-port"
    fix = "Check the name of the port with `lamppost scan`; prefer /dev/serial/by-id names."


class NoPermission(NeedsHuman):
    """The port is there and may not be opened."""

    code = "driver.no-permission"
    fix = "Add the service's user to the group of the device (dialout, bluetooth) and restart."


class LoginRefused(NoPermission):
    """The other side refuses name, password or certificate, or what was asked of it with them."""

    code = "driver.login-refused"
    fix = "Check username, password_file and certificate of the bus, and what the other side allows them."


class NotTrusted(NoPermission):
    """The certificate of the other side cannot be trusted."""

    code = "driver.not-trusted"
    fix = "Name its authority in ca_file; check the name in its certificate, and the date of both sides."


class WrongDevice(NeedsHuman):
    """Another device answers at that address."""

    code = "driver.wrong-device"
    fix = "Compare the template with the model of the device that is installed."


class Misconfigured(NeedsHuman):
    """Bus, template, address and options do not go together."""

    code = "driver.misconfigured"
    fix = "Correct the device or the bus in the configuration; see `lamppost check`."
