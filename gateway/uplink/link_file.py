"""What the links have used of their budgets, on disk: a few hundred bytes, replaced as a whole."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from gateway.outbox.file import sync_directory
from gateway.uplink.link_budget import Usage, load, save

LOG = logging.getLogger("lamppost.uplink")
NAME = "links.json"


class LinkFile:
    """The file in ``folder``. What cannot be read is set aside; what cannot be written is said once."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._failed = False

    def read(self) -> dict[str, Usage]:
        """By link; empty where there is none or it is damaged."""
        try:
            return load(json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            LOG.error("%s cannot be used (%s): the bytes of this month are counted anew", self._path, error)
            with contextlib.suppress(OSError):
                self._path.replace(self._path.with_suffix(".damaged"))
            return {}

    def write(self, usages: Mapping[str, Usage]) -> None:
        """Replace the file; it blocks until the disk has it."""
        new = self._path.with_suffix(".new")
        try:
            with new.open("w", encoding="utf-8") as file:
                file.write(json.dumps(save(usages)))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            if not self._failed:
                LOG.warning("%s cannot be written: %s", self._path, error)
            self._failed = True
        else:
            self._failed = False
