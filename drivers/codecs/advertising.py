"""All codecs of Bluetooth LE advertisements in one table, and finding the right one."""

from __future__ import annotations

from collections.abc import Mapping

from drivers.base import Measurement
from drivers.codecs import airthings, aranet, atc, bike, bthome, govee, mibeacon, qingping, ruuvi
from drivers.codecs.ad_structures import DecodeAdvert, parse
from drivers.codecs.broadcast import Advert, Broadcast
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


def decode_frame(data: bytes, hints: Hints) -> tuple[Measurement, ...]:
    """The measurements in an HCI event or in AD structures. Raises BadFrame where no codec takes it."""
    recognised = recognise(parse(data, hints.address), hints.key)
    if recognised is None:
        raise BadFrame("an advertisement of no sensor that is known")
    if isinstance(recognised[1], BadFrame):
        raise recognised[1]
    return recognised[1].measurements
