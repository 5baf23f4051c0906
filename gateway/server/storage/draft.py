"""The Writer: what the works of one commit make of subjects, over what is committed.

``begin`` and ``keep`` frame one work; what was not kept is forgotten. ``records`` is what goes to the log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from gateway.server.storage import changes as ch
from gateway.server.storage.base import Sample, Selection, Span
from gateway.server.storage.changes import Change
from gateway.server.storage.queues import Queues, put_tenant
from gateway.server.storage.state import State
from gateway.server.storage.view import Entry, View

Name = tuple[str, str]


@dataclass(slots=True)
class Edit:
    """One subject. ``entry`` None: gone. ``new_state``: it is not only history that changed."""

    key: int
    entry: Entry | None
    new_state: bool
    changes: list[Change]


class Draft(View, Queues):
    """See ``base.Writer``."""

    def __init__(self, connection: sqlite3.Connection, state: State) -> None:
        super().__init__(connection, state, state.seq)
        self._kept: dict[Name, Edit] = {}
        self._own: dict[Name, Edit] = {}
        self._tenants: set[str] = set()
        self._new_tenants: set[str] = set()
        self._undos: list[Callable[[], None]] = []
        self._kept_undos: list[Callable[[], None]] = []

    def begin(self) -> None:
        """A work starts: forget what the one before has not kept."""
        self._own = {}
        self._new_tenants = set()
        self._undos = []

    def keep(self) -> None:
        """The work has succeeded."""
        self._kept.update(self._own)
        self._tenants |= self._new_tenants
        self._kept_undos += self._undos
        self.begin()

    def edits(self) -> dict[Name, Edit]:
        """What was kept."""
        return self._kept

    def on_undo(self, undo: Callable[[], None]) -> None:
        """For when this work is not kept."""
        self._undos.append(undo)

    def undo(self, *, all_of_it: bool = False) -> None:
        """Nothing of this work is kept, or of all of them."""
        undos = [*self._kept_undos, *self._undos] if all_of_it else self._undos
        while undos:
            undos.pop()()

    def prefetch(self, tenant: str, ids: Iterable[str]) -> None:
        """Nothing: no way is long."""

    # reading what is written here

    def _edit(self, tenant: str, entity_id: str) -> Edit | None:
        name = (tenant, entity_id)
        return self._own.get(name) or self._kept.get(name)

    def _find(self, tenant: str, entity_id: str) -> Entry | None:
        edit = self._edit(tenant, entity_id)
        return View._find(self, tenant, entity_id) if edit is None else edit.entry

    def _changes(self, tenant: str, entity_id: str) -> list[Change]:
        edit = self._edit(tenant, entity_id)
        return super()._changes(tenant, entity_id) + ([] if edit is None else edit.changes)

    def _candidates(self, tenant: str, selection: Selection) -> Iterable[str]:
        """Without the index of types: it does not know what was written here."""
        mine = {name: edit.key for edits in (self._kept, self._own) for name, edit in edits.items()}
        fresh = {entity_id: key for (owner, entity_id), key in mine.items() if owner == tenant}
        committed = self._state.tenants.get(tenant)
        known = {} if committed is None else committed.by_id
        wanted = set(selection.ids) if selection.ids else {*known, *fresh}
        keys = {one: known[one].key if one in known else fresh.get(one) for one in wanted}
        return sorted((one for one, key in keys.items() if key is not None), key=lambda one: keys[one] or 0)

    def _entries(self, tenant: str, selection: Selection, skip: int = 0) -> Iterator[Entry]:
        for subject_id in self._candidates(tenant, selection):
            found = self._find(tenant, subject_id)
            if found is None or (selection.types and not any(iri in found.types for iri in selection.types)):
                continue
            if skip and found.live:
                skip -= 1
            else:
                yield found

    def types(self, tenant: str) -> list[str]:
        """Type IRIs in use."""
        return sorted({iri for one in self._entries(tenant, Selection()) if one.live for iri in one.types})

    # writing

    def _open(self, tenant: str, entity_id: str) -> Edit:
        """The edit of this work, made where there is none."""
        name = (tenant, entity_id)
        edit = self._own.get(name)
        if edit is not None:
            return edit
        kept = self._kept.get(name)
        if kept is not None:
            edit = replace(kept, changes=list(kept.changes))
        else:
            subject = self._state.subject(tenant, entity_id)
            if subject is not None:
                edit = Edit(subject.key, View._find(self, tenant, entity_id), False, [])
            else:
                edit = Edit(self._state.next_subject, None, False, [])
                self._state.next_subject += 1
            if tenant not in self._tenants and tenant not in self._new_tenants:
                if tenant not in self._state.tenants:
                    put_tenant(self._sql, tenant)
                self._new_tenants.add(tenant)
        self._own[name] = edit
        return edit

    def put_entity(
        self, tenant: str, entity_id: str, types: Sequence[str], document: bytes, expires_us: int | None = None
    ) -> None:
        """Insert or replace."""
        edit = self._open(tenant, entity_id)
        edit.entry = Entry(entity_id, edit.key, self._state.same_types(types), True, ch.tight(document), expires_us)
        edit.new_state = True

    def put_subject(self, tenant: str, entity_id: str, types: Sequence[str]) -> None:
        """Something of which there is history only."""
        found = self._find(tenant, entity_id)
        known = [] if found is None else found.types
        added = [*known, *(iri for iri in types if iri not in known)]
        if found is not None and added == known:
            return
        edit = self._open(tenant, entity_id)
        document = self.entity(tenant, entity_id)
        expires_us = None if found is None else found.expires_us
        types = self._state.same_types(added)
        edit.entry = Entry(entity_id, edit.key, types, document is not None, document, expires_us)
        edit.new_state = True

    def delete_entity(self, tenant: str, entity_id: str) -> bool:
        """Delete the current state."""
        found = self._find(tenant, entity_id)
        if found is None or not found.live:
            return False
        edit = self._open(tenant, entity_id)
        edit.entry = found._replace(live=False, document=None, expires_us=None)
        edit.new_state = True
        self._end(tenant, entity_id, edit)
        return True

    def put_history(self, tenant: str, entity_id: str, samples: Sequence[Sample], now_us: int) -> None:
        """Insert, or replace by identity."""
        edit = self._opened(tenant, entity_id)
        number = self._state.next_sample
        self._state.next_sample = number + len(samples)
        edit.changes += ch.put(samples, number, now_us)

    def replace_sample(self, tenant: str, entity_id: str, old: Sample, new: Sample, now_us: int) -> None:
        """Put the new one in place of the old one."""
        edit = self._opened(tenant, entity_id)
        edit.changes.append((ch.DROP, old.attribute, old.dataset, old.number))
        edit.changes.append(ch.replace(new, old, now_us))

    def delete_history(
        self,
        tenant: str,
        entity_id: str,
        attribute: str | None = None,
        dataset: str | None = None,
        number: int | None = None,
    ) -> int:
        """Delete samples; returns how many."""
        if self._find(tenant, entity_id) is None:
            return 0
        attributes = () if attribute is None else (attribute,)
        datasets = None if dataset is None else (dataset,)
        whole = Span(attributes, limit=2**62, datasets=datasets, time_property="any")
        found = self.history(tenant, entity_id, whole)
        count = len(found) if number is None else sum(one.number == number for one in found)
        edit = self._open(tenant, entity_id)
        if count:
            edit.changes.append((ch.DROP, attribute, dataset, number))
        self._end(tenant, entity_id, edit)
        return count

    def trim_history(self, tenant: str, entity_id: str, before_us: int) -> None:
        """Delete samples of before."""
        if self._find(tenant, entity_id) is None:
            return
        edit = self._open(tenant, entity_id)
        edit.changes.append((ch.TRIM, None, None, before_us))
        self._end(tenant, entity_id, edit)

    def _opened(self, tenant: str, entity_id: str) -> Edit:
        edit = self._open(tenant, entity_id)
        if edit.entry is None:
            raise ValueError(f"history of {entity_id!r}, which was never put")
        return edit

    def _end(self, tenant: str, entity_id: str, edit: Edit) -> None:
        """What has neither a state nor history is gone."""
        if edit.entry is None or edit.entry.live:
            return
        if not self._history.exists(edit.key, self._changes(tenant, entity_id)):
            edit.entry = None
            edit.new_state = True
