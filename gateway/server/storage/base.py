"""What the server asks of its storage. Rules live above: storage keeps documents and rows, it knows no NGSI-LD.

All writing goes through ``Storage.write``: the given work runs alone against a ``Writer`` and the caller is answered
once everything it wrote is on the disk. Work must be quick and must not wait for anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from gateway.model import Range

T = TypeVar("T")


class Sample(NamedTuple):
    """One attribute instance in history. ``dataset`` is "" for the default instance; ``instance`` is JSON."""

    attribute: str
    dataset: str
    observed_us: int
    instance: bytes


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entities, as far as indexes know: any of the types and any of the ids; empty means no condition."""

    types: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """Which history: from ``since_us`` (included) to ``until_us`` (excluded).

    ``last_n`` takes the newest n of each series; without it the oldest ``limit`` + 1 rows over all series are taken
    (one more than wanted, so that the reader sees that there are more).
    """

    attributes: tuple[str, ...] = ()
    since_us: int | None = None
    until_us: int | None = None
    last_n: int | None = None
    limit: int = 20_000


@dataclass(frozen=True, slots=True)
class StorageStats:
    """Counters since the start, and what waits now. Seconds and rows."""

    commits: int
    commit_seconds: float
    commit_seconds_max: float
    writes: int
    refused: int
    waiting: int
    waiting_max: int
    bytes: int


class Reader(Protocol):
    """A consistent view of what is committed (for a Writer: also of what it has just written)."""

    def tenants(self) -> list[str]:
        """Every tenant; the default tenant is ""."""

    def entity(self, tenant: str, entity_id: str) -> bytes | None:
        """The document of an entity."""

    def entities(self, tenant: str, selection: Selection, limit: int | None = None, offset: int = 0) -> Iterator[bytes]:
        """Documents in the order of creation."""

    def count(self, tenant: str, selection: Selection) -> int:
        """How many entities the selection has."""

    def types(self, tenant: str) -> list[str]:
        """Type IRIs that an entity has now."""

    def subject(self, tenant: str, entity_id: str) -> list[str] | None:
        """The types of an entity that exists, or did and left history."""

    def history(self, tenant: str, entity_id: str, span: Span) -> list[Sample]:
        """Samples of one entity in the order of time."""

    def subscriptions(self) -> list[tuple[str, str, bytes]]:
        """(tenant, id, document) of all."""

    def received(self, gateway: str, stream: str) -> list[Range]:
        """Sequence numbers of a stream that are on the disk, in order."""

    def streams(self, gateway: str) -> list[tuple[str, list[Range]]]:
        """The same of every stream of a gateway."""

    def profiles(self, gateway: str, digest: str) -> bytes | None:
        """What a gateway said of its devices, by its hash."""


class Writer(Reader, Protocol):
    """The one that writes. A tenant comes into being with its first entity or subscription."""

    def put_entity(self, tenant: str, entity_id: str, types: Sequence[str], document: bytes) -> None:
        """Insert or replace."""

    def delete_entity(self, tenant: str, entity_id: str) -> bool:
        """Delete the current state; history stays. Returns whether it was there."""

    def put_history(self, tenant: str, entity_id: str, samples: Sequence[Sample], modified_us: int) -> None:
        """Insert or replace by (tenant, entity, attribute, dataset, observed time). The entity must have been put."""

    def delete_history(self, tenant: str, entity_id: str) -> bool:
        """Delete all history of an entity. Returns whether the entity was known."""

    def put_subscription(self, tenant: str, subscription_id: str, document: bytes) -> None:
        """Insert or replace."""

    def delete_subscription(self, tenant: str, subscription_id: str) -> bool:
        """Returns whether it was there."""

    def put_received(self, gateway: str, stream: str, ranges: Sequence[Range], used_us: int, keep: int) -> None:
        """Insert or replace; of the gateway's streams only the ``keep`` used last stay."""

    def put_profiles(self, gateway: str, digest: str, document: bytes, put_us: int, keep: int) -> None:
        """Insert or replace; of the gateway's profiles only the ``keep`` newest stay."""


class Storage(Protocol):
    """Raises Overloaded where more waits than is taken on, StorageFailed and StorageFull where the disk fails."""

    async def start(self) -> None:
        """Open, check, bring the schema up to date. Raises ServerError."""

    async def close(self) -> None:
        """Finish what was accepted, then close."""

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Run work on a reader thread. Raises TooComplexQuery beyond the time limit."""

    async def write(self, work: Callable[[Writer], T], *, weight: int = 1) -> T:
        """Run work on the writer; returns after the commit. If work raises, nothing of it is kept.

        ``weight`` is about the number of documents, for the bound of what may wait.
        """

    def stats(self) -> StorageStats:
        """Counters."""
