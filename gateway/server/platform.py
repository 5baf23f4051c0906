"""The server role's services, put together: what ``http`` serves and what a test may look at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway import __version__
from gateway.prometheus import family
from gateway.server.broker.attribute_routes import AttributeRoutes
from gateway.server.broker.batch_routes import BatchRoutes
from gateway.server.broker.discovery_routes import DiscoveryRoutes
from gateway.server.broker.entity_routes import EntityRoutes
from gateway.server.broker.queries import Queries
from gateway.server.broker.query_routes import QueryRoutes
from gateway.server.broker.service import Broker
from gateway.server.broker.sweeper import Sweeper
from gateway.server.contexts import Contexts
from gateway.server.contexts.catalog import Catalog
from gateway.server.contexts.routes import ContextRoutes
from gateway.server.contexts.service import Download, preloaded
from gateway.server.distributed.headers import own_alias
from gateway.server.distributed.service import Distributed
from gateway.server.egress import Egress
from gateway.server.errors import ServerError
from gateway.server.following import Follower, Following
from gateway.server.ingest.routes import IngestRoutes
from gateway.server.ingest.service import Ingest
from gateway.server.monitoring.metrics import RequestCounter
from gateway.server.quality.routes import QualityRoutes
from gateway.server.quality.service import Quality
from gateway.server.releases.routes import ReleaseRoutes
from gateway.server.releases.service import Releases
from gateway.server.routing import Route
from gateway.server.settings import ServerSettings
from gateway.server.snapshots.routes import SnapshotRoutes
from gateway.server.snapshots.service import Snapshots
from gateway.server.sources.identity import IdentityRoutes
from gateway.server.sources.routes import SourceRoutes
from gateway.server.sources.service import Sources
from gateway.server.sources.subscriptions import SourceSubscriptions
from gateway.server.storage.base import Storage
from gateway.server.storage.sqlite import SqliteStorage
from gateway.server.subscriptions.routes import SubscriptionRoutes
from gateway.server.subscriptions.service import Subscriptions
from gateway.server.temporal.retention import Retention
from gateway.server.temporal.routes import TemporalRoutes
from gateway.server.temporal.service import Temporal

if TYPE_CHECKING:
    from gateway.server.ingest.coap import CoapEnd

CONTEXT_BYTES_MAX = 2**20
CONTEXT_SECONDS_MAX = 5.0


class Platform:
    """All services over one storage."""

    def __init__(self, settings: ServerSettings, storage: Storage | None = None) -> None:
        self.settings = settings
        self.storage: Storage = storage or _storage_of(settings)
        self._catalog = Catalog(self.storage)
        scheme = "https" if settings.secure else "http"
        self.contexts = Contexts(self._fetch, self._catalog, preloaded(settings.context_files), scheme)
        self.broker = Broker(self.storage)
        self.queries = Queries(self.storage)
        self.temporal = Temporal(self.storage)
        self.broker.before_commit(self.temporal.record)
        self.retention = Retention(self.storage, settings.history_days)
        self.quality = Quality(self.storage)
        self.broker.on_history(self.quality.take)
        self.temporal.on_history(self.quality.take)
        self.ingest = Ingest(self.storage, self.broker, self.contexts)
        private = Egress(settings.notify_prefixes, settings.ca_file)
        self.subscriptions = Subscriptions(self.storage, self.broker, self.contexts, private)
        self.sources = Sources(self.storage, self.contexts.core)
        self.source_subscriptions = SourceSubscriptions(self.storage, self.sources, self.subscriptions, self.contexts)
        self.snapshots = Snapshots(self.storage, self.contexts, self.subscriptions)
        self.registry = self.sources.registry
        self._alias = own_alias(settings.alias, settings.data)
        self.distributed = Distributed(
            self.registry,
            self.sources.record,
            self.queries,
            self.contexts,
            private,
            self._alias,
            self.subscriptions,
            self.storage,
        )
        self.sources.before_commit(self.distributed.remotes.on_registration, self.distributed.remotes.wake)
        self._following = Following(self.storage, self._followers())
        if self.storage.shared:
            self.broker.wait_for(self._following.caught_up)
        self.counter = RequestCounter()
        self._public = Egress(settings.context_prefixes, settings.ca_file)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Platform]:
        """Open the storage, load the subscriptions; at the end write out everything. Raises ServerError."""
        await self.storage.start()
        try:
            await self._catalog.load()
            await self.distributed.maps.load()
            await self.snapshots.load()
            coap = await self._listen()
            async with (
                self.quality.running(),
                self.source_subscriptions.running(),  # before the delivery: what waits for nobody is thrown away
                self.sources.running(),
                self.subscriptions.running(),
                self.distributed.remotes.running(),
                self._following.running(),
                Sweeper(self.broker).running(),
                self.retention.running(),
                self.snapshots.running(),
                self._taking(coap),
            ):
                yield self
        finally:
            await self.distributed.close()
            await self.storage.close()

    def _followers(self) -> list[Follower]:
        return [
            self._catalog,
            self.sources,
            self.source_subscriptions,
            self.subscriptions,
            self.snapshots,
            self.distributed.kept,
        ]

    async def _listen(self) -> CoapEnd | None:
        """Where gateways send over CoAP, where it is set up. Raises ServerError."""
        if self.settings.coap is None:
            return None
        from gateway.server.ingest.coap import CoapEnd  # aiocoap: only who uses it pays for it

        coap = CoapEnd(self.settings.coap, self.ingest)
        await coap.start()
        return coap

    @asynccontextmanager
    async def _taking(self, coap: CoapEnd | None) -> AsyncIterator[None]:
        """Batches are taken over the other wires too, where they are set up."""
        task = None
        async with asyncio.TaskGroup() as group:
            if coap is not None:
                coap.group = group
            if self.settings.mqtt is not None:
                from gateway.server.ingest.mqtt import MqttEnd  # paho, likewise

                task = group.create_task(MqttEnd(self.settings.mqtt, self.ingest).run())
            try:
                yield
            finally:
                if coap is not None:
                    coap.close()
                if task is not None:
                    task.cancel()

    def routes(self) -> list[Route]:
        """The routes of NGSI-LD and of the compact protocol."""
        broker = [
            *EntityRoutes(self.broker, self.contexts).routes(),
            *AttributeRoutes(self.broker, self.contexts).routes(),
            *BatchRoutes(self.broker, self.contexts).routes(),
            *QueryRoutes(self.queries, self.contexts).routes(),
            *DiscoveryRoutes(self.queries, self.contexts).routes(),
            *TemporalRoutes(self.temporal, self.contexts).routes(),
            *SourceRoutes(self.sources, self.source_subscriptions, self.contexts).routes(),
            *SubscriptionRoutes(self.subscriptions, self.contexts).routes(),
        ]
        return [
            *self.distributed.around(broker),
            *QualityRoutes(self.quality, self.contexts).routes(),
            *ContextRoutes(self.contexts).routes(),
            *SnapshotRoutes(self.snapshots, self.contexts).routes(),
            *IdentityRoutes(self._alias).routes(),
            *IngestRoutes(self.ingest).routes(),
            *ReleaseRoutes(Releases(self.storage)).routes(),
        ]

    async def metrics(self) -> str:
        """Everything countable, as Prometheus text."""
        storage, requests = self.storage.stats(), self.counter
        sources, trimmed = self.sources.counts(), self.retention.trimmed
        notified, ingested = await self.subscriptions.counts(), self.ingest.counts
        arrived = [({"result": r}, float(ingested[r])) for r in ("taken", "repeated", "refused")]
        by_status = [({"method": m, "status": str(s)}, float(n)) for (m, s), n in sorted(requests.requests.items())]
        p = "lamppost_server_"
        return "".join(
            (
                family("lamppost_info", "gauge", "Version of Lamppost.", [({"version": __version__}, 1)]),
                family(f"{p}requests_total", "counter", "Requests answered.", by_status),
                family(f"{p}request_seconds_total", "counter", "Time spent in requests.", requests.seconds),
                family(f"{p}requests_in_flight", "gauge", "Requests being answered.", requests.in_flight),
                family(f"{p}entities_written_total", "counter", "Entities written.", self.broker.entities_written),
                family(f"{p}history_written_total", "counter", "History rows written.", self.broker.samples_written),
                family(f"{p}history_trimmed_total", "counter", "Entities whose old history went.", trimmed),
                family(f"{p}commits_total", "counter", "Commits to disk.", storage.commits),
                family(f"{p}commit_seconds_total", "counter", "Time spent in commits.", storage.commit_seconds),
                family(f"{p}commit_seconds_max", "gauge", "Longest commit.", storage.commit_seconds_max),
                family(f"{p}writes_total", "counter", "Operations committed.", storage.writes),
                family(f"{p}refused_total", "counter", "Reads and writes refused, being behind.", storage.refused),
                family(f"{p}write_queue_documents", "gauge", "Documents waiting to be written.", storage.waiting),
                family(f"{p}write_queue_documents_max", "gauge", "Bound of that queue.", storage.waiting_max),
                family(f"{p}storage_bytes", "gauge", "Size of the database.", storage.bytes),
                family(f"{p}batches_total", "counter", "Compact batches answered.", ingested["batches"]),
                family(f"{p}readings_total", "counter", "Readings that came in compact batches.", arrived),
                family(f"{p}sources", "gauge", "Registered context sources.", sources["registrations"]),
                family(f"{p}forwards_total", "counter", "Requests sent to context sources.", sources["sent"]),
                family(f"{p}forwards_failed_total", "counter", "Of these, failed.", sources["failed"]),
                family(f"{p}subscriptions", "gauge", "Subscriptions.", notified["subscriptions"]),
                family(f"{p}notifications_total", "counter", "Notifications attempted.", notified["sent"]),
                family(f"{p}notifications_failed_total", "counter", "Attempts that failed.", notified["failed"]),
                family(f"{p}notifications_waiting", "gauge", "Notifications not yet delivered.", notified["waiting"]),
                family(f"{p}notifications_late_seconds", "gauge", "How long the oldest was due.", notified["late"]),
                family(f"{p}notifications_dead", "gauge", "Given up, kept to be sent again.", notified["dead"]),
                family(f"{p}notifications_dropped_total", "counter", "Dropped: slow receiver.", notified["dropped"]),
            )
        )

    async def _fetch(self, url: str) -> Download:
        got = await self._public.fetch(
            url,
            "application/ld+json, application/json;q=0.9",
            timeout_s=CONTEXT_SECONDS_MAX,
            body_max=CONTEXT_BYTES_MAX,
        )
        return Download(got.body, got.headers)


def _storage_of(settings: ServerSettings) -> Storage:
    """Raises ServerError."""
    if settings.database is None:
        return SqliteStorage(settings.data, bytes_max=settings.storage_max)
    try:
        from gateway.server.storage.postgres.session import database_of  # asyncpg: only who uses it pays for it
        from gateway.server.storage.postgres.storage import PostgresStorage
    except ImportError as error:
        raise ServerError(
            f"PostgreSQL needs a library that is not installed: {error}",
            code="server.database-driver",
            fix="Install it: pip install 'lamppost[postgres]'.",
        ) from error
    password = settings.database_password_file
    replica = settings.database_replica
    return PostgresStorage(
        database_of(settings.database, password), database_of(replica, password) if replica else None
    )
