"""bleak's scanner, tapped where BlueZ's properties arrive: most advertisements are nobody's, and must cost little.

bleak makes a handle and a record of each advertisement before anybody may say that it is not wanted; here the sender's
address is looked at first. Starting, stopping, filters and the D-Bus stay bleak's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from bleak import BleakScanner
from bleak.backends.bluezdbus.scanner import BleakScannerBlueZDBus
from bleak.backends.device import BLEDevice

from drivers.codecs.advertising import PATTERNS
from drivers.codecs.broadcast import Advert

Mode = Literal["active", "passive"]
Properties = Mapping[str, Any]  # of org.bluez.Device1
Heard = Callable[[str, Properties], None]  # object path, properties: those of now, which change with time


def scanner(adapter: str, mode: Mode, heard: Heard) -> BleakScanner:
    """A scanner that calls ``heard`` for each advertisement; not yet started."""

    class Tapped(BleakScannerBlueZDBus):
        """bleak's backend, which hands on what BlueZ says."""

        def _handle_advertising_data(self, path: str, props: Any) -> None:
            heard(path, props)

    bluez: dict[str, Any] = {"adapter": adapter}
    if mode == "passive":
        bluez["or_patterns"] = [(0, kind, start) for kind, start in PATTERNS]
    return BleakScanner(scanning_mode=mode, bluez=cast("Any", bluez), backend=Tapped)


def handle(path: str, properties: Properties) -> BLEDevice:
    """What bleak connects with."""
    name = properties.get("Name") or properties.get("Alias")
    return BLEDevice(properties["Address"], name, {"path": path, "props": dict(properties)})


def advert(properties: Properties) -> Advert:
    """What the codecs take."""
    return Advert(
        properties.get("ManufacturerData", {}),
        properties.get("ServiceData", {}),
        properties["Address"],
        properties.get("Name", ""),
        properties.get("UUIDs", ()),
        properties.get("RSSI"),
    )
