"""org.freedesktop.NetworkManager as far as a gateway asks for it: devices, connections, what is active.

Interfaces, order of signals, states and error names: NetworkManager 1.42, as the real one gave them in a network
namespace (tests/sim/real_network_manager.py). Modems are those of the simulated ModemManager.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

from dbus_fast import Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError

from firmware_sim.ble.tree import Properties
from firmware_sim.managers import modem_manager as mm
from firmware_sim.managers.service import NONE, Handler, Service, Spawn, plain

NM = "org.freedesktop.NetworkManager"
ROOT = "/org/freedesktop/NetworkManager"
SETTINGS_PATH, DNS_PATH = f"{ROOT}/Settings", f"{ROOT}/DnsManager"
DEVICE, ACTIVE, SETTINGS = f"{NM}.Device", f"{NM}.Connection.Active", f"{NM}.Settings"
CONNECTION, ACCESS_POINT, DNS = f"{NM}.Settings.Connection", f"{NM}.AccessPoint", f"{NM}.DnsManager"
IP4, IP6 = f"{NM}.IP4Config", f"{NM}.IP6Config"
ETHERNET, WIFI, MODEM = 1, 2, 8  # NMDeviceType
UNAVAILABLE, DISCONNECTED, ACTIVATED, DEACTIVATING, FAILED = 20, 30, 100, 110, 120  # NMDeviceState
STEPS = (40, 50, 70, 80, 90, ACTIVATED)  # prepare, config, ip-config, ip-check, secondaries, activated
NOT_FOUND, USER, REMOVED, APN_FAILED, NO_SERVICE = 43, 39, 36, 29, 1  # NMDeviceStateReason
ACTIVATING, ACTIVE_NOW, GOING, GONE = 1, 2, 3, 4  # NMActiveConnectionState
NONE_THERE, PORTAL, LIMITED, FULL = 1, 2, 3, 4  # NMConnectivityState
SETTING_TYPES = {ETHERNET: "802-3-ethernet", WIFI: "802-11-wireless", MODEM: "gsm"}
UNKNOWN_METERED, METERED_YES, GUESS_YES, GUESS_NO = 0, 1, 3, 4
DONE: tuple[str, list[Any]] = ("", [])


def error(name: str, text: str) -> DBusError:
    """An error of NetworkManager's own."""
    return DBusError(f"{NM}.{name}", text)


@dataclass(slots=True)
class Interface:
    """A network interface as the simulated world has it."""

    name: str
    kind: int = ETHERNET
    address: str = "10.9.0.2"
    dns: tuple[str, ...] = ("10.9.0.1",)
    strength: int = 72  # of the access point, percent
    connectivity: int = FULL
    modem: str = ""  # object path in ModemManager
    fails: bool = False


