"""Reading current state: which entities a query means, page by page."""

from __future__ import annotations

import time

from gateway.server.broker.model import Page, Stored
from gateway.server.broker.query import Query
from gateway.server.broker.tenants import check_tenant
from gateway.server.broker.transient import load
from gateway.server.errors import ResourceNotFound, TooComplexQuery
from gateway.server.storage.base import Reader, Storage

SCAN_SECONDS_MAX = 10.0


class Queries:
    """See the module."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def retrieve(self, tenant: str, entity_id: str) -> Stored:
        """Raises ResourceNotFound, NonexistentTenant."""
        document = await self._storage.lookup(tenant, entity_id)
        if document is None:
            await self._storage.read(lambda reader: check_tenant(reader, tenant))
        entity = None if document is None else load(document, _now_us())
        if entity is None:
            raise ResourceNotFound(f"there is no entity {entity_id}")
        return entity

    async def query(self, tenant: str, query: Query, *, limit: int = 20, offset: int = 0, count: bool = False) -> Page:
        """Entities in the order of creation. Raises NonexistentTenant, TooComplexQuery."""
        return await self._storage.read(lambda reader: _page(reader, tenant, query, limit, offset, count))

    async def types(self, tenant: str) -> list[str]:
        """IRIs of the types in use."""

        def work(reader: Reader) -> list[str]:
            check_tenant(reader, tenant)
            return reader.types(tenant)

        return await self._storage.read(work)


def _page(reader: Reader, tenant: str, query: Query, limit: int, offset: int, count: bool) -> Page:
    check_tenant(reader, tenant)
    selection, now_us = query.selection, _now_us()
    if query.indexed:
        found = [load(document, now_us) for document in reader.entities(tenant, selection, limit + 1, offset)]
        total = reader.count(tenant, selection) if count else None
        return Page([entity for entity in found[:limit] if entity is not None], len(found) > limit, total)
    deadline = time.monotonic() + SCAN_SECONDS_MAX
    page: list[Stored] = []
    matching = 0
    for document in reader.entities(tenant, selection):
        if time.monotonic() > deadline:
            raise TooComplexQuery(f"the query took more than {SCAN_SECONDS_MAX:.0f} s")
        entity = load(document, now_us)
        if entity is None or not query.matches(entity):
            continue
        matching += 1
        if offset < matching <= offset + limit:
            page.append(entity)
        elif matching > offset + limit and not count:
            break
    return Page(page, matching > offset + limit, matching if count else None)


def _now_us() -> int:
    return time.time_ns() // 1000
