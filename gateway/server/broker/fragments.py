"""Encoded representations that are kept: what a document looks like in a view is the same until either changes.

So the key is the document itself and the view; nothing has to be told when an entity is written. Where something in a
document expires its representation depends on the time, and it is not kept.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable

import orjson

from gateway.server.broker.represent import View, represent
from gateway.server.broker.transient import MARK, load

BYTES_MAX = 32 * 2**20
DOCUMENT_BYTES_MAX = 32 * 2**10
VIEWS_MAX = 1_000
ENTRY_BYTES = 300  # about what keeping one costs beside its bytes


class Fragments:
    """A memory of JSON texts, the least recently used go first. For one thread: the event loop."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._kept: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._views: dict[View, int] = {}
        self._bytes = 0
        self._bytes_max = bytes_max

    def shown(self, documents: Iterable[bytes], view: View) -> list[bytes]:
        """Stored documents as JSON in a view, without those of which all has expired."""
        number = self._number(view)
        result: list[bytes] = []
        for document in documents:
            key = (document, number)
            kept = self._kept.get(key)
            if kept is None:
                kept = self._encoded(key, view)
            else:
                self._kept.move_to_end(key)
            if kept:
                result.append(kept)
        return result

    def _number(self, view: View) -> int:
        """A short name for a view: its hash is made once for all documents of an answer."""
        number = self._views.get(view)
        if number is None:
            if len(self._views) >= VIEWS_MAX:
                self._views.clear()
                self._kept.clear()
                self._bytes = 0
            number = self._views[view] = len(self._views)
        return number

    def _encoded(self, key: tuple[bytes, int], view: View) -> bytes:
        document = key[0]
        entity = load(document, time.time_ns() // 1000)
        if entity is None:
            return b""
        encoded = orjson.dumps(represent(entity, view))
        if MARK not in document and len(document) <= DOCUMENT_BYTES_MAX:
            self._kept[key] = encoded
            self._bytes += _cost(key, encoded)
            while self._bytes > self._bytes_max:
                self._bytes -= _cost(*self._kept.popitem(last=False))
        return encoded


def _cost(key: tuple[bytes, int], encoded: bytes) -> int:
    return len(key[0]) + len(encoded) + ENTRY_BYTES
