"""What the meters show, second by second, and what may be learned from: never the same days."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from firmware_sim.loads import model, recording

Kind = Literal["model", "recording", "auto"]
Watts = model.Watts
MODEL_DAYS = 3
LEAD_S = 40.0
_TRAINING_SEED = 7919


class LoadSource:
    """A household that is played from its shown days; after the last one the first one follows again.

    ``kind`` says what it is, ``attribution`` whom to name; ``appliances`` are the names without ``other``.
    """

    def __init__(self, kind: str, attribution: str, shown: dict[str, Watts], step_s: float, speed: float) -> None:
        self.kind = kind
        self.attribution = attribution
        self.appliances = tuple(name for name in shown if name != "other")
        self._shown, self._step_s, self._speed = shown, step_s, speed
        self._length = len(shown["other"])
        self._first = 0

    def open_at(self, start_s: float) -> None:
        """Begin shortly before the first big switch-on after ``start_s`` of the shown days: something to look at."""
        main = np.sum(list(self._shown.values()), axis=0)
        begin = int(start_s / self._step_s)
        edges = np.flatnonzero(np.diff(main[begin:]) > 1500)
        edge = begin + (int(edges[0]) if len(edges) else 0)
        self._first = max(0, edge - int(LEAD_S / self._step_s))

    def at(self, t_s: float) -> dict[str, float]:
        """Power in W of each appliance and ``other``, ``t_s`` true seconds after the start."""
        index = (self._first + int(t_s * self._speed / self._step_s)) % self._length
        return {name: float(watts[index]) for name, watts in self._shown.items()}

    def training(self, days: float, step_s: float) -> dict[str, Watts]:
        """Up to ``days`` days that are not among those shown, as arrays of W in steps of ``step_s``."""
        raise NotImplementedError


class ModelSource(LoadSource):
    """The load model: shows days of one seed, teaches from another."""

    def __init__(self, seed: int, speed: float) -> None:
        super().__init__("model", "", model.household(seed, MODEL_DAYS, 1.0), 1.0, speed)
        self._seed = seed
        self.open_at(6 * 3600.0)

    def training(self, days: float, step_s: float) -> dict[str, Watts]:
        """Days of another seed: the same appliances, used otherwise."""
        return model.household(self._seed + _TRAINING_SEED, days, step_s)


class RecordingSource(LoadSource):
    """A recording: shows its last part, teaches from what was before."""

    def __init__(self, house: recording.House, seed: int, speed: float, folder: Path | None = None) -> None:
        self._earlier, shown = recording.split(recording.read(house, folder))
        super().__init__("recording", house.attribution, shown, house.step_s, speed)
        self.open_at((seed * 7 * 3600.0) % (0.9 * self._length * house.step_s))

    def training(self, days: float, step_s: float) -> dict[str, Watts]:
        """The days just before the shown part."""
        count = min(len(self._earlier["other"]), round(days * 86_400 / self._step_s))
        tail = {name: watts[len(watts) - count :] for name, watts in self._earlier.items()}
        return recording.resample(tail, self._step_s, step_s)


def source(kind: Kind, seed: int, speed: float = 1.0, folder: Path | None = None) -> LoadSource:
    """The load model or a recording; ``auto`` takes a recording where one is there.

    ``speed`` is how many times faster than the clock the shown days pass. ``folder`` overrides where recordings are
    looked for. Raises ValueError for a recording that is not there, or a speed of zero or less.
    """
    if speed <= 0:
        raise ValueError(f"speed must be above zero, not {speed}")
    houses = recording.available(folder) if kind != "model" else ()
    if kind == "recording" and not houses:
        raise ValueError(f"no recording that can be read in {recording.folder(folder)} (is pyarrow installed?)")
    if houses:
        return RecordingSource(houses[0], seed, speed, folder)
    return ModelSource(seed, speed)
