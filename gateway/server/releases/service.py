"""What was published for each gateway: one signed model, replaced by newer ones only."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

from gateway.server.errors import AlreadyExists, BadMessage
from gateway.server.storage.base import Kind, Storage, Writer

KIND: Kind = "release"
GATEWAY_CHARS_MAX = 256
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """A release as it was signed, and its entity tag (RFC 9110, 8.8.3)."""

    body: bytes
    tag: str


class Releases:
    """Over the storage; the server does not hold the key, so it checks all but the signature."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def put(self, gateway: str, body: bytes) -> None:
        """Keep a release. Raises BadMessage (not a release, or another gateway's), AlreadyExists (not newer)."""
        serial = _serial(gateway, body)

        def work(writer: Writer) -> None:
            before = writer.document(KIND, "", gateway)
            if before is not None and before != body and _serial(gateway, before) >= serial:
                raise AlreadyExists(
                    f"a release of {gateway} with a serial of {serial} or more is there already",
                    fix="Publish with a greater serial; gateways never go back to an older one.",
                )
            writer.put_document(KIND, "", gateway, body)

        await self._storage.write(work)
        log.info("a model was published for %s: %d", gateway, serial)

    async def get(self, gateway: str) -> Kept | None:
        """The newest release of a gateway."""
        body = await self._storage.read(lambda reader: reader.document(KIND, "", gateway))
        return None if body is None else Kept(body, f'"{hashlib.sha256(body).hexdigest()}"')


def _serial(gateway: str, body: bytes) -> int:
    """Raises BadMessage."""
    from gateway.pipeline.nilm import release  # cryptography: only who publishes pays for it
    from gateway.pipeline.nilm.result import ModelError

    try:
        found = release.unverified(body)
    except ModelError as error:
        raise BadMessage(error.cause, fix=error.fix) from None
    if found.gateway != gateway:
        raise BadMessage(f"the release is for {found.gateway!r}", fix=f"Publish it there, or sign one for {gateway!r}.")
    return found.serial
