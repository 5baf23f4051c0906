"""Learn a model of each phase from a recording with labels: appliances say nothing of phases, their edges do (numpy).

An appliance is on the phases that show most of its edges, each with a share of them; a share of its power is then
learned there. Small models look at the whole mains only, so there are none.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from msgspec.structs import replace

from gateway.pipeline.nilm import batch, learn
from gateway.pipeline.nilm.batch import Array
from gateway.pipeline.nilm.model import Model
from gateway.pipeline.nilm.onsite import phased, untrained
from gateway.pipeline.nilm.result import NothingLearnedError

SHOWN = 0.5  # of its edges: so many show on a phase that the appliance is on
LEAST, MOST = 0.15, 1.7  # of an edge's size that a phase shows
ALIKE = 0.3  # relative: how far these parts may lie from their median


def learn_phases(series: Mapping[str, Array], phases: Mapping[str, Array], period_s: float, provenance: str) -> Model:
    """A model of phases. ``series``: W by appliance; ``phases``: W of each phase of the mains; NaN is a gap.

    Raises ModelError and, where no phase has an appliance that can be learned, NothingLearnedError.
    """
    shares = {name: shares_of(own, phases) for name, own in series.items()}
    parts: dict[str, Model] = {}
    for phase, power in phases.items():
        here = {name: own * shares[name][phase] for name, own in series.items() if phase in shares[name]}
        try:
            parts[phase] = learn.learn(here, power, period_s, provenance) if here else _nothing(period_s)
        except NothingLearnedError:
            parts[phase] = _nothing(period_s)
    if not any(part.names for part in parts.values()):
        raise NothingLearnedError(f"no appliance ran at least {learn.RUNS_MIN} times in the training data")
    days = max(len(power) for power in phases.values()) * period_s / 86400
    trained = f"{days:.2f} days on {', '.join(phases)}"
    return replace(phased(parts, period_s), provenance=provenance, trained_on=trained)


def shares_of(own: Array, phases: Mapping[str, Array]) -> dict[str, float]:
    """The phases that an appliance is on, and which share of its power is on each; all of it on one, where unclear."""
    reach = learn.SETTINGS.ramp_max + learn.SETTINGS.settle
    mine = learn.edges_of(own, learn.SETTINGS)
    shown: dict[str, tuple[float, float]] = {}
    for phase, power in phases.items():
        there = learn.edges_of(power, learn.SETTINGS)
        parts = [part for k in range(len(mine.at)) if (part := _part(mine, k, there, reach)) is not None]
        if parts:
            middle = float(np.median(parts))
            alike = sum(abs(part - middle) <= ALIKE * middle for part in parts)
            shown[phase] = alike / len(mine.at), middle
    clear = {phase: middle for phase, (seen, middle) in shown.items() if seen >= SHOWN}
    if not clear and shown:
        best = max(shown, key=lambda phase: shown[phase][0])
        clear = {best: shown[best][1]}
    whole = sum(clear.values())
    return {phase: middle / whole for phase, middle in clear.items()}


def _part(mine: learn.Edges, k: int, there: learn.Edges, reach: int) -> float | None:
    """Which part of an edge a phase shows: the nearest in size of those at that time and of that direction."""
    low, high = np.searchsorted(there.at, [mine.at[k] - reach, mine.at[k] + reach + 1])
    parts = there.sizes[low:high] / mine.sizes[k]
    parts = parts[(parts >= LEAST) & (parts <= MOST)]
    return float(parts[np.abs(parts - 1.0).argmin()]) if len(parts) else None


def follow_phases(model: Model, phases: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Watts by load and how sure it is that it is on or off, as ``batch.follow_surely``: the sum, the least."""
    watts: dict[str, Array] = {}
    sure: dict[str, Array] = {}
    for phase, part in (model.phases or {}).items():
        if not part.names:
            continue
        own, told = batch.follow_surely(part, phases[phase])
        for name in own:
            watts[name] = watts[name] + own[name] if name in watts else own[name]
            sure[name] = np.minimum(sure[name], told[name]) if name in sure else told[name]
    return watts, sure


def _nothing(period_s: float) -> Model:
    """Of a phase on which no appliance was found: all of it is ``other``."""
    return replace(untrained(period_s), found=None)
