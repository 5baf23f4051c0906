"""Xiaomi MiBeacon versions 2 to 5: the service data (UUID 0xFE95) of advertisements, plain and encrypted.

Layout: Xiaomi IoT developer platform, "MiBeacon protocol": frame control (u16), product (u16), frame counter, then as
the control bits say address, capability and objects (id u16, length, value). Encryption of versions 4 and 5: AES-CCM,
nonce address (low byte first), product, counter, extended counter; associated data 0x11; then the extended counter
(u24) and a tag of 4 bytes. Versions 2 and 3 have a key of 12 bytes and no tag: their plain text proves itself only by
being whole objects.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from drivers.base import Measurement, Value
from drivers.codecs import ccm
from drivers.codecs.ad_structures import frame_decoder
from drivers.codecs.broadcast import Advert, Broadcast, Sealed, address_bytes, uuid
from drivers.codecs.framing import Hints
from drivers.codecs.mibeacon_objects import OBJECTS
from drivers.errors import BadFrame

SERVICE = uuid(0xFE95)
_ENCRYPTED, _ADDRESS, _CAPABILITY, _OBJECT, _MESH = 0x0008, 0x0010, 0x0020, 0x0040, 0x0080
_VERSIONS = range(2, 6)
_TAGGED = 4  # from this version on
_INPUT_OUTPUT = 0x20  # of the capability: one more byte follows
_ASSOCIATED = b"\x11"
_OLD_KEY_BYTES, _OLD_KEY_MIDDLE = 12, b"\x8d\x3d\x3c\x97"
_COUNTER_BYTES = 3
_HEAD = struct.Struct("<HHB")


def decode(data: bytes, address: str = "", key: bytes = b"") -> Broadcast:
    """Decode service data without the UUID. Raises BadFrame where it is damaged or another version, Sealed."""
    if len(data) < _HEAD.size:
        raise BadFrame(f"a MiBeacon of {len(data)} bytes")
    control, product, counter = _HEAD.unpack_from(data)
    if control >> 12 not in _VERSIONS:
        raise BadFrame(f"MiBeacon version {control >> 12} is not one of 2 to 5")
    if control & _MESH:
        return Broadcast(())
    at, sender = _address(control, data, address)
    at = _behind_capability(control, data, at)
    if not control & _OBJECT:
        return Broadcast(())
    if not control & _ENCRYPTED:
        if key:
            raise BadFrame("a plain frame of a MiBeacon sensor that encrypts: somebody else may have sent it")
        return Broadcast(_measurements(data[at:], product), counter)
    if control >> 12 >= _TAGGED:
        plain = _unseal(data, at, sender, ccm.need(key))
        extended = int.from_bytes(data[-7:-4], "little")
        return Broadcast(_measurements(plain, product), extended << 8 | counter, sealed=True, rising=True)
    return Broadcast(_unseal_old(data, at, sender, ccm.need(key), product), counter, sealed=True)


def decode_advert(advert: Advert, key: bytes) -> Broadcast | None:
    """The MiBeacon of an advertisement, None where there is none. Raises BadFrame."""
    data = advert.services.get(SERVICE)
    return None if data is None else decode(data, advert.address, key)


def _address(control: int, data: bytes, address: str) -> tuple[int, bytes]:
    """Where what follows begins, and the sender's address, low byte first; b"" where nobody says it."""
    known = address_bytes(address)[::-1] if address else b""
    if not control & _ADDRESS:
        return _HEAD.size, known
    stated = data[_HEAD.size : _HEAD.size + 6]
    if len(stated) < 6:
        raise BadFrame("a MiBeacon that ends within the sender's address")
    if known and stated != known:
        raise BadFrame("a frame that names another sender than the one it came from")
    return _HEAD.size + 6, stated


def _behind_capability(control: int, data: bytes, at: int) -> int:
    if not control & _CAPABILITY:
        return at
    if at >= len(data):
        raise BadFrame("a MiBeacon that ends before its capability")
    return at + (2 if data[at] & _INPUT_OUTPUT else 1)


def _unseal(data: bytes, at: int, sender: bytes, key: bytes) -> bytes:
    tail = _COUNTER_BYTES + ccm.TAG_BYTES
    if len(data) <= at + tail:
        raise BadFrame("an encrypted MiBeacon that is too short")
    nonce = _known(sender) + data[2:5] + data[-tail : -ccm.TAG_BYTES]
    return ccm.unseal(key, nonce, data[at:-tail] + data[-ccm.TAG_BYTES :], _ASSOCIATED)


def _unseal_old(data: bytes, at: int, sender: bytes, key: bytes, product: int) -> tuple[Measurement, ...]:
    tail = _COUNTER_BYTES + 1
    if len(data) <= at + tail:
        raise BadFrame("an encrypted MiBeacon that is too short")
    if len(key) != _OLD_KEY_BYTES:
        raise Sealed(f"the bind key has {len(key)} bytes where this sensor's has {_OLD_KEY_BYTES}", keyed=True)
    nonce = data[:5] + data[-tail:-1] + _known(sender)[:-1]
    plain = ccm.unseal_unchecked(key[:6] + _OLD_KEY_MIDDLE + key[6:], nonce, data[at:-tail])
    try:
        if not all(number in OBJECTS for number, _ in _objects(plain)):
            raise BadFrame("an object that is not known")
        return _measurements(plain, product)
    except BadFrame:
        raise Sealed("the bind key is not the one that this sensor encrypts with", keyed=True) from None


def _known(sender: bytes) -> bytes:
    if not sender:
        raise BadFrame("the sender's Bluetooth address is needed to decode this frame")
    return sender


def _measurements(plain: bytes, product: int) -> tuple[Measurement, ...]:
    found: dict[str, Value] = {}
    for number, value in _objects(plain):
        known = OBJECTS.get(number)
        if known is None:
            continue
        sizes, read = known
        if len(value) not in sizes:
            raise BadFrame(f"a MiBeacon object {number:#06x} of {len(value)} bytes")
        found |= dict(read(value, product))
    return tuple(Measurement(quantity, value) for quantity, value in found.items())


def _objects(plain: bytes) -> Iterator[tuple[int, bytes]]:
    at, end = 0, len(plain)
    if not end:
        raise BadFrame("a MiBeacon that announces an object and has none")
    while at < end:
        if at + 3 > end or at + 3 + plain[at + 2] > end:
            raise BadFrame("a MiBeacon object that is cut off")
        yield int.from_bytes(plain[at : at + 2], "little"), plain[at + 3 : at + 3 + plain[at + 2]]
        at += 3 + plain[at + 2]


def _bare(data: bytes, hints: Hints) -> Broadcast:
    found = decode(data, hints.address, hints.key)
    if not found.measurements:
        raise BadFrame("no MiBeacon with a value")  # without the UUID that would fit too much
    return found


decode_frame = frame_decoder(decode_advert, _bare)
