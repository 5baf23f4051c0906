"""The system D-Bus as a mirror: the objects of some services with their properties, kept by their signals.

Services may be absent, come, go and be started anew; the bus itself may be: it is connected to again, with growing
pauses. Nothing is asked twice while a service lives: GetManagedObjects once, then InterfacesAdded, InterfacesRemoved
and PropertiesChanged (D-Bus specification, "Standard Interfaces").
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusFastError

Objects = dict[str, dict[str, dict[str, Any]]]  # path, interface, property
Keep = Mapping[str, Collection[str]]  # names of properties by interface

OBJECTS_MAX = 5000  # of a service; what comes beyond is not kept
CALL_S = 25.0
FIRST_S, CAP_S = 0.5, 30.0
LOAD_AGAIN_S = 2.0
BUS_ERRORS = (DBusFastError, OSError, EOFError, AssertionError)  # dbus-fast asserts that there is a reply at all
_DAEMON = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_MANAGER, _PROPERTIES = "org.freedesktop.DBus.ObjectManager", "org.freedesktop.DBus.Properties"


class BusError(Exception):
    """A call failed: ``name`` of the D-Bus error, ``text`` for people."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{text} ({name})" if text else name)
        self.name = name
        self.text = text or name

    def ends(self, *words: str) -> bool:
        """Whether the name ends in one of these."""
        return self.name.endswith(words)


def plain(value: Any) -> Any:
    """A value without its D-Bus types."""
    if isinstance(value, Variant):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(held) for key, held in value.items()}
    return [plain(held) for held in value] if isinstance(value, list) else value


def apply(objects: Objects, keep: Keep, member: str, path: str, body: list[Any]) -> bool:
    """Take a signal into ``objects``. Returns whether anything that is kept changed."""
    match member, body:
        case "InterfacesAdded", [str(at), dict(interfaces)]:
            wanted = {name: _wanted(held, keep[name]) for name, held in interfaces.items() if name in keep}
            if not wanted or (at not in objects and len(objects) >= OBJECTS_MAX):
                return False
            objects.setdefault(at, {}).update(wanted)
            return True
        case "InterfacesRemoved", [str(at), list(names)]:
            held = objects.get(at, {})
            gone = [held.pop(name) for name in names if name in held]
            if not held:
                objects.pop(at, None)
            return bool(gone)
        case "PropertiesChanged", [str(interface), dict(changed), list(invalid)]:
            properties = objects.get(path, {}).get(interface)
            if properties is None:
                return False
            fresh = _wanted(changed, keep.get(interface, ()))
            differs = any(properties.get(name) != value for name, value in fresh.items())
            properties.update(fresh)
            lost = [properties.pop(name) for name in invalid if name in properties]
            return differs or bool(lost)
    return False


def _wanted(properties: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: plain(value) for name, value in properties.items() if name in names}


