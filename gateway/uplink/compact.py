"""The compact protocol as the edge speaks it, over any wire (docs/reference/compact-protocol.md).

A batch goes out as one message and is done with once the answer says that all its sequence numbers are on the server's
disk. Where the server does not know the profiles that a batch names, it gets them, and then the batch again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from gateway.compact.codec import encode
from gateway.compact.entry import Entry
from gateway.compact.message import (
    MESSAGE_BYTES_MAX,
    PROBLEM_CHARS_MAX,
    RANGES_MAX,
    AckMessage,
    BatchMessage,
    HeldMessage,
    MessageError,
    ProfilesMessage,
)
from gateway.compact.ranges import Ranges, covers, merged
from gateway.mapping.mapper import Mapper
from gateway.mapping.plain import to_plain
from gateway.model import Ack, Batch, Priority, Range, Reading
from gateway.uplink.backoff import RETRY_AFTER_MAX_S
from gateway.uplink.transport import BusyError, Receipt, RejectedError

MESSAGE_HEAD_BYTES_MAX = 2048  # of a message, apart from its body
FIX = "Server and gateway should be of about the same version; see docs/reference/compact-protocol.md."

Profiles = Callable[[], ProfilesMessage]


def profiles_of(mapper: Mapper, tenant: str | None) -> ProfilesMessage:
    """What the server must know to map readings as ``mapper`` would."""
    return ProfilesMessage(mapper.site, {name: to_plain(p) for name, p in mapper.profiles.items()}, tenant)


def entries_of(readings: Sequence[Reading]) -> list[Entry]:
    """Readings with the numbers that they have, what one device said at one instant together."""
    runs: list[list[Reading]] = []
    for reading in readings:
        last = runs[-1][-1] if runs else None
        if last is not None and _instant(last) == _instant(reading) and last.seq + 1 == reading.seq:
            runs[-1].append(reading)
        else:
            runs.append([reading])
    return [Entry(run[0].seq, tuple(run)) for run in runs]


def _instant(reading: Reading) -> tuple[str, int]:
    return reading.device, reading.observed_ns


class Compact(ABC):
    """See gateway.uplink.transport.Transport. ``gateway`` names this box; ``profiles`` is asked for each batch."""

    message_bytes_max = MESSAGE_BYTES_MAX
    ranges_max = RANGES_MAX  # of a batch: its answer has as many at most

    def __init__(self, gateway: str, profiles: Profiles) -> None:
        self._gateway = gateway
        self._profiles = profiles
        self._newest: tuple[str, int] | None = None  # stream and number that were acknowledged last
        self._forgotten = 0

    async def send(self, batch: Batch) -> Receipt:
        """Return when the server has the batch on its disk. Raises TransportError; then all of it is still due."""
        acks = await self._send(batch.stream, batch.priority, entries_of(batch.readings))
        problems = tuple(problem for ack in acks for problem in ack.problems)
        return Receipt(Ack(batch.stream, batch.ranges), sum(ack.refused for ack in acks), problems=problems)

    async def held(self) -> dict[str, tuple[Range, ...]] | None:
        """What the server says that it has, by stream. Raises TransportError."""
        message = await self._streams()
        return dict(message.streams)

    async def server_time(self) -> int | None:
        """The server's UTC in ns over an exchange that can be trusted, None without one. Raises TransportError."""
        return None

    @property
    def orders_history(self) -> bool:
        """Old values may follow newer ones: the server keeps the present."""
        return True

    @property
    @abstractmethod
    def bytes_sent(self) -> int:
        """Bytes sent since the start, without what lies below."""

    @property
    @abstractmethod
    def bytes_received(self) -> int:
        """Bytes received since the start."""

    @property
    @abstractmethod
    def connections(self) -> int:
        """How many connections were opened so far."""

    @abstractmethod
    async def close(self) -> None:
        """Drop the connection at once; safe to call twice."""

    @abstractmethod
    async def _post(self, message: BatchMessage, ranges: Ranges) -> AckMessage:
        """One exchange. Raises TransportError; BusyError with the time where the answer has one."""

    @abstractmethod
    async def _put(self, digest: str, document: bytes) -> None:
        """Hand over the profiles. Raises TransportError."""

    @abstractmethod
    async def _streams(self) -> HeldMessage:
        """Ask what the server has. Raises TransportError."""

    async def _send(self, stream: str, priority: Priority, entries: Sequence[Entry]) -> list[AckMessage]:
        """Send entries in order; halves, first half first, where one message cannot hold them."""
        ranges = merged(Range(entry.seq, entry.last_seq) for entry in entries)
        body, why = b"", ""
        if len(ranges) <= self.ranges_max:
            body, why = _body(entries, self.message_bytes_max - MESSAGE_HEAD_BYTES_MAX)
        if body:
            return [await self._deliver(stream, priority, ranges, body)]
        if len(entries) == 1:  # it would never go: done with, and told
            readings = entries[0].readings
            problem = f"{readings[0].device}: {why}"[:PROBLEM_CHARS_MAX]
            return [AckMessage(stream, ranges, refused=len(readings), problems=(problem,))]
        half = len(entries) // 2
        first = await self._send(stream, priority, entries[:half])
        return first + await self._send(stream, priority, entries[half:])

    async def _deliver(self, stream: str, priority: Priority, ranges: Ranges, body: bytes) -> AckMessage:
        profiles = self._profiles()
        message = BatchMessage(self._gateway, stream, profiles.digest, priority, body)
        ack = await self._post(message, ranges)
        if ack.unknown_profiles:
            await self._put(message.profiles, profiles.to_bytes())
            ack = await self._post(message, ranges)
        if ack.unknown_profiles:
            raise RejectedError("the server does not keep the profiles that it got", fix=FIX)
        if ack.retry_after_s is not None:
            raise BusyError("the server asks to come back later", min(ack.retry_after_s, RETRY_AFTER_MAX_S))
        if not acknowledges(ack, stream, ranges):
            reason = ack.problems[0] if ack.problems else "it does not say why"
            raise RejectedError(f"the server did not take the batch: {reason}", fix=FIX)
        self._look_back(ack, ranges)
        return ack

    def _look_back(self, ack: AckMessage, ranges: Ranges) -> None:
        """An answer that lacks what the one before had is that of another server, or of one from a backup.

        Where a connection says nothing of the server behind it, this does: it counts as a new one.
        """
        first, last = ranges[0].first, ranges[-1].last
        if self._newest == (ack.stream, first - 1) and not covers(ack.ranges, Range(first - 1, first - 1)):
            self._forgotten += 1
        self._newest = ack.stream, last


def _body(entries: Sequence[Entry], bytes_max: int) -> tuple[bytes, str]:
    """The body of a message, or why there is none."""
    try:
        body = encode(entries)
    except (OverflowError, UnicodeError, TypeError) as error:
        return b"", f"it cannot be written: {error}"
    return (body, "") if len(body) <= bytes_max else (b"", "one observation is larger than a message may be")


def acknowledges(ack: AckMessage, stream: str, ranges: Sequence[Range]) -> bool:
    """Whether all of the ranges are on the server's disk."""
    return ack.stream == stream and all(covers(ack.ranges, one) for one in ranges)


def answered(data: bytes) -> AckMessage:
    """The acknowledgement in an answer. Raises RejectedError for an answer that is none."""
    try:
        return AckMessage.from_bytes(data)
    except MessageError as error:
        raise RejectedError(f"the answer is no acknowledgement: {error}", fix=FIX) from None


def held_in(data: bytes) -> HeldMessage:
    """The held ranges in an answer. Raises RejectedError for an answer that is none."""
    try:
        return HeldMessage.from_bytes(data)
    except MessageError as error:
        raise RejectedError(f"the answer does not say what the server has: {error}", fix=FIX) from None
