"""org.bluez as far as a scanner and a GATT client ask for it: one adapter, devices, services, characteristics.

Interfaces and error names: the BlueZ D-Bus API (doc/org.bluez.*.rst). It keeps what bites in practice: discovery and
notifications belong to the D-Bus client that asked and end with it, a connection does not; a device that connected
stops advertising; an adapter that was switched off forgets who was discovering.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError

from firmware_sim.ble import advert
from firmware_sim.ble.gatt import CHARACTERISTIC, Gatt
from firmware_sim.ble.monitors import MANAGER, Monitors
from firmware_sim.ble.peripherals import Peripheral
from firmware_sim.ble.tree import PROPERTIES, UNKNOWN_OBJECT, ObjectTree, Properties, bluez_error

BLUEZ = "org.bluez"
ADAPTER, DEVICE = "org.bluez.Adapter1", "org.bluez.Device1"
HCI0 = "/org/bluez/hci0"

CONNECT_S, RESOLVE_S = 0.15, 0.15  # a connection and a service discovery over the air
FORGET_S = 30.0  # BlueZ drops a device that it has not heard for so long (TemporaryTimeout)
RSSI_STEP_DB = 8  # smaller changes of the signal strength are not told, but to who set a filter for the discovery


@dataclass(slots=True)
class _Held:
    """What BlueZ keeps of a peripheral that it has heard."""

    device: Peripheral
    heard_s: float
    connecting: bool = False


def device_path(address: str) -> str:
    """The object path of a device."""
    return f"{HCI0}/dev_{address.replace(':', '_')}"


class Bluez:
    """One life of bluetoothd on one bus connection. ``spawn`` runs what takes time, in somebody's TaskGroup."""

    def __init__(self, bus: MessageBus, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self.tree = ObjectTree(bus)
        self.gatt = Gatt(self.tree)
        self._spawn = spawn
        self._held: dict[str, _Held] = {}
        self._filters: dict[str, dict[str, Any]] = {}
        self._discovering: set[str] = set()
        self.monitors = Monitors(self.tree, spawn)
        self.sick = ""  # until the adapter is switched off and on: "deaf", or "stuck" and refusing to scan
        self._can_monitor = True
        self._methods: dict[tuple[str, str], Callable[[Message], Message | None]] = {
            (ADAPTER, "SetDiscoveryFilter"): self._set_filter,
            (ADAPTER, "GetDiscoveryFilters"): self._get_filters,
            (ADAPTER, "StartDiscovery"): self._start_discovery,
            (ADAPTER, "StopDiscovery"): self._stop_discovery,
            (ADAPTER, "RemoveDevice"): self._remove_device,
            (MANAGER, "RegisterMonitor"): self._register_monitor,
            (MANAGER, "UnregisterMonitor"): self._unregister_monitor,
            (PROPERTIES, "Set"): self._set,
            (DEVICE, "Connect"): self._connect,
            (DEVICE, "Disconnect"): self._disconnect,
            (CHARACTERISTIC, "ReadValue"): self.gatt.read_value,
            (CHARACTERISTIC, "StartNotify"): self.gatt.start_notify,
            (CHARACTERISTIC, "StopNotify"): self.gatt.stop_notify,
        }

    async def start(self, adapter: bool = True, powered: bool = True) -> None:
        """Show the adapter and take the name org.bluez."""
        bus = self.tree.bus
        bus.add_message_handler(self._handle)
        self.tree.add("/org/bluez", {"org.bluez.AgentManager1": {}})
        if adapter:
            self.add_adapter(powered)
        rule = "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged'"
        reply = await bus.call(
            Message("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch",
                    signature="s", body=[rule])
        )  # fmt: skip
        assert reply is not None and reply.message_type is MessageType.METHOD_RETURN
        await bus.request_name(BLUEZ)

    def _handle(self, message: Message) -> Message | bool | None:
        if message.message_type is MessageType.SIGNAL and message.member == "NameOwnerChanged":
            name, _, owner = message.body
            if not owner:
                self._client_gone(name)
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        reply = self.tree.answer(message)
        if reply is not None:
            return reply
        method = self._methods.get((message.interface or "", message.member or ""))
        if method is None:
            return None
        if (message.path or "") not in self.tree:
            raise DBusError(UNKNOWN_OBJECT, f"no object {message.path}")
        return method(message) or True

    def _client_gone(self, client: str) -> None:
        """Discovery and notifications end with the client that asked for them; a connection stays."""
        self._filters.pop(client, None)
        self._discovering.discard(client)
        self.monitors.forget(client)
        self.gatt.client_gone(client)
        self._tell_discovering()

    # adapter

    def add_adapter(self, powered: bool) -> None:
        """Plug the adapter in."""
        shown: Properties = {
            "Address": Variant("s", "00:1A:7D:DA:71:13"),
            "AddressType": Variant("s", "public"),
            "Name": Variant("s", "lamppost-sim"),
            "Alias": Variant("s", "lamppost-sim"),
            "Powered": Variant("b", powered),
            "Discovering": Variant("b", False),
            "Roles": Variant("as", ["central"]),
            "UUIDs": Variant("as", []),
        }
        self.sick = ""
        self.tree.add(HCI0, {ADAPTER: shown, MANAGER: {"SupportedMonitorTypes": Variant("as", ["or_patterns"])}})

    def remove_adapter(self) -> None:
        """Pull the adapter out, with all that was known through it. Nobody says that links were lost."""
        self._quiet()
        for address in self._held:
            self.gatt.hide(device_path(address))
        self._held.clear()
        self.tree.remove(HCI0)

    @property
    def powered(self) -> bool:
        """Whether there is an adapter that is switched on."""
        return bool(self.tree.get(HCI0, ADAPTER, "Powered"))

    def power(self, on: bool) -> None:
        """Switch the adapter. Off: links drop and nobody discovers any longer."""
        if HCI0 not in self.tree or on == self.powered:
            return
        if not on:
            for held in self._held.values():
                self.drop(held.device)
            self._quiet()
            self.sick = ""
        self.tree.change(HCI0, ADAPTER, {"Powered": Variant("b", on)})

    def _quiet(self) -> None:
        self._discovering.clear()
        self._filters.clear()
        self.monitors.forget()
        self._tell_discovering()

    def _tell_discovering(self) -> None:
        """Tell whether anybody discovers; when nobody does any longer, signal strengths are forgotten."""
        now = bool(self._discovering)
        if HCI0 not in self.tree or self.tree.get(HCI0, ADAPTER, "Discovering") == now:
            return
        if not now:
            for address in self._held:
                self.tree.change(device_path(address), DEVICE, {}, ("RSSI", "TxPower"))
        self.tree.change(HCI0, ADAPTER, {"Discovering": Variant("b", now)})

    def _need_power(self) -> None:
        if not self.powered:
            raise bluez_error("NotReady", "Resource Not Ready")

    def _set_filter(self, message: Message) -> Message:
        self._need_power()
        self._filters[message.sender or ""] = {key: held.value for key, held in message.body[0].items()}
        return Message.new_method_return(message)

    def _get_filters(self, message: Message) -> Message:
        known = ["UUIDs", "RSSI", "Pathloss", "Transport", "DuplicateData", "Discoverable", "Pattern"]
        return Message.new_method_return(message, "as", [known])

    def _start_discovery(self, message: Message) -> Message:
        self._need_power()
        client = message.sender or ""
        if client in self._discovering or self.sick == "stuck":
            raise bluez_error("InProgress", "Operation already in progress")
        self._discovering.add(client)
        self._tell_discovering()
        return Message.new_method_return(message)

    def _stop_discovery(self, message: Message) -> Message:
        self._need_power()
        client = message.sender or ""
        if client not in self._discovering:
            raise bluez_error("Failed", "No discovery started")
        self._discovering.discard(client)
        self._tell_discovering()
        return Message.new_method_return(message)

    def _remove_device(self, message: Message) -> Message:
        for address, held in list(self._held.items()):
            if device_path(address) == message.body[0]:
                self.drop(held.device)
                self._forget(address)
                return Message.new_method_return(message)
        raise bluez_error("DoesNotExist", "Does Not Exist")

    def let_monitor(self, can: bool) -> None:
        """Whether this BlueZ is new enough, and allowed, to scan passively."""
        self._can_monitor = can

    def _register_monitor(self, message: Message) -> Message:
        if not self._can_monitor:
            raise DBusError("org.freedesktop.DBus.Error.UnknownMethod", "no such method")
        self._need_power()
        if self.sick == "stuck":
            raise bluez_error("Failed", "Failed to register")
        return self.monitors.register(message)

    def _unregister_monitor(self, message: Message) -> Message:
        return self.monitors.unregister(message)

    def _set(self, message: Message) -> Message:
        interface, name, value = message.body
        if (interface, name) == (ADAPTER, "Powered"):
            self.power(bool(value.value))
        elif (interface, name) in {(DEVICE, "Trusted"), (DEVICE, "Alias"), (ADAPTER, "Alias")}:
            self.tree.change(message.path or "", interface, {name: value})
        else:
            raise DBusError("org.freedesktop.DBus.Error.PropertyReadOnly", f"{name} is not writable")
        return Message.new_method_return(message)

    # what is in the air

    def hear(self, device: Peripheral, data: bytes, response: bytes, rssi: int, now_s: float) -> bool:
        """An advertisement reaches the antenna; those who scan actively hear the ``response`` to their request too.

        Returns whether a client was told of it.
        """
        if not self.powered or self.sick or self.connected(device):
            return False
        path, held = device_path(device.address), self._held.get(device.address)
        if not self.monitors.hear(data, path) and not self._discovering:
            return False
        found = advert.properties(data + response if self._discovering else data)
        if held is None:
            self._held[device.address] = _Held(device, now_s)
            self.tree.add(path, {DEVICE: self._shown(device, rssi) | found})
            told = True
        else:
            held.heard_s = now_s
            told = self._update(path, found, rssi)
        return told

    def _update(self, path: str, found: Properties, rssi: int) -> bool:
        """Tell what is new; a client that set DuplicateData is told everything (BlueZ's default for this is true)."""
        repeat = any(self._filters.get(client, {}).get("DuplicateData", True) for client in self._discovering)
        changed = {
            name: value
            for name, value in found.items()
            if self.tree.get(path, DEVICE, name) != value.value
            or (repeat and name in ("ManufacturerData", "ServiceData"))
        }
        before = self.tree.get(path, DEVICE, "RSSI")
        step_db = 1 if any(self._filters.get(client) for client in self._discovering) else RSSI_STEP_DB
        if changed or before is None or abs(rssi - before) >= step_db:
            changed["RSSI"] = Variant("n", rssi)
        self.tree.change(path, DEVICE, changed)
        return bool(changed)

    @staticmethod
    def _shown(device: Peripheral, rssi: int) -> Properties:
        return {
            "Address": Variant("s", device.address),
            "AddressType": Variant("s", device.address_type),
            "Alias": Variant("s", device.address.replace(":", "-")),
            "Adapter": Variant("o", HCI0),
            "RSSI": Variant("n", rssi),
            "Connected": Variant("b", False),
            "Paired": Variant("b", False),
            "Bonded": Variant("b", False),
            "Trusted": Variant("b", False),
            "Blocked": Variant("b", False),
            "LegacyPairing": Variant("b", False),
            "ServicesResolved": Variant("b", False),
            "UUIDs": Variant("as", []),
        }

    def sweep(self, now_s: float) -> None:
        """Forget devices that have not been heard for long and are not connected."""
        for address, held in list(self._held.items()):
            if self.connected(held.device):
                held.heard_s = now_s
            elif not held.connecting and now_s - held.heard_s > FORGET_S:
                self._forget(address)

    def _forget(self, address: str) -> None:
        del self._held[address]
        self.monitors.lose(device_path(address))
        self.tree.remove(device_path(address))

    # connections

    def connected(self, device: Peripheral) -> bool:
        """Whether there is a link to the device."""
        return bool(self.tree.get(device_path(device.address), DEVICE, "Connected"))

    def _held_at(self, path: str | None) -> _Held:
        for address, held in self._held.items():
            if device_path(address) == path:
                return held
        raise DBusError(UNKNOWN_OBJECT, f"no device {path}")

    def _connect(self, message: Message) -> None:
        self._need_power()
        held = self._held_at(message.path)
        if held.connecting:
            raise bluez_error("InProgress", "Operation already in progress")
        if self.connected(held.device):
            raise bluez_error("AlreadyConnected", "Already Connected")
        held.connecting = True
        self._spawn(self._establish(message, held))

    async def _establish(self, message: Message, held: _Held) -> None:
        path = device_path(held.device.address)
        await asyncio.sleep(CONNECT_S)
        held.connecting = False
        if held.device.service is None or not self.powered or path not in self.tree:
            self.tree.send(Message.new_error(message, "org.bluez.Error.Failed", "le-connection-abort-by-local"
                           if held.device.service is not None else "le-connection-refused"))  # fmt: skip
            return
        self.tree.change(path, DEVICE, {"Connected": Variant("b", True)})
        self.tree.send(Message.new_method_return(message))
        await asyncio.sleep(RESOLVE_S)
        if self.connected(held.device):
            self.gatt.show(path, held.device)
            self.tree.change(path, DEVICE, {"ServicesResolved": Variant("b", True)})

    def _disconnect(self, message: Message) -> Message:
        self._need_power()
        held = self._held_at(message.path)
        if not self.connected(held.device):
            raise bluez_error("NotConnected", "Not Connected")
        self.drop(held.device)
        return Message.new_method_return(message)

    def drop(self, device: Peripheral) -> bool:
        """The link is lost or let go. Returns whether there was one."""
        if not self.connected(device):
            return False
        path = device_path(device.address)
        gone = {"Connected": Variant("b", False), "ServicesResolved": Variant("b", False)}
        self.tree.change(path, DEVICE, gone)
        self.gatt.hide(path)
        return True
