"""A D-Bus service of objects: what the simulated NetworkManager and ModemManager have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError

from firmware_sim.ble.tree import ObjectTree

UNKNOWN_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"
NONE = "/"  # the object path that stands for no object
Spawn = Callable[[Coroutine[Any, Any, None]], object]
Handler = Callable[[str, list[Any]], Awaitable[tuple[str, list[Any]]]]


def plain(value: Any) -> Any:
    """A value without its D-Bus types."""
    if isinstance(value, Variant):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(held) for key, held in value.items()}
    return [plain(held) for held in value] if isinstance(value, list) else value


class Service:
    """One life of a service on one bus connection.

    ``spawn`` runs what takes time, in somebody's TaskGroup. ``handlers`` by interface and method get the object path
    and the arguments, and return signature and body; they raise DBusError.
    """

    def __init__(self, bus: MessageBus, spawn: Spawn, name: str, manager: str) -> None:
        self.bus = bus
        self.tree = ObjectTree(bus, manager)
        self.spawn = spawn
        self.calls: list[tuple[str, str]] = []  # object path and method of each call that was not only looking
        self._name = name
        self._handlers: Mapping[tuple[str, str], Handler] = {}

    async def start(self, handlers: Mapping[tuple[str, str], Handler]) -> None:
        """Take the name; signals are heard by those who look from then on."""
        self._handlers = handlers
        self.bus.add_message_handler(self._handle)
        await self.bus.request_name(self._name)

    def _handle(self, message: Message) -> Message | bool | None:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        reply = self.tree.answer(message)
        if reply is not None:
            return reply
        handler = self._handlers.get((message.interface or "", message.member or ""))
        if handler is None:
            return None
        if not self.tree.has(message.path or "", message.interface or ""):
            text = f"No such interface “{message.interface}” on object at path {message.path}"
            raise DBusError(UNKNOWN_METHOD, text)
        self.calls.append((message.path or "", message.member or ""))
        self.spawn(self._answer(message, handler))
        return True

    async def _answer(self, message: Message, handler: Handler) -> None:
        try:
            signature, body = await handler(message.path or "", message.body)
            reply = Message.new_method_return(message, signature, body)
        except DBusError as error:
            reply = Message.new_error(message, error.type, error.text)
        self.tree.send(reply)
