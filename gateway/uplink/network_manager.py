"""NetworkManager: which device a link goes over and how it stands, and connections up and down.

Numbers and names: the NetworkManager D-Bus API, 1.42 (NMDeviceState, NMMetered, NMConnectivityState). Reading is pure,
from the mirror's objects; a link's own modem profile is kept in NetworkManager's memory, never on disk.
"""

from __future__ import annotations

import ipaddress
import uuid
from pathlib import Path
from typing import Any

from dbus_fast import Variant

from gateway.config.schema import LinkConfig
from gateway.uplink.carrier import Carrier
from gateway.uplink.modem import ModemForbiddenError
from gateway.uplink.system_bus import BusError, Mirror, Objects

NM = "org.freedesktop.NetworkManager"
MANAGER, ROOT = "/org/freedesktop", "/org/freedesktop/NetworkManager"
SETTINGS_PATH = f"{ROOT}/Settings"
DEVICE, WIRELESS, ACCESS_POINT = f"{NM}.Device", f"{NM}.Device.Wireless", f"{NM}.AccessPoint"
ACTIVE, SETTINGS, CONNECTION = f"{NM}.Connection.Active", f"{NM}.Settings", f"{NM}.Settings.Connection"
IP4, IP6 = f"{NM}.IP4Config", f"{NM}.IP6Config"
KEEP = {
    DEVICE: ("Interface", "IpInterface", "Udi", "DeviceType", "State", "Metered", "Ip4Config", "Ip6Config",
             "Ip4Connectivity", "Ip6Connectivity"),
    WIRELESS: ("ActiveAccessPoint",),
    ACCESS_POINT: ("Strength",),
    ACTIVE: ("Id", "State", "Devices"),
    CONNECTION: (),
    IP4: ("AddressData", "NameserverData"),
    IP6: ("AddressData", "Nameservers"),
}  # fmt: skip
WIFI_TYPE = 2  # NMDeviceType
UNMANAGED, ACTIVATED = 10, 100  # NMDeviceState
STATES = {20: "not available", 30: "disconnected", 40: "coming up", 50: "coming up", 60: "waiting for a password",
          70: "waiting for an address", 80: "coming up", 90: "coming up", 110: "going down",
          120: "failed"}  # fmt: skip
METERED = {1: True, 2: False, 3: True, 4: False}  # yes, no, guessed yes, guessed no
PORTAL = 2  # NMConnectivityState
ACTIVATING, ACTIVE_NOW = 1, 2  # NMActiveConnectionState
IN_MEMORY, BLOCK_AUTOCONNECT, NO_REAPPLY = 0x2, 0x20, 0x40  # NMSettingsAddConnection2Flags, NMSettingsUpdate2Flags
SECRET_BYTES_MAX = 1024
CONNECTIONS_MAX = 500
_OURS = uuid.UUID("0a3c2a52-6b0b-4d5a-9a9b-1f7a1c0f9d3e")  # any constant: profiles get a name based UUID below it


def profile_name(link: LinkConfig) -> str | None:
    """The connection of a link: the one that it names, or our own for a modem whose access point is configured."""
    if link.connection is None and link.modem is not None and link.modem.apn is not None:
        return f"lamppost-{link.name}"
    return link.connection


def device_of(objects: Objects, link: LinkConfig) -> str | None:
    """The object path of the device that a link goes over, None where there is none (yet)."""
    name = profile_name(link)
    if name is not None:
        active = active_of(objects, name)
        devices = objects[active][ACTIVE].get("Devices", []) if active is not None else []
        return devices[0] if devices and DEVICE in objects.get(devices[0], {}) else None
    for path, interfaces in objects.items():
        device = interfaces.get(DEVICE)
        if device is not None and link.interface in (device.get("IpInterface"), device.get("Interface")):
            return path
    return None


def active_of(objects: Objects, name: str) -> str | None:
    """The object path of the active connection of that name, also while it comes up; not of one that goes down."""
    return next((path for path, held in objects.items() if _is_active(held.get(ACTIVE, {}), name)), None)


def _is_active(active: dict[str, Any], name: str) -> bool:
    return active.get("Id") == name and active.get("State") in (ACTIVATING, ACTIVE_NOW)


def carrier_of(objects: Objects, link: LinkConfig) -> Carrier | None:
    """How a link stands, None where NetworkManager has no say: it does not manage the interface, or knows none."""
    path = device_of(objects, link)
    if path is None:
        if profile_name(link) is None:
            return None
        return Carrier(False, problem=f"the connection {profile_name(link)} is not up")
    device = objects[path][DEVICE]
    state = int(device.get("State", 0))
    if state == UNMANAGED:
        return None
    interface = str(device.get("IpInterface") or device.get("Interface") or link.interface or "")
    up = state == ACTIVATED
    problem = "" if up else f"{interface} is {STATES.get(state, f'in state {state}')}"
    if PORTAL in (device.get("Ip4Connectivity"), device.get("Ip6Connectivity")):
        problem = "there is a captive portal, says NetworkManager"  # said, not believed: acknowledgements decide
    ip4 = objects.get(str(device.get("Ip4Config")), {}).get(IP4, {})
    ip6 = objects.get(str(device.get("Ip6Config")), {}).get(IP6, {})
    return Carrier(
        up,
        interface if up or link.interface is not None else None,
        signal=_strength(objects, path),
        technology="wifi" if device.get("DeviceType") == WIFI_TYPE else "",
        metered=METERED.get(int(device.get("Metered", 0))) if up else None,
        addresses=_addresses(ip4, ip6),
        dns=tuple(link.dns) or _servers(ip4, ip6),
        problem=problem,
    )


