"""Carriers by NetworkManager and ModemManager over the system D-Bus; by the interface alone where they are not there.

Everything is learnt from signals (``gateway.uplink.system_bus``). Imported only where a link needs it: dbus-fast costs
about 4 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gateway.config.schema import LinkConfig
from gateway.errors import LamppostError
from gateway.uplink.carrier import RESOLV_CONF, Carrier, InterfaceCarriers, same_way
from gateway.uplink.link_addresses import name_servers
from gateway.uplink.modem import KEEP as MODEM_KEEP
from gateway.uplink.modem import MM, Modem, modem_of
from gateway.uplink.modem import ROOT as MODEM_ROOT
from gateway.uplink.modem import modems as all_modems
from gateway.uplink.modem_keeper import ModemKeeper, keep
from gateway.uplink.modem_ladder import Timing
from gateway.uplink.modem_pin import PinMemory
from gateway.uplink.network_manager import DEVICE, MANAGER, NM, NetworkManager, carrier_of, device_of, profile_name
from gateway.uplink.network_manager import KEEP as NETWORK_KEEP
from gateway.uplink.system_bus import BusError, Mirror

LOG = logging.getLogger("lamppost.link")
LOOK_S = 5.0  # start() waits so long for what is there
TICK_S = 5.0
CLOSE_S = 2.0


class ManagedCarriers:
    """See ``gateway.uplink.carrier.Carriers``. ``folder``: where it is remembered which PINs were refused."""

    def __init__(
        self, links: Sequence[LinkConfig], folder: Path, timing: Timing | None = None, tick_s: float = TICK_S
    ) -> None:
        self.changed = asyncio.Event()
        self._plain = InterfaceCarriers()
        services = {NM: MANAGER, MM: MODEM_ROOT}
        self._mirror = Mirror(services, NETWORK_KEEP | MODEM_KEEP, self._change)
        self._network = NetworkManager(self._mirror)
        self._tick_s = tick_s
        self._timing = timing
        self._task: asyncio.Task[None] | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._refused: dict[str, str] = {}  # why the last wish for a link was refused, by its name
        self._wakers: dict[str, asyncio.Event] = {}
        self._pins = PinMemory(folder)
        self.keepers: dict[str, ModemKeeper] = {}
        self.follow(links)

    def _change(self) -> None:
        self.changed.set()
        for waker in self._wakers.values():
            waker.set()

    async def start(self) -> None:
        """Begin to look; waits up to LOOK_S for what is there."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())  # kept, and awaited in close()
            self._task.add_done_callback(_ended)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._mirror.looked.wait()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._mirror.run())
            for name in self.keepers:
                self._keep(name, self._tasks)

    def _keep(self, name: str, tasks: asyncio.TaskGroup) -> None:
        waker = self._wakers[name] = asyncio.Event()
        self._keeping[name] = tasks.create_task(keep(self.keepers[name], waker, self._tick_s))

    def follow(self, links: Sequence[LinkConfig]) -> None:
        """Keepers for these links; those of modems that are configured as before stay."""
        wanted = {link.name: link for link in links if link.modem is not None}
        for name, keeper in list(self.keepers.items()):
            if name not in wanted or not same_way(keeper.link, wanted[name]):
                del self.keepers[name]
                self._wakers.pop(name, None)
                if name in self._keeping:
                    self._keeping.pop(name).cancel()
        for name in wanted.keys() - self.keepers.keys():
            self.keepers[name] = ModemKeeper(wanted[name], self._mirror, self._network, self._pins, self._timing)
            if self._tasks is not None:
                self._keep(name, self._tasks)
        self._refused.clear()

    async def close(self) -> None:
        """Stop looking; connections stay as they are."""
        task, self._task, self._tasks = self._task, None, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=CLOSE_S)

    def carrier(self, link: LinkConfig) -> Carrier:
        """The carrier of a link, out of what is known now."""
        there = self._network.there
        found = carrier_of(self._network.objects, link) if there else None
        if found is None and profile_name(link) is not None:
            found = Carrier(False, problem="NetworkManager does not run")
        found = found or self._plain.carrier(link)
        if found.up and found.interface is not None and not found.dns:
            found = replace(found, dns=name_servers(RESOLV_CONF))
        if not found.up and link.name in self._refused:
            found = replace(found, problem=self._refused[link.name])
        modem = self._modem(link, found)
        return found if modem is None and link.name not in self.keepers else self._with_modem(link, found, modem)

    def _modem(self, link: LinkConfig, found: Carrier) -> Modem | None:
        """The modem below a link: that of its device (NetworkManager names it in Udi), or that of its interface."""
        objects, modems = self._network.objects, self._mirror.objects[MM]
        device = device_of(objects, link)
        udi = "" if device is None else str(objects[device][DEVICE].get("Udi", ""))
        of_device = next((one for one in all_modems(modems) if one.path == udi), None)
        if of_device is not None:
            return of_device
        if link.name in self.keepers:
            return self.keepers[link.name].modem()
        return modem_of(modems, found.interface) if found.interface is not None else None

    def _with_modem(self, link: LinkConfig, found: Carrier, modem: Modem | None) -> Carrier:
        keeper = self.keepers.get(link.name)
        problem, up = found.problem, found.up
        if keeper is not None and keeper.problem is not None:
            problem = f"{keeper.problem.cause}. {keeper.problem.fix}"
            up = up and keeper.problem.code != "modem.roaming"  # up by somebody else's wish, at foreign prices
        elif keeper is not None and not self._mirror.owner(MM):
            problem = problem or "ModemManager does not run"
        elif keeper is not None and not up and keeper.ladder.attempts:
            problem = f"{problem}; the modem is stuck: attempt {keeper.ladder.attempts}"
        if modem is None:
            return replace(found, problem=problem)
        return replace(
            found, up=up, problem=problem, signal=None if modem.quality is None else modem.quality / 100,
            operator=modem.operator, technology=modem.technology, roaming=modem.roaming,
        )  # fmt: skip

    def works(self, link: LinkConfig, *, works: bool) -> None:
        """A modem that is up and moves nothing is worked on."""
        keeper = self.keepers.get(link.name)
        if keeper is not None and keeper.stalled is works:
            keeper.stalled = not works
            self._wake(link.name)

    def _wake(self, name: str) -> None:
        if name in self._wakers:
            self._wakers[name].set()

    async def bring_up(self, link: LinkConfig) -> None:
        """Bring the connection up. Below a modem that is the keeper's: it also waits for the SIM and the network."""
        if link.name in self.keepers:
            self.keepers[link.name].wanted = True
            self._wake(link.name)
        else:
            await self._try(link, up=True)

    async def bring_down(self, link: LinkConfig) -> None:
        """Take the connection down."""
        if link.name in self.keepers:
            self.keepers[link.name].wanted = False
        await self._try(link, up=False)

    async def _try(self, link: LinkConfig, *, up: bool) -> None:
        if profile_name(link) is None:
            return
        self._refused.pop(link.name, None)
        try:
            await (self._network.activate(link) if up else self._network.deactivate(link))
        except BusError as error:
            self._refused[link.name] = error.text
        except LamppostError as error:
            self._refused[link.name] = f"{error.cause}. {error.fix}"
        if link.name in self._refused:
            LOG.warning("link %s: %s", link.name, self._refused[link.name], extra={"link": link.name})


def _ended(task: asyncio.Task[None]) -> None:
    """It only ends when it is closed; else this is a mistake in the program, and nothing is followed any longer."""
    if not task.cancelled() and (error := task.exception()) is not None:
        LOG.error("NetworkManager and ModemManager are followed no longer: %r", error, exc_info=error)
