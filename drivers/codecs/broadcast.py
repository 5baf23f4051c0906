"""What the codecs of broadcast advertisements have in common: what they take and what they return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from drivers.base import Measurement
from drivers.errors import BadFrame

_BASE_UUID = "-0000-1000-8000-00805f9b34fb"  # Bluetooth Core, Vol 3, Part B, 2.5.1


@dataclass(frozen=True, slots=True)
class Advert:
    """An advertisement: manufacturer data by company, service data by UUID (128 bits, lower case).

    ``address`` is the sender's as ``AA:BB:CC:DD:EE:FF``, "" where unknown; ``uuids`` are the services it claims.
    """

    manufacturer: Mapping[int, bytes] = field(default_factory=dict)
    services: Mapping[str, bytes] = field(default_factory=dict)
    address: str = ""
    name: str = ""
    uuids: Sequence[str] = ()
    rssi: int | None = None


@dataclass(frozen=True, slots=True)
class Broadcast:
    """The measurements of one advertisement.

    ``sequence`` is the sender's own count of what it measured, None where it states none. Radios send each count
    several times; two broadcasts of one sender with equal, stated counts are the same measurement. ``sealed`` says that
    it was encrypted, ``rising`` that its count is so long that it may only rise: a lower one is a replay, or a sender
    that began again.
    A sender that says the same in a better and in a poorer form gives the better one a higher ``rank``.
    ``age_s`` is how long ago it was measured, where the sender says so.
    """

    measurements: tuple[Measurement, ...]
    sequence: int | None = None
    sealed: bool = False
    rising: bool = False
    rank: int = 0
    age_s: float = 0.0


class Sealed(BadFrame):
    """The advertisement is encrypted, and the key is missing (``keyed`` is False) or is not that of its sender."""

    def __init__(self, cause: str, *, keyed: bool) -> None:
        super().__init__(cause)
        self.keyed = keyed


def uuid(short: int) -> str:
    """The 128-bit form of a 16- or 32-bit UUID."""
    return f"{short:08x}{_BASE_UUID}"


def address_bytes(address: str) -> bytes:
    """The six bytes of an address as it is written. Raises BadFrame where there is none and one is needed."""
    try:
        raw = bytes.fromhex(address.replace(":", ""))
    except ValueError:
        raw = b""
    if len(raw) != 6:
        raise BadFrame("the sender's Bluetooth address is needed to decode this frame")
    return raw