class NetworkManager(Service):
    """One life of NetworkManager. ``authorised``: what polkit says."""

    def __init__(
        self, bus: MessageBus, spawn: Spawn, modems: mm.ModemManager | None = None, step_s: float = 0.1
    ) -> None:
        super().__init__(bus, spawn, NM, "/org/freedesktop")
        self.authorised = True
        self.modems = modems
        self.settings: dict[str, dict[str, dict[str, Any]]] = {}  # by object path
        self.interfaces: dict[str, Interface] = {}  # by object path
        self._step_s = step_s
        self._number = 0

    async def begin(self) -> None:
        """Take the name."""
        self.tree.add(ROOT, {NM: self._manager()})
        self.tree.add(SETTINGS_PATH, {SETTINGS: {"Connections": Variant("ao", []), "CanModify": Variant("b", True)}})
        self.tree.add(DNS_PATH, {DNS: {"Mode": Variant("s", "default"), "Configuration": Variant("aa{sv}", [])}})
        handlers: dict[tuple[str, str], Handler] = {
            (NM, "GetDevices"): self._get_devices,
            (NM, "ActivateConnection"): self._activate,
            (NM, "DeactivateConnection"): self._deactivate,
            (NM, "GetPermissions"): self._permissions,
            (SETTINGS, "ListConnections"): self._list,
            (SETTINGS, "GetConnectionByUuid"): self._by_uuid,
            (SETTINGS, "AddConnection2"): self._add,
            (CONNECTION, "GetSettings"): self._get_settings,
            (CONNECTION, "Update2"): self._update,
            (CONNECTION, "Delete"): self._delete,
        }
        await self.start(handlers)

    def _manager(self) -> Properties:
        return {
            "Devices": Variant("ao", []),
            "ActiveConnections": Variant("ao", []),
            "PrimaryConnection": Variant("o", NONE),
            "Metered": Variant("u", GUESS_NO),
            "Startup": Variant("b", False),
            "Version": Variant("s", "1.42.4"),
            "State": Variant("u", 20),
            "Connectivity": Variant("u", FULL),
        }

    def _new(self, kind: str) -> str:
        self._number += 1
        return f"{ROOT}/{kind}/{self._number}"

    # devices and connections

    def plug(self, interface: Interface) -> str:
        """An interface appears. Returns its path."""
        path, ip4, ip6 = self._new("Devices"), self._new("IP4Config"), self._new("IP6Config")
        self.interfaces[path] = interface
        self.tree.add(ip4, {IP4: _ip4(None)})
        self.tree.add(ip6, {IP6: {"AddressData": Variant("aa{sv}", []), "Nameservers": Variant("aay", [])}})
        interfaces: dict[str, Properties] = {DEVICE: self._device(interface, ip4, ip6)}
        if interface.kind == WIFI:
            point = self._new("AccessPoint")
            self.tree.add(point, {ACCESS_POINT: {"Ssid": Variant("ay", b"School"), "Strength": Variant("y", 72)}})
            interfaces[f"{DEVICE}.Wireless"] = {
                "ActiveAccessPoint": Variant("o", NONE),
                "AccessPoints": Variant("ao", [point]),
            }
        elif interface.kind == MODEM:
            interfaces[f"{DEVICE}.Modem"] = {"OperatorCode": Variant("s", ""), "Apn": Variant("s", "")}
        self.tree.add(path, interfaces)
        self._listed("Devices", list(self.interfaces))
        return path

    def unplug(self, path: str) -> None:
        """An interface goes, and what was active on it."""
        active = self.tree.get(path, DEVICE, "ActiveConnection")
        if active != NONE:
            self._end(active, path, REMOVED)
        for name in ("Ip4Config", "Ip6Config"):
            self.tree.remove(self.tree.get(path, DEVICE, name))
        del self.interfaces[path]
        self.tree.remove(path)
        self._listed("Devices", list(self.interfaces))

    def _device(self, interface: Interface, ip4: str, ip6: str) -> Properties:
        modem = interface.kind == MODEM
        return {
            "Udi": Variant("s", interface.modem),
            "Interface": Variant("s", "cdc-wdm0" if modem else interface.name),
            "IpInterface": Variant("s", "" if modem else interface.name),
            "Driver": Variant("s", "qmi_wwan" if modem else "veth"),
            "State": Variant("u", DISCONNECTED),
            "StateReason": Variant("(uu)", [DISCONNECTED, 0]),
            "ActiveConnection": Variant("o", NONE),
            "Ip4Config": Variant("o", ip4),
            "Ip6Config": Variant("o", ip6),
            "Managed": Variant("b", True),
            "DeviceType": Variant("u", interface.kind),
            "Metered": Variant("u", UNKNOWN_METERED),
            "Ip4Connectivity": Variant("u", NONE_THERE),
            "Ip6Connectivity": Variant("u", NONE_THERE),
        }

    def know(self, settings: dict[str, dict[str, Any]], *, saved: bool = True) -> str:
        """A connection is made known. Returns its path."""
        path = self._new("Settings")
        settings["connection"].setdefault("uuid", str(uuid.UUID(int=self._number)))
        self.settings[path] = settings
        folder = "/etc" if saved else "/run"
        file = f"{folder}/NetworkManager/system-connections/{settings['connection']['id']}.nmconnection"
        shown = {"Unsaved": Variant("b", not saved), "Flags": Variant("u", 0 if saved else 1)}
        self.tree.add(path, {CONNECTION: shown | {"Filename": Variant("s", file)}})
        self.tree.change(SETTINGS_PATH, SETTINGS, {"Connections": Variant("ao", list(self.settings))})
        return path

    def _listed(self, name: str, paths: list[str]) -> None:
        self.tree.change(ROOT, NM, {name: Variant("ao", paths)})

    def strength(self, path: str, percent: int) -> None:
        """The access point is heard differently."""
        (point,) = self.tree.get(path, f"{DEVICE}.Wireless", "AccessPoints")
        self.tree.change(point, ACCESS_POINT, {"Strength": Variant("y", percent)})

    def connectivity(self, path: str, value: int) -> None:
        """What NetworkManager found when it asked its own server."""
        self.interfaces[path].connectivity = value
        self.tree.change(path, DEVICE, {"Ip4Connectivity": Variant("u", value)})

    # methods

    def _allowed(self, text: str) -> None:
        if not self.authorised:
            raise error("PermissionDenied", text)

    async def _get_devices(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        return "ao", [list(self.interfaces)]

    async def _list(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        return "ao", [list(self.settings)]

    async def _permissions(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        names = ("network-control", "settings.modify.system", "settings.modify.own", "enable-disable-wwan")
        return "a{ss}", [{f"{NM}.{name}": "yes" if self.authorised else "auth" for name in names}]

    async def _add(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        if not self.authorised:
            raise DBusError(f"{NM}.Settings.PermissionDenied", "Insufficient privileges")
        return "oa{sv}", [self.know(plain(body[0]), saved=False), {}]

    async def _by_uuid(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        for path, settings in self.settings.items():
            if settings["connection"]["uuid"] == body[0]:
                return "o", [path]
        raise DBusError(f"{NM}.Settings.InvalidConnection", "No connection with the UUID was found.")

    async def _get_settings(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        shown = {part: {key: _typed(value) for key, value in held.items() if key not in ("password", "pin")}
                 for part, held in self.settings[path].items()}  # fmt: skip
        return "a{sa{sv}}", [shown]

    async def _update(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        if not self.authorised:
            raise DBusError(f"{NM}.Settings.PermissionDenied", "Insufficient privileges")
        self.settings[path] = plain(body[0])
        self.tree.signal(path, CONNECTION, "Updated", "", [])
        return "a{sv}", [{}]

    async def _delete(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        self._allowed("Insufficient privileges")
        del self.settings[path]
        self.tree.remove(path)
        self.tree.change(SETTINGS_PATH, SETTINGS, {"Connections": Variant("ao", list(self.settings))})
        return DONE

    async def _activate(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        self._allowed("Not authorized to control networking.")
        connection, device, _ = body
        if connection not in self.settings:
            raise error("UnknownConnection", "Connection could not be found.")
        if device != NONE and device not in self.interfaces:
            raise error("UnknownDevice", "Device not found")
        fitting = self._fitting(self.settings[connection]) if device == NONE else device
        if fitting is None:
            raise error("UnknownDevice", "No suitable device found for this connection (device lo not available).")
        return "o", [self.activate(connection, fitting)]

    def _fitting(self, settings: dict[str, dict[str, Any]]) -> str | None:
        wanted, name = settings["connection"]["type"], settings["connection"].get("interface-name")
        for path, interface in self.interfaces.items():
            if SETTING_TYPES[interface.kind] == wanted and name in (None, interface.name):
                return path
        return None

    def activate(self, connection: str, device: str) -> str:
        """Begin to bring a connection up on a device. Returns the path of the active connection."""
        before = self.tree.get(device, DEVICE, "ActiveConnection")
        if before != NONE:
            self._end(before, device, 60)
        active = self._new("ActiveConnection")
        about = self.settings[connection]["connection"]
        self.tree.add(active, {ACTIVE: {
            "Connection": Variant("o", connection), "Id": Variant("s", about["id"]),
            "Uuid": Variant("s", about["uuid"]), "Type": Variant("s", about["type"]),
            "Devices": Variant("ao", [device]), "State": Variant("u", ACTIVATING),
        }})  # fmt: skip
        self._actives(add=active)
        self.tree.change(device, DEVICE, {"ActiveConnection": Variant("o", active)})
        self.spawn(self._climb(active, device, self.settings[connection]))
        return active

    def _actives(self, add: str = "", gone: str = "") -> None:
        paths = [path for path in self.tree.get(ROOT, NM, "ActiveConnections") if path != gone]
        self._listed("ActiveConnections", [add, *paths] if add else paths)

    async def _climb(self, active: str, device: str, settings: dict[str, dict[str, Any]]) -> None:
        for state in STEPS:
            await asyncio.sleep(self._step_s)
            if not self._still(active, device):
                return
            interface = self.interfaces[device]
            if state == ACTIVATED:
                self._online(active, device, interface, settings)
            self._turn(device, state)
            if state == STEPS[0] and not await self._dial(active, device, interface, settings):
                return
        self.tree.change(active, ACTIVE, {"State": Variant("u", ACTIVE_NOW)})
        self.tree.signal(active, ACTIVE, "StateChanged", "uu", [ACTIVE_NOW, 1])

    def _still(self, active: str, device: str) -> bool:
        """Whether the device is there (it may have been pulled out meanwhile) and is to have this connection."""
        return device in self.interfaces and bool(self.tree.get(device, DEVICE, "ActiveConnection") == active)

    async def _dial(self, active: str, device: str, interface: Interface, settings: dict[str, dict[str, Any]]) -> bool:
        """The modem's part, or what keeps another interface from coming up."""
        reason = NO_SERVICE if interface.fails else 0
        if interface.kind == MODEM and self.modems is not None:
            gsm = settings.get("gsm", {})
            wanted = {"apn": gsm.get("apn", ""), "allow-roaming": not gsm.get("home-only", False)}
            try:
                await self.modems.connect(interface.modem, wanted)
            except DBusError as refused:
                reason = APN_FAILED if refused.type.endswith("UnknownApn") else NO_SERVICE
        if not reason:
            return True
        if self._still(active, device):
            self._turn(device, FAILED, reason)
            self._end(active, device, reason)
        return False

    def _online(self, active: str, device: str, interface: Interface, settings: dict[str, dict[str, Any]]) -> None:
        self.tree.change(self.tree.get(device, DEVICE, "Ip4Config"), IP4, _ip4(interface))
        metered = settings["connection"].get("metered", 0)
        shown = {
            "IpInterface": Variant("s", interface.name),
            "Ip4Connectivity": Variant("u", interface.connectivity),
            "Metered": Variant("u", metered or (GUESS_YES if interface.kind == MODEM else GUESS_NO)),
        }
        self.tree.change(device, DEVICE, shown)
        if interface.kind == WIFI:
            (point,) = self.tree.get(device, f"{DEVICE}.Wireless", "AccessPoints")
            self.tree.change(device, f"{DEVICE}.Wireless", {"ActiveAccessPoint": Variant("o", point)})

    def _turn(self, device: str, new: int, reason: int = 0) -> None:
        old = self.tree.get(device, DEVICE, "State")
        self.tree.change(device, DEVICE, {"State": Variant("u", new)})
        self.tree.change(device, DEVICE, {"StateReason": Variant("(uu)", [new, reason])})
        self.tree.signal(device, DEVICE, "StateChanged", "uuu", [new, old, reason])

    async def _deactivate(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        self._allowed("Not authorized to deactivate connections")
        (active,) = body
        if active not in self.tree.get(ROOT, NM, "ActiveConnections"):
            raise error("ConnectionNotActive", "The connection was not active.")
        (device,) = self.tree.get(active, ACTIVE, "Devices")
        interface = self.interfaces[device]
        self._turn(device, DEACTIVATING, USER)
        if interface.kind == MODEM and self.modems is not None:
            await self.modems.disconnect(interface.modem)
        self._end(active, device, USER)
        return DONE

    def drop(self, device: str, reason: int = NO_SERVICE) -> None:
        """What is active on the device is lost, as when the network lets go."""
        self._end(self.tree.get(device, DEVICE, "ActiveConnection"), device, reason)

    def _end(self, active: str, device: str, reason: int) -> None:
        if active not in self.tree:
            return
        self.tree.change(active, ACTIVE, {"State": Variant("u", GONE)})
        self.tree.change(self.tree.get(device, DEVICE, "Ip4Config"), IP4, _ip4(None))
        modem = self.interfaces[device].kind == MODEM
        off = {"ActiveConnection": Variant("o", NONE), "Ip4Connectivity": Variant("u", NONE_THERE)}
        self.tree.change(device, DEVICE, off | ({"IpInterface": Variant("s", "")} if modem else {}))
        self._turn(device, DISCONNECTED, reason)
        self._actives(gone=active)
        self.tree.remove(active)


def _typed(value: Any) -> Variant:
    kinds = {bool: "b", int: "u", str: "s"}
    return Variant(kinds.get(type(value), "as"), value)


def _ip4(interface: Interface | None) -> Properties:
    rows = [] if interface is None else [{"address": Variant("s", interface.address), "prefix": Variant("u", 24)}]
    servers = [] if interface is None else [{"address": Variant("s", server)} for server in interface.dns]
    return {"AddressData": Variant("aa{sv}", rows), "NameserverData": Variant("aa{sv}", servers)}
