"""What the server asks of its storage. Rules live above: storage keeps documents and samples, it knows no NGSI-LD.

All writing goes through ``Storage.write``: the given work runs alone against a ``Writer`` and the caller is answered
once everything it wrote is on the disk. Work must be quick and must not wait for anything. What one work wrote is seen
by others as a whole or not at all, and only after its commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from gateway.model import Range

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
Mark: TypeAlias = Literal["observed", "written", "deleted"]
TimeProperty: TypeAlias = Literal["observedAt", "createdAt", "modifiedAt", "deletedAt", "any"]
Kind: TypeAlias = Literal[
    "subscription",
    "registration",
    "csource-subscription",
    "context",
    "entity-map",
    "snapshot",
    "quality",
    "release",
    "throttle",
    "forwarded",
]


class Sample(NamedTuple):
    """One attribute instance in history. ``dataset`` is "" for the default instance; ``instance`` is JSON.

    ``mark`` says what ``at_us`` is: when the value was observed; when it was written, where nobody said when it was
    observed; when it was deleted. (attribute, dataset, at_us, mark) are its identity. ``number`` names it for good,
    unique within the tenant; the storage gives it, and the two dates of the system.
    """

    attribute: str
    dataset: str
    at_us: int
    instance: bytes
    mark: Mark = "observed"
    number: int = 0
    created_us: int = 0
    modified_us: int = 0


class Subject(NamedTuple):
    """What has or had an entity id. ``live``: there is a current state."""

    id: str
    types: list[str]
    live: bool


class Term(NamedTuple):
    """A value of the attribute (number, text, boolean, URI of a Relationship) compares so.

    An attribute that is not one instance with such a plain value (several instances, lists, objects, maps of languages,
    terms, typed values) may compare in ways that storage does not know: an entity with one always fulfils the term.
    """

    attribute: str
    operator: Literal["==", ">", ">=", "<", "<="]
    value: float | str | bool


class Area(NamedTuple):
    """A geometry of the attribute (of any of its instances) touches this box of WGS84 degrees.

    ``west`` > ``east`` crosses the date line.
    """

    attribute: str
    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entities: any of the types and any of the ids; empty means no condition.

    ``terms`` and ``areas`` (each must hold) are hints for indexes: what is given may be more than what they mean, never
    less. The caller checks every entity when it sets them.
    """

    types: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    terms: tuple[Term, ...] = ()
    areas: tuple[Area, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """Which history: from ``since_us`` (included) to ``until_us`` (excluded) of the time property.

    ``observedAt`` means observed samples; ``createdAt`` and ``modifiedAt`` all but deletions, by their system dates;
    ``deletedAt`` deletions; ``any`` all samples, by ``at_us``. ``last_n`` takes the newest n of each series; without it
    the oldest ``limit`` + 1 samples over all series are taken (one more than wanted, so that the reader sees that there
    are more).
    """

    attributes: tuple[str, ...] = ()
    since_us: int | None = None
    until_us: int | None = None
    last_n: int | None = None
    limit: int = 20_000
    datasets: tuple[str, ...] | None = None
    time_property: TimeProperty = "observedAt"


@dataclass(frozen=True, slots=True)
class Numbers:
    """A series of numbers in the order of time: ``at_us`` (int64) and ``values`` (float64) have the same length."""

    at_us: NDArray[np.int64]
    values: NDArray[np.float64]


class Note(NamedTuple):
    """One notification that waits. ``id`` stays the same over all attempts; ``body`` is what its sender needs."""

    id: str
    tenant: str
    subscription: str
    due_us: int
    attempts: int
    body: bytes
    why: str = ""


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
        """How many entities the selection has; without terms and areas it is exact."""

    def types(self, tenant: str) -> list[str]:
        """Type IRIs that an entity has now."""

    def expired(self, now_us: int, limit: int) -> list[tuple[str, str]]:
        """(tenant, id) of entities whose ``expires_us`` has passed."""

    def subject(self, tenant: str, entity_id: str) -> Subject | None:
        """What exists, or did and left history."""

    def subjects(self, tenant: str, selection: Selection) -> Iterator[Subject]:
        """All that exist or left history, in the order of creation; terms and areas are passed over."""

    def history(self, tenant: str, entity_id: str, span: Span) -> list[Sample]:
        """Samples of one entity in the order of time."""

    def numbers(
        self, tenant: str, entity_id: str, attribute: str, dataset: str, since_us: int | None, until_us: int | None
    ) -> Numbers | None:
        """Observed values of one series as columns; None where not all of them are plain numbers of a Property."""

    def sample(self, tenant: str, entity_id: str, attribute: str, number: int) -> Sample | None:
        """One sample by its number."""

    def aged(self, before_us: int, limit: int) -> list[tuple[str, str]]:
        """(tenant, id) of some who have samples of before; what changed within seconds may not show yet."""

    def document(self, kind: Kind, tenant: str, document_id: str) -> bytes | None:
        """One document of what is not an entity."""

    def documents(self, kind: Kind, tenant: str | None = None) -> list[tuple[str, str, bytes]]:
        """(tenant, id, document) of a kind, in the order of creation; of all tenants where none is given."""

    def notes(self, tenant: str, subscription: str, *, dead: bool, limit: int) -> list[Note]:
        """What waits for a subscriber, or what was given up, oldest first."""

    def note_counts(self) -> dict[tuple[str, str], tuple[int, int, int]]:
        """(tenant, subscription) -> waiting, dead, due_us of the oldest that waits (0: none)."""

    def received(self, gateway: str, stream: str) -> list[Range]:
        """Sequence numbers of a stream that are on the disk, in order."""

    def gateways(self) -> list[str]:
        """Those of whom a stream was received."""

    def streams(self, gateway: str) -> list[tuple[str, list[Range]]]:
        """The same of every stream of a gateway."""

    def profiles(self, gateway: str, digest: str) -> bytes | None:
        """What a gateway said of its devices, by its hash."""


class Writer(Reader, Protocol):
    """The one that writes. A tenant comes into being with the first thing that is put into it."""

    def prefetch(self, tenant: str, ids: Iterable[str]) -> None:
        """Entities and documents of these ids are going to be read: where each way is long, all go in one."""

    def on_undo(self, undo: Callable[[], None]) -> None:
        """Call it where nothing is kept of the work: it failed, its commit did, or it is going to be run again.

        For what a work changes in memory. It is called in the thread of the work, the last one first.
        """

    def put_entity(
        self, tenant: str, entity_id: str, types: Sequence[str], document: bytes, expires_us: int | None = None
    ) -> None:
        """Insert or replace. ``expires_us``: from when on it, or an attribute of it, is to be removed."""

    def delete_entity(self, tenant: str, entity_id: str) -> bool:
        """Delete the current state; history stays, without any the subject is gone. Returns whether it was there."""

    def put_subject(self, tenant: str, entity_id: str, types: Sequence[str]) -> None:
        """Something of which there is history only; types add to those known."""

    def put_history(self, tenant: str, entity_id: str, samples: Sequence[Sample], now_us: int) -> None:
        """Insert, or replace by identity (number and creation stay). The entity or subject must have been put."""

    def replace_sample(self, tenant: str, entity_id: str, old: Sample, new: Sample, now_us: int) -> None:
        """Put the new one in place of one that was read; it keeps its number and creation."""

    def delete_history(
        self,
        tenant: str,
        entity_id: str,
        attribute: str | None = None,
        dataset: str | None = None,
        number: int | None = None,
    ) -> int:
        """Delete samples: all of the entity, of one attribute (all datasets where none is given), or one.

        Returns how many there were. Where all was deleted, a subject without current state is gone too.
        """

    def trim_history(self, tenant: str, entity_id: str, before_us: int) -> None:
        """Delete the samples whose ``at_us`` is before. A subject that has nothing left is gone."""

    def put_document(self, kind: Kind, tenant: str, document_id: str, document: bytes) -> None:
        """Insert or replace."""

    def delete_document(self, kind: Kind, tenant: str, document_id: str) -> bool:
        """Returns whether it was there. With a subscription its notes go."""

    def put_notes(self, notes: Sequence[Note]) -> None:
        """Add to the queue, or replace by id (then ``due_us``, ``attempts`` and ``why`` change)."""

    def claim_notes(self, node: str, now_us: int, until_us: int, limit: int) -> list[Note]:
        """Notes that are due and that no other node holds: they are this node's until then. Oldest first."""

    def free_notes(self) -> None:
        """Nobody holds any: what held them is gone."""

    def extend_notes(self, node: str, until_us: int) -> None:
        """What the node holds stays its own until then."""

    def settle_notes(self, ids: Sequence[str]) -> None:
        """They were delivered."""

    def bury_notes(self, ids: Sequence[str], why: str) -> None:
        """They are given up: kept to be looked at and sent again."""

    def revive_notes(self, tenant: str, subscription: str, now_us: int, ids: Sequence[str] | None = None) -> int:
        """Dead notes (all of the subscription where no ids are given) are due again, attempts from 0."""

    def drop_notes(self, tenant: str, subscription: str, *, dead: bool, keep: int) -> int:
        """Of a subscription only the newest ``keep`` stay; returns how many went."""

    def put_received(self, gateway: str, stream: str, ranges: Sequence[Range], used_us: int, keep: int) -> None:
        """Insert or replace; of the gateway's streams only the ``keep`` used last stay."""

    def put_profiles(self, gateway: str, digest: str, document: bytes, put_us: int, keep: int) -> None:
        """Insert or replace; of the gateway's profiles only the ``keep`` newest stay."""


Changed: TypeAlias = Callable[[tuple[str, str, str] | None], None]


class Storage(Protocol):
    """Raises Overloaded where more waits than is taken on, StorageFailed and StorageFull where the disk fails.

    ``shared``: other servers may work on it, too.
    """

    shared: bool

    async def start(self) -> None:
        """Open, check, bring the schema up to date. Raises ServerError."""

    async def close(self) -> None:
        """Finish what was accepted, then close."""

    def leads(self) -> bool:
        """Whether this server does what only one of those that share the storage may do."""

    def on_change(self, changed: Changed) -> None:
        """Call it on the event loop with (kind, tenant, id) of each document that another server put or deleted.

        None: anything may have changed. Where this server is the only one it is never called.
        """

    async def heard(self) -> None:
        """Wait until ``on_change`` was called with all that other servers committed before this."""

    async def lookup(self, tenant: str, entity_id: str) -> bytes | None:
        """``Reader.entity``, by the shortest way."""

    async def read(self, work: Callable[[Reader], T], *, brief: bool = False, replica: bool = False) -> T:
        """Run work against a consistent view; it must not keep the reader, and may be run again.

        ``brief``: it touches a few entities only, so it may run where it is asked instead of in a thread.
        ``replica``: what other servers have written within the last seconds may be missing.
        """

    async def write(self, work: Callable[[Writer], T], *, weight: int = 1) -> T:
        """Run work on the writer; returns after the commit. If work raises, nothing of it is kept.

        ``weight`` is about the number of documents, for the bound of what may wait.
        """

    def stats(self) -> StorageStats:
        """Counters."""
