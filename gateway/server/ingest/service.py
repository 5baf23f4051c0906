"""Ingest: what a compact batch does to the broker, and what is answered.

The readings become the same entities that the edge would send as NGSI-LD, and take the same way from there. What of the
stream has been received goes to the disk in the commit of the data: what is answered as received can be believed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import orjson

from gateway.compact.codec import CompactError, decode
from gateway.compact.entry import Entry
from gateway.compact.message import (
    PROBLEM_CHARS_MAX,
    PROBLEMS_MAX,
    RANGES_MAX,
    AckMessage,
    BatchMessage,
    HeldMessage,
    MessageError,
    digest,
)
from gateway.compact.ranges import Ranges, add, covers, merged
from gateway.mapping.tables import MODELS
from gateway.model import Priority, Range, Reading
from gateway.server.broker.model import Stored
from gateway.server.broker.parse import parse_entity
from gateway.server.broker.service import Broker
from gateway.server.contexts import Contexts
from gateway.server.errors import BadMessage, Forbidden, Problem
from gateway.server.ingest.model import (
    PROFILES_KEPT,
    PROFILES_REMEMBERED,
    SEQ_MAX,
    STREAMS_KEPT,
    Site,
    fault,
    kept,
    site_of,
    touching,
)
from gateway.server.storage.base import Storage, Writer

log = logging.getLogger(__name__)
BREATH = 100  # entities parsed between two chances for other requests


@dataclass(slots=True)
class _Refused:
    """Readings that will never be taken, and a few reasons."""

    count: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, what: str, readings: int, why: str) -> None:
        self.count += readings
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(f"{what}: {why}"[:PROBLEM_CHARS_MAX])


class Ingest:
    """See the module. ``clock_ns`` is the system clock. ``counts``: batches, and readings by what became of them."""

    def __init__(
        self, storage: Storage, broker: Broker, contexts: Contexts, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._storage = storage
        self._broker = broker
        self._contexts = contexts
        self._clock_ns = clock_ns
        self._sites: OrderedDict[tuple[str, str], Site] = OrderedDict()
        self.counts: Counter[str] = Counter()

    async def batch(self, data: bytes, sender: str | None = None) -> AckMessage:
        """Take a batch message. ``sender``: the one gateway that it may come from, where that is known.

        Raises BadMessage, Forbidden, and what the storage raises.
        """
        try:
            message = BatchMessage.from_bytes(data)
        except MessageError as error:
            raise BadMessage(f"this is no batch: {error}") from None
        if sender is not None and message.gateway != sender:
            raise Forbidden(f"{sender} sends batches of {message.gateway}", fix="Each gateway has keys of its own.")
        site = await self._site(message.gateway, message.profiles)
        if site is None:
            return AckMessage(message.stream, unknown_profiles=True)
        return await self._take(message, site, _entries(message.body))

    async def put_profiles(self, gateway: str, name: str, document: bytes) -> None:
        """Keep what a gateway says of its devices under its hash. Raises BadMessage, and what the storage raises."""
        try:
            site = site_of(document)
        except MessageError as error:
            raise BadMessage(f"these are no profiles: {error}") from None
        if digest(document) != name:
            raise BadMessage(f"the profiles have the hash {digest(document)}, not {name:.40}")
        at_us = self._clock_ns() // 1000
        await self._storage.write(lambda writer: writer.put_profiles(gateway, name, document, at_us, PROFILES_KEPT))
        self._remember((gateway, name), site)

    async def held(self, gateway: str) -> HeldMessage:
        """What of each stream of a gateway is on the disk."""
        return HeldMessage({name: tuple(r) for name, r in await self._storage.read(lambda s: s.streams(gateway))})

    async def _site(self, gateway: str, name: str) -> Site | None:
        key = (gateway, name)
        known = self._sites.get(key)
        if known is None:
            document = await self._storage.read(lambda reader: reader.profiles(gateway, name))
            if document is None:
                return None
            try:
                known = site_of(document)
            except MessageError as error:  # of another version: the gateway sends them again
                log.warning("profiles %s of %s cannot be read: %s", name, gateway, error)
                return None
        self._remember(key, known)
        return known

    def _remember(self, key: tuple[str, str], site: Site) -> None:
        self._sites[key] = site
        self._sites.move_to_end(key)
        if len(self._sites) > PROFILES_REMEMBERED:
            self._sites.popitem(last=False)

    async def _take(self, message: BatchMessage, site: Site, entries: Sequence[Entry]) -> AckMessage:
        """Two copies of a batch at one time may both come to the writer: the second writes what is there already."""
        gateway, stream = message.gateway, message.stream
        offered = merged(Range(entry.seq, entry.last_seq) for entry in entries)
        if len(offered) > RANGES_MAX:
            raise BadMessage(f"the batch has {len(offered)} ranges; {RANGES_MAX} are allowed")
        received: Ranges = tuple(await self._storage.read(lambda reader: reader.received(gateway, stream)))
        missing = [entry for entry in entries if not covers(received, Range(entry.seq, entry.last_seq))]
        refused = _Refused()
        if missing:
            old = message.priority is not Priority.LIVE  # an alarm may be of any age
            entities = await self._entities(site, missing, refused, old=old)
            at_us = self._clock_ns() // 1000

            def also(writer: Writer) -> None:
                ranges = kept(tuple(writer.received(gateway, stream)), offered)
                writer.put_received(gateway, stream, ranges, at_us, STREAMS_KEPT)

            await self._broker.upsert_batch(site.tenant, entities, replace=False, also=also)
        new = sum(len(entry.readings) for entry in missing)
        self.counts["batches"] += 1
        self.counts["repeated"] += sum(len(entry.readings) for entry in entries) - new
        self.counts["refused"] += refused.count
        self.counts["taken"] += new - refused.count
        ranges = touching(add(received, offered), offered)
        return AckMessage(stream, ranges, refused=refused.count, problems=tuple(refused.problems))

    async def _entities(self, site: Site, entries: Sequence[Entry], refused: _Refused, *, old: bool) -> list[Stored]:
        """The entities of what can be mapped, in stored form. ``old``: they say nothing of the present."""
        good = list(_good(entries, refused))
        groups = [len(list(group)) for _, group in groupby(good, lambda r: (r.device, r.observed_ns))]
        made: list[Stored] = []
        for index, (raw, readings) in enumerate(zip(site.mapper().entities(good, history=old), groups, strict=True)):
            if index % BREATH == BREATH - 1:
                await asyncio.sleep(0)
            url = MODELS[str(raw["type"])].context
            context = self._contexts.known(url) or await self._contexts.context_for(url)
            try:
                made.append(parse_entity(orjson.loads(orjson.dumps(raw)), context))
            except Problem as problem:
                refused.add(str(raw["id"]), readings, problem.cause)
        return made


def _entries(body: bytes) -> list[Entry]:
    """The entries of a body that have readings. Raises BadMessage."""
    try:
        entries = [entry for entry in decode(body) if entry.readings]
    except CompactError as error:
        raise BadMessage(f"the body of the batch cannot be read: {error}") from None
    if not entries:
        raise BadMessage("the batch has no readings")
    if any(entry.seq < 0 or entry.last_seq > SEQ_MAX for entry in entries):
        raise BadMessage("a sequence number beyond all numbers")
    return entries


def _good(entries: Sequence[Entry], refused: _Refused) -> Iterator[Reading]:
    for entry in entries:
        for reading in entry.readings:
            why = fault(reading)
            if why:
                refused.add(f"{reading.device}/{reading.quantity}", 1, why)
            else:
                yield reading
