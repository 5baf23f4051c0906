"""The routes of the broker, with other sources around them.

This broker is one more source, called by its own handlers; they know nothing of the others. Where a tenant has no
registrations, or a request says ``local=true``, they are called as if this module was not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from gateway.server.broker.queries import Queries
from gateway.server.contexts import Contexts
from gateway.server.distributed import batches, writes
from gateway.server.distributed.batches import Batches
from gateway.server.distributed.client import Client
from gateway.server.distributed.discovery import Discovery
from gateway.server.distributed.forward import Forwarder
from gateway.server.distributed.forwarded import Kept
from gateway.server.distributed.gate import Gate, Records
from gateway.server.distributed.history import History
from gateway.server.distributed.map_routes import MapRoutes
from gateway.server.distributed.maps import Maps
from gateway.server.distributed.passing import Passing
from gateway.server.distributed.purge import Purges
from gateway.server.distributed.reads import Reads
from gateway.server.distributed.remotes import Remotes
from gateway.server.distributed.writes import Writes
from gateway.server.egress import Egress
from gateway.server.routing import Handler, Route
from gateway.server.sources.registry import Registry
from gateway.server.storage.base import Storage
from gateway.server.subscriptions.service import Subscriptions
from gateway.server.wire import ROOT

T = TypeVar("T")
Wrap = Callable[[Handler], Handler]


class Distributed:
    """``alias``: what this broker calls itself in Via; ``egress``: where sources may be."""

    def __init__(
        self,
        registry: Registry,
        records: Records,
        queries: Queries,
        contexts: Contexts,
        egress: Egress,
        alias: str,
        subscriptions: Subscriptions,
        storage: Storage,
    ) -> None:
        self._client = Client(egress)
        forwarder = Forwarder(self._client, contexts, registry)
        gate = Gate(registry, alias, records)
        self._writes = Writes(gate, forwarder, queries, contexts)
        self._batches = Batches(gate, forwarder, queries, contexts)
        self._purges = Purges(gate, forwarder, contexts)
        self.maps = maps = Maps(storage, contexts)
        self._reads = Reads(gate, forwarder, queries, contexts, maps)
        self._discovery = Discovery(gate, forwarder, contexts)
        self._history = History(gate, forwarder, contexts, maps)
        self.kept = Kept(storage)
        self.remotes = Remotes(self.kept, gate, forwarder, subscriptions, storage, contexts.core)
        self._passing = Passing(self.kept, self.remotes, gate, self._reads, subscriptions, contexts, alias)
        self._map_routes = MapRoutes(maps, self._reads, self._history, contexts)

    async def close(self) -> None:
        """Drop the connections to the sources."""
        await self._client.close()

    def around(self, routes: Iterable[Route]) -> list[Route]:
        """The same routes; those that sources can have a part in ask them, too. And those of entity maps."""
        wraps = {**self._single(), **self._many(), **self._read(), **self._subscribed()}
        return [
            Route(route.method, route.path, wraps[key](route.handler)) if (key := _key(route)) in wraps else route
            for route in routes
        ] + [*self._map_routes.routes(), *self._passing.routes()]

    def _subscribed(self) -> dict[str, Wrap]:
        return {
            "POST /subscriptions": self._passing.created,
            "PATCH /subscriptions/{id}": self._passing.changed,
            "DELETE /subscriptions/{id}": self._passing.changed,
            "POST /csourceRegistrations": self._passing.registered,
            "PATCH /csourceRegistrations/{id}": self._passing.registered,
        }

    def _single(self) -> dict[str, Wrap]:
        one, attributes = "/entities/{id}", "/entities/{id}/attrs"
        bodied = {
            "POST /entities": writes.CREATE,
            f"PUT {one}": writes.REPLACE,
            f"PATCH {one}": writes.MERGE,
            f"POST {attributes}": writes.APPEND,
            f"PATCH {attributes}": writes.UPDATE,
            "POST /temporal/entities": writes.UPSERT_TEMPORAL,
            f"POST /temporal{attributes}": writes.APPEND_TEMPORAL,
        }
        single = {
            f"PATCH {attributes}/{{attr}}": writes.UPDATE_ONE,
            f"PUT {attributes}/{{attr}}": writes.REPLACE_ONE,
            f"DELETE {attributes}/{{attr}}": writes.DELETE_ONE,
            f"DELETE /temporal{attributes}/{{attr}}": writes.DELETE_ATTRS_TEMPORAL,
            f"PATCH /temporal{attributes}/{{attr}}/{{instance}}": writes.CHANGE_INSTANCE,
            f"DELETE /temporal{attributes}/{{attr}}/{{instance}}": writes.DELETE_INSTANCE,
        }
        whole = {f"DELETE {one}": writes.DELETE, f"DELETE /temporal{one}": writes.DELETE_TEMPORAL}
        return {
            **{key: _bound(self._writes.bodied, operation) for key, operation in bodied.items()},
            **{key: _bound(self._writes.single, operation) for key, operation in single.items()},
            **{key: _bound(self._writes.delete, operation) for key, operation in whole.items()},
            "DELETE /entities": self._purges.wrapped,
        }

    def _many(self) -> dict[str, Wrap]:
        offered = (batches.CREATE, batches.UPSERT, batches.UPDATE, batches.MERGE, batches.DELETE)
        return {f"POST /entityOperations/{batch.path}": _bound(self._batches.wrapped, batch) for batch in offered}

    def _read(self) -> dict[str, Wrap]:
        discovery = {
            "/types": ("retrieveEntityTypes", "retrieveEntityTypeDetails"),
            "/types/{name}": ("retrieveEntityTypeInfo", "retrieveEntityTypeInfo"),
            "/attributes": ("retrieveAttrTypes", "retrieveAttrTypeDetails"),
            "/attributes/{name}": ("retrieveAttrTypeInfo", "retrieveAttrTypeInfo"),
        }

        def discovered(path: str, operations: tuple[str, str]) -> Wrap:
            return lambda local: self._discovery.wrapped(local, path, operations)

        return {
            **{f"GET {path}": discovered(path, operations) for path, operations in discovery.items()},
            "GET /entities": self._reads.query,
            "GET /entities/{id}": self._reads.retrieve,
            "POST /entityOperations/query": self._reads.query_by_body,
            "GET /temporal/entities": self._history.query,
            "POST /temporal/entityOperations/query": self._history.query_by_body,
            "GET /temporal/entities/{id}": self._history.retrieve,
        }


def _bound(wrap: Callable[[T, Handler], Handler], first: T) -> Wrap:
    return lambda local: wrap(first, local)


def _key(route: Route) -> str:
    return f"{route.method} {route.path.removeprefix(ROOT)}"
