"""Reading current state: which entities a query means, page by page, in order, with those that they lead to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gateway.server.broker.discovery import Found, survey
from gateway.server.broker.links import Links, now_us
from gateway.server.broker.model import Page, Stored
from gateway.server.broker.query import Query
from gateway.server.broker.query_join import Join, Joiner
from gateway.server.broker.query_order import Order
from gateway.server.broker.represent import View
from gateway.server.broker.tenants import check_tenant
from gateway.server.broker.transient import load
from gateway.server.errors import ResourceNotFound, TooComplexQuery, TooManyResults
from gateway.server.storage.base import Reader, Selection, Storage

SCAN_SECONDS_MAX = 10.0
ORDERED_MAX = 50_000  # entities that are held to be put in order


@dataclass(frozen=True, slots=True)
class Shape:
    """What is made of the entities found, beside their representation: an order, linked entities for a view."""

    order: Order | None = None
    join: Join | None = None
    view: View | None = None


PLAIN = Shape()
BRIEF_MAX = 200  # entities from the first one on, answered by an index


class Documents(NamedTuple):
    """Part of a result: ``more`` after it; ``total`` where it was asked for."""

    documents: list[bytes]
    more: bool
    total: int | None


class Queries:
    """See the module."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def document(self, tenant: str, entity_id: str) -> bytes:
        """The stored document, also of what has expired. Raises ResourceNotFound, NonexistentTenant."""
        document = await self._storage.lookup(tenant, entity_id)
        if document is None:
            await self._storage.read(lambda reader: check_tenant(reader, tenant))
            raise _unknown(entity_id)
        return document

    async def retrieve(self, tenant: str, entity_id: str) -> Stored:
        """Raises ResourceNotFound, NonexistentTenant."""
        entity = load(await self.document(tenant, entity_id), now_us())
        if entity is None:
            raise _unknown(entity_id)
        return entity

    async def query(
        self,
        tenant: str,
        query: Query,
        *,
        limit: int = 20,
        offset: int = 0,
        count: bool = False,
        shape: Shape = PLAIN,
    ) -> Page:
        """Entities in the order of creation, or the order asked for; linked ones behind them where they are flat.

        Raises NonexistentTenant, TooComplexQuery, TooManyResults.
        """
        return await self._storage.read(
            lambda reader: _Search(reader, tenant, query).page(limit, offset, count, shape), replica=True
        )

    async def documents(self, tenant: str, query: Query, *, limit: int, offset: int, count: bool) -> Documents:
        """The same, as the documents are stored. Raises NonexistentTenant, TooComplexQuery."""
        brief = query.indexed and not count and offset + limit <= BRIEF_MAX
        return await self._storage.read(
            lambda reader: _Search(reader, tenant, query).documents(limit, offset, count), brief=brief, replica=True
        )

    async def linked(self, tenant: str, entity: Stored, join: Join, view: View) -> list[Stored]:
        """An entity with what its relationships lead to: within it, or (flat) behind it. Raises TooManyResults."""
        return await self._storage.read(lambda reader: _joined(Links(reader, tenant), [entity], join, view))

    async def types(self, tenant: str) -> list[str]:
        """IRIs of the types in use."""

        def work(reader: Reader) -> list[str]:
            check_tenant(reader, tenant)
            return reader.types(tenant)

        return await self._storage.read(work, replica=True)

    async def survey(self, tenant: str, entity_type: str | None = None, attribute: str | None = None) -> Found:
        """Which types have which attributes. Raises NonexistentTenant, TooComplexQuery."""
        query = Query(attrs=(attribute,) if attribute else ())
        selection = Selection(types=(entity_type,) if entity_type else ())
        return await self._storage.read(
            lambda reader: survey(_Search(reader, tenant, query, selection).matching()), replica=True
        )


class _Search:
    """One query against one view of the storage. Raises NonexistentTenant."""

    def __init__(self, reader: Reader, tenant: str, query: Query, selection: Selection | None = None) -> None:
        check_tenant(reader, tenant)
        self._reader = reader
        self._tenant = tenant
        self._query = query
        self._selection = query.selection if selection is None else selection
        self._links = Links(reader, tenant)

    def page(self, limit: int, offset: int, count: bool, shape: Shape) -> Page:
        """The part of the result that is asked for."""
        if shape.order is not None:
            page = self._ordered(limit, offset, count, shape.order)
        else:
            found, at_us = self.documents(limit, offset, count), now_us()
            entities = [entity for document in found.documents if (entity := load(document, at_us)) is not None]
            page = Page(entities, found.more, found.total)
        if shape.join is None or shape.view is None or not page.entities:
            return page
        return Page(_joined(self._links, page.entities, shape.join, shape.view), page.more, page.total)

    def matching(self) -> Iterator[Stored]:
        """All that match. Raises TooComplexQuery where it takes too long."""
        return (entity for _, entity in self._hits())

    def documents(self, limit: int, offset: int, count: bool) -> Documents:
        """The part of the result that is asked for, in the order of creation."""
        if self._query.indexed and not self._reader.expired(now_us(), 1):
            found = list(self._reader.entities(self._tenant, self._selection, limit + 1, offset))
            total = self._reader.count(self._tenant, self._selection) if count else None
            return Documents(found[:limit], len(found) > limit, total)
        page: list[bytes] = []
        matching = 0
        for document, _ in self._hits():
            matching += 1
            if offset < matching <= offset + limit:
                page.append(document)
            elif matching > offset + limit and not count:
                break
        return Documents(page, matching > offset + limit, matching if count else None)

    def _hits(self) -> Iterator[tuple[bytes, Stored]]:
        deadline, at_us = time.monotonic() + SCAN_SECONDS_MAX, now_us()
        for document in self._reader.entities(self._tenant, self._selection):
            if time.monotonic() > deadline:
                raise TooComplexQuery(f"the query took more than {SCAN_SECONDS_MAX:.0f} s")
            entity = load(document, at_us)
            if entity is not None and self._query.matches(entity, self._links):
                yield document, entity

    def _ordered(self, limit: int, offset: int, count: bool, order: Order) -> Page:
        found: list[Stored] = []
        for entity in self.matching():
            if len(found) >= ORDERED_MAX:
                raise TooManyResults(
                    f"more than {ORDERED_MAX} entities to put in order", fix="Narrow the query, or leave out orderBy."
                )
            found.append(entity)
        found = order.sort(found)
        return Page(found[offset : offset + limit], len(found) > offset + limit, len(found) if count else None)


def _joined(links: Links, entities: list[Stored], join: Join, view: View) -> list[Stored]:
    joiner = Joiner(join, view, links)
    if join.kind == "inline":
        return [joiner.inline(entity) for entity in entities]
    return [*entities, *joiner.flat(entities)]


def _unknown(entity_id: str) -> ResourceNotFound:
    return ResourceNotFound(f"there is no entity {entity_id}")