def _strength(objects: Objects, path: str) -> float | None:
    point = str(objects[path].get(WIRELESS, {}).get("ActiveAccessPoint", "/"))
    strength = objects.get(point, {}).get(ACCESS_POINT, {}).get("Strength")
    return None if strength is None else int(strength) / 100


def _addresses(ip4: dict[str, Any], ip6: dict[str, Any]) -> tuple[str, ...]:
    rows = [str(row.get("address", "")) for part in (ip4, ip6) for row in part.get("AddressData", [])]
    return tuple(row for row in rows if _leads_somewhere(row))


def _leads_somewhere(address: str) -> bool:
    try:
        return not ipaddress.ip_address(address).is_link_local
    except ValueError:
        return False


def _servers(ip4: dict[str, Any], ip6: dict[str, Any]) -> tuple[str, ...]:
    four = [str(row.get("address", "")) for row in ip4.get("NameserverData", [])]
    six = [str(ipaddress.IPv6Address(bytes(row))) for row in ip6.get("Nameservers", []) if len(row) == 16]
    return tuple(server for server in (*four, *six) if server)


class NetworkManager:
    """What is asked of NetworkManager. All raise BusError, and ModemForbiddenError where polkit refuses."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._names: dict[str, str] = {}  # names of connections by object path, of one life of NetworkManager
        self._life = ""

    @property
    def there(self) -> bool:
        """Whether it runs."""
        return bool(self._mirror.owner(NM))

    @property
    def objects(self) -> Objects:
        """What it shows."""
        return self._mirror.objects[NM]

    async def activate(self, link: LinkConfig, modem: str = "") -> None:
        """Bring the link's connection up, where it is not on its way. ``modem``: its path in ModemManager."""
        name = profile_name(link)
        if name is None or active_of(self.objects, name) is not None:
            return
        if not self.there:
            raise BusError("org.freedesktop.DBus.Error.ServiceUnknown", "NetworkManager does not run")
        connection = await self._find(name)
        if connection is None:
            raise BusError(f"{NM}.UnknownConnection", f"NetworkManager has no connection {name}")
        device = next(
            (path for path, held in self.objects.items() if modem and held.get(DEVICE, {}).get("Udi") == modem), "/"
        )
        await self._call(ROOT, NM, "ActivateConnection", "ooo", connection, device, "/")

    async def deactivate(self, link: LinkConfig) -> None:
        """Take the link's connection down, where it is up or coming up."""
        active = active_of(self.objects, profile_name(link) or "")
        if active is None:
            return
        try:
            await self._call(ROOT, NM, "DeactivateConnection", "o", active)
        except BusError as error:
            if not error.ends("ConnectionNotActive"):
                raise

    async def keep_profile(self, link: LinkConfig) -> None:
        """Our own profile for a modem: made, or made to be what is configured. Raises OSError for the password file."""
        settings = gsm_settings(link)
        number = settings["connection"]["uuid"].value
        try:
            (path,) = await self._call(SETTINGS_PATH, SETTINGS, "GetConnectionByUuid", "s", number)
        except BusError as error:
            if error.ends("Disconnected", "Timeout"):
                raise
            flags = IN_MEMORY | (BLOCK_AUTOCONNECT if link.on_demand else 0)
            await self._call(SETTINGS_PATH, SETTINGS, "AddConnection2", "a{sa{sv}}ua{sv}", settings, flags, {})
        else:
            flags = IN_MEMORY | NO_REAPPLY
            await self._call(path, CONNECTION, "Update2", "a{sa{sv}}ua{sv}", settings, flags, {})

    async def _find(self, name: str) -> str | None:
        """The object path of the connection of that name."""
        if self._life != self._mirror.owner(NM):
            self._names, self._life = {}, self._mirror.owner(NM)
        paths = [path for path, held in self.objects.items() if CONNECTION in held][:CONNECTIONS_MAX]
        known = [path for path in paths if self._names.get(path) == name]
        for path in [*known, *(path for path in paths if path not in known)]:
            (settings,) = await self._call(path, CONNECTION, "GetSettings")
            self._names[path] = str(settings["connection"]["id"])
            if self._names[path] == name:
                return path
        return None

    async def _call(self, path: str, interface: str, member: str, signature: str = "", *body: Any) -> list[Any]:
        try:
            return await self._mirror.call(NM, path, interface, member, signature, *body)
        except BusError as error:
            if error.ends("PermissionDenied", "AccessDenied"):
                raise ModemForbiddenError(f"NetworkManager refuses {member}: {error.text}") from None
            raise


def gsm_settings(link: LinkConfig) -> dict[str, dict[str, Variant]]:
    """Our profile for a modem, in the form of Settings.AddConnection2. The PIN is not in it: see modem_pin."""
    modem, name = link.modem, profile_name(link)
    assert modem is not None and name is not None
    gsm = {"apn": Variant("s", modem.apn or ""), "home-only": Variant("b", not modem.allow_roaming)}
    if modem.user is not None:
        gsm["username"] = Variant("s", modem.user)
    if modem.password_file is not None:
        gsm["password"] = Variant("s", _secret(modem.password_file))
    return {
        "connection": {
            "id": Variant("s", name),
            "uuid": Variant("s", str(uuid.uuid5(_OURS, name))),
            "type": Variant("s", "gsm"),
            "autoconnect": Variant("b", not link.on_demand),
            "metered": Variant("i", 1 if link.metered else 2),
        },
        "gsm": gsm,
        "ipv4": {"method": Variant("s", "auto"), "route-metric": Variant("x", 700)},  # behind Ethernet and WiFi
        "ipv6": {"method": Variant("s", "auto"), "route-metric": Variant("x", 700)},
    }


def _secret(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(SECRET_BYTES_MAX).decode("utf-8", "replace").strip()
