"""Several servers over one storage: what another one changes of documents that are in memory here is taken over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import ClassVar, Protocol

from gateway.server.errors import Problem
from gateway.server.storage.base import Kind, Reader, Storage

log = logging.getLogger(__name__)
WAITING_MAX = 10_000  # changes; beyond them everything is read again
AGAIN_S = 1.0
CAUGHT_UP_S = 5.0


class Follower(Protocol):
    """Has documents of one kind in memory."""

    kind: ClassVar[Kind]

    def known(self) -> Iterable[tuple[str, str]]:
        """(tenant, id) of all."""

    async def follow(self, tenant: str, document_id: str) -> None:
        """Read it again; it may be new, or gone."""


class Following:
    """Hears from the start on. Use ``running`` while the server runs, once the followers have loaded theirs."""

    def __init__(self, storage: Storage, followers: Sequence[Follower]) -> None:
        self._storage = storage
        self._followers = {str(follower.kind): follower for follower in followers}
        self._changes: asyncio.Queue[tuple[str, str, str] | None] = asyncio.Queue()
        storage.on_change(self._changes.put_nowait)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow until the block ends."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run())
            try:
                yield
            finally:
                task.cancel()

    async def caught_up(self) -> None:
        """Wait until all is in memory that others were told is stored, so that a write meets every subscription.

        Where that takes too long a write goes on: to refuse all of them for one document would be worse.
        """
        try:
            async with asyncio.timeout(CAUGHT_UP_S):
                await self._storage.heard()
                await self._changes.join()
        except TimeoutError:
            log.warning("a write has not waited for what other servers have changed")

    async def _run(self) -> None:
        while True:
            what = await self._changes.get()
            if self._changes.qsize() > WAITING_MAX:
                while not self._changes.empty():
                    self._changes.get_nowait()
                    self._changes.task_done()
                what = None
            try:
                await self._take(what)
            except Problem as problem:
                log.warning("what other servers changed is read again: %s", problem)
                await asyncio.sleep(AGAIN_S)
                self._changes.put_nowait(what)
            self._changes.task_done()

    async def _take(self, what: tuple[str, str, str] | None) -> None:
        if what is not None and what[2]:
            follower = self._followers.get(what[0])
            if follower is not None:
                await follower.follow(what[1], what[2])
            return
        for kind, follower in self._followers.items():
            if what is not None and what[0] != kind:
                continue
            found = await self._storage.read(partial(_documents, follower.kind))
            for name in dict.fromkeys([*follower.known(), *((tenant, name) for tenant, name, _ in found)]):
                await follower.follow(*name)


def _documents(kind: Kind, reader: Reader) -> list[tuple[str, str, bytes]]:
    return reader.documents(kind)
