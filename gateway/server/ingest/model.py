"""Types and bounds of ingest, and what a reading must be to be mapped."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.compact.message import MessageError, ProfilesMessage
from gateway.compact.ranges import Ranges, add
from gateway.mapping.mapper import GATEWAY, Mapper, Profile
from gateway.mapping.plain import from_plain
from gateway.model import Position, Range, Reading
from gateway.server.wire import TENANT

SEQ_MAX = 2**62
STREAMS_KEPT = 16  # of one gateway: those used last
RANGES_KEPT = 1_000  # of one stream
PROFILES_KEPT = 8  # of one gateway: the newest
PROFILES_REMEMBERED = 256  # of all gateways, in memory
TEXT_CHARS_MAX = 1_000
DEVICE_CHARS_MAX = 200
_QUANTITY = re.compile(r"[^\W\d_]\w{0,99}\Z")
_NS_MAX = 2**62  # in the year 2116


@dataclass(frozen=True, slots=True)
class Site:
    """What a gateway said of its devices, ready to map with."""

    name: str
    tenant: str
    profiles: Mapping[str, Profile]

    def mapper(self) -> Mapper:
        """A mapper for one batch: it remembers devices that it was not told of, so it must not live on."""
        return Mapper(self.name, self.profiles)


def site_of(document: bytes) -> Site:
    """Read a profiles message. Raises MessageError."""
    message = ProfilesMessage.from_bytes(document)
    if message.tenant is not None and not TENANT.match(message.tenant):
        raise MessageError("a tenant is 1 to 256 visible ASCII characters")
    if GATEWAY not in message.profiles:
        raise MessageError(f"there is no profile of the {GATEWAY} itself")
    try:
        profiles = {device: from_plain(plain) for device, plain in message.profiles.items()}
    except ValueError as error:
        raise MessageError(str(error)) from error
    return Site(message.site, message.tenant or "", profiles)


def fault(reading: Reading) -> str:
    """Why a reading cannot be mapped, "" where it can."""
    value = reading.value
    if not 0 < len(reading.device) <= DEVICE_CHARS_MAX or not _QUANTITY.match(reading.quantity):
        return "its device or quantity has no proper name"
    if reading.clock is not None or not 0 < reading.observed_ns < _NS_MAX:
        return "it has no date"
    if isinstance(value, Position):
        parts = (value.latitude, value.longitude, value.altitude or 0.0)
        good = all(map(math.isfinite, parts)) and abs(parts[0]) <= 90 and abs(parts[1]) <= 180
        return "" if good else "its position is none on Earth"
    if isinstance(value, str):
        return "" if len(value) <= TEXT_CHARS_MAX else f"its text has more than {TEXT_CHARS_MAX} characters"
    if isinstance(value, float):
        return "" if math.isfinite(value) else "its value is not finite"
    return "" if -(2**53) < value < 2**53 else "its value is too large"


def touching(ranges: Ranges, others: Ranges) -> Ranges:
    """Those of ``ranges`` that hold one of ``others``, all of which they hold."""
    at = {bisect_right(ranges, other.first, key=lambda one: one.first) - 1 for other in others}
    return tuple(ranges[index] for index in sorted(at))


def kept(received: Ranges, more: Ranges) -> Ranges:
    """What is remembered of a stream: where it is too much the shortest ranges are forgotten.

    Never the gap between two is closed: what is forgotten may come again, and is written over itself then.
    """
    ranges = add(received, more)
    if len(ranges) <= RANGES_KEPT:
        return ranges
    return tuple(sorted(sorted(ranges, key=_length, reverse=True)[:RANGES_KEPT]))


def _length(one: Range) -> tuple[int, int]:
    return one.last - one.first, one.first
