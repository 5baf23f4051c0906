"""What is committed, in memory: every subject with the versions that somebody may still look at.

One thread writes (``publish``, ``settle``); readers hold the number of a commit and pass over what is newer. They need
no lock: a version is complete before it is linked, and is unlinked only when nobody can need it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from gateway.server.storage.changes import Change

_key = attrgetter("key")


class Version:
    """State of a subject from commit ``seq`` on. ``types`` None: gone. A live one without document has it on disk."""

    __slots__ = ("document", "expires_us", "live", "previous", "seq", "types")

    def __init__(
        self, seq: int, types: list[str] | None, live: bool, document: bytes | None, expires_us: int | None
    ) -> None:
        self.seq = seq
        self.types = types
        self.live = live
        self.document = document
        self.expires_us = expires_us
        self.previous: Version | None = None


class Pending:
    """Changes of history of commit ``seq``, until they are in the tables (since commit ``moved``; 0: not yet)."""

    __slots__ = ("changes", "moved", "seq")

    def __init__(self, seq: int, changes: Sequence[Change]) -> None:
        self.seq = seq
        self.changes = changes
        self.moved = 0


class Subject:
    """What has or had an entity id. ``recent``: how many changes of history are not in chunks."""

    __slots__ = ("head", "id", "key", "pending", "recent", "tenant")

    def __init__(self, tenant: str, subject_id: str, key: int, head: Version | None = None) -> None:
        self.tenant = tenant
        self.id = subject_id
        self.key = key
        self.head = head
        self.pending: list[Pending] = []
        self.recent = 0

    def at(self, seq: int) -> Version | None:
        """The state as of a commit."""
        version = self.head
        while version is not None and version.seq > seq:
            version = version.previous
        return None if version is None or version.types is None else version

    def changes(self, seq: int) -> list[Change]:
        """What is not in the tables as of a commit."""
        found: list[Change] = []
        for one in self.pending:
            if one.seq <= seq and not 0 < one.moved <= seq:
                found.extend(one.changes)
        return found

    def settle(self, floor: int) -> None:
        """Forget what only readers before commit ``floor`` would see."""
        version = self.head
        while version is not None and version.seq > floor:
            version = version.previous
        if version is not None:
            version.previous = None
        if self.pending and 0 < self.pending[0].moved <= floor:
            self.pending = [one for one in self.pending if not 0 < one.moved <= floor]


class Members:
    """Subjects in the order of creation. Readers may iterate over ``list`` while it grows; it may hold too many."""

    __slots__ = ("known", "list")

    def __init__(self) -> None:
        self.list: list[Subject] = []
        self.known: set[Subject] = set()

    def add(self, subject: Subject) -> None:
        """At its place."""
        if subject in self.known:
            return
        self.known.add(subject)
        if not self.list or self.list[-1].key < subject.key:
            self.list.append(subject)
        else:
            place = bisect_left(self.list, subject.key, key=_key)
            self.list = [*self.list[:place], subject, *self.list[place:]]

    def remove(self, gone: set[Subject]) -> None:
        """In a new list."""
        if gone & self.known:
            self.known -= gone
            self.list = [one for one in self.list if one not in gone]


class Tenant:
    """The directory of a tenant."""

    __slots__ = ("all", "by_id", "by_type")

    def __init__(self) -> None:
        self.by_id: dict[str, Subject] = {}
        self.all = Members()
        self.by_type: dict[str, Members] = {}

    def add(self, subject: Subject, types: Iterable[str]) -> None:
        """Make it known, with these types too."""
        self.by_id[subject.id] = subject
        self.all.add(subject)
        for iri in types:
            members = self.by_type.get(iri)
            if members is None:
                members = self.by_type[iri] = Members()
            members.add(subject)

    def remove(self, gone: set[Subject]) -> None:
        """Forget what is gone."""
        for subject in gone:
            if self.by_id.get(subject.id) is subject:
                del self.by_id[subject.id]
        self.all.remove(gone)
        for members in self.by_type.values():
            members.remove(gone)


class State:
    """All tenants; ``seq`` is the newest commit that may be seen."""

    def __init__(self, cache_bytes: int) -> None:
        self.tenants: dict[str, Tenant] = {}
        self.expiring: set[Subject] = set()
        self.dirty: dict[Subject, int] = {}  # not in the tables as they are -> since which commit; oldest first
        self.seq = 0
        self.next_subject = 1
        self.next_sample = 1
        self.written: Callable[[Subject], None] = lambda _: None  # told of new versions, after they are linked
        self._types: dict[tuple[str, ...], list[str]] = {}
        self._settling: deque[tuple[int, list[Subject]]] = deque()
        self._cached: deque[tuple[int, int, Version]] = deque()  # on the disk since, bytes counted
        self.loaded: deque[Version] = deque()  # got their documents from the disk; by any thread
        self._cached_bytes = 0
        self._cache_bytes = cache_bytes

    def subject(self, tenant: str, subject_id: str) -> Subject | None:
        """By id."""
        found = self.tenants.get(tenant)
        return None if found is None else found.by_id.get(subject_id)

    def same_types(self, types: Sequence[str]) -> list[str]:
        """One list for all that have these types. Must not be modified."""
        return self._types.setdefault(tuple(types), list(types))

    def load(self, subject: Subject) -> None:
        """One that is in the tables."""
        head = subject.head
        self.tenants.setdefault(subject.tenant, Tenant()).add(subject, (head and head.types) or ())
        if head is not None and head.expires_us is not None:
            self.expiring.add(subject)

    def publish(self, seq: int, subject: Subject, version: Version | None, changes: Sequence[Change]) -> None:
        """Link what commit ``seq`` made of a subject; it is seen once ``self.seq`` is set."""
        if changes:
            subject.pending.append(Pending(seq, changes))
        if version is not None:
            version.previous = subject.head
            subject.head = version
            self.tenants.setdefault(subject.tenant, Tenant()).add(subject, version.types or ())
            self.written(subject)
            if version.expires_us is not None:
                self.expiring.add(subject)
        if subject not in self.dirty:
            self.dirty[subject] = seq

    def later(self, seq: int, subjects: list[Subject]) -> None:
        """These have something to forget when nobody looks at what was before commit ``seq``."""
        if subjects:
            self._settling.append((seq, subjects))

    def settle(self, floor: int) -> None:
        """Nobody looks at what was before commit ``floor``."""
        gone: dict[str, set[Subject]] = {}
        while self._settling and self._settling[0][0] <= floor:
            for subject in self._settling.popleft()[1]:
                subject.settle(floor)
                head = subject.head
                if head is not None and head.seq <= floor and head.expires_us is None:
                    self.expiring.discard(subject)
                if (head is None or head.types is None) and subject not in self.dirty and not subject.pending:
                    gone.setdefault(subject.tenant, set()).add(subject)
        for tenant, subjects in gone.items():
            self.tenants[tenant].remove(subjects)

    # documents that are in the tables too

    def cache(self, seq: int, version: Version) -> None:
        """Its document is in the tables since commit ``seq``: it may be dropped when there are too many.

        A version may come more than once; each time it is counted, and taken off again by what was counted.
        """
        if version.document is not None:
            self._cached.append((seq, len(version.document), version))
            self._cached_bytes += len(version.document)

    def shrink(self, floor: int) -> None:
        """Keep the bound. A document stays while a reader may be older than its place on the disk."""
        while self.loaded:
            self.cache(0, self.loaded.popleft())
        while self._cached_bytes > self._cache_bytes and self._cached[0][0] <= floor:
            _, size, version = self._cached.popleft()
            self._cached_bytes -= size
            version.document = None
