"""The properties of simulated modems, SIMs and bearers, as org.freedesktop.ModemManager1 shows them."""

from __future__ import annotations

from dbus_fast import Variant

from firmware_sim.ble.tree import Properties
from firmware_sim.managers.sim_modem import PUK_TRIES, Registration, SimModem

FAILED, LOCKED, DISABLED, DISABLING, ENABLING, ENABLED, SEARCHING, REGISTERED = -1, 2, 3, 4, 5, 6, 7, 8
DISCONNECTING, CONNECTING, CONNECTED = 9, 10, 11  # MMModemState
SIM_MISSING = 2  # MMModemStateFailedReason
NO_LOCK, SIM_PIN, SIM_PUK = 1, 2, 4  # MMModemLock
POWER_LOW, POWER_ON = 2, 3  # MMModemPowerState
NET_PORT, QMI_PORT = 2, 6  # MMModemPortType
STATIC = 2  # MMBearerIpMethod


def shown(modem: SimModem, path: str) -> Properties:
    """Of the modem itself."""
    state = FAILED if modem.sim is None else LOCKED if modem.locked else DISABLED
    return {
        "Sim": Variant("o", path),
        "Bearers": Variant("ao", []),
        "Manufacturer": Variant("s", "QUALCOMM INCORPORATED"),
        "Model": Variant("s", "Simulated LTE"),
        "Revision": Variant("s", "1.0"),
        "DeviceIdentifier": Variant("s", "840f0e9d26bb3ad5fb6e57ce0c545371d9890864"),
        "EquipmentIdentifier": Variant("s", "490154203237518"),
        "Device": Variant("s", "/sys/devices/platform/soc/usb1/1-1"),
        "Plugin": Variant("s", "generic"),
        "PrimaryPort": Variant("s", "cdc-wdm0"),
        "Ports": Variant("a(su)", [["cdc-wdm0", QMI_PORT], [modem.interface, NET_PORT]]),
        "State": Variant("i", state),
        "StateFailedReason": Variant("u", SIM_MISSING if modem.sim is None else 0),
        "PowerState": Variant("u", POWER_ON),
        "SignalQuality": Variant("(ub)", [0, True]),
        "AccessTechnologies": Variant("u", 0),
    } | locks(modem)


def locks(modem: SimModem) -> Properties:
    """What is asked for, and how often it may be answered."""
    if modem.sim is None:
        return {"UnlockRequired": Variant("u", 0), "UnlockRetries": Variant("a{uu}", {})}
    lock = NO_LOCK if not modem.locked else SIM_PIN if modem.sim.tries else SIM_PUK
    retries = {SIM_PIN: modem.sim.tries, SIM_PUK: PUK_TRIES}
    return {"UnlockRequired": Variant("u", lock), "UnlockRetries": Variant("a{uu}", retries)}


def card(modem: SimModem) -> Properties:
    """Of its SIM."""
    assert modem.sim is not None
    return {
        "Active": Variant("b", True),
        "SimIdentifier": Variant("s", modem.sim.identifier),
        "Imsi": Variant("s", "" if modem.locked else "262011234567890"),
        "OperatorIdentifier": Variant("s", "" if modem.locked else modem.operator[0]),
        "OperatorName": Variant("s", "" if modem.locked else modem.operator[1]),
    }


def network(modem: SimModem, state: Registration = Registration.IDLE) -> Properties:
    """Of the network that it is registered with."""
    there = state in (Registration.HOME, Registration.ROAMING)
    code, name = modem.operator if there else ("", "")
    return {
        "Imei": Variant("s", "490154203237518"),
        "RegistrationState": Variant("u", int(state)),
        "OperatorCode": Variant("s", code),
        "OperatorName": Variant("s", name),
    }


def offline() -> Properties:
    """Of a bearer that is not connected."""
    return {
        "Interface": Variant("s", ""),
        "Connected": Variant("b", False),
        "ConnectionError": Variant("(ss)", ["", ""]),
        "Suspended": Variant("b", False),
        "Ip4Config": Variant("a{sv}", {"method": Variant("u", 0)}),
        "Ip6Config": Variant("a{sv}", {"method": Variant("u", 0)}),
        "Stats": Variant("a{sv}", {"rx-bytes": Variant("t", 0), "tx-bytes": Variant("t", 0)}),
    }
