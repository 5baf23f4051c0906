"""M-Bus telegrams (EN 13757-2 and -3) of heat, water, gas and electricity meters.

Link layer (EN 13757-2, 5): 0x68 L L 0x68, then control, address and CI field with the data, their sum, 0x16; short
frames 0x10; the single 0xE5. Application layer (EN 13757-3): variable data (CI 0x72; 0x7A and 0x78 without identity),
the older fixed data (CI 0x73). Records are read by ``mbus_records``, quantities are found by ``mbus_quantities``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.base import Measurement
from drivers.codecs import mbus_quantities, mbus_records
from drivers.codecs.framing import Hints
from drivers.codecs.mbus_records import Header, Record
from drivers.errors import BadFrame
from drivers.template import Field

ACKNOWLEDGED = b"\xe5"
_LONG, _SHORT, _STOP = 0x68, 0x10, 0x16
LONG_OVERHEAD = 6  # two starts, two lengths, sum and stop
LONG_BYTES_MAX = 255 + LONG_OVERHEAD
# control fields, EN 13757-2, 5.4: to the slave and from it
SND_NKE, SND_UD, REQ_UD2, RSP_UD = 0x40, 0x53, 0x5B, 0x08
FCB = 0x20
_RSP_MASK = 0xCF  # a slave may ask for access, or say that it is busy
CI_SELECT = 0x52
CI_VARIABLE, CI_FIXED, CI_SHORT_HEADER, CI_NO_HEADER = 0x72, 0x73, 0x7A, 0x78
CI_ERROR = 0x70
# encryption modes of the configuration field, EN 13757-7; older meters leave other things there
_ENCRYPTED = frozenset({4, 5, 7, 8, 9, 10, 13})
_ERRORS = (
    *("unspecified error", "unimplemented CI field", "buffer too long", "too many records", "premature end of record"),
    *("more than 10 DIFE", "more than 10 VIFE", "reserved", "too busy", "too many readouts"),
)


@dataclass(frozen=True, slots=True)
class Link:
    """A frame with data, as the link layer sees it."""

    control: int
    address: int
    ci: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Telegram:
    """What a meter answered. ``more``: it has another telegram with further records."""

    header: Header
    records: tuple[Record, ...]
    more: bool = False


def short_frame(control: int, address: int) -> bytes:
    """A request without data."""
    return bytes([_SHORT, control, address, control + address & 0xFF, _STOP])


def long_frame(control: int, address: int, ci: int, data: bytes = b"") -> bytes:
    """A frame with data."""
    body = bytes([control, address, ci]) + data
    return bytes([_LONG, len(body), len(body), _LONG]) + body + bytes([sum(body) & 0xFF, _STOP])


def frame_size(heard: bytes) -> int | None:
    """Bytes of the long frame that this begins with: None while that is too short to tell, 0 for no frame."""
    if any(heard[at] != _LONG for at in (0, 3) if at < len(heard)) or (len(heard) > 2 and heard[1] != heard[2]):
        return 0
    if len(heard) < 4:
        return None
    return heard[1] + LONG_OVERHEAD if heard[1] >= 3 else 0


def unframed(frame: bytes) -> Link:
    """The content of a long frame. Raises BadFrame."""
    if len(frame) < LONG_OVERHEAD + 3 or frame_size(frame) != len(frame) or frame[-1] != _STOP:
        raise BadFrame("not one whole M-Bus frame")
    body = frame[4:-2]
    if sum(body) & 0xFF != frame[-2]:
        raise BadFrame("sum of the M-Bus frame is wrong")
    return Link(body[0], body[1], body[2], body[3:])


def parse(link: Link) -> Telegram:
    """Read what a meter answered. Raises BadFrame, also for what is none of an answer with data."""
    if link.control & _RSP_MASK != RSP_UD:
        raise BadFrame(f"an M-Bus frame, but no answer of a meter (control field {link.control:#04x})")
    if link.ci == CI_ERROR:
        code = link.data[0] if link.data else 0
        text = _ERRORS[code] if code < len(_ERRORS) else f"error {code}"
        raise BadFrame(f"the meter reports: {text}")
    if link.ci == CI_FIXED:
        return Telegram(*mbus_records.fixed(link.data))
    header_bytes = {CI_VARIABLE: 12, CI_SHORT_HEADER: 4, CI_NO_HEADER: 0}.get(link.ci)
    if header_bytes is None:
        raise BadFrame(f"an M-Bus answer of a kind that is not known (CI {link.ci:#04x})")
    head, data = link.data[:header_bytes], link.data[header_bytes:]
    if len(head) < header_bytes:
        raise BadFrame("the M-Bus answer ends within its header")
    if head and head[-1] & 0x1F in _ENCRYPTED:
        raise BadFrame("the meter encrypts what it says; its readings need a key that only its seller has")
    records, more = mbus_records.variable(data)
    return Telegram(mbus_records.header(head), records, more)


def decode(frames: bytes) -> Telegram:
    """One answer, with those that go on with it behind it. Raises BadFrame."""
    telegrams: list[Telegram] = []
    while frames or not telegrams:
        size = frame_size(frames) or 0
        telegrams.append(parse(unframed(frames[:size])))
        frames = frames[size:]
    records = tuple(record for telegram in telegrams for record in telegram.records)
    return Telegram(telegrams[0].header, records, telegrams[-1].more)


def decode_frame(data: bytes, hints: Hints) -> tuple[Measurement, ...]:
    """Decode one captured answer of a meter, or several that belong together. Raises BadFrame."""
    del hints
    return measurements(decode(data))


def measurements(telegram: Telegram, fields: Sequence[Field] = ()) -> tuple[Measurement, ...]:
    """The quantities in an answer: what a template's ``fields`` select, and what its records say by themselves."""
    return mbus_quantities.measurements(telegram.header, telegram.records, fields)
