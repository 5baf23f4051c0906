"""GATT as BlueZ shows it: services and characteristics below a connected device, and who is notified of what."""

from __future__ import annotations

from dbus_fast import Message, Variant

from firmware_sim.ble import advert
from firmware_sim.ble.peripherals import Peripheral
from firmware_sim.ble.tree import ObjectTree, Properties, bluez_error

SERVICE, CHARACTERISTIC = "org.bluez.GattService1", "org.bluez.GattCharacteristic1"
FIRST_HANDLE = 0x0A
MTU = 247


class Gatt:
    """The part of the tree below connected devices."""

    def __init__(self, tree: ObjectTree) -> None:
        self._tree = tree
        self._notifying: dict[str, set[str]] = {}  # characteristic path: clients

    def show(self, path: str, device: Peripheral) -> None:
        """Add the device's service and its characteristics below the device's path."""
        assert device.service is not None
        service, handle = f"{path}/service{FIRST_HANDLE:04x}", FIRST_HANDLE
        uuid = Variant("s", advert.full_uuid(device.service))
        shown = {"UUID": uuid, "Device": Variant("o", path), "Primary": Variant("b", True)}
        self._tree.add(service, {SERVICE: shown})
        for row in device.characteristics:
            handle += 3  # declaration, value, configuration descriptor
            values: Properties = {
                "UUID": Variant("s", advert.full_uuid(row.uuid)),
                "Service": Variant("o", service),
                "Flags": Variant("as", list(row.flags)),
                "Value": Variant("ay", device.value(row, device.world.elapsed())),
                "MTU": Variant("q", MTU),
            }
            if "notify" in row.flags:
                values["Notifying"] = Variant("b", False)
            self._tree.add(f"{service}/char{handle:04x}", {CHARACTERISTIC: values})

    def hide(self, path: str) -> None:
        """Take the services of a device away, with everybody's notifications."""
        for characteristic in [known for known in self._notifying if known.startswith(path)]:
            del self._notifying[characteristic]
        self._tree.remove(f"{path}/service{FIRST_HANDLE:04x}")

    def read_value(self, message: Message) -> Message:
        """ReadValue."""
        path = message.path or ""
        if "read" not in self._tree.get(path, CHARACTERISTIC, "Flags"):
            raise bluez_error("NotPermitted", "Read not permitted")
        return Message.new_method_return(message, "ay", [self._tree.get(path, CHARACTERISTIC, "Value")])

    def start_notify(self, message: Message) -> Message:
        """StartNotify: a session of the calling client."""
        path = message.path or ""
        if "notify" not in self._tree.get(path, CHARACTERISTIC, "Flags"):
            raise bluez_error("NotSupported", "Operation is not supported")
        clients = self._notifying.setdefault(path, set())
        if message.sender in clients:
            raise bluez_error("InProgress", "In Progress")
        clients.add(message.sender or "")
        self._tree.change(path, CHARACTERISTIC, {"Notifying": Variant("b", True)})
        return Message.new_method_return(message)

    def stop_notify(self, message: Message) -> Message:
        """StopNotify."""
        self._end(message.path or "", message.sender or "")
        return Message.new_method_return(message)

    def client_gone(self, client: str) -> None:
        """A client left the bus: its sessions end."""
        for path in list(self._notifying):
            self._end(path, client)

    def _end(self, path: str, client: str) -> None:
        clients = self._notifying.get(path, set())
        clients.discard(client)
        if path in self._notifying and not clients:
            del self._notifying[path]
            self._tree.change(path, CHARACTERISTIC, {"Notifying": Variant("b", False)})

    def notify(self, path: str, uuid: int | str, value: bytes) -> bool:
        """The device at ``path`` notifies a value. Returns whether a client was told."""
        full = advert.full_uuid(uuid)
        for characteristic in self._notifying:
            if characteristic.startswith(path) and self._tree.get(characteristic, CHARACTERISTIC, "UUID") == full:
                self._tree.change(characteristic, CHARACTERISTIC, {"Value": Variant("ay", value)})
                return True
        return False
