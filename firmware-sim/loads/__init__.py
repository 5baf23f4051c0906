"""Where power comes from: a load model of our own, or the recording of a real household.

numpy and pyarrow are loaded at the first call, not at import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_sim.loads.model import Watts
    from firmware_sim.loads.sources import Kind, LoadSource


def household(seed: int, days: float, step_s: float) -> dict[str, Watts]:
    """Days of the load model: see :func:`firmware_sim.loads.model.household`."""
    from firmware_sim.loads import model

    return model.household(seed, days, step_s)


def source(kind: Kind, seed: int, speed: float = 1.0, folder: Path | None = None) -> LoadSource:
    """What the meters show: see :func:`firmware_sim.loads.sources.source`."""
    from firmware_sim.loads import sources

    return sources.source(kind, seed, speed, folder)
