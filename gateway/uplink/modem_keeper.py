"""Keeps the modem of one link: its PIN, its connection, and the ladder when it is stuck. Thin I/O over pure rules."""

from __future__ import annotations

import asyncio
import logging

from gateway.config.schema import LinkConfig, ModemConfig
from gateway.errors import LamppostError
from gateway.uplink.carrier import SYS_NET
from gateway.uplink.modem import (
    MM,
    MODEM,
    SIM,
    SIM_PIN,
    SIMPLE,
    THREEGPP,
    ApnRefusedError,
    Modem,
    ModemError,
    ModemForbiddenError,
    ModemState,
    PinWrongError,
    modem_of,
    needs_human,
)  # fmt: skip
from gateway.uplink.modem_ladder import Ladder, Rung, Timing, symptom
from gateway.uplink.modem_pin import PinMemory, read_pin
from gateway.uplink.network_manager import (
    ACTIVATED,
    ACTIVE,
    ACTIVE_NOW,
    DEVICE,
    NetworkManager,
    active_of,
    device_of,
    profile_name,
)
from gateway.uplink.system_bus import BusError, Mirror

LOG = logging.getLogger("lamppost.modem")
STEP_S = 120.0  # ModemManager gives a modem up to two minutes for a registration
PIN_AGAIN_S = 30.0  # where it did not reach the SIM, or another PIN may stand in the file
LOW, ON = 2, 3  # MMModemPowerState