class Mirror:
    """The objects of ``services`` (by name: path of the object manager), as far as they are in ``keep``: the others,
    such as when each access point was heard last, would wake the box for nothing.

    ``on_change`` is called after each change, also when a service or the bus comes or goes.
    """

    def __init__(self, services: Mapping[str, str], keep: Keep, on_change: Callable[[], None]) -> None:
        self.objects: dict[str, Objects] = {service: {} for service in services}
        self.looked = asyncio.Event()  # set once it is known which services are there
        self._services = services
        self._keep = keep
        self._on_change = on_change
        self._owners: dict[str, str] = {}  # unique name by service
        self._loaded: set[str] = set()
        self._queues: dict[str, list[tuple[str, str, list[Any]]]] = {}  # signals that came while a service is loaded
        self._bus: MessageBus | None = None

    def owner(self, service: str) -> str:
        """Which life of a service it is, "" where it is not there or not known yet."""
        return self._owners.get(service, "") if service in self._loaded else ""

    async def call(
        self, service: str, path: str, interface: str, member: str, signature: str = "", *body: Any,
        timeout_s: float = CALL_S,
    ) -> list[Any]:  # fmt: skip
        """Call a method and return what it returns, without D-Bus types. Raises BusError."""
        if self._bus is None:
            raise BusError("org.freedesktop.DBus.Error.Disconnected", "no connection to the system D-Bus")
        message = Message(service, path, interface, member, signature=signature, body=list(body))
        try:
            return await _call(self._bus, message, timeout_s)
        except TimeoutError:
            raise BusError("org.freedesktop.DBus.Error.Timeout", f"{member} was not answered") from None
        except BUS_ERRORS as error:
            raise BusError("org.freedesktop.DBus.Error.Disconnected", str(error)) from None

    async def run(self) -> NoReturn:
        """Keep the mirror until cancelled."""
        pause_s = FIRST_S
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._live()
            except* (BusError, *BUS_ERRORS):
                pass  # said by those who miss the services
            finally:
                self._forget()
            self.looked.set()
            pause_s = FIRST_S if loop.time() - began > CAP_S else min(2 * pause_s, CAP_S)
            await asyncio.sleep(pause_s)

    def _forget(self) -> None:
        bus, self._bus = self._bus, None
        if bus is not None and bus.connected:
            bus.disconnect()
        self._owners.clear()
        self._loaded.clear()
        self._queues.clear()
        for objects in self.objects.values():
            objects.clear()
        self._on_change()

    async def _live(self) -> None:
        """One connection to the bus."""
        async with asyncio.timeout(CALL_S):
            bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
        self._bus = bus
        async with asyncio.TaskGroup() as tasks:
            bus.add_message_handler(lambda message: self._hear(message, tasks))
            for service in self._services:
                changes = f"sender='{_DAEMON[0]}',member='NameOwnerChanged',arg0='{service}'"
                for rule in (changes, f"sender='{service}',interface='{_MANAGER}'",
                             f"sender='{service}',interface='{_PROPERTIES}',member='PropertiesChanged'"):  # fmt: skip
                    await _call(bus, Message(*_DAEMON, "AddMatch", signature="s", body=[f"type='signal',{rule}"]))
            for service in self._services:
                with contextlib.suppress(BusError):  # NameHasNoOwner
                    (owner,) = await _call(bus, Message(*_DAEMON, "GetNameOwner", signature="s", body=[service]))
                    self._came(service, owner, tasks)
            self._look()
            await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
            raise BusError("org.freedesktop.DBus.Error.Disconnected", "the system D-Bus has gone")

    def _look(self) -> None:
        """Say when all that is there has been loaded."""
        if all(service in self._loaded for service in self._owners):
            self.looked.set()

    def _came(self, service: str, owner: str, tasks: asyncio.TaskGroup) -> None:
        if self._owners.get(service) == owner:
            return
        self._owners[service], self._queues[service] = owner, []
        tasks.create_task(self._load(service, owner))

    async def _load(self, service: str, owner: str) -> None:
        """Take all objects of a service, then what happened meanwhile."""
        while self._owners.get(service) == owner:
            try:
                (found,) = await self.call(service, self._services[service], _MANAGER, "GetManagedObjects")
            except BusError:
                await asyncio.sleep(LOAD_AGAIN_S)
                continue
            if self._owners.get(service) != owner:
                return
            objects = self.objects[service]
            objects.clear()
            for path, interfaces in found.items():
                apply(objects, self._keep, "InterfacesAdded", "", [path, interfaces])
            for member, path, body in self._queues.pop(service):
                apply(objects, self._keep, member, path, body)
            self._loaded.add(service)
            self._look()
            self._on_change()
            return

    def _hear(self, message: Message, tasks: asyncio.TaskGroup) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "NameOwnerChanged" and message.sender == _DAEMON[0]:
            self._changed_hands(message.body[0], message.body[2], tasks)
            return
        for service, owner in self._owners.items():
            if owner == message.sender:
                self._take(service, message.member or "", message.path or "", message.body)

    def _take(self, service: str, member: str, path: str, body: list[Any]) -> None:
        if service not in self._loaded:
            self._queues[service].append((member, path, body))
            del self._queues[service][:-OBJECTS_MAX]
        elif apply(self.objects[service], self._keep, member, path, body):
            self._on_change()

    def _changed_hands(self, service: str, new: str, tasks: asyncio.TaskGroup) -> None:
        if service not in self._services or self._owners.get(service) == new:
            return
        self._owners.pop(service, None)
        self._loaded.discard(service)
        self.objects[service].clear()
        if new:
            self._came(service, new, tasks)
        self._on_change()


async def _call(bus: MessageBus, message: Message, timeout_s: float = CALL_S) -> list[Any]:
    async with asyncio.timeout(timeout_s):
        reply = await bus.call(message)
    if reply is None:
        raise BusError("org.freedesktop.DBus.Error.Disconnected", "the connection was closed")
    if reply.message_type is MessageType.ERROR:
        raise BusError(reply.error_name or "", str(reply.body[0]) if reply.body else "")
    return [plain(value) for value in reply.body]
