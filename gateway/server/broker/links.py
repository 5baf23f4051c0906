"""Entities that relationships lead to, as one view of the storage has them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from gateway.server.broker.model import Stored
from gateway.server.broker.transient import load
from gateway.server.storage.base import Reader


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


@dataclass(slots=True)
class Links:
    """Finds entities by id; each is read once. Its life is that of one piece of work against the storage."""

    reader: Reader
    tenant: str
    known: dict[str, Stored | None] = field(default_factory=dict)

    def __call__(self, entity_id: str) -> Stored | None:
        """None where there is no such entity (any more)."""
        if entity_id not in self.known:
            document = self.reader.entity(self.tenant, entity_id)
            self.known[entity_id] = None if document is None else load(document, now_us())
        return self.known[entity_id]
