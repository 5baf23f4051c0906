"""Names of serial ports: what they point to now, in a folder that looks like /dev and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.buses.serial_names import resolve, stays
from drivers.errors import NoPort


class Box:
    """A /dev and a /sys to plug adapters into."""

    def __init__(self, folder: Path) -> None:
        self.dev, self.sys = folder / "dev", folder / "sys"
        (self.dev / "serial" / "by-id").mkdir(parents=True)
        (self.sys / "class" / "tty").mkdir(parents=True)

    def plug(self, name: str, serial: str, port: int = 0, *, kind: str = "usb-serial") -> None:
        """As the kernel shows it: the port below its interface (and its usb-serial port) below the USB device."""
        device = self.sys / "devices" / "pci" / "usb1" / f"1-{serial}"
        interface = device / f"1-{serial}:1.{port}"
        below = interface / name if kind == "usb-serial" else interface
        below.mkdir(parents=True, exist_ok=True)
        (device / "idVendor").write_text("0403\n")
        (device / "serial").write_text(f"{serial}\n")
        shown = self.sys / "class" / "tty" / name
        shown.mkdir()
        (shown / "device").symlink_to(below)
        (self.dev / name).write_text("")
        link = self.dev / "serial" / "by-id" / f"usb-FTDI_FT232R_{serial}-if{port:02}-port0"
        link.symlink_to(self.dev / name)

    def unplug(self, name: str) -> None:
        (self.sys / "class" / "tty" / name / "device").unlink()
        (self.sys / "class" / "tty" / name).rmdir()
        for link in (self.dev / "serial" / "by-id").iterdir():
            if link.resolve() == (self.dev / name).resolve():
                link.unlink()
        (self.dev / name).unlink()

    def resolve(self, name: str) -> str:
        return resolve(name, self.dev, self.sys)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    made = Box(tmp_path)
    (made.sys / "class" / "tty" / "ttyS0").mkdir()
    (made.sys / "class" / "tty" / "console").mkdir()
    return made


@pytest.mark.parametrize("kind", ["usb-serial", "cdc-acm"])
def test_serial_number_is_followed_when_the_port_is_renumbered(box: Box, kind: str) -> None:
    box.plug("ttyUSB0", "A1", kind=kind)
    box.plug("ttyUSB1", "B2", kind=kind)
    assert box.resolve("usb:A1") == str(box.dev / "ttyUSB0")
    box.unplug("ttyUSB0")
    with pytest.raises(NoPort, match="'A1' is plugged in"):
        box.resolve("usb:A1")
    box.plug("ttyUSB7", "A1", kind=kind)
    assert box.resolve("usb:A1") == str(box.dev / "ttyUSB7")
    assert box.resolve("usb:B2") == str(box.dev / "ttyUSB1")


def test_links_help_where_there_is_no_sys(box: Box) -> None:
    box.plug("ttyUSB3", "C3")
    assert resolve("usb:C3", box.dev, box.sys / "nothing") == str(box.dev / "ttyUSB3")


def test_adapter_with_several_ports_is_not_guessed(box: Box) -> None:
    box.plug("ttyUSB0", "Q4", 0)
    box.plug("ttyUSB1", "Q4", 1)
    with pytest.raises(NoPort, match="2 ports: name one of them below /dev/serial/by-id"):
        box.resolve("usb:Q4")


@pytest.mark.parametrize("name", ["usb:", "usb:*", "usb:../A1", "usb:a1"])
def test_what_is_no_serial_number(box: Box, name: str) -> None:
    box.plug("ttyUSB0", "A1")
    with pytest.raises(NoPort):
        box.resolve(name)


def test_paths_are_taken_as_they_stand(box: Box) -> None:
    assert box.resolve("/dev/serial/by-path/x") == "/dev/serial/by-path/x"
    assert box.resolve("ttyUSB0") == str(box.dev / "ttyUSB0")


@pytest.mark.parametrize(
    ("name", "does"),
    [
        ("usb:A1", True),
        ("/dev/serial/by-id/usb-FTDI_ttyUSB", True),
        ("/dev/serial/by-path/pci-0000-usb", True),
        ("/dev/ttyAMA0", True),
        ("/dev/ttyUSB0", False),
        ("ttyACM3", False),
    ],
)
def test_names_that_stay(name: str, does: bool) -> None:
    assert stays(name) == does
