"""A private dbus-daemon with the simulated NetworkManager and ModemManager, in the loop of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from dbus_fast.aio import MessageBus

from firmware_sim.ble.dbus import DbusDaemon
from firmware_sim.managers import network_manager as nm
from firmware_sim.managers.modem_manager import ModemManager
from firmware_sim.managers.network_manager import Interface, NetworkManager
from firmware_sim.managers.sim_modem import Pace, SimModem
from gateway.config.schema import LinkConfig
from gateway.uplink import system_bus
from gateway.uplink.managed_carriers import ManagedCarriers
from gateway.uplink.modem_ladder import Symptom, Timing

PATIENCE_S = 30.0
QUICK = Timing(
    patience_s=dict.fromkeys(Symptom, 0.8) | {Symptom.STALLED: 0.0},
    pauses_s=(1.0,),
    quiet_s=0.2,
    well_s=0.2,
    activate_s=(0.2,),
)


class Site:
    """One box: its bus, its two services, and what hangs on them."""

    def __init__(self, dbus: DbusDaemon) -> None:
        self.dbus = dbus
        self._tasks: set[asyncio.Task[None]] = set()
        self._buses: list[MessageBus] = []
        self.modems: ModemManager
        self.network: NetworkManager

    async def begin(self, *, modems: bool = True, network: bool = True) -> None:
        """Start the services."""
        if modems:
            self.modems = ModemManager(await self._connect(), self._spawn, Pace.fast())
            await self.modems.begin()
        if network:
            self.network = NetworkManager(await self._connect(), self._spawn, self.modems if modems else None, 0.01)
            await self.network.begin()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> object:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        return task

    async def end(self) -> None:
        """All ends; what went wrong inside is raised."""
        self.vanish()
        for one in await asyncio.gather(*self._tasks, return_exceptions=True):
            if one is not None and not isinstance(one, asyncio.CancelledError):
                raise one

    async def _connect(self) -> MessageBus:
        bus = await MessageBus(bus_address=self.dbus.address).connect()
        self._buses.append(bus)
        return bus

    def vanish(self) -> None:
        """Both services end, with all that they had under way: it must not reach into their next life."""
        for bus in self._buses:
            bus.disconnect()
        self._buses.clear()
        for task in self._tasks:
            task.cancel()

    def plug(self, modem: SimModem) -> str:
        """A modem with its device. Returns the path of the device."""
        path = self.modems.plug(modem)
        device = self.network.plug(Interface(modem.interface, nm.MODEM, modem.address, ("10.74.210.210",), modem=path))
        self._spawn(self._follow(modem, path, device))
        return device

    async def _follow(self, modem: SimModem, path: str, device: str) -> None:
        """NetworkManager's device goes and comes with the modem."""
        while True:
            await asyncio.sleep(0.01)
            at = next((at for at, one in self.modems.modems.items() if one is modem), None)
            if at != path:
                if device in self.network.interfaces:
                    self.network.unplug(device)
                if at is not None:
                    path = at
                    kind = Interface(modem.interface, nm.MODEM, modem.address, ("10.74.210.210",), modem=path)
                    device = self.network.plug(kind)

    def did(self, member: str) -> int:
        """How often ModemManager was asked for that."""
        return sum(asked == member for _, asked in self.modems.calls)


@asynccontextmanager
async def a_site(folder: Path, monkeypatch: pytest.MonkeyPatch, **services: bool) -> AsyncIterator[Site]:
    """A site until the end of the block; the system bus is its own."""
    dbus = DbusDaemon(folder)
    await dbus.start()
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", dbus.address)
    monkeypatch.setattr(system_bus, "FIRST_S", 0.05)
    monkeypatch.setattr(system_bus, "CAP_S", 0.2)
    site = Site(dbus)
    try:
        await site.begin(**services)
        yield site
    finally:
        await site.end()
        await dbus.stop()


@asynccontextmanager
async def carriers_of(folder: Path, *links: LinkConfig, timing: Timing = QUICK) -> AsyncIterator[ManagedCarriers]:
    """The carriers of these links, quick."""
    made = ManagedCarriers(links, folder, timing, tick_s=0.05)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)
