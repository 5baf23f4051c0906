"""The models that were pulled: the one in use, the one before, and what each leaves unexplained. Survives a crash.

``state.json`` alone says which model counts; it is written after the model itself, whole or not at all.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.edge.residual import Watched, from_json

REFUSED_MAX = 20
STATE_MAX_BYTES = 65536
LOG = logging.getLogger("lamppost.edge")


@dataclass(slots=True)
class ModelState:
    """``serial`` 0: none was ever pulled; ``before``: what was in use before it, 0 for none or after a roll-back.

    ``tag``: the server's ETag of what it last gave; ``refused``: serials that are not taken again.
    """

    serial: int = 0
    expires_s: int | None = None
    before: int = 0
    tag: str = ""
    refused: list[int] = field(default_factory=list)
    watched: Watched = field(default_factory=Watched)
    watched_before: Watched = field(default_factory=Watched)


class ModelStore:
    """Below ``folder``, one folder a serial: the file's name is the same, so that counters of energy go on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.state = self._read()

    @property
    def path(self) -> Path | None:
        """The model to use; None where none was pulled."""
        return self.path_of(self.state.serial) if self.state.serial else None

    def path_of(self, serial: int) -> Path:
        """Where the model of a serial is."""
        return self._folder / str(serial) / "model.json"

    def scratch(self, name: str) -> Path:
        """A file to work on. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / name

    def install(self, model: Path, serial: int, expires_s: int | None) -> None:
        """Use a model from now on; the one in use becomes the one before. Raises OSError."""
        target = self.path_of(serial)
        target.parent.mkdir(parents=True, exist_ok=True)
        _to_disk(model)
        model.replace(target)
        state = self.state
        state.before, state.watched_before = state.serial, state.watched
        state.serial, state.expires_s, state.watched = serial, expires_s, Watched()
        self.save()
        self._clean()

    def roll_back(self) -> None:
        """Use the one before again, and never again the present one. Raises OSError."""
        state = self.state
        state.refused = [*state.refused, state.serial][-REFUSED_MAX:]
        state.serial, state.expires_s, state.watched = state.before, None, state.watched_before
        state.before, state.watched_before = 0, Watched()
        self.save()

    def save(self) -> None:
        """Write the state. Raises OSError."""
        state = self.state
        data = {
            "serial": state.serial,
            "expires_s": state.expires_s,
            "before": state.before,
            "tag": state.tag,
            "refused": state.refused,
            "watched": state.watched.as_json(),
            "watched_before": state.watched_before.as_json(),
        }
        part = self.scratch("state.part")
        part.write_text(json.dumps(data), encoding="utf-8")
        _to_disk(part)
        part.replace(self._folder / "state.json")

    def _read(self) -> ModelState:
        try:
            with (self._folder / "state.json").open("rb") as file:
                data: Any = json.loads(file.read(STATE_MAX_BYTES))
            state = ModelState(
                serial=int(data["serial"]),
                expires_s=None if data["expires_s"] is None else int(data["expires_s"]),
                before=int(data["before"]),
                tag=str(data["tag"]),
                refused=[int(one) for one in data["refused"]][-REFUSED_MAX:],
                watched=from_json(data["watched"]),
                watched_before=from_json(data["watched_before"]),
            )
        except FileNotFoundError:
            return ModelState()
        except (OSError, ValueError, TypeError, LookupError) as error:
            LOG.warning("what is known of pulled models cannot be read, they are pulled again: %s", error)
            return ModelState()
        if state.serial and not self.path_of(state.serial).exists():
            return ModelState(refused=state.refused)
        if state.before and not self.path_of(state.before).exists():
            state.before = 0
        return state

    def _clean(self) -> None:
        """Models that nothing points to any more."""
        kept = {str(self.state.serial), str(self.state.before)}
        for folder in self._folder.iterdir():
            if folder.is_dir() and folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
