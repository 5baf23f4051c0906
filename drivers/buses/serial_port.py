"""Serial ports: opening them with errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import serial
from serial.rs485 import RS485Settings

from drivers.buses.serial_names import PortFound, list_ports, resolve
from drivers.errors import Disconnected, DriverError, NoPermission, NoPort

__all__ = ["PortFound", "PortSettings", "SerialPort", "list_ports", "open_error"]

log = logging.getLogger("lamppost.drivers")

READ_BYTES_MAX = 4096
_TOLD: set[str] = set()  # ports of which was said that they cannot switch direction: once is enough
_PARITY: Mapping[str, str] = MappingProxyType(
    {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}
)


@dataclass(frozen=True, slots=True)
class PortSettings:
    """What it takes to open a port; ``path`` is a name as ``serial_names.resolve`` takes it.

    ``rs485``: the port itself switches the direction of the line (RTS).
    """

    path: str
    baud: int = 9600
    parity: str = "none"
    data_bits: int = 8
    stop_bits: int = 1
    rs485: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> PortSettings:
        """From a bus of the configuration."""
        return cls(
            str(settings["port"]),
            int(settings.get("baud", 9600)),
            str(settings.get("parity", "none")),
            int(settings.get("data_bits", 8)),
            int(settings.get("stop_bits", 1)),
            bool(settings.get("rs485", False)),
        )

    @property
    def char_s(self) -> float:
        """Seconds that one character takes: start bit, data, parity, stop bits."""
        return (1 + self.data_bits + (self.parity != "none") + self.stop_bits) / self.baud


class SerialPort:
    """An open port, non-blocking. Every failure closes it and is raised as Disconnected."""

    def __init__(self, settings: PortSettings, *, low_latency: bool = False, check_parity: bool = False) -> None:
        """Open it, for this process alone. Raises NoPort, NoPermission or Disconnected.

        ``low_latency`` asks the adapter not to hold bytes back (an FTDI chip does so for 16 ms). ``check_parity`` has a
        character of the wrong parity read as a zero byte: for texts and weak checksums, where it says much.
        """
        self.path = settings.path
        path = resolve(settings.path)
        # a pseudo-terminal has characters of 8 bits without parity, and kernels refuse to pretend otherwise
        plain = os.path.realpath(path).startswith("/dev/pts/")
        try:
            self._serial = serial.Serial(
                path,
                settings.baud,
                8 if plain else settings.data_bits,
                serial.PARITY_NONE if plain else _PARITY[settings.parity],
                settings.stop_bits,
                timeout=0,
                exclusive=True,
            )
            self.fd: int = self._serial.fileno()
            self._checked = check_parity and settings.parity != "none"
            _tune(self.fd, parity=self._checked)
            self._serial.reset_input_buffer()
        except (OSError, ValueError, termios.error) as error:  # pyserial's SerialException is an OSError
            raise open_error(path, error) from None
        if low_latency:
            with contextlib.suppress(OSError, ValueError):  # not every port can, and none must
                self._serial.set_low_latency_mode(True)
        if settings.rs485:
            self._switch_direction()

    def read(self) -> bytes:
        """What has arrived, b"" for nothing. Raises Disconnected."""
        try:
            data = os.read(self.fd, READ_BYTES_MAX)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._lost(error) from None
        if not data:  # end of file on a terminal: it hung up
            raise self._lost(OSError(errno.EIO, "hung up"))
        return data

    def write(self, data: bytes) -> None:
        """Hand all bytes to the kernel. Raises Disconnected."""
        try:
            written = os.write(self.fd, data)
        except OSError as error:
            raise self._lost(error) from None
        if written != len(data):
            raise self._lost(OSError(errno.EAGAIN, "takes no more bytes"))

    def set_speed(self, baud: int) -> None:
        """Speak and listen at another speed from now on; what was written should be through. Raises Disconnected."""
        if not self._serial.is_open:  # its descriptor may be another file's by now
            raise Disconnected(f"{self.path} is closed")
        try:
            self._serial.baudrate = baud
            _tune(self.fd, parity=self._checked)
        except (OSError, ValueError, termios.error) as error:
            raise Disconnected(f"{self.path} cannot be set to {baud} baud: {error}") from None

    def close(self) -> None:
        """Close it; safe to call twice."""
        with contextlib.suppress(OSError):
            self._serial.close()

    def _switch_direction(self) -> None:
        try:
            self._serial.rs485_mode = RS485Settings()
        except (OSError, ValueError):
            if self.path not in _TOLD:
                _TOLD.add(self.path)
                log.warning(
                    "%s cannot switch the direction of an RS-485 line itself: `rs485: true` has no effect. Leave it "
                    "out for an adapter that does so alone.",
                    self.path,
                )

    def _lost(self, error: OSError) -> Disconnected:
        return Disconnected(f"{self.path} went away: {error.strerror or error}")


def _tune(fd: int, *, parity: bool) -> None:
    """Set what pyserial leaves: see termios(3).

    With VMIN 0 a read without data would look like an end of file. With INPCK a character of the wrong parity is read
    as a zero byte.
    """
    attributes = termios.tcgetattr(fd)
    attributes[6][termios.VMIN] = 1
    if parity:
        attributes[0] = (attributes[0] | termios.INPCK) & ~(termios.IGNPAR | termios.PARMRK)
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


def open_error(path: str, error: Exception) -> DriverError:
    """What a failure to open means."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, termios.error) and error.args:
        number = int(error.args[0])
    if number in (errno.EACCES, errno.EPERM):
        return NoPermission(f"{path} may not be opened: {os.strerror(number)}")
    if number in (errno.EBUSY, errno.EAGAIN):
        return NoPermission(f"{path} is in use by another program")
    if number in (errno.EIO, errno.ENXIO) and Path(path).exists():
        return Disconnected(f"{path} went away while it was opened")
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR):
        return NoPort(f"{path} is not there")
    return NoPort(f"{path} cannot be used as a serial port: {error}")
