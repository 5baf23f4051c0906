"""Keeps the quality of all series: counters in memory, moved on inside each write, put on the disk in slices.

Everything happens in the writer's thread, so nothing needs a lock. What a crash costs is at most ``SAVE_SECONDS`` of
counting, never a sample. Where several servers share the storage the counters are in the storage only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import orjson

from gateway.server.broker.model import time_text
from gateway.server.broker.tenants import check_tenant
from gateway.server.errors import Problem, ResourceNotFound, TooComplexQuery
from gateway.server.quality.model import State, Track
from gateway.server.storage.base import Reader, Sample, Selection, Storage, Writer

STATES_MAX = 20_000  # entities whose counters are in memory, about 30 MB
SAVE_SECONDS = 60.0
SLICE = 200  # counters of entities in one commit: bounds what a write may have to wait for
SECONDS_MAX = 10.0
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """A page of reports, one per entity. ``more``: there are others after it."""

    entities: list[dict[str, Any]]
    more: bool


class Quality:
    """See the module."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._states: dict[Key, State] = {}
        self._changed: dict[Key, None] = {}

    def take(self, writer: Writer, tenant: str, entity_id: str, samples: Sequence[Sample]) -> None:
        """What one write adds to the history of an entity, in the order in which it came."""
        if self._storage.shared:  # no server knows alone what came; the lock of the writer makes them take turns
            stored = _load(writer, tenant, entity_id)
            stored.take(samples)
            writer.put_document("quality", tenant, entity_id, orjson.dumps(stored.dump()))
            return
        key = tenant, entity_id
        state = self._states.get(key)
        if state is None:
            if len(self._states) >= STATES_MAX:
                self._forget(writer, next(iter(self._states)))
            state = self._states[key] = _load(writer, tenant, entity_id)
        state.take(samples)
        self._changed[key] = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Put what changed on the disk every ``SAVE_SECONDS``, and at the end."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._save_again_and_again())
            try:
                yield
            finally:
                task.cancel()
                with suppress(Problem):
                    await self.save()

    async def save(self) -> None:
        """Put all that has changed until now on the disk, a slice after the other. Raises Problem."""
        for _ in range(0 if self._storage.shared else len(self._changed) // SLICE + 1):
            keys: list[Key] = []
            try:
                await self._storage.write(partial(self._save_some, keys))
            except Problem:
                self._changed.update(dict.fromkeys(keys))  # they are not on the disk
                raise

    async def _save_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            with suppress(Problem):  # a full disk, too many writes: later, then
                await self.save()

    def _save_some(self, keys: list[Key], writer: Writer) -> None:
        keys[:] = islice(self._changed, SLICE)
        for key in keys:
            self._put(writer, key)

    def _put(self, writer: Writer, key: Key) -> None:
        writer.put_document("quality", *key, orjson.dumps(self._states[key].dump()))
        del self._changed[key]

    def _forget(self, writer: Writer, key: Key) -> None:
        if key in self._changed:
            self._put(writer, key)
        del self._states[key]

    async def report(
        self, tenant: str, selection: Selection, attributes: Sequence[str], *, limit: int, offset: int
    ) -> Report:
        """Of the entities that are selected and have observed samples. Raises NonexistentTenant, TooComplexQuery."""
        await self.save()
        return await self._storage.read(lambda reader: _report(reader, tenant, selection, attributes, limit, offset))


def _load(reader: Reader, tenant: str, entity_id: str) -> State:
    document = reader.document("quality", tenant, entity_id)
    return State() if document is None else State.load(orjson.loads(document))


def _report(
    reader: Reader, tenant: str, selection: Selection, attributes: Sequence[str], limit: int, offset: int
) -> Report:
    check_tenant(reader, tenant)
    deadline = time.monotonic() + SECONDS_MAX
    found: list[dict[str, Any]] = []
    matching = 0
    for subject in reader.subjects(tenant, selection):
        if time.monotonic() > deadline:
            raise TooComplexQuery(f"the report took more than {SECONDS_MAX:.0f} s")
        series = _series(_load(reader, tenant, subject.id), attributes)
        if not series:
            continue
        matching += 1
        if matching > offset + limit:
            break
        if matching > offset:
            found.append({"id": subject.id, "type": subject.types, "attributes": series})
    if selection.ids and not found and not offset:
        raise ResourceNotFound("nothing was observed of these entities")
    return Report(found, matching > offset + limit)


def _series(state: State, attributes: Sequence[str]) -> dict[str, Any]:
    return {
        name: {**_shown(track), "units": state.units.get(name, [])}
        for name, track in state.tracks.items()
        if not attributes or name in attributes
    }


def _shown(track: Track) -> dict[str, Any]:
    return {
        "samples": track.samples,
        "first": time_text(track.first_us),
        "last": time_text(track.last_us),
        "stepSeconds": track.step_us / 1e6,
        "late": track.late,
        "repeated": track.repeated,
        "missing": track.missing(),
        "completeness": round(track.completeness(), 6),
        "gapCount": track.past_gaps + len(track.gaps),
        "gaps": [{"from": time_text(start), "to": time_text(end)} for start, end in track.gaps],
    }
