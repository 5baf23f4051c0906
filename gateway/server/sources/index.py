"""Which registrations may have a part in a request: found by type, id or attribute, not by asking each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.server.sources.model import Information, Registration

Key = tuple[str, str]  # what it is by ("type", "id" or "attribute"), and which; "" for those that are not limited by it


class Index:
    """The registrations of one tenant."""

    def __init__(self) -> None:
        self._all: dict[str, Registration] = {}
        self._order: dict[str, int] = {}
        self._buckets: dict[Key, dict[str, Registration]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._all)

    def put(self, registration: Registration) -> None:
        """Add it at the end, or put it in place of the one with its id."""
        known = self._all.get(registration.id)
        if known is None:
            self._order[registration.id] = self._next
            self._next += 1
        else:
            self._drop(known)
        self._all[registration.id] = registration
        for key in _keys_of(registration):
            self._buckets.setdefault(key, {})[registration.id] = registration

    def remove(self, registration_id: str) -> None:
        """What is not there is no error."""
        registration = self._all.pop(registration_id, None)
        if registration is None:
            return
        del self._order[registration_id]
        self._drop(registration)

    def candidates(
        self, types: Iterable[str] | None, ids: Iterable[str] | None, attributes: Iterable[str] | None
    ) -> list[Registration]:
        """All that may be about these (None: not limited), and few that are not, in the order of creation."""
        best: list[dict[str, Registration]] | None = None
        size = len(self._all)
        for what, names in (("type", types), ("id", ids), ("attribute", attributes)):
            if names is None:
                continue
            found = [self._buckets.get((what, name), {}) for name in ("", *names)]
            count = sum(map(len, found))
            if count < size:
                best, size = found, count
        if best is None:
            return list(self._all.values())
        chosen = {name: registration for bucket in best for name, registration in bucket.items()}
        return [chosen[name] for name in sorted(chosen, key=self._order.__getitem__)]

    def _drop(self, registration: Registration) -> None:
        for key in _keys_of(registration):
            bucket = self._buckets[key]
            del bucket[registration.id]
            if not bucket:
                del self._buckets[key]


def _keys_of(registration: Registration) -> set[Key]:
    return {key for information in registration.information for key in _keys(information)}


def _keys(information: Information) -> Iterator[Key]:
    if not information.entities:
        yield from (("type", ""), ("id", ""))
    for entity in information.entities:
        yield from (("type", name) for name in entity.types)
        yield "id", entity.id or ""
    names = information.attributes
    yield from (("attribute", name) for name in (names if names is not None else ("",)))