class ModemKeeper:
    """One link's modem. ``wanted``: its connection should be up; ``stalled``: it is up and moves nothing.

    ``link`` is its configuration; ``problem`` is what only people can mend, said in the journal when it begins and when
    it has gone.
    """

    def __init__(
        self, link: LinkConfig, mirror: Mirror, network: NetworkManager, pins: PinMemory, timing: Timing | None = None
    ) -> None:
        self.wanted = not link.on_demand
        self.stalled = False
        self.problem: LamppostError | None = None
        self.ladder = Ladder(timing)
        self.link = link
        self._settings = link.modem or ModemConfig()
        self._mirror = mirror
        self._network = network
        self._pins = pins
        self._timing = timing or Timing()
        self._unsupported: set[Rung] = set()
        self._path = ""
        self._profile_of = ""  # the life of NetworkManager that has our profile
        self._activate_at_s = 0.0
        self._activations = 0
        self._pin_at_s = 0.0
        self._pin_to = ("", "")
        self._received = -1
        self._quiet_since_s = 0.0

    def modem(self) -> Modem | None:
        """The modem as it is now."""
        return modem_of(self._mirror.objects[MM], self.link.interface)

    async def step(self, now_s: float) -> None:
        """Look, and do what is to be done now. Bounded in time; what fails is said and kept in ``problem``."""
        try:
            await self._step(now_s)
        except LamppostError as error:
            self._trouble(error)
        except BusError as error:
            LOG.warning("link %s: the modem: %s", self.link.name, error)
        except OSError as error:
            self._trouble(ModemError(str(error), fix="Correct the file that is named in the link's `modem`."))

    async def _step(self, now_s: float) -> None:
        if not self._mirror.owner(MM):
            self.problem = None  # of what nobody sees nothing can be said
            return
        modem = self.modem()
        if modem is None:
            self._trouble(ModemError("there is no modem", fix="Plug it in; `mmcli -L` lists modems."))
            return
        if modem.path != self._path:  # another one, or the same after a reset
            self._path = modem.path
            self._unsupported.clear()
        await self._keep_profile()
        if modem.lock == SIM_PIN and self._settings.pin_file is not None:
            if (modem.path, modem.sim) != self._pin_to or now_s >= self._pin_at_s:
                self._pin_to, self._pin_at_s = (modem.path, modem.sim), now_s + PIN_AGAIN_S
                await self._unlock(modem)
            return
        trouble = needs_human(modem, self._settings)
        self._trouble(trouble)
        if not self.wanted:
            self.ladder.forget()
            return
        if trouble is None or isinstance(
            trouble, ApnRefusedError
        ):  # a wrong access point may be corrected at the operator
            await self._activate(modem, now_s)
        if trouble is None:
            await self._climb(modem, now_s)

    def _trouble(self, error: LamppostError | None) -> None:
        """Say what has begun or ended; the ladder rests meanwhile."""
        before, self.problem = self.problem, error
        name = self.link.name
        if error is not None and (before is None or before.cause != error.cause):
            extra = {"link": name, "code": error.code, "fix": error.fix}
            LOG.warning("link %s: %s. %s", name, error.cause, error.fix, extra=extra)
        elif error is None and before is not None:
            LOG.info("link %s: no longer: %s", name, before.cause, extra={"link": name})

    async def _keep_profile(self) -> None:
        if self.link.connection is not None or profile_name(self.link) is None or not self._network.there:
            return
        life = self._mirror.owner("org.freedesktop.NetworkManager")
        if self._profile_of != life:
            await self._network.keep_profile(self.link)
            self._profile_of = life

    async def _unlock(self, modem: Modem) -> None:
        """Send the PIN, once. Raises ModemError."""
        assert self._settings.pin_file is not None
        pin, card = read_pin(self._settings.pin_file), modem.sim_identifier or "unknown"
        self._pins.check(card, pin, modem.retries)
        self._pins.trying(card, pin)
        LOG.info("link %s: the SIM asks for its PIN: sent", self.link.name, extra={"link": self.link.name})
        try:
            await self._mirror.call(MM, modem.sim, SIM, "SendPin", "s", pin, timeout_s=STEP_S)
        except BusError as error:
            if error.ends("Core.Unauthorized", "AccessDenied"):
                self._pins.took(card, pin)  # it never came to the SIM
                raise ModemForbiddenError(f"ModemManager refuses to send the PIN: {error.text}") from None
            if not error.ends("IncorrectPassword", "SimPuk") and self._retries() == modem.retries is not None:
                self._pins.took(card, pin)  # nor did it now: the tries that are left are as many as before
                raise ModemError(f"the PIN did not reach the SIM: {error.text}") from None
            raise PinWrongError(f"the SIM did not take the PIN: {error.text}") from None
        self._pins.took(card, pin)

    def _retries(self) -> int | None:
        modem = self.modem()
        return None if modem is None else modem.retries

    def _online(self) -> bool:
        """Whether the system has the link's connection up; a link by interface is not ours to bring up."""
        device = device_of(self._network.objects, self.link)
        return device is not None and self._network.objects[device][DEVICE].get("State") == ACTIVATED

    async def _activate(self, modem: Modem, now_s: float) -> None:
        """Bring the connection up where it is down, again after growing pauses."""
        name = profile_name(self.link)
        if name is None or not self._network.there:
            return
        active = active_of(self._network.objects, name)
        if active is not None:
            if self._network.objects[active][ACTIVE].get("State") == ACTIVE_NOW:
                self._activations = 0
            return
        if now_s < self._activate_at_s or modem.state < ModemState.DISABLED:
            return
        pauses = self._timing.activate_s
        self._activate_at_s = now_s + pauses[min(self._activations, len(pauses) - 1)]
        self._activations += 1
        await self._network.activate(self.link, modem.path)

    def _is_quiet(self, now_s: float) -> bool:
        """Whether nothing has come in for a while. Where something does, be it of a name server, the modem works:
        then the server is away, and no reset brings it back.
        """
        device = device_of(self._network.objects, self.link)
        interface = "" if device is None else self._network.objects[device][DEVICE].get("IpInterface", "")
        received = received_bytes(str(interface))
        if received != self._received:
            self._received, self._quiet_since_s = received, now_s
        return now_s - self._quiet_since_s >= self._timing.quiet_s

    async def _climb(self, modem: Modem, now_s: float) -> None:
        stalled = self.stalled and self._is_quiet(now_s)
        seen = symptom(modem, online=self._online(), stalled=stalled)
        rung = self.ladder.next(now_s, seen, self._unsupported)
        while rung is not None and seen is not None:
            extra = {"link": self.link.name, "attempt": self.ladder.attempts}
            what = (self.link.name, seen, self.ladder.attempts, rung.words)
            LOG.warning("link %s: the modem %s; attempt %d: %s", *what, extra=extra)
            try:
                await self._take(rung, modem)
            except BusError as error:
                if error.ends("Core.Unauthorized", "AccessDenied"):
                    raise ModemForbiddenError(f"ModemManager refuses: {error.text}") from None
                LOG.warning("link %s: %s: %s", self.link.name, rung.words, error.text, extra=extra)
                if not error.ends("Core.Unsupported") or rung in self._unsupported:
                    return
                self._unsupported.add(rung)
                rung = self.ladder.instead(self._unsupported)
                continue
            self._received = -1  # it is given the same time again
            self._activate_at_s, self._activations = 0.0, 0
            return

    async def _take(self, rung: Rung, modem: Modem) -> None:
        """Take a rung. Raises BusError."""
        match rung:
            case Rung.RECONNECT:
                await self._network.deactivate(self.link)
                await self._ask(modem, SIMPLE, "Disconnect", "o", "/")
            case Rung.REGISTER:
                await self._ask(modem, THREEGPP, "Register", "s", "")
            case Rung.ENABLE:
                await self._enable(modem, on=False)
                await self._enable(modem, on=True)
            case Rung.RESET:
                await self._ask(modem, MODEM, "Reset")
            case Rung.POWER:
                await self._power_down(modem)
                await self._ask(modem, MODEM, "SetPowerState", "u", ON)
                await self._enable(modem, on=True)

    async def _power_down(self, modem: Modem) -> None:
        """Only a disabled modem takes that, and NetworkManager may enable it in between: then once more."""
        for again in (True, False):
            await self._enable(modem, on=False)
            try:
                await self._ask(modem, MODEM, "SetPowerState", "u", LOW)
            except BusError as error:
                if not (again and error.ends("Core.WrongState")):
                    raise
            else:
                return

    async def _enable(self, modem: Modem, *, on: bool) -> None:
        await self._ask(modem, MODEM, "Enable", "b", on)

    async def _ask(self, modem: Modem, interface: str, member: str, signature: str = "", *body: object) -> None:
        await self._mirror.call(MM, modem.path, interface, member, signature, *body, timeout_s=STEP_S)


def received_bytes(interface: str) -> int:
    """What the kernel counted on an interface, 0 where there is none."""
    try:
        return int((SYS_NET / interface / "statistics" / "rx_bytes").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


async def keep(keeper: ModemKeeper, woken: asyncio.Event, tick_s: float) -> None:
    """Step whenever something changed, and at each tick for what only time brings. Until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        woken.clear()
        await keeper.step(loop.time())
        try:
            async with asyncio.timeout(tick_s):
                await woken.wait()
        except TimeoutError:
            pass
