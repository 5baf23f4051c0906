"""Encoded representations that are kept: what a document looks like in a view is the same until either changes.

So the key is the document itself and the view; nothing has to be told when an entity is written. Where something in a
document expires its representation depends on the time, and it is not kept.
"""

from __future__ import annotations

import time
from collections import OrderedDict

import orjson

from gateway.server.broker.represent import View, represent
from gateway.server.broker.transient import MARK, load

BYTES_MAX = 32 * 2**20
DOCUMENT_BYTES_MAX = 32 * 2**10
ENTRY_BYTES = 300  # about what keeping one costs beside its bytes


class Fragments:
    """A memory of JSON texts, the least recently used go first. For one thread: the event loop."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._kept: OrderedDict[tuple[bytes, View], bytes] = OrderedDict()
        self._bytes = 0
        self._bytes_max = bytes_max

    def shown(self, document: bytes, view: View) -> bytes | None:
        """A stored document as JSON in a view; None where all of it has expired."""
        key = (document, view)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        entity = load(document, time.time_ns() // 1000)
        if entity is None:
            return None
        encoded = orjson.dumps(represent(entity, view))
        if MARK not in document and len(document) <= DOCUMENT_BYTES_MAX:
            self._keep(key, encoded)
        return encoded

    def _keep(self, key: tuple[bytes, View], encoded: bytes) -> None:
        self._kept[key] = encoded
        self._bytes += _cost(key, encoded)
        while self._bytes > self._bytes_max:
            self._bytes -= _cost(*self._kept.popitem(last=False))


def _cost(key: tuple[bytes, View], encoded: bytes) -> int:
    return len(key[0]) + len(encoded) + ENTRY_BYTES
