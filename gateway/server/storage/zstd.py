"""zstd with contexts that are kept: to make one costs more than to compress a kilobyte with it."""

from __future__ import annotations

import threading

import zstandard

FAST, SMALL = 1, 3  # levels


class _Contexts(threading.local):
    """Of one thread: a context must not be used by two at a time."""

    def __init__(self) -> None:
        self.compressors = {level: zstandard.ZstdCompressor(level=level) for level in (FAST, SMALL)}
        self.decompressor = zstandard.ZstdDecompressor()


_contexts = _Contexts()


def compress(body: bytes, level: int = FAST) -> bytes:
    """One frame that tells its size."""
    return _contexts.compressors[level].compress(body)


def decompress(frame: bytes) -> bytes:
    """What was compressed. Raises zstandard.ZstdError."""
    return _contexts.decompressor.decompress(frame)


def plain_size(frame: bytes) -> int:
    """Bytes of what was compressed."""
    return zstandard.frame_content_size(frame)
