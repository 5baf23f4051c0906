"""The messages of the compact protocol as CBOR maps with small numbers as keys (docs/reference/compact-protocol.md).

Every field is checked when a message is made, whether from arguments or from bytes; what breaks a bound or a type
raises MessageError and nothing else. A key that is not known is passed over, so that a later version may add some.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cbor2

from drivers.codecs.cbor import Item, loads
from drivers.errors import BadFrame
from gateway.compact.ranges import Ranges, merged
from gateway.model import Priority, Range

VERSION = 1
MESSAGE_BYTES_MAX = 1 << 20
NAME_CHARS_MAX = 256
RANGES_MAX = 4096  # of one stream
STREAMS_MAX = 256
DEVICES_MAX = 4096
PROBLEMS_MAX = 5
PROBLEM_CHARS_MAX = 300
DIGEST_BYTES = 8
_SEQ_MAX = 2**62
_PRIORITIES = frozenset(map(int, Priority))
_DAY_S = 86_400
_DEPTH_MAX = 4  # of the values in a profile
_HEX = re.compile(r"(?:[0-9a-f]{2})+")
_BATCH, _ACK, _HELD, _PROFILES = range(1, 5)

Plain = Mapping[str, object]


class MessageError(Exception):
    """Bytes that are not this message, or values that it cannot carry."""


@dataclass(frozen=True, slots=True)
class BatchMessage:
    """Readings on their way: ``body`` is what :func:`gateway.compact.codec.encode` makes.

    ``profiles``: the :attr:`ProfilesMessage.digest` of the profiles to map the readings with.
    """

    gateway: str
    stream: str
    profiles: str
    priority: Priority
    body: bytes

    def __post_init__(self) -> None:
        _check_text(self.gateway, "gateway")
        _check_text(self.stream, "stream")
        _check(type(self.profiles) is str and _digest(self.profiles), "profiles is no digest")
        _check(isinstance(self.priority, Priority), "priority is none")
        _check(type(self.body) is bytes and len(self.body) > 0, "body has no bytes")

    def to_bytes(self) -> bytes:
        """The message; its body is not looked at."""
        profiles, priority = bytes.fromhex(self.profiles), int(self.priority)
        return _pack(_BATCH, {2: self.gateway, 3: _to_id(self.stream), 4: profiles, 5: priority, 6: self.body})

    @classmethod
    def from_bytes(cls, data: bytes) -> BatchMessage:
        """Raises MessageError."""
        fields = _unpack(_BATCH, data)
        profiles, priority = fields.get(4), fields.get(5)
        if not isinstance(profiles, bytes):
            raise MessageError("profiles is no digest")
        if type(priority) is not int or priority not in _PRIORITIES:
            raise MessageError("priority is none")
        body: Any = fields.get(6)
        gateway: Any = fields.get(2)
        return cls(gateway, _from_id(fields.get(3)), profiles.hex(), Priority(priority), body)


@dataclass(frozen=True, slots=True)
class AckMessage:
    """The answer to a batch: ``ranges`` of ``stream`` are on the server's disk, among them all of the batch it took.

    ``unknown_profiles``: nothing was taken, the server wants the profiles first. ``retry_after_s``: nothing was taken,
    come back then. ``refused``: readings of the batch that it will never take, though their numbers are acknowledged;
    ``problems``: a few reasons.
    """

    stream: str
    ranges: Ranges = ()
    unknown_profiles: bool = False
    retry_after_s: float | None = None
    refused: int = 0
    problems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_text(self.stream, "stream")
        _check_ranges(self.ranges)
        _check(type(self.unknown_profiles) is bool, "unknown_profiles is neither true nor false")
        retry = self.retry_after_s
        _check(retry is None or (type(retry) in (int, float) and 0 <= retry <= _DAY_S), "retry_after_s is no such time")
        _check(type(self.refused) is int and 0 <= self.refused <= _SEQ_MAX, "refused is no count")
        _check(isinstance(self.problems, tuple) and len(self.problems) <= PROBLEMS_MAX, "too many problems")
        for problem in self.problems:
            _check_text(problem, "problem", PROBLEM_CHARS_MAX)

    def to_bytes(self) -> bytes:
        """The message; what is as by default takes no room."""
        fields: dict[int, object] = {2: _to_id(self.stream)}
        if self.ranges:
            fields[3] = _to_steps(self.ranges)
        if self.unknown_profiles:
            fields[4] = True
        if self.retry_after_s is not None:
            fields[5] = self.retry_after_s
        if self.refused:
            fields[6] = self.refused
        if self.problems:
            fields[7] = list(self.problems)
        return _pack(_ACK, fields)

    @classmethod
    def from_bytes(cls, data: bytes) -> AckMessage:
        """Raises MessageError."""
        fields = _unpack(_ACK, data)
        problems: Any = fields.get(7, [])
        _check(isinstance(problems, list), "problems is no list")
        unknown: Any = fields.get(4, False)
        retry: Any = fields.get(5)
        refused: Any = fields.get(6, 0)
        ranges = _from_steps(fields.get(3, []))
        return cls(_from_id(fields.get(2)), ranges, unknown, retry, refused, tuple(problems))


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """What the server has of one gateway, by stream."""

    streams: Mapping[str, Ranges] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(len(self.streams) <= STREAMS_MAX, "too many streams")
        for stream, ranges in self.streams.items():
            _check_text(stream, "stream")
            _check_ranges(ranges)

    def to_bytes(self) -> bytes:
        """The message, streams in order of their names."""
        return _pack(_HELD, {2: [[_to_id(name), _to_steps(self.streams[name])] for name in sorted(self.streams)]})

    @classmethod
    def from_bytes(cls, data: bytes) -> HeldMessage:
        """Raises MessageError."""
        pairs = _unpack(_HELD, data).get(2)
        if not isinstance(pairs, list):
            raise MessageError("streams is no list")
        streams: dict[str, Ranges] = {}
        for pair in pairs:
            if not isinstance(pair, list) or len(pair) != 2:
                raise MessageError("a stream is not a name and ranges")
            name = _from_id(pair[0])
            _check(name not in streams, "a stream stands twice")
            streams[name] = _from_steps(pair[1])
        return cls(streams)


@dataclass(frozen=True, slots=True)
class ProfilesMessage:
    """What the server must know of a site to map its readings: of each device a profile as plain data.

    Plain data: None, booleans, whole numbers of 64 bits, finite numbers, texts, lists, and mappings with texts as keys.
    """

    site: str
    profiles: Mapping[str, Plain]
    tenant: str | None = None

    def __post_init__(self) -> None:
        _check_text(self.site, "site")
        if self.tenant is not None:
            _check_text(self.tenant, "tenant")
        _check(isinstance(self.profiles, Mapping) and len(self.profiles) <= DEVICES_MAX, "profiles is no such mapping")
        for device, profile in self.profiles.items():
            _check_text(device, "device")
            _check(isinstance(profile, Mapping), "a profile is no mapping")
            _check_plain(profile, _DEPTH_MAX)

    def to_bytes(self) -> bytes:
        """The message; the same contents give the same bytes, in whatever order they were put in."""
        fields: dict[int, object] = {2: self.site, 3: _sorted(self.profiles)}
        if self.tenant is not None:
            fields[4] = self.tenant
        return _pack(_PROFILES, fields)

    @classmethod
    def from_bytes(cls, data: bytes) -> ProfilesMessage:
        """Raises MessageError."""
        fields = _unpack(_PROFILES, data)
        site: Any = fields.get(2)
        profiles: Any = fields.get(3)
        tenant: Any = fields.get(4)
        return cls(site, profiles, tenant)

    @property
    def digest(self) -> str:
        """The name of these profiles: the first 8 bytes of the SHA-256 of the message, in hex."""
        return digest(self.to_bytes())


def digest(profiles: bytes) -> str:
    """The name of a profiles message as it came."""
    return hashlib.sha256(profiles).digest()[:DIGEST_BYTES].hex()


def _pack(kind: int, fields: dict[int, object]) -> bytes:
    try:
        packed: bytes = cbor2.dumps({0: VERSION, 1: kind, **fields})
    except (cbor2.CBOREncodeError, UnicodeError) as error:
        raise MessageError(str(error)) from error
    _check(len(packed) <= MESSAGE_BYTES_MAX, "the message is too long")
    return packed


def _unpack(kind: int, data: bytes) -> dict[Item, Item]:
    _check(len(data) <= MESSAGE_BYTES_MAX, "the message is too long")
    try:
        fields = loads(data)
    except BadFrame as error:
        raise MessageError(str(error)) from error
    if not isinstance(fields, dict):
        raise MessageError("the message is no map")
    _check(_is(fields.get(0), VERSION), f"a message of version {fields.get(0)!r:.40}")
    _check(_is(fields.get(1), kind), f"a message of kind {fields.get(1)!r:.40}, not {kind}")
    return fields


def _check(holds: bool, cause: str) -> None:
    if not holds:
        raise MessageError(cause)


def _is(item: Item, number: int) -> bool:
    return type(item) is int and item == number


def _check_text(value: object, what: str, longest: int = NAME_CHARS_MAX) -> None:
    _check(isinstance(value, str) and 0 < len(value) <= longest, f"{what} is no text of 1 to {longest} characters")


def _digest(text: str) -> bool:
    return len(text) == 2 * DIGEST_BYTES and _HEX.fullmatch(text) is not None


def _to_id(text: str) -> str | bytes:
    """A stream's name is hex as a rule, and then goes as half as many bytes."""
    return bytes.fromhex(text) if _HEX.fullmatch(text) else text


