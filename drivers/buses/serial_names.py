"""Names of serial ports: those that stay, and where they point to at this moment.

``ttyUSB0`` becomes ``ttyUSB1`` when a plug is pulled or the box restarts. What stays: the links below
``/dev/serial/by-id`` and ``by-path``, and the serial number of a USB adapter (``usb:SERIALNUMBER``). They are resolved
each time the port is opened.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from drivers.errors import NoPort

USB = "usb:"
DEV, SYS = Path("/dev"), Path("/sys")
_PATTERNS = ("ttyUSB*", "ttyACM*", "ttyAMA*", "ttyS[0-9]*")
_LEVELS_MAX = 6  # from the port up to the USB device: port, interface, device, with hubs in the name only


@dataclass(frozen=True, slots=True)
class PortFound:
    """A serial port of this box. ``device`` is its name of the moment, ``path`` the one to configure."""

    path: str
    device: str
    usable: bool


def resolve(name: str, dev: Path = DEV, sys: Path = SYS) -> str:
    """The path to open for a configured name: a path, ``ttyUSB0``, or ``usb:SERIALNUMBER``. Raises NoPort."""
    if name.startswith(USB):
        return _of_usb(name.removeprefix(USB), dev, sys)
    return name if "/" in name else str(dev / name)


def stays(name: str) -> bool:
    """Whether the name means the same adapter after a restart."""
    return name.startswith(USB) or "/by-id/" in name or "/by-path/" in name or not _numbered(name)


def list_ports(dev: Path = DEV) -> list[PortFound]:
    """The serial ports of this box: names by id first, then by path, then the bare ones nobody else named."""
    found: dict[str, PortFound] = {}
    links = [link for folder in ("by-id", "by-path") for link in sorted((dev / "serial" / folder).glob("*"))]
    for path in (*links, *(bare for pattern in _PATTERNS for bare in sorted(dev.glob(pattern)))):
        device = str(path.resolve())
        if device not in found and _is_terminal(path):
            found[device] = PortFound(str(path), device, os.access(path, os.R_OK | os.W_OK))
    return list(found.values())


def _of_usb(serial_number: str, dev: Path, sys: Path) -> str:
    ports = sorted((sys / "class" / "tty").glob("tty*"))
    found = [str(dev / port.name) for port in ports if _usb_serial(port) == serial_number]
    if not found:  # a container may have no /sys
        links = sorted((dev / "serial" / "by-id").glob("usb-*"))
        found = [str(link.resolve()) for link in links if f"_{serial_number}-" in link.name]
    if not serial_number or not found:
        raise NoPort(f"no USB adapter with serial number {serial_number!r} is plugged in")
    if len(found) > 1:
        raise NoPort(f"{USB}{serial_number} has {len(found)} ports: name one of them below /dev/serial/by-id")
    return found[0]


def _usb_serial(port: Path) -> str | None:
    """The serial number of the USB device that a port of /sys/class/tty belongs to."""
    if not (port / "device").exists():
        return None
    folder = (port / "device").resolve()
    for above in (folder, *folder.parents[:_LEVELS_MAX]):
        if (above / "idVendor").exists():
            try:
                return (above / "serial").read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                return None
    return None


def _numbered(name: str) -> bool:
    """Whether the kernel numbers ports of this kind in the order of their appearance."""
    return Path(name).name.startswith(("ttyUSB", "ttyACM"))


def _is_terminal(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        return False
