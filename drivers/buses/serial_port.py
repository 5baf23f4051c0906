"""Serial ports: opening them with errors that say what to do, listing them under names that stay."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import serial

from drivers.errors import Disconnected, DriverError, NoPermission, NoPort

READ_BYTES_MAX = 4096
_PARITY: Mapping[str, str] = MappingProxyType(
    {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}
)
_PATTERNS = ("ttyUSB*", "ttyACM*", "ttyAMA*", "ttyS[0-9]*")


@dataclass(frozen=True, slots=True)
class PortSettings:
    """What it takes to open a port; ``path`` best below /dev/serial/by-id."""

    path: str
    baud: int = 9600
    parity: str = "none"
    data_bits: int = 8
    stop_bits: int = 1

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> PortSettings:
        """From a bus of the configuration."""
        return cls(
            str(settings["port"]),
            int(settings.get("baud", 9600)),
            str(settings.get("parity", "none")),
            int(settings.get("data_bits", 8)),
            int(settings.get("stop_bits", 1)),
        )

    @property
    def char_s(self) -> float:
        """Seconds that one character takes: start bit, data, parity, stop bits."""
        return (1 + self.data_bits + (self.parity != "none") + self.stop_bits) / self.baud


@dataclass(frozen=True, slots=True)
class PortFound:
    """A serial port of this box. ``device`` is its name of the moment, ``path`` the one to configure."""

    path: str
    device: str
    usable: bool


class SerialPort:
    """An open port, non-blocking. Every failure closes it and is raised as Disconnected."""

    def __init__(self, settings: PortSettings) -> None:
        """Open it, for this process alone. Raises NoPort, NoPermission or Disconnected."""
        self.path = settings.path
        # a pseudo-terminal has characters of 8 bits without parity, and kernels refuse to pretend otherwise
        plain = os.path.realpath(settings.path).startswith("/dev/pts/")
        try:
            self._serial = serial.Serial(
                settings.path,
                settings.baud,
                8 if plain else settings.data_bits,
                serial.PARITY_NONE if plain else _PARITY[settings.parity],
                settings.stop_bits,
                timeout=0,
                exclusive=True,
            )
            self.fd: int = self._serial.fileno()
            _tell_hang_up_from_silence(self.fd)
            self._serial.reset_input_buffer()
        except (OSError, ValueError, termios.error) as error:  # pyserial's SerialException is an OSError
            raise open_error(settings.path, error) from None

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

    def close(self) -> None:
        """Close it; safe to call twice."""
        with contextlib.suppress(OSError):
            self._serial.close()

    def _lost(self, error: OSError) -> Disconnected:
        return Disconnected(f"{self.path} went away: {error.strerror or error}")


def _tell_hang_up_from_silence(fd: int) -> None:
    """With VMIN 0, as pyserial leaves it, a read without data looks like an end of file (termios(3))."""
    attributes = termios.tcgetattr(fd)
    attributes[6][termios.VMIN] = 1
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


def list_ports(dev: Path = Path("/dev")) -> list[PortFound]:
    """The serial ports of this box: names by id first, then by path, then the bare ones nobody else named."""
    found: dict[str, PortFound] = {}
    links = [link for folder in ("by-id", "by-path") for link in sorted((dev / "serial" / folder).glob("*"))]
    for path in (*links, *(bare for pattern in _PATTERNS for bare in sorted(dev.glob(pattern)))):
        device = str(path.resolve())
        if device not in found and _is_terminal(path):
            found[device] = PortFound(str(path), device, os.access(path, os.R_OK | os.W_OK))
    return list(found.values())


def _is_terminal(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        return False
