"""Watches one Bluetooth adapter over D-Bus and says at once when scanning through it has ended.

bleak does not tell its scanner that the adapter was switched off or pulled out, or that BlueZ or the D-Bus stopped: a
scan that ended looks like an empty street. One small connection of our own hears exactly these four things.
Signals and properties: the BlueZ D-Bus API, org.bluez.Adapter.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from bleak.exc import BleakError
from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusFastError

from drivers.errors import Disconnected, DriverError, NoPermission, NoPort

BLUEZ, ADAPTER, DEVICE = "org.bluez", "org.bluez.Adapter1", "org.bluez.Device1"
OBJECTS = "org.freedesktop.DBus.ObjectManager"
PROPERTIES = "org.freedesktop.DBus.Properties"
_DAEMON = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
# BlueZ may stop discovering for a moment by itself, for example while it connects; longer means that it has ended.
PAUSE_MAX_S = 5.0
CLOSE_S = 0.5

# What bleak and dbus-fast raise when BlueZ refuses or the D-Bus goes; bleak asserts that there is a reply at all.
BLE_ERRORS = (BleakError, DBusFastError, OSError, EOFError, AssertionError)


class NoAdapter(NoPort):
    """There is no such adapter, no BlueZ or no D-Bus."""

    fix = "Plug the adapter in and start BlueZ: `systemctl start bluetooth`; `bluetoothctl list` names the adapters."


class AdapterOff(NoPort):
    """The adapter is there and switched off."""

    fix = "Switch it on: `bluetoothctl power on`; `rfkill unblock bluetooth` where that is refused."


class AdapterWatch:
    """Hears one adapter's fate. ``on_lost`` is called once, with what happened, after ``open`` succeeded.

    ``discovers`` says that a discovery of ours runs: its end is the end of hearing. A passive scan is none.
    ``devices`` are those that BlueZ knew before, by address: object path and properties.
    """

    def __init__(self, adapter: str, on_lost: Callable[[DriverError], None]) -> None:
        self._adapter = adapter
        self._path = f"/org/bluez/{adapter}"
        self._on_lost = on_lost
        self.lost: DriverError | None = None
        self.discovers = False
        self.devices: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self._bus: MessageBus | None = None
        self._waiter: asyncio.Task[None] | None = None
        self._pause: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Connect and check that the adapter can be used.

        Raises NoAdapter, AdapterOff, NoPermission, Disconnected, and what BLE_ERRORS names.
        """
        bus = MessageBus(bus_type=BusType.SYSTEM)
        try:
            await bus.connect()
        except PermissionError as error:
            raise NoPermission(f"the system D-Bus may not be used: {error}") from None
        except (OSError, EOFError, DBusFastError) as error:
            raise NoAdapter(f"no D-Bus, so no BlueZ: {error}") from None
        self._bus = bus
        bus.add_message_handler(self._hear)
        self._waiter = asyncio.create_task(self._wait(bus))  # kept, and awaited in close()
        for rule in (
            f"sender='{BLUEZ}',interface='{PROPERTIES}',member='PropertiesChanged',path='{self._path}',arg0='{ADAPTER}'",
            f"sender='{BLUEZ}',member='InterfacesRemoved',arg0path='{self._path}'",
            f"sender='{_DAEMON[0]}',member='NameOwnerChanged',arg0='{BLUEZ}'",
        ):
            await self._call(Message(*_DAEMON, "AddMatch", signature="s", body=[f"type='signal',{rule}"]))
        body = [ADAPTER, "Powered"]
        reply = await self._call(Message(BLUEZ, self._path, PROPERTIES, "Get", signature="ss", body=body))
        if not reply.body[0].value:
            raise AdapterOff(f"Bluetooth adapter {self._adapter} is switched off")
        reply = await self._call(Message(BLUEZ, "/", OBJECTS, "GetManagedObjects"))
        for path, interfaces in reply.body[0].items():
            if DEVICE in interfaces and path.startswith(f"{self._path}/"):
                properties = {name: held.value for name, held in interfaces[DEVICE].items()}
                self.devices[str(properties["Address"])] = path, properties

    async def close(self) -> None:
        """Let go; safe to call twice and after a failed ``open``."""
        bus, self._bus = self._bus, None
        waiter, self._waiter = self._waiter, None
        self._resume()
        if bus is not None and bus.connected:
            bus.disconnect()
        if waiter is not None:
            waiter.cancel()
            with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await waiter

    async def _call(self, message: Message) -> Message:
        assert self._bus is not None
        reply = await self._bus.call(message)
        if reply is None:
            raise Disconnected("the D-Bus connection was closed")
        if reply.message_type is MessageType.ERROR:
            name = (reply.error_name or "").rsplit(".", 1)[-1]
            if name in ("UnknownObject", "UnknownMethod", "UnknownInterface"):
                raise NoAdapter(f"BlueZ knows no adapter {self._adapter}")
            if name in ("ServiceUnknown", "NameHasNoOwner"):
                raise NoAdapter("BlueZ is not running")
            if name == "AccessDenied":
                raise NoPermission("the D-Bus does not let this user talk to BlueZ")
            raise Disconnected(f"BlueZ answers {reply.error_name}")
        return reply

    def _hear(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "PropertiesChanged" and message.body[0] == ADAPTER:
            changed = message.body[1]
            if "Powered" in changed and not changed["Powered"].value:
                self._lose(f"Bluetooth adapter {self._adapter} was switched off")
            elif "Discovering" in changed:
                self._resume()
                if not changed["Discovering"].value:
                    self._pause = asyncio.get_running_loop().call_later(PAUSE_MAX_S, self._paused)
        elif message.member == "InterfacesRemoved" and message.body[0] == self._path:
            self._lose(f"Bluetooth adapter {self._adapter} was removed")
        elif message.member == "NameOwnerChanged" and message.body[0] == BLUEZ and not message.body[2]:
            self._lose("BlueZ stopped")

    async def _wait(self, bus: MessageBus) -> None:
        with contextlib.suppress(*BLE_ERRORS):
            await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        self._lose("the D-Bus connection was lost")

    def _paused(self) -> None:
        if self.discovers:
            self._lose(f"BlueZ stopped scanning through {self._adapter}")

    def _resume(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _lose(self, what: str) -> None:
        if self._bus is not None and self.lost is None:
            self.lost = Disconnected(what)
            self._on_lost(self.lost)
