"""Entity maps: the result of a query, held still over its pages (CIM 009 clauses 5.2.36, 5.14).

They are bounded in number and size: a map that is not there (any more) is made anew by the next query, as the standard
has it. What has left a map is found out again after a restart.
"""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.server.broker.model import time_text
from gateway.server.contexts import Context, Contexts
from gateway.server.errors import BadRequestData
from gateway.server.storage.base import Storage, Writer
from gateway.server.temporal.duration import parse_duration
from gateway.server.wire import Paging, Request

MAPS_MAX, ENTRIES_MAX = 1_000, 1_000_000
LIFETIME_US, LIFETIME_US_MAX = 600 * 1_000_000, 86_400 * 1_000_000
HEADER = b"ngsild-entitymap"
PREFIX = "urn:ngsi-ld:EntityMap:"


@dataclass(slots=True)
class EntityMap:
    """``entries``: entities in order, with who has them ("@none" is here). ``gone``: those that match no more.

    What is gone keeps its place, so that pages do not shift under who turns them.
    """

    id: str
    tenant: str
    temporal: bool
    context: Context
    expires_us: int
    entries: dict[str, list[str]]
    gone: set[str] = field(default_factory=set)

    def slice(self, page: Paging) -> list[str]:
        """The ids of a page."""
        return [name for name in list(self.entries)[page.offset : page.offset + page.limit] if name not in self.gone]

    def shown(self) -> dict[str, Any]:
        """The EntityMap of an answer."""
        entries = {name: sources for name, sources in self.entries.items() if name not in self.gone}
        expires = time_text(self.expires_us)
        return {"id": self.id, "type": "EntityMap", "expiresAt": expires, "entityMap": entries, "linkedMaps": {}}


class Maps:
    """All maps of all tenants, in memory and in the storage; beyond the bounds the oldest go."""

    def __init__(self, storage: Storage, contexts: Contexts) -> None:
        self._storage = storage
        self._contexts = contexts
        self._maps: OrderedDict[tuple[str, str], EntityMap] = OrderedDict()
        self._entries = 0

    async def load(self) -> None:
        """Those of the last life of the server that have not expired."""
        over = []
        for tenant, name, document in await self._storage.read(lambda reader: reader.documents("entity-map")):
            found = self._loaded(tenant, name, document)
            if found.expires_us <= now_us():
                over.append(found)
            else:
                self._remember(found)
        await self._delete([*over, *self._beyond()])

    async def make(
        self, tenant: str, context: Context, entries: dict[str, list[str]], lifetime_us: int, *, temporal: bool
    ) -> EntityMap:
        """A new one, which a restart does not end."""
        made = EntityMap(f"{PREFIX}{uuid.uuid4()}", tenant, temporal, context, now_us() + lifetime_us, entries)
        self._remember(made)
        await self._save(made)
        await self._delete(self._beyond())
        return made

    async def find(self, tenant: str, map_id: str) -> EntityMap | None:
        """None where there is none, or none any more."""
        found = self._maps.get((tenant, map_id))
        if found is None and self._storage.shared:  # another server may have made it
            document = await self._storage.read(lambda reader: reader.document("entity-map", tenant, map_id))
            if document is not None:
                found = self._loaded(tenant, map_id, document)
                self._remember(found)
        if found is not None and found.expires_us <= now_us():
            await self.remove(found)
            return None
        return found

    async def used(self, request: Request, context: Context, *, temporal: bool) -> EntityMap | None:
        """The one that a query names to go on with. Raises BadRequestData where its context is another."""
        named = request.header(HEADER)
        found = await self.find(request.tenant, named.strip().rpartition("/")[2]) if named else None
        if found is None or found.temporal is not temporal:
            return None
        if found.context.spec != context.spec:
            raise BadRequestData("the pages of an entity map must be asked for in the context that it was made in")
        return found

    async def prolong(self, found: EntityMap, expires_us: int) -> None:
        """It ends then."""
        found.expires_us = expires_us
        await self._save(found)

    async def remove(self, old: EntityMap) -> None:
        """Forget it."""
        self._forget(old)
        await self._delete([old])

    def _remember(self, found: EntityMap) -> None:
        self._maps[(found.tenant, found.id)] = found
        self._entries += len(found.entries)

    def _forget(self, old: EntityMap) -> None:
        if self._maps.pop((old.tenant, old.id), None) is not None:
            self._entries -= len(old.entries)

    def _beyond(self) -> list[EntityMap]:
        """Forget what has expired or is too much; returns it."""
        gone = [old for old in self._maps.values() if old.expires_us <= now_us()]
        for old in gone:
            self._forget(old)
        while len(self._maps) > 1 and (len(self._maps) > MAPS_MAX or self._entries > ENTRIES_MAX):
            gone.append(next(iter(self._maps.values())))
            self._forget(gone[-1])
        return gone

    async def _save(self, one: EntityMap) -> None:
        document = orjson.dumps(
            {
                "temporal": one.temporal,
                "context": one.context.spec,
                "documents": one.context.documents,
                "expires_us": one.expires_us,
                "entries": one.entries,
            }
        )
        await self._storage.write(lambda writer: writer.put_document("entity-map", one.tenant, one.id, document))

    async def _delete(self, gone: list[EntityMap]) -> None:
        def work(writer: Writer) -> None:
            for old in gone:
                writer.delete_document("entity-map", old.tenant, old.id)

        if gone:
            await self._storage.write(work)

    def _loaded(self, tenant: str, name: str, document: bytes) -> EntityMap:
        kept = orjson.loads(document)
        context = self._contexts.restore(kept["context"], kept["documents"])
        return EntityMap(name, tenant, kept["temporal"], context, kept["expires_us"], kept["entries"])


def wants_map(request: Request) -> bool:
    """Whether a query may be about a map: a cheap look, since nearly none is."""
    asked = b"entityMap=true" in request.query_string or b'"entityMap"' in request.body
    return asked or request.header(HEADER) is not None


def lifetime_us(parameters: Mapping[str, str]) -> int:
    """How long a map is to live. Raises BadRequestData."""
    text = parameters.get("entityMapLifetime")
    if text is None:
        return LIFETIME_US
    try:
        period = parse_duration(text)
    except ValueError as error:
        raise BadRequestData(f"entityMapLifetime: {error}") from None
    us = period.edge(now_us(), 1) - now_us()
    if us <= 0:
        raise BadRequestData("entityMapLifetime: must be longer than nothing")
    return min(us, LIFETIME_US_MAX)


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000
