"""org.freedesktop.ModemManager1 as far as a gateway asks for it: modems, SIMs, bearers.

Interfaces, states and error names: the ModemManager 1.20 API; refusals and their words as the real one gave them to
``firmware_sim.managers.at_modem``. It keeps what bites in practice: a modem that was reset comes back under another
path and asks for its PIN again, a SIM has three tries, a failed modem has few interfaces, long calls fail with the
modem's own errors.
"""

from __future__ import annotations

import asyncio
from typing import Any

from dbus_fast import Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError

from firmware_sim.managers.modem_properties import (
    CONNECTED,
    CONNECTING,
    DISABLED,
    DISABLING,
    DISCONNECTING,
    ENABLED,
    ENABLING,
    FAILED,
    POWER_LOW,
    POWER_ON,
    REGISTERED,
    SEARCHING,
    STATIC,
    card,
    locks,
    network,
    offline,
    shown,
)  # fmt: skip
from firmware_sim.managers.service import NONE, Handler, Service, Spawn, plain
from firmware_sim.managers.sim_modem import PIN_TRIES, Fault, Pace, Registration, SimModem

MM = "org.freedesktop.ModemManager1"
ROOT = "/org/freedesktop/ModemManager1"
MODEM, SIMPLE, THREEGPP, SIGNAL = f"{MM}.Modem", f"{MM}.Modem.Simple", f"{MM}.Modem.Modem3gpp", f"{MM}.Modem.Signal"
SIM, BEARER = f"{MM}.Sim", f"{MM}.Bearer"
DONE: tuple[str, list[Any]] = ("", [])


def core(name: str, text: str) -> DBusError:
    """An error of ModemManager's own."""
    return DBusError(f"{MM}.Error.Core.{name}", text)


def equipment(name: str, text: str) -> DBusError:
    """An error that the modem reported (3GPP TS 27.007, 9.2)."""
    return DBusError(f"{MM}.Error.MobileEquipment.{name}", text)


