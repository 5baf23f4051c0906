"""How good a disaggregation is (numpy). Definitions:

MAE: mean of |estimate - truth|, W. F1: of on/off with the appliance's own threshold (``ON_W`` by name, else 20 W).
EA: 1 - sum |estimate - truth| / (2 sum truth), over all appliances or one; predicting zero gives 0.5 by construction,
so it stands beside, with the score of predicting the training mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gateway.pipeline.nilm.batch import Array

ON_W = {"fridge": 50.0, "kettle": 200.0, "microwave": 200.0}
ON_DEFAULT_W = 20.0


@dataclass(frozen=True, slots=True)
class Score:
    """Scores of one appliance; ``share`` of the mains' energy. ``ea`` is NaN where it never ran."""

    mae_w: float
    f1: float
    ea: float
    share: float


@dataclass(frozen=True, slots=True)
class Report:
    """Scores of a house; ``ea_zero`` and ``ea_mean``: of predicting zero and the mean of the training part."""

    ea: float
    ea_zero: float
    ea_mean: float
    appliances: dict[str, Score]


def score(
    estimate: Mapping[str, Array], truth: Mapping[str, Array], mains: Array, means: Mapping[str, float]
) -> Report:
    """Score all appliances of ``truth``; one that was not estimated counts as zero. NaN samples do not count."""
    good = ~np.isnan(mains)
    for own in truth.values():
        good &= ~np.isnan(own)
    guess = {name: estimate[name][good] if name in estimate else np.zeros(int(good.sum())) for name in truth}
    true = {name: own[good] for name, own in truth.items()}
    energy = float(sum(own.sum() for own in true.values()))
    wrong = sum(float(np.abs(guess[name] - true[name]).sum()) for name in true)
    wrong_mean = sum(float(np.abs(means.get(name, 0.0) - true[name]).sum()) for name in true)
    total = float(mains[good].sum())
    return Report(
        ea=1 - wrong / (2 * energy),
        ea_zero=0.5,
        ea_mean=1 - wrong_mean / (2 * energy),
        appliances={name: _one(name, guess[name], true[name], total) for name in true},
    )


def _one(name: str, guess: Array, true: Array, total: float) -> Score:
    """Scores of one appliance."""
    limit = ON_W.get(name, ON_DEFAULT_W)
    both = float(((guess >= limit) & (true >= limit)).sum())
    sides = float((guess >= limit).sum() + (true >= limit).sum())
    wrong = float(np.abs(guess - true).sum())
    used = float(true.sum())
    return Score(
        mae_w=wrong / max(1, len(true)),
        f1=2 * both / sides if sides else 0.0,
        ea=1 - wrong / (2 * used) if used else math.nan,
        share=used / total,
    )
