"""What a model leaves unexplained, measured while it works: a new model that explains less goes back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GAP_S = 300.0  # between two samples; what lies in a longer one is not known
DAY_S = 86_400.0
MEMORY_S = 7 * DAY_S  # older days fade
WORSE = 1.2  # a factor of the share before,
MARGIN = 0.02  # and so much of the mains besides: what days differ by anyhow


@dataclass(slots=True)
class Watched:
    """Sums over the time watched: energy that no load explains, energy of the mains (W s), and the time (s)."""

    residual_ws: float = 0.0
    mains_ws: float = 0.0
    seconds: float = 0.0

    @property
    def share(self) -> float:
        """Unexplained share of the mains, 0..1."""
        return self.residual_ws / self.mains_ws if self.mains_ws > 0 else 0.0

    @property
    def tells(self) -> bool:
        """A whole day was seen: the share of a night says nothing about that of a day."""
        return self.seconds >= DAY_S and self.mains_ws > 0

    def add(self, seconds: float, mains_w: float, other_w: float) -> None:
        """Take one sample. Export counts as what flows, like import."""
        if not 0 < seconds <= GAP_S:
            return
        if self.seconds > MEMORY_S:
            self.residual_ws, self.mains_ws, self.seconds = self.residual_ws / 2, self.mains_ws / 2, self.seconds / 2
        self.residual_ws += abs(other_w) * seconds
        self.mains_ws += abs(mains_w) * seconds
        self.seconds += seconds

    def as_json(self) -> dict[str, float]:
        """For the state file."""
        return {"residual_ws": self.residual_ws, "mains_ws": self.mains_ws, "seconds": self.seconds}


def from_json(data: object) -> Watched:
    """From the state file; what is not there or makes no sense counts as never watched."""
    if not isinstance(data, Mapping):
        return Watched()
    values: Mapping[str, Any] = data
    sums = [values.get(name) for name in ("residual_ws", "mains_ws", "seconds")]
    if not all(isinstance(one, int | float) and 0 <= one < float("inf") for one in sums):
        return Watched()
    residual, mains, seconds = (float(one) for one in sums if one is not None)
    return Watched(residual, mains, seconds)


def is_worse(new: Watched, before: Watched) -> bool:
    """Whether the residual grew with the new model; False while either was watched for less than a day."""
    return new.tells and before.tells and new.share > before.share * WORSE + MARGIN
