"""How many readings only memory holds, written where a sick disk may still take it.

While the disk takes no commit, readings are numbered in a stream that lives in memory. What a crash takes of them no
reserved numbers tell. So the count stands in a file beside the outbox that has its block from the start: writing over
it needs no room and no inode, and so works on a full disk. On one that is read-only or failing it does not, and then
nobody knows. Synchronous: the writer thread.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from gateway.outbox.file import sync_directory

DIGITS = 20
MARGIN_MIN = 64


class MemoryNote:
    """The count in one file. Nothing raises: the outbox works without."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = 0

    def left(self) -> int:
        """What the last life left there: its end took so many readings at most, 0 where it ended well."""
        try:
            text = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return 0
        return int(text) if text.isdecimal() and len(text) <= DIGITS else 0

    def begin(self) -> None:
        """Give the file its block; nothing is held."""
        with suppress(OSError):
            new = not self._path.exists()
            self._write(0)
            if new:
                sync_directory(self._path.parent)

    def hold(self, count: int) -> None:
        """So many are held now; as many again as came since the last time may come before the next."""
        if count == self._written == 0 or (0 < count <= self._written <= 2 * count + MARGIN_MIN):
            return
        margin = max(MARGIN_MIN, 2 * (count - self._written)) if count else 0
        with suppress(OSError):
            self._write(count + margin)

    def _write(self, count: int) -> None:
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(handle, f"{count:0{DIGITS}}\n".encode(), 0)
            os.fsync(handle)
        finally:
            os.close(handle)
        self._written = count
