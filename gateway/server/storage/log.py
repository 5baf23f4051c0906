"""A row of the log: what one commit left of every subject that it touched. Pure.

A record is (tenant, id, key, types, document, expires_us, new_state, changes): ``types`` None where the subject is
gone, ``document`` None where there is no current state; both count only with ``new_state``. The rest is in ``changes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from gateway.server.storage import zstd
from gateway.server.storage.changes import Change

Record: TypeAlias = tuple[str, str, int, list[str] | None, bytes | None, int | None, bool, list[list[object]]]
_decoder = msgspec.msgpack.Decoder(list[Record])


def encode(records: Sequence[tuple[str, str, int, object, bytes | None, int | None, bool, Sequence[Change]]]) -> bytes:
    """All records of a commit."""
    return zstd.compress(msgspec.msgpack.encode(records))


def decode(body: bytes) -> list[Record]:
    """The records."""
    return _decoder.decode(zstd.decompress(body))
