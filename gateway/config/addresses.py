"""Which protocol runs on which type of bus, and what an address looks like there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from gateway.config.tree import Scalar

MODBUS = ("modbus-rtu", "modbus-tcp")
BUS_TYPES: Mapping[str, tuple[str, ...]] = {
    "modbus": MODBUS,
    **dict.fromkeys(("p1", "sml", "d0", "pms", "sds", "hpma", "mcu680", "nmea", "sps30", "mhz19"), ("serial",)),
    "mbus": ("mbus",),
    **dict.fromkeys(("ble-adv", "csc", "cycling-power", "airthings", "openbikesensor", "bike"), ("ble",)),
    **dict.fromkeys(("shelly", "tasmota", "zigbee2mqtt", "mqtt-json", "sparkplug"), ("mqtt",)),
    **dict.fromkeys(("http-json", "airgradient", "sensor-community"), ("http",)),
    "coap-senml": ("coap",),
}
"""By protocol; those of other distributions are not here: their drivers say themselves what they need."""

MODBUS_ID_MAX = 247  # Modbus over Serial Line V1.02, 2.2: 1..247 are units, 248..255 are reserved
MODBUS_ID_ANY = 254  # sensors that are alone of their kind on a line answer to it (SenseAir)
MBUS_ID_MAX = 250  # EN 13757-2, 5.7.5: 1..250 are meters, 0 one that has no address yet
FORM = {
    "modbus-rtu": "a whole number from 1 to 247",
    "modbus-tcp": "a whole number from 0 to 255",
    "serial": "a serial bus has no addresses",
    "mbus": "a whole number from 0 to 250, or the 8 digits of the meter in quotes",
    "ble": "such as 'AA:BB:CC:DD:EE:FF'",
    "mqtt": "the prefix of its topics, such as 'shellypro3em-0cb815fcaff4'",
    "http": "such as 'http://192.168.1.20', or the name under which it pushes",
    "coap": "such as 'coap://192.168.1.20/air', or the name under which it pushes",
}
_MAC = re.compile(r"(?i)[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_SECONDARY = re.compile(r"(?i)[0-9a-f]{8}([0-9a-f]{8})?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")


def legal(kind: str, address: Scalar, factory: int | None) -> bool:
    """Whether this can be an address on a bus of that type; ``factory`` is the one of the template."""
    if kind in ("modbus-rtu", "modbus-tcp"):
        number = _number(address)
        if number is None:
            return False
        if kind == "modbus-tcp":
            return 0 <= number <= 255
        return 1 <= number <= MODBUS_ID_MAX or number in (MODBUS_ID_ANY, factory)
    if kind == "serial":
        return address is None
    if kind == "mbus":
        number = _number(address)
        return 0 <= number <= MBUS_ID_MAX if number is not None else _matches(_SECONDARY, address)
    if kind == "ble":
        return _matches(_MAC, address)
    if kind in ("http", "coap"):
        return isinstance(address, str) and (_matches(_NAME, address) or _is_url(kind, address))
    return isinstance(address, str) and 0 < len(address) <= 200 and not set(address) & set("+#\0")


def same(kind: str, address: Scalar) -> Scalar:
    """One form for all ways to write an address."""
    if kind in MODBUS and isinstance(address, str):
        return int(address)
    return address.upper() if kind in ("ble", "mbus") and isinstance(address, str) else address


def _number(address: Scalar) -> int | None:
    if isinstance(address, str) and re.fullmatch("[0-9]{1,3}", address):
        return int(address)
    return address if isinstance(address, int) and not isinstance(address, bool) else None


def _matches(pattern: re.Pattern[str], address: Scalar) -> bool:
    return isinstance(address, str) and pattern.fullmatch(address) is not None


def _is_url(kind: str, address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in (kind, f"{kind}s") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
