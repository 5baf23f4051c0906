"""What is done about a Bluetooth adapter that sticks: scan anew, switch it off and on, reset it at the USB port.

Which step is next is pure (:class:`Ladder`). Steps that cut links wait longer while links stand, come with growing
pauses and end after HARD_MAX; scanning anew goes on for ever. An adapter that somebody switched off is left alone: it
is not stuck. The reset is the USB port's own (USBDEVFS_RESET); an adapter on a serial port of the board has none, and
without write access to its node below /dev/bus/usb (udev) it is left out; both are said in the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from enum import StrEnum
from pathlib import Path

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from drivers.buses.ble_watch import ADAPTER, BLE_ERRORS, BLUEZ, PROPERTIES

LOG = logging.getLogger("lamppost.bluetooth")

RESCANS = 3  # refusals in a row before anything harder; a deaf scanner is started anew once
PATIENCE = 3  # more of them while links stand, which a hard step would cut
PAUSES_S = (10.0, 60.0, 300.0, 900.0, 3600.0)
HARD_MAX = 10
POWER_S = 10.0
SETTLE_S = 0.5
RESET_S = 10.0
CLASS = Path("/sys/class/bluetooth")
NODES = Path("/dev/bus/usb")
_USBDEVFS_RESET = 0x5514  # _IO('U', 20), linux/usbdevice_fs.h
_LEVELS_UP = 8


class Step(StrEnum):
    """The rungs, each in the words of the journal."""

    RESCAN = "scan anew"
    POWER_CYCLE = "switch it off and on"
    RESET = "reset it at the USB port"


HARD = (Step.POWER_CYCLE, Step.RESET)


class Ladder:
    """Where on the ladder an adapter stands. ``climbing`` is True until it is heard again."""

    def __init__(self) -> None:
        self.climbing = False
        self._tries = 0
        self._hard = 0
        self._not_before = 0.0

    def next(self, now_s: float, *, deaf: bool, linked: bool) -> Step:
        """The step to take now that the adapter is stuck, or still is: refused to scan, or ``deaf``."""
        self.climbing = True
        self._tries += 1
        easy = (1 if deaf else RESCANS) + (PATIENCE if linked else 0)
        if self._tries <= easy or now_s < self._not_before or self._hard >= HARD_MAX:
            return Step.RESCAN
        step = HARD[self._hard % len(HARD)]
        self._not_before = now_s + PAUSES_S[min(self._hard, len(PAUSES_S) - 1)]
        self._hard += 1
        self._tries = 0
        return step

    def recovered(self) -> None:
        """Something was heard: back to the ground."""
        self.climbing = False
        self._tries = self._hard = 0
        self._not_before = 0.0


async def take(step: Step, adapter: str) -> str:
    """Take a hard step. Returns what came of it, "" for one that worked; never raises but when cancelled."""
    try:
        if step is Step.POWER_CYCLE:
            async with asyncio.timeout(POWER_S):
                await power_cycle(adapter)
        elif step is Step.RESET:
            async with asyncio.timeout(RESET_S):
                await asyncio.to_thread(reset_usb, adapter)
    except TimeoutError:
        return "no answer"
    except BLE_ERRORS as error:
        return str(error) or type(error).__name__
    return ""


async def power_cycle(adapter: str) -> None:
    """Switch the adapter off and on again, and on whatever happens. Raises what BLE_ERRORS names."""
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    try:
        try:
            await _power(bus, adapter, on=False)
            await asyncio.sleep(SETTLE_S)  # controllers need a moment to forget what they were doing
        finally:
            await _power(bus, adapter, on=True)
    finally:
        bus.disconnect()


async def _power(bus: MessageBus, adapter: str, *, on: bool) -> None:
    message = Message(BLUEZ, f"/org/bluez/{adapter}", PROPERTIES, "Set")
    message.signature, message.body = "ssv", [ADAPTER, "Powered", Variant("b", on)]
    reply = await bus.call(message)
    if reply is None or reply.message_type is MessageType.ERROR:
        raise OSError(f"BlueZ does not switch it {'on' if on else 'off'}: {reply.error_name if reply else 'gone'}")


def usb_node(adapter: str) -> Path | None:
    """The node of the USB device that the adapter is, None for one that is on no USB port."""
    device = (CLASS / adapter / "device").resolve()
    for folder in (device, *list(device.parents)[:_LEVELS_UP]):
        with contextlib.suppress(OSError, ValueError):
            bus, number = (int((folder / name).read_text(encoding="ascii")) for name in ("busnum", "devnum"))
            return NODES / f"{bus:03}" / f"{number:03}"
    return None


def reset_usb(adapter: str) -> None:
    """Reset the adapter at its USB port. Raises OSError with what is missing."""
    node = usb_node(adapter)
    if node is None:
        raise OSError("it is on no USB port")
    try:
        handle = os.open(node, os.O_WRONLY)
    except OSError as error:
        raise OSError(f"{node} may not be written to ({error.strerror}): see the udev rule in packaging/udev") from None
    try:
        fcntl.ioctl(handle, _USBDEVFS_RESET, 0)
    finally:
        os.close(handle)
