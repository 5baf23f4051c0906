"""The memory of the counters on disk: what each said last, and the offset of its total.

Written at once when an offset has changed, else every quarter of an hour and at the end: a few kilobytes, replaced as a
whole. A meter is often replaced with the power of the whole cabinet off; then the total goes on from what was written
last.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from pathlib import Path

from gateway.outbox.file import sync_directory
from gateway.pipeline.counters import Counters, parse

log = logging.getLogger("lamppost.edge")
NAME = "counters.json"
LOOK_S = 1.0
SAVE_S = 900.0


class CounterFile:
    """The file in ``folder`` and the counters that it is about. Only who calls :meth:`keep` writes it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._kept = False
        self._failed = False
        self.counters = self._load()

    async def keep(self) -> None:
        """Write for as long as this runs."""
        self._kept = True
        loop = asyncio.get_running_loop()
        due = loop.time() + SAVE_S
        while True:
            await asyncio.sleep(LOOK_S)
            if self.counters.changed or loop.time() >= due:
                text = json.dumps(self.counters.save())
                await asyncio.to_thread(self._write, text)  # a card may take long to sync
                due = loop.time() + SAVE_S

    def close(self) -> None:
        """Write a last time."""
        if self._kept:
            self._write(json.dumps(self.counters.save()))

    def _load(self) -> Counters:
        try:
            return Counters(parse(json.loads(self._path.read_text(encoding="utf-8"))))
        except FileNotFoundError:
            return Counters()
        except (OSError, ValueError) as error:
            log.error("%s cannot be used (%s): totals begin anew with what the devices say", self._path, error)
            with contextlib.suppress(OSError):
                self._path.replace(self._path.with_suffix(".damaged"))
            return Counters()

    def _write(self, text: str) -> None:
        new = self._path.with_suffix(".new")
        try:
            with new.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            self.counters.changed = True
            if not self._failed:
                log.warning("%s cannot be written: %s", self._path, error)
            self._failed = True
        else:
            self._failed = False
