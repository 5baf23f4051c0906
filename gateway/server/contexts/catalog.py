"""Contexts that the server keeps (CIM 009 clause 5.13): of users, made of inline ones for Link headers, downloaded.

What was downloaded stays over a restart, so that a server can start without a network. They are the same for all
tenants, in memory as a whole; every change is on the disk before it is seen.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

import orjson

from gateway.server.errors import TooManyResults
from gateway.server.storage.base import Kind as StorageKind
from gateway.server.storage.base import Reader, Storage, Writer

Kind = Literal["Hosted", "Cached", "ImplicitlyCreated"]
PATH = "/ngsi-ld/v1/jsonldContexts"
HOSTED_MAX = 10_000
IMPLICIT_MAX = 1_000  # the oldest go
DOWNLOADS_MAX = 64  # the oldest go
OWN = re.compile(r"(?:https?://[^/?#]+)?" + re.escape(PATH) + r"/([0-9a-f-]{36})/?\Z")
SPACE = uuid.UUID("5b0c0b5e-3f0e-5c0a-9f4e-6c616d70706f")


@dataclass(frozen=True, slots=True)
class Entry:
    """A context under its own URL. ``content``: the value of ``@context``."""

    id: str
    kind: Kind
    content: Any
    created: str


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What was behind a URL; fresh until ``until_s`` (seconds since 1970)."""

    url: str
    content: Any
    until_s: float


def now() -> str:
    """The time as a DateTime."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def id_of(key: str | bytes) -> str:
    """The local id of a downloaded context (by its URL) or of one made of an inline context (by its JSON)."""
    return str(uuid.uuid5(SPACE, key if isinstance(key, str) else key.decode()))


class Catalog:
    """See the module."""

    kind: ClassVar[StorageKind] = "context"

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.entries: dict[str, Entry] = {}
        self.downloads: dict[str, Downloaded] = {}

    async def load(self) -> None:
        """What the storage holds."""

        def work(reader: Reader) -> list[tuple[str, str, bytes]]:
            return reader.documents("context", "")

        for _, name, document in await self._storage.read(work):
            self._take(name, document)

    def _take(self, name: str, document: bytes) -> None:
        kept = orjson.loads(document)
        if kept["kind"] == "Cached":
            self.downloads[kept["url"]] = Downloaded(kept["url"], kept["content"], kept["until"])
        else:
            self.entries[name] = Entry(name, kept["kind"], kept["content"], kept["created"])

    # what other servers on the same storage do

    def known(self) -> list[tuple[str, str]]:
        """("", id) of all."""
        return [("", name) for name in (*self.entries, *(id_of(url) for url in self.downloads))]

    async def follow(self, tenant: str, document_id: str) -> None:
        """Take over what another server keeps, or no longer keeps."""
        document = await self._storage.read(lambda reader: reader.document("context", tenant, document_id))
        if document is not None:
            self._take(document_id, document)
            return
        self.entries.pop(document_id, None)
        self.downloads = {url: kept for url, kept in self.downloads.items() if id_of(url) != document_id}

    def by_url(self, url: str) -> Entry | None:
        """The entry behind a URL of this server (by whatever name it is called: ids are unique) or its path."""
        found = OWN.match(url)
        return None if found is None else self.entries.get(found[1])

    async def host(self, content: object) -> Entry:
        """Add a context of a user. Raises TooManyResults."""
        if len(self._of("Hosted")) >= HOSTED_MAX:
            raise TooManyResults(f"{HOSTED_MAX} contexts are hosted already; delete some")
        return await self._put(Entry(str(uuid.uuid4()), "Hosted", content, now()))

    async def keep_inline(self, name: str, content: object) -> None:
        """Give an inline context an own URL; nothing happens where it has one."""
        if name not in self.entries:
            await self._put(Entry(name, "ImplicitlyCreated", content, now()))

    async def remember(self, download: Downloaded) -> None:
        """Keep what was downloaded."""
        self.downloads.pop(download.url, None)
        gone = list(self.downloads)[: len(self.downloads) + 1 - DOWNLOADS_MAX]
        kept = {"kind": "Cached", "url": download.url, "content": download.content, "until": download.until_s}

        def work(writer: Writer) -> None:
            writer.delete_document("context", "", id_of(download.url))  # the newest is the last one at the next start
            writer.put_document("context", "", id_of(download.url), orjson.dumps(kept))
            for url in gone:
                writer.delete_document("context", "", id_of(url))

        await self._storage.write(work)
        self.downloads[download.url] = download
        for url in gone:
            self.downloads.pop(url, None)

    async def forget(self, url: str) -> None:
        """What was downloaded from there."""
        if self.downloads.pop(url, None) is not None:
            await self._storage.write(lambda writer: writer.delete_document("context", "", id_of(url)))

    async def delete(self, name: str) -> None:
        """Remove one that is there."""
        await self._storage.write(lambda writer: writer.delete_document("context", "", name))
        self.entries.pop(name, None)

    async def _put(self, entry: Entry) -> Entry:
        kept = {"kind": entry.kind, "content": entry.content, "created": entry.created}
        old = self._of("ImplicitlyCreated")
        gone = old[: len(old) + 1 - IMPLICIT_MAX] if entry.kind == "ImplicitlyCreated" else []

        def work(writer: Writer) -> None:
            writer.put_document("context", "", entry.id, orjson.dumps(kept))
            for name in gone:
                writer.delete_document("context", "", name)

        await self._storage.write(work)
        self.entries[entry.id] = entry
        for name in gone:
            self.entries.pop(name, None)
        return entry

    def _of(self, kind: Kind) -> list[str]:
        return [entry.id for entry in self.entries.values() if entry.kind == kind]
