"""Subscriptions that others hold for ours: where, under which name, and what they were told (CIM 009 clause 5.8.1).

One document for each subscription of ours; its token is the last part of the address that the others notify.
"""

from __future__ import annotations

import secrets
import uuid
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import orjson

from gateway.server.sources.model import Registration
from gateway.server.storage.base import Kind, Storage

Key = tuple[str, str]  # tenant and id of a subscription here
Json = dict[str, Any]


@dataclass(slots=True)
class Placement:
    """A subscription at a source. ``sent``: what it was last told, None before; ``refused``: what it does not take.

    ``source``: how to speak to it, even when its registration is gone. ``ending``: it is to be deleted there.
    """

    remote: str
    source: Json
    sent: Json | None = None
    refused: Json | None = None
    ending: bool = False
    attempts: int = 0
    due_us: int = 0
    names: list[str] | None = None  # attributes (IRIs) that the source answers for; None for all


@dataclass(slots=True)
class Forwarded:
    """``callback``: where the sources notify. ``via``: whom the subscription passed before it came here."""

    token: str
    tenant: str
    subscription: str
    callback: str
    via: list[str]
    placements: dict[str, Placement] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """Of the subscription here."""
        return self.tenant, self.subscription

    def by_remote(self, remote: object) -> Placement | None:
        """The placement that a notification is from."""
        return next((one for one in self.placements.values() if one.remote == remote), None)


class Kept:
    """All of them, in the storage and in memory."""

    kind: ClassVar[Kind] = "forwarded"

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._by_token: dict[str, Forwarded] = {}
        self._by_key: dict[Key, Forwarded] = {}

    async def load(self) -> None:
        """From the storage."""
        for _, _, document in await self._storage.read(lambda reader: reader.documents("forwarded")):
            self._remember(_loaded(document))

    def all(self) -> list[Forwarded]:
        """In no order."""
        return list(self._by_key.values())

    def get(self, key: Key) -> Forwarded | None:
        """That of a subscription here."""
        return self._by_key.get(key)

    def by_token(self, token: str) -> Forwarded | None:
        """That which a notification is for."""
        return self._by_token.get(token)

    def invited(self, token: str) -> bool:
        """Whether who knows that token may notify."""
        return token in self._by_token

    async def save(self, one: Forwarded) -> None:
        """As it is now."""
        document = orjson.dumps(asdict(one))
        await self._storage.write(lambda writer: writer.put_document("forwarded", "", one.token, document))
        self._remember(one)

    async def remove(self, one: Forwarded) -> None:
        """Nobody holds anything for it any more."""
        await self._storage.write(lambda writer: writer.delete_document("forwarded", "", one.token))
        self._forget(one.token)

    # what other servers on the same storage do

    def known(self) -> list[tuple[str, str]]:
        """(tenant, id) of all documents."""
        return [("", token) for token in self._by_token]

    async def follow(self, tenant: str, document_id: str) -> None:
        """Take over what another server has written."""
        document = await self._storage.read(lambda reader: reader.document("forwarded", tenant, document_id))
        if document is None:
            self._forget(document_id)
        else:
            self._remember(_loaded(document))

    def _remember(self, one: Forwarded) -> None:
        self._by_token[one.token] = self._by_key[one.key] = one

    def _forget(self, token: str) -> None:
        one = self._by_token.pop(token, None)
        if one is not None:
            self._by_key.pop(one.key, None)


def new_token() -> str:
    """Whoever knows it may notify: it cannot be guessed."""
    return secrets.token_urlsafe(32)


def new_placement(registration: Registration) -> Placement:
    """The name that the subscription is to have there is ours to choose: asked twice, it is there once."""
    return Placement(f"urn:ngsi-ld:Subscription:{uuid.uuid4()}", spoken_to(registration))


def spoken_to(registration: Registration) -> Json:
    """How to speak to a source."""
    return asdict(replace(registration, information=(), operations=frozenset())) | {
        "information": [],
        "operations": [],
    }


def source_of(placement: Placement) -> Registration:
    """The source of a placement, as it was registered last."""
    plain = placement.source
    pairs = tuple((key, value) for key, value in plain["source_info"])
    return Registration(**{**plain, "information": (), "operations": frozenset(), "source_info": pairs})


def _loaded(document: bytes) -> Forwarded:
    plain = orjson.loads(document)
    placements = {name: Placement(**one) for name, one in plain["placements"].items()}
    return Forwarded(**{**plain, "placements": placements})