class ModemManager(Service):
    """One life of ModemManager. ``authorised``: what polkit says."""

    def __init__(self, bus: MessageBus, spawn: Spawn, pace: Pace | None = None) -> None:
        super().__init__(bus, spawn, MM, ROOT)
        self.pace = pace or Pace()
        self.authorised = True
        self.modems: dict[str, SimModem] = {}
        self._number = 0

    async def begin(self) -> None:
        """Take the name."""
        self.tree.add(ROOT, {MM: {"Version": Variant("s", "1.20.4")}})
        handlers: dict[tuple[str, str], Handler] = {
            (MODEM, "Enable"): self._enable,
            (MODEM, "Reset"): self._reset,
            (MODEM, "SetPowerState"): self._power,
            (MODEM, "ListBearers"): self._bearers,
            (SIMPLE, "Connect"): self._connect,
            (SIMPLE, "Disconnect"): self._disconnect,
            (SIMPLE, "GetStatus"): self._status,
            (THREEGPP, "Register"): self._register,
            (SIGNAL, "Setup"): self._setup,
            (SIM, "SendPin"): self._send_pin,
            (SIM, "SendPuk"): self._send_puk,
        }
        await self.start(handlers)

    # modems come and go

    def plug(self, modem: SimModem, *, boots: bool = True) -> str:
        """A modem appears. Returns its path."""
        if boots:
            modem.boot()
        path = f"{ROOT}/Modem/{self._number}"
        sim = f"{ROOT}/SIM/{self._number}"
        self._number += 1
        self.modems[path] = modem
        if modem.sim is not None:
            self.tree.add(sim, {SIM: card(modem)})
        interfaces = {MODEM: shown(modem, sim if modem.sim is not None else NONE)}
        if modem.sim is not None:
            interfaces |= {SIMPLE: {}, THREEGPP: network(modem), SIGNAL: {"Rate": Variant("u", 0)}}
        self.tree.add(path, interfaces)
        return path

    def unplug(self, path: str) -> None:
        """A modem goes, with its SIM and bearers."""
        del self.modems[path]
        for bearer in self.tree.get(path, MODEM, "Bearers") or []:
            self.tree.remove(bearer)
        sim = self.tree.get(path, MODEM, "Sim")
        self.tree.remove(path)
        if sim != NONE:
            self.tree.remove(sim)

    # states

    def state(self, path: str) -> int:
        """MMModemState. Raises DBusError for a modem that has gone."""
        if path not in self.tree:
            raise core("Aborted", "Modem was removed")
        return int(self.tree.get(path, MODEM, "State"))

    def turn(self, path: str, new: int, **more: Variant) -> None:
        """Change a modem's state, and say so as ModemManager does."""
        old = self.state(path)
        self.tree.change(path, MODEM, {"State": Variant("i", new)} | more)
        if old != new:
            self.tree.signal(path, MODEM, "StateChanged", "iiu", [old, new, 1])

    def air(self, path: str) -> None:
        """What the network is to the modem has changed, or its signal: tell it."""
        modem, state = self.modems[path], self.state(path)
        if state < ENABLED:
            return
        lost = modem.fault in (Fault.NETWORK, Fault.DRIVER, Fault.RADIO)
        found = Registration.SEARCHING if lost else modem.network
        there = found in (Registration.HOME, Registration.ROAMING)
        self.tree.change(path, THREEGPP, network(modem, found))
        heard = {
            "SignalQuality": Variant("(ub)", [modem.quality if there else 0, True]),
            "AccessTechnologies": Variant("u", modem.technology if there else 0),
        }
        if not there:
            self._drop(path)
            self.turn(path, SEARCHING, **heard)
        elif state < REGISTERED:
            self.turn(path, REGISTERED, **heard)
        else:
            self.tree.change(path, MODEM, heard)

    async def _ready(self, path: str, *, failed_too: bool = False) -> SimModem:
        """The modem, where it can be worked with. Raises DBusError."""
        if not self.authorised:
            action = f"{MM}.Device.Control"
            raise core("Unauthorized", f"PolicyKit authorization failed: not authorized for '{action}'")
        modem = self.modems.get(path)
        if modem is None:
            raise core("NotFound", "couldn't find modem")
        if self.state(path) == FAILED and not failed_too:
            raise core("WrongState", "modem in failed state")
        return modem

    async def _asked(self, modem: SimModem) -> None:
        """The modem answers, or does not. Raises DBusError."""
        if modem.fault is Fault.FIRMWARE:
            await asyncio.sleep(self.pace.timeout_s)
            raise DBusError(f"{MM}.Error.Serial.ResponseTimeout", "Serial command timed out")

    async def _enable(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        modem = await self._ready(path)
        if modem.locked:
            raise core("WrongState", f"Cannot {'enable' if body[0] else 'disable'} modem: device locked")
        await (self._up(path, modem) if body[0] else self._down(path, modem))
        return DONE

    async def enable(self, path: str) -> None:
        """Modem.Enable, and until the network was looked for."""
        await self._up(path, self.modems[path])
        await asyncio.sleep(2 * self.pace.search_s)

    async def _up(self, path: str, modem: SimModem) -> None:
        if self.state(path) >= ENABLED:
            return
        self.turn(path, ENABLING)
        try:
            await self._asked(modem)
        except DBusError:
            self.turn(path, DISABLED)
            raise
        await asyncio.sleep(self.pace.enable_s)
        self.turn(path, ENABLED, PowerState=Variant("u", POWER_ON))
        self.turn(path, SEARCHING)
        self.tree.change(path, THREEGPP, network(modem, Registration.SEARCHING))
        self.spawn(self._find(path))

    async def _find(self, path: str) -> None:
        await asyncio.sleep(self.pace.search_s)
        if path in self.modems and self.state(path) == SEARCHING:
            self.air(path)

    async def _down(self, path: str, modem: SimModem) -> None:
        if self.state(path) <= DISABLED:
            return
        self._drop(path)
        self.turn(path, DISABLING)
        await self._asked(modem)
        await asyncio.sleep(self.pace.enable_s)
        if modem.fault is Fault.DRIVER:
            modem.fault = Fault.NOT
        self.tree.change(path, THREEGPP, network(modem))
        quiet = {"SignalQuality": Variant("(ub)", [0, False]), "AccessTechnologies": Variant("u", 0)}
        self.turn(path, DISABLED, **quiet)

    async def _reset(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        modem = await self._ready(path, failed_too=True)
        if not modem.can_reset:
            raise core("Unsupported", "Cannot reset the modem: operation not supported")
        self.spawn(self._reboot(path, modem))
        return DONE

    async def _reboot(self, path: str, modem: SimModem) -> None:
        await asyncio.sleep(self.pace.step_s)
        self.unplug(path)
        await asyncio.sleep(self.pace.reboot_s)
        if modem.fault is not Fault.RADIO:
            modem.fault = Fault.NOT
        self.plug(modem)

    async def _power(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        modem = await self._ready(path, failed_too=True)
        if self.state(path) not in (FAILED, DISABLED):
            raise core("WrongState", "Cannot set power state: not in disabled or failed state")
        if not modem.can_power:
            raise core("Unsupported", "Requested power transition is not supported by this modem")
        if body[0] == POWER_LOW and modem.fault is Fault.RADIO:
            modem.fault = Fault.NOT
        self.tree.change(path, MODEM, {"PowerState": Variant("u", body[0])})
        return DONE

    async def _bearers(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        return "ao", [self.tree.get(path, MODEM, "Bearers")]

    async def _register(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        modem = await self._ready(path)
        await self._asked(modem)
        if self.state(path) < ENABLED:
            raise core("WrongState", "modem not enabled")
        if modem.fault is Fault.NETWORK:
            modem.fault = Fault.NOT
        await asyncio.sleep(self.pace.search_s)
        self.air(path)
        if self.state(path) < REGISTERED:
            raise equipment("NetworkTimeout", "Network timeout")
        return DONE

    async def _setup(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        await self._ready(path)
        self.tree.change(path, SIGNAL, {"Rate": Variant("u", body[0])})
        return DONE

    # the SIM

    def _of_card(self, sim: str) -> str:
        return next(path for path in self.modems if self.tree.get(path, MODEM, "Sim") == sim)

    async def _send_pin(self, at: str, body: list[Any]) -> tuple[str, list[Any]]:
        path = self._of_card(at)
        modem = await self._ready(path)
        sim = modem.sim
        if sim is None or not modem.locked or not sim.tries:
            raise core("WrongState", "Cannot send PIN: device is not SIM-PIN locked")
        await asyncio.sleep(self.pace.step_s)
        if body[0] != sim.pin:
            sim.tries -= 1
            self.tree.change(path, MODEM, locks(modem))
            raise equipment("IncorrectPassword", "Incorrect password")
        sim.tries, modem.locked = PIN_TRIES, False
        self.spawn(self._unlocked(path, at))
        return DONE

    async def _unlocked(self, path: str, at: str) -> None:
        await asyncio.sleep(self.pace.step_s)
        modem = self.modems.get(path)
        if modem is None:
            return
        self.tree.change(at, SIM, card(modem))
        self.turn(path, DISABLED, **locks(modem))

    async def _send_puk(self, at: str, body: list[Any]) -> tuple[str, list[Any]]:
        raise equipment("IncorrectPassword", "Incorrect password")

    # bearers

    async def _connect(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        return "o", [await self.connect(path, plain(body[0]))]

    async def connect(self, path: str, wanted: dict[str, Any]) -> str:
        """Modem.Simple.Connect: enable, wait for the network, connect. Raises DBusError."""
        modem = await self._ready(path)
        if modem.locked:
            lock = "sim-pin" if modem.sim is not None and modem.sim.tries else "sim-puk"
            raise core("Unauthorized", f"Modem is locked with '{lock}' code; cannot unlock it")
        await self._up(path, modem)
        await self._asked(modem)
        if self.state(path) < REGISTERED:
            await asyncio.sleep(2 * self.pace.search_s)
        if self.state(path) < REGISTERED:
            denied = modem.network is Registration.DENIED
            name = "NetworkNotAllowed" if denied else "NetworkTimeout"
            raise equipment(name, "Network not allowed" if denied else "Network timeout")
        roams = self.tree.get(path, THREEGPP, "RegistrationState") == Registration.ROAMING
        if roams and not wanted.get("allow-roaming", True):
            raise core("Unauthorized", "Registered in roaming network, and roaming not allowed")
        return await self._dial(path, modem, wanted)

    async def _dial(self, path: str, modem: SimModem, wanted: dict[str, Any]) -> str:
        bearer = f"{ROOT}/Bearer/{self._number}"
        self._number += 1
        self.tree.add(bearer, {BEARER: offline()})
        self.tree.change(path, MODEM, {"Bearers": Variant("ao", [bearer])})
        self.turn(path, CONNECTING)
        await asyncio.sleep(self.pace.connect_s)
        refused = None
        if modem.fault is Fault.BEARER:
            refused = equipment("ActivationRejectedUnspecified", "Activation rejected, unspecified")
        elif wanted.get("apn") != modem.apn:
            refused = equipment("MissingOrUnknownApn", "Missing or unknown APN")
        if refused is not None:
            error = Variant("(ss)", [refused.type, refused.text])
            self.tree.change(bearer, BEARER, {"ConnectionError": error})
            self.turn(path, REGISTERED)
            raise refused
        static = {"method": Variant("u", STATIC), "address": Variant("s", modem.address), "prefix": Variant("u", 30),
                  "gateway": Variant("s", "10.140.7.1"), "dns1": Variant("s", "10.74.210.210")}  # fmt: skip
        online = {"Connected": Variant("b", True), "Ip4Config": Variant("a{sv}", static)}
        self.tree.change(bearer, BEARER, online | {"Interface": Variant("s", modem.interface)})
        self.turn(path, CONNECTED)
        return bearer

    def _drop(self, path: str) -> None:
        """The bearer is lost."""
        for bearer in self.tree.get(path, MODEM, "Bearers") or []:
            if self.tree.get(bearer, BEARER, "Connected"):
                self.tree.change(bearer, BEARER, offline())
        if self.state(path) in (CONNECTING, CONNECTED):
            self.turn(path, REGISTERED)

    async def _disconnect(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        await self.disconnect(path)
        return DONE

    async def disconnect(self, path: str) -> None:
        """Modem.Simple.Disconnect of all bearers."""
        modem = await self._ready(path)
        if self.state(path) == CONNECTED:
            self.turn(path, DISCONNECTING)
            await asyncio.sleep(self.pace.step_s)
            self.turn(path, CONNECTED)  # _drop looks for what is connected
            self._drop(path)
        if modem.fault is Fault.BEARER:
            modem.fault = Fault.NOT

    async def _status(self, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        status = {
            "state": Variant("u", max(0, self.state(path))),
            "signal-quality": Variant("(ub)", self.tree.get(path, MODEM, "SignalQuality")),
            "m3gpp-registration-state": Variant("u", self.tree.get(path, THREEGPP, "RegistrationState")),
            "m3gpp-operator-name": Variant("s", self.tree.get(path, THREEGPP, "OperatorName")),
        }
        return "a{sv}", [status]
