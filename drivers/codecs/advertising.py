"""All codecs of Bluetooth LE advertisements in one table, and finding the right one.

``PATTERNS`` is what a passive scan lets through: (type of AD structure, how its content begins). The kernel takes 16 at
most (HCI_MAX_ADV_MONITOR_NUM_PATTERNS). Besides the codecs' own there are the usual flags of whoever can be connected
to (Core Specification Supplement, A 1.3). ``ACTIVE`` are codecs whose values come only in answer to a scan request.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from drivers.base import Measurement
from drivers.codecs import (
    airthings,
    aranet,
    atc,
    bike,
    bthome,
    csc,
    cycling_power,
    govee,
    mibeacon,
    openbikesensor,
    qingping,
    ruuvi,
)
from drivers.codecs.ad_structures import FLAGS, MANUFACTURER, SERVICE_DATA_16, SERVICE_DATA_128, DecodeAdvert, parse
from drivers.codecs.broadcast import Advert, Broadcast, Sealed
from drivers.codecs.framing import Hints
from drivers.errors import BadFrame

CODECS: Mapping[str, DecodeAdvert] = {
    "ruuvi": ruuvi.decode_advert,
    "bthome": bthome.decode_advert,
    "aranet": aranet.decode_advert,
    "mibeacon": mibeacon.decode_advert,
    "atc": atc.decode_advert,
    "qingping": qingping.decode_advert,
    "airthings": airthings.decode_advert,
    "govee": govee.decode_advert,
    "bike": bike.decode_advert,
}

ACTIVE = frozenset({"govee"})

PATTERNS: tuple[tuple[int, bytes], ...] = (
    *((MANUFACTURER, company.to_bytes(2, "little")) for company in (ruuvi.COMPANY, aranet.COMPANY, airthings.COMPANY)),
    *((SERVICE_DATA_16, short.to_bytes(2, "little")) for short in (0xFCD2, 0xFE95, 0x181A, 0xFDCD, 0xFEAA)),
    (SERVICE_DATA_128, UUID(bike.SERVICE).bytes[::-1]),
    *((FLAGS, bytes((flags,))) for flags in (0x02, 0x04, 0x05, 0x06, 0x1A)),
)

# templates of what is connected to, by the service that it claims
_CONNECTED: Mapping[str, str] = {
    csc.SERVICE: "csc-sensor",
    cycling_power.SERVICE: "cycling-power-sensor",
    openbikesensor.SERVICE: "openbikesensor",
    bike.SERVICE: "lamppost-bike-gatt",
}
# of broadcasting sensors, by what tells the models of a codec apart
_OF_CODEC: Mapping[str, tuple[str, ...]] = {
    "bthome": ("bthome-thermometer", "bthome-sensor"),
    "atc": ("atc-thermometer",),
    "govee": ("govee-h5075",),
    "bike": ("lamppost-bike",),
}
_RUUVI_AIR = (b"\x06", b"\xe1")
_ARANETS = {b"\1": ("aranet-aranet2",), b"\2": ("aranet-radiation",), b"\3": ("aranet-radon-plus",)}
_AIRTHINGS = {"2920": ("airthings-wave-mini",), "2930": ("airthings-wave-plus",), "2950": ("airthings-wave-2",)}
_XIAOMIS = {
    b"\xaa\x01": "xiaomi-lywsdcgq",
    **dict.fromkeys(
        (b"\x5b\x05", b"\xe4\x16", b"\x42\x25", b"\x87\x03", b"\x32\x28", b"\x03\x12"), "xiaomi-lywsd03mmc"
    ),
}
_QINGPINGS = {
    b"\x12": "qingping-motion-light",
    **dict.fromkeys((b"\x0e", b"\x24", b"\x33", b"\x52", b"\x5d", b"\x62"), "qingping-air-monitor-lite"),
}


def recognise(advert: Advert, key: bytes = b"") -> tuple[str, Broadcast | BadFrame] | None:
    """The codec that the advertisement is of, with what it says or why it cannot be read. None for everything else."""
    for name, decode in CODECS.items():
        try:
            found = decode(advert, key)
        except BadFrame as error:
            return name, error
        if found is not None:
            return name, found
    return None


def encrypts(advert: Advert) -> bool:
    """Whether the sender's values cannot be read without its key."""
    recognised = recognise(advert)
    return recognised is not None and isinstance(recognised[1], Sealed)


def could_be(advert: Advert) -> tuple[str, ...]:
    """Names of the templates that may fit the sender, best guess first."""
    recognised = recognise(advert)
    broadcasts = () if recognised is None else _templates(recognised[0], advert)
    return (*broadcasts, *(_CONNECTED[one] for one in advert.uuids if one in _CONNECTED))


def _templates(codec: str, advert: Advert) -> tuple[str, ...]:
    match codec:
        case "ruuvi":
            air = advert.manufacturer.get(ruuvi.COMPANY, b"\0")[:1] in _RUUVI_AIR
            return ("ruuvi-air",) if air else ("ruuvi-ruuvitag",)
        case "aranet":
            data = advert.manufacturer[aranet.COMPANY]
            return ("aranet-aranet4",) if len(data) in aranet.LENGTHS_4 else tuple(_ARANETS.get(data[:1], ()))
        case "airthings":
            return tuple(_AIRTHINGS.get(airthings.serial_number(advert.manufacturer[airthings.COMPANY])[:4], ()))
        case "mibeacon":
            return (_XIAOMIS.get(advert.services[mibeacon.SERVICE][2:4], "xiaomi-mibeacon"),)
        case "qingping":
            return (_QINGPINGS.get(advert.services[qingping.SERVICE][1:2], "qingping-thermometer"),)
    return _OF_CODEC[codec]


def decode_frame(data: bytes, hints: Hints) -> tuple[Measurement, ...]:
    """The measurements in an HCI event or in AD structures. Raises BadFrame where no codec takes it."""
    recognised = recognise(parse(data, hints.address), hints.key)
    if recognised is None:
        raise BadFrame("an advertisement of no sensor that is known")
    if isinstance(recognised[1], BadFrame):
        raise recognised[1]
    return recognised[1].measurements
