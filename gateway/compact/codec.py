"""Readings as few bytes and back: the body of the outbox's blocks and of batches on the wire.

Bit for bit what went in, in the same order, at any mixture; small where devices give the same quantities again and
again. The format is described in docs/reference/compact-protocol.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.compact import decoder, encoder
from gateway.compact.entry import READINGS_MAX, Entry
from gateway.compact.errors import CompactError
from gateway.compact.frame import pack, unpack

__all__ = ["READINGS_MAX", "CompactError", "Entry", "decode", "encode"]


def encode(entries: Sequence[Entry]) -> bytes:
    """One body of at least one entry, and at most 20,000 entries and readings; these are numbered by their entry.

    Raises ValueError without an entry; OverflowError, UnicodeError or TypeError for what no body can hold.
    """
    return pack(encoder.raw(entries))


def decode(body: bytes) -> list[Entry]:
    """The entries of a body, readings with their sequence numbers. Raises CompactError."""
    return decoder.entries(unpack(body))
