"""A tree of D-Bus objects with properties: answers ObjectManager and Properties, tells every change as a signal."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterable
from typing import Any

from dbus_fast import Message, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError

Properties = dict[str, Variant]

OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
PROPERTIES = "org.freedesktop.DBus.Properties"
UNKNOWN_OBJECT = "org.freedesktop.DBus.Error.UnknownObject"


def bluez_error(name: str, text: str) -> DBusError:
    """An error of BlueZ's own names."""
    return DBusError(f"org.bluez.Error.{name}", text)


def _forget(sent: Future[Any]) -> None:
    """The bus may die while a signal is on its way: nobody waits for that one."""
    if not sent.cancelled():
        sent.exception()


class ObjectTree:
    """Objects by path, each with interfaces, each with properties. ``manager``: where the ObjectManager is."""

    def __init__(self, bus: MessageBus, manager: str = "/") -> None:
        self.bus = bus
        self._manager = manager
        self._objects: dict[str, dict[str, Properties]] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._objects

    def has(self, path: str, interface: str) -> bool:
        """Whether there is such an object with that interface."""
        return interface in self._objects.get(path, {})

    def send(self, message: Message) -> None:
        """Send without waiting."""
        if self.bus.connected:
            self.bus.send(message).add_done_callback(_forget)

    def signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        """Tell a signal."""
        self.send(Message.new_signal(path, interface, member, signature, body))

    def add(self, path: str, interfaces: dict[str, Properties]) -> None:
        """Make an object and tell InterfacesAdded."""
        self._objects[path] = interfaces
        self.signal(self._manager, OBJECT_MANAGER, "InterfacesAdded", "oa{sa{sv}}", [path, interfaces])

    def remove(self, path: str) -> None:
        """Take an object and all below it away, the deepest first, and tell InterfacesRemoved."""
        below = [p for p in self._objects if p == path or p.startswith(path + "/")]
        for gone in sorted(below, key=len, reverse=True):
            interfaces = list(self._objects.pop(gone))
            self.signal(self._manager, OBJECT_MANAGER, "InterfacesRemoved", "oas", [gone, interfaces])

    def get(self, path: str, interface: str, name: str) -> Any:
        """The plain value of a property, None where there is none."""
        held = self._objects.get(path, {}).get(interface, {}).get(name)
        return None if held is None else held.value

    def change(self, path: str, interface: str, changed: Properties, gone: Iterable[str] = ()) -> None:
        """Set properties, drop others, and tell PropertiesChanged."""
        held = self._objects[path][interface]
        held.update(changed)
        lost = [name for name in gone if held.pop(name, None) is not None]
        if changed or lost:
            self.signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, changed, lost])

    def answer(self, message: Message) -> Message | None:
        """The reply to a call of ObjectManager or Properties, None for any other. Raises DBusError."""
        if message.interface == OBJECT_MANAGER and message.member == "GetManagedObjects":
            return Message.new_method_return(message, "a{oa{sa{sv}}}", [self._objects])
        if message.interface != PROPERTIES or message.member not in ("Get", "GetAll"):
            return None
        held = self._objects.get(message.path or "", {}).get(message.body[0])
        if held is None:
            raise DBusError(UNKNOWN_OBJECT, f"no {message.body[0]} at {message.path}")
        if message.member == "GetAll":
            return Message.new_method_return(message, "a{sv}", [held])
        value = held.get(message.body[1])
        if value is None:
            raise DBusError("org.freedesktop.DBus.Error.InvalidArgs", f"no property {message.body[1]}")
        return Message.new_method_return(message, "v", [value])
