"""A modem as ModemManager shows it, and what is wrong with it that only people can mend. Pure functions.

States and numbers: the ModemManager API (MMModemState, MMModemLock, MMModem3gppRegistrationState and others).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gateway.config.schema import ModemConfig
from gateway.errors import LamppostError
from gateway.uplink.system_bus import Objects

MM = "org.freedesktop.ModemManager1"
ROOT = "/org/freedesktop/ModemManager1"
MODEM, SIMPLE, THREEGPP = f"{MM}.Modem", f"{MM}.Modem.Simple", f"{MM}.Modem.Modem3gpp"
SIM, BEARER = f"{MM}.Sim", f"{MM}.Bearer"
KEEP = {
    MODEM: ("State", "StateFailedReason", "UnlockRequired", "UnlockRetries", "SignalQuality", "AccessTechnologies",
            "Sim", "Bearers", "Ports"),
    THREEGPP: ("RegistrationState", "OperatorName", "OperatorCode"),
    SIM: ("SimIdentifier",),
    BEARER: ("ConnectionError",),
}  # fmt: skip
NET_PORT = 2  # MMModemPortType
SIM_MISSING, SIM_ERROR, NO_ESIM_PROFILE = 2, 3, 5  # MMModemStateFailedReason
NO_LOCKS = frozenset({0, 1, 3, 5})  # unknown, none; PIN2 and PUK2 keep nobody from the network
SIM_PIN, SIM_PUK = 2, 4  # MMModemLock
ROAMING, HOME = frozenset({5, 7, 10}), frozenset({1, 6, 9})  # MMModem3gppRegistrationState
DENIED, EMERGENCY_ONLY = 3, 8
TECHNOLOGIES = ("pots", "gsm", "gsm", "gprs", "edge", "umts", "hsdpa", "hsupa", "hspa", "hspa+", "1xrtt", "evdo",
                "evdo", "evdo", "lte", "5g", "lte-m", "nb-iot")  # fmt: skip
REFUSED_FOR_GOOD = ("MissingOrUnknownApn", "RequestedApnNotSupported", "UserAuthenticationFailed", "PdpAuthFailure",
                    "ServiceOptionNotSubscribed", "OperatorDeterminedBarring")  # fmt: skip


class ModemState(IntEnum):
    """MMModemState."""

    FAILED = -1
    UNKNOWN = 0
    INITIALIZING = 1
    LOCKED = 2
    DISABLED = 3
    DISABLING = 4
    ENABLING = 5
    ENABLED = 6
    SEARCHING = 7
    REGISTERED = 8
    DISCONNECTING = 9
    CONNECTING = 10
    CONNECTED = 11


class ModemError(LamppostError):
    """The modem cannot be used."""

    code = "modem.failed"
    fix = "Run `lamppost doctor`; `mmcli -m any` shows what ModemManager sees."


class SimMissingError(ModemError):
    """There is no SIM in the modem, or it does not work."""

    code = "modem.sim-missing"
    fix = "Switch the box off, put the SIM in (contacts clean, the right way round), switch it on."


class PinNeededError(ModemError):
    """The SIM asks for a PIN and none is configured."""

    code = "modem.pin-needed"
    fix = (
        "Put the PIN into a file and name it in `pin_file` of the link's `modem`, or switch the PIN off in a telephone."
    )


class PinWrongError(ModemError):
    """The PIN was tried once and refused; it is not tried again, because three wrong ones lock the SIM."""

    code = "modem.pin-wrong"
    fix = "Write the right PIN into `pin_file`: what differs from the one that was refused is tried, once."


class PukNeededError(ModemError):
    """The SIM is locked after wrong PINs and asks for its PUK. Lamppost never sends one."""

    code = "modem.puk-needed"
    fix = "Unlock the SIM in a telephone with the PUK from the operator, and correct `pin_file`."


class ModemLockedError(ModemError):
    """The modem takes SIMs of one operator only."""

    code = "modem.locked"
    fix = "Use a SIM of that operator, or have the modem unlocked."


class RegistrationDeniedError(ModemError):
    """The network refuses the SIM."""

    code = "modem.denied"
    fix = "Ask the operator whether the SIM is active, paid and allowed to use data with this modem."


class RoamingRefusedError(ModemError):
    """The modem is in a foreign network, and roaming is not allowed."""

    code = "modem.roaming"
    fix = "Set `allow_roaming: true` in the link's `modem` where the contract covers it; else move the antenna."


class ApnRefusedError(ModemError):
    """The network refuses the access point name, its user or password."""

    code = "modem.apn"
    fix = "Correct `apn`, `user` and `password_file` of the link's `modem`; the operator names them."


class ModemForbiddenError(ModemError):
    """NetworkManager or ModemManager refuses what Lamppost asks for (polkit)."""

    code = "modem.forbidden"
    fix = "Install packaging/polkit/50-lamppost.rules in /etc/polkit-1/rules.d."


@dataclass(frozen=True, slots=True)
class Modem:
    """What ModemManager says of one modem. ``quality`` in percent; ``retries``: PINs left, None where unknown."""

    path: str
    state: ModemState
    failed: int = 0
    lock: int = 1
    retries: int | None = None
    registration: int = 0
    operator: str = ""
    quality: int | None = None
    technology: str = ""
    sim: str = ""
    sim_identifier: str = ""
    connect_error: str = ""  # of the last try to connect: the name of its D-Bus error

    @property
    def roaming(self) -> bool | None:
        """Whether it is in a foreign network; None where it is in none."""
        return True if self.registration in ROAMING else False if self.registration in HOME else None


def modems(objects: Objects) -> list[Modem]:
    """All modems, in the order of their paths."""
    return [_modem(objects, path) for path in sorted(objects) if MODEM in objects[path]]


def modem_of(objects: Objects, interface: str | None) -> Modem | None:
    """The modem with that network interface; without one the first."""
    for found in modems(objects):
        names = [port[0] for port in objects[found.path][MODEM].get("Ports", []) if port[1] == NET_PORT]
        if interface is None or interface in names:
            return found
    return None


def _modem(objects: Objects, path: str) -> Modem:
    shown, network = objects[path][MODEM], objects[path].get(THREEGPP, {})
    sim = str(shown.get("Sim", "/"))
    card = objects.get(sim, {}).get(SIM, {})
    quality, state = shown.get("SignalQuality"), _state(shown.get("State", 0))
    heard = quality is not None and state >= ModemState.REGISTERED
    errors = [
        objects.get(bearer, {}).get(BEARER, {}).get("ConnectionError", ("", "")) for bearer in shown.get("Bearers", [])
    ]
    return Modem(
        path,
        state,
        failed=int(shown.get("StateFailedReason", 0)),
        lock=int(shown.get("UnlockRequired", 0)),
        retries=shown.get("UnlockRetries", {}).get(SIM_PIN),
        registration=int(network.get("RegistrationState", 0)),
        operator=str(network.get("OperatorName") or network.get("OperatorCode") or ""),
        quality=int(quality[0]) if heard and quality is not None else None,
        technology=technology(int(shown.get("AccessTechnologies", 0))),
        sim="" if sim == "/" else sim,
        sim_identifier=str(card.get("SimIdentifier", "")),
        connect_error=next((str(error[0]) for error in reversed(errors) if error[0]), ""),
    )


def _state(number: int) -> ModemState:
    """A state; one that a later ModemManager may know is unknown here."""
    return ModemState(number) if number in list(ModemState) else ModemState.UNKNOWN


def technology(bits: int) -> str:
    """The newest of MMModemAccessTechnology, in a word."""
    known = bits & ((1 << len(TECHNOLOGIES)) - 1)
    return TECHNOLOGIES[known.bit_length() - 1] if known else ""


def needs_human(modem: Modem, settings: ModemConfig) -> ModemError | None:
    """What is wrong that no reset mends; None where there is nothing of that kind."""
    if modem.state is ModemState.FAILED and modem.failed in (SIM_MISSING, SIM_ERROR, NO_ESIM_PROFILE):
        what = {SIM_MISSING: "there is no SIM in the modem", SIM_ERROR: "the SIM cannot be read"}
        return SimMissingError(what.get(modem.failed, "the eSIM holds no profile"))
    if modem.lock == SIM_PIN and settings.pin_file is None:
        return PinNeededError("the SIM asks for its PIN")
    if modem.lock == SIM_PUK:
        return PukNeededError("the SIM is locked and asks for its PUK")
    if modem.lock not in NO_LOCKS and modem.lock != SIM_PIN:
        return ModemLockedError("the modem is locked to another operator's SIM")
    if modem.registration in (DENIED, EMERGENCY_ONLY):
        return RegistrationDeniedError("the network refuses the SIM")
    if modem.roaming and not settings.allow_roaming:
        return RoamingRefusedError(f"the modem is in a foreign network ({modem.operator}), and roaming is not allowed")
    if modem.connect_error.endswith(REFUSED_FOR_GOOD) and modem.state is not ModemState.CONNECTED:
        return ApnRefusedError(f"the network refuses the connection: {modem.connect_error.rsplit('.', 1)[-1]}")
    return None
