"""Real households: recordings in parquet files, one column per metered appliance and ``main`` for the whole house.

They are looked for in the folder named by the environment variable ``LAMPPOST_RECORDINGS``, else in
``shared/data/nilm`` beside the checkout. They do not ship with Lamppost. Some carry the columns ``segment`` (a run
without gaps) and ``i`` (the sample's number in its run); runs are joined end to end, so that no gap is ever shown or
filled, and a join is the only place where time jumps.

``other`` is main minus the metered appliances. The meters of a house do not sample in the same instant, so ``other``
may be below zero for a moment at an edge: the sum is what the recording says, always.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Watts = NDArray[np.float32]
FOLDER_VARIABLE = "LAMPPOST_RECORDINGS"
TRAINING_SHARE = 0.7
_NOT_APPLIANCES = ("main", "segment", "i")


@dataclass(frozen=True, slots=True)
class House:
    """A recording that can be replayed: file name, seconds between samples, whom to name as its origin."""

    name: str
    step_s: float
    attribution: str


HOUSES = (
    House("ukdale_house1", 6.0, "UK-DALE house 1, J. Kelly and W. Knottenbelt (2015), CC BY 4.0"),
    House("redd_house3", 3.0, "REDD house 3, J. Z. Kolter and M. J. Johnson (2011)"),
    House("redd_house1", 3.0, "REDD house 1, J. Z. Kolter and M. J. Johnson (2011)"),
    House("redd_house2", 3.0, "REDD house 2, J. Z. Kolter and M. J. Johnson (2011)"),
)


def folder(given: Path | None = None) -> Path:
    """Where recordings are looked for."""
    if given is not None:
        return given
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "nilm"
    return Path(os.environ.get(FOLDER_VARIABLE) or beside)


def available(given: Path | None = None) -> tuple[House, ...]:
    """The recordings that are there and can be read, best for a demonstration first."""
    if find_spec("pyarrow") is None:
        return ()
    place = folder(given)
    return tuple(house for house in HOUSES if (place / f"{house.name}.parquet").is_file())


def read(house: House, given: Path | None = None) -> dict[str, Watts]:
    """All of a recording at its own step: each appliance and ``other``. Raises OSError where the file is not there."""
    from pyarrow import parquet

    table = parquet.read_table(folder(given) / f"{house.name}.parquet")
    columns = {name: table[name].to_numpy() for name in table.schema.names}
    names = [name for name in columns if name not in _NOT_APPLIANCES]
    whole = np.logical_and.reduce([np.isfinite(columns[name]) for name in ("main", *names)])
    powers = {name: columns[name][whole].astype(np.float32) for name in names}
    powers["other"] = columns["main"][whole].astype(np.float32) - np.sum(list(powers.values()), axis=0)
    return powers


def split(powers: dict[str, Watts]) -> tuple[dict[str, Watts], dict[str, Watts]]:
    """The earlier part, which may be learned from, and the later part, which is shown."""
    cut = int(len(powers["other"]) * TRAINING_SHARE)
    return {name: watts[:cut] for name, watts in powers.items()}, {name: watts[cut:] for name, watts in powers.items()}


def resample(powers: dict[str, Watts], have_s: float, want_s: float) -> dict[str, Watts]:
    """Another step: the mean over whole steps where the wanted one is a multiple, else each sample is held."""
    if want_s <= 0:
        raise ValueError(f"no such step: {want_s} s")
    many = round(want_s / have_s)
    if many > 1 and abs(many * have_s - want_s) < 1e-9:
        return {
            name: watts[: len(watts) // many * many].reshape(-1, many).mean(axis=1, dtype=np.float32)
            for name, watts in powers.items()
        }
    count = int(len(powers["other"]) * have_s / want_s + 1e-9)
    index = (np.arange(count) * want_s / have_s + 1e-9).astype(np.int64)
    return {name: watts[index] for name, watts in powers.items()}