def _from_id(item: Item) -> str:
    if isinstance(item, bytes):
        return item.hex()
    if isinstance(item, str):
        return item
    raise MessageError("stream is no name")


def _check_ranges(ranges: Ranges) -> None:
    _check(isinstance(ranges, tuple) and len(ranges) <= RANGES_MAX, "too many ranges")
    for found in ranges:
        _check(isinstance(found, Range) and type(found.first) is int and type(found.last) is int, "a range is none")
    _check(merged(ranges) == ranges, "ranges that are not sorted and apart")
    _check(not ranges or (ranges[0].first >= 0 and ranges[-1].last <= _SEQ_MAX), "a range beyond all numbers")


def _to_steps(ranges: Ranges) -> list[int]:
    """first, count - 1 of the first range; then of each the numbers left out - 1, and count - 1."""
    steps: list[int] = []
    at = 0
    for found in ranges:
        steps += (found.first - at, found.last - found.first)
        at = found.last + 2
    return steps


def _from_steps(steps: Item) -> Ranges:
    if not isinstance(steps, list) or len(steps) % 2 or len(steps) > 2 * RANGES_MAX:
        raise MessageError("ranges is no list of pairs")
    ranges = []
    at = 0
    for skipped, more in zip(*[iter(steps)] * 2, strict=True):
        if type(skipped) is not int or type(more) is not int or skipped < 0 or more < 0:
            raise MessageError("a range is none")
        ranges.append(Range(at + skipped, at + skipped + more))
        at += skipped + more + 2
    return tuple(ranges)


def _check_plain(value: object, depth: int) -> None:
    _check(depth >= 0, "profiles are nested too deep")
    if isinstance(value, Mapping):
        for key, member in value.items():
            _check(isinstance(key, str), "a key is no text")
            _check_plain(member, depth - 1)
    elif isinstance(value, list | tuple):
        for member in value:
            _check_plain(member, depth - 1)
    elif isinstance(value, float):
        _check(math.isfinite(value), "a number is not finite")
    elif isinstance(value, int):
        _check(-(2**63) <= value < 2**63, "a number has more than 64 bits")
    else:
        _check(value is None or isinstance(value, str), f"a {type(value).__name__} is not plain data")


def _sorted(value: object) -> object:
    """Plain data with the keys of all mappings in order."""
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(member) for member in value] if isinstance(value, list | tuple) else value
