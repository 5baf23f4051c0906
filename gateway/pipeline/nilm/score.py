"""How good a disaggregation is (numpy). y: the truth, x: the estimate, W, over all samples that both know.

MAE: mean |x - y|. NDE: sum (x - y)^2 / sum y^2. SAE: |sum x - sum y| / sum y. EA: 1 - sum |x - y| / (2 sum y), over all
appliances or one; predicting zero gives 0.5 by construction, so it stands beside, with predicting the training mean.
F1: of on and off with the appliance's own threshold (``threshold_w``: known by name, else 20 W). Event F1: of switching
on and off, found within ``TOLERANCE`` samples. Unexplained: the share of the mains' energy that no part claims.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gateway.pipeline.nilm.batch import Array

ON_W = {"fridge": 50.0, "kettle": 200.0, "microwave": 200.0}
ON_DEFAULT_W = 20.0
TOLERANCE = 3


@dataclass(frozen=True, slots=True)
class Score:
    """Scores of one appliance; ``share`` of the mains' energy. NaN where they mean nothing: it never ran."""

    mae_w: float
    nde: float
    sae: float
    ea: float
    f1: float
    event_f1: float
    threshold_w: float
    share: float


@dataclass(frozen=True, slots=True)
class Report:
    """Scores of a house; ``ea_zero`` and ``ea_mean``: of predicting zero and the mean of the training part.

    ``calibration``: by tenths of confidence in on or off: (mean confidence, share that was right, samples).
    """

    ea: float
    ea_zero: float
    ea_mean: float
    unexplained: float
    appliances: dict[str, Score]
    calibration: tuple[tuple[float, float, int], ...]

    @property
    def ece(self) -> float:
        """Expected calibration error: confidence against how often it is right, on average; NaN: no estimate."""
        samples = sum(count for _, _, count in self.calibration)
        wrong = sum(count * abs(told - right) for told, right, count in self.calibration)
        return wrong / samples if samples else math.nan


def threshold_w(name: str) -> float:
    """From what power on an appliance counts as on."""
    return next((watts for word, watts in ON_W.items() if word in name.lower()), ON_DEFAULT_W)


def score(
    estimate: Mapping[str, Array],
    truth: Mapping[str, Array],
    mains: Array,
    means: Mapping[str, float],
    sure: Mapping[str, Array] | None = None,
) -> Report:
    """Score all appliances of ``truth``; one that was not estimated counts as zero. Where it or the mains is NaN, it
    does not count. ``sure``: the confidence in on or off, 0..1.
    """
    good = ~np.isnan(mains)
    known = {name: good & ~np.isnan(own) for name, own in truth.items()}
    guess = {name: estimate[name][known[name]] if name in estimate else np.zeros(known[name].sum()) for name in truth}
    true = {name: own[known[name]] for name, own in truth.items()}
    energy = float(sum(np.abs(own).sum() for own in true.values()))
    wrong = sum(float(np.abs(guess[name] - true[name]).sum()) for name in true)
    wrong_mean = sum(float(np.abs(means.get(name, 0.0) - true[name]).sum()) for name in true)
    total = float(np.maximum(mains[good], 0.0).sum())
    claimed = np.sum([own[good] for own in estimate.values()], axis=0) if estimate else np.zeros(int(good.sum()))
    return Report(
        ea=1 - wrong / (2 * energy) if energy else math.nan,
        ea_zero=0.5,
        ea_mean=1 - wrong_mean / (2 * energy) if energy else math.nan,
        unexplained=float(np.maximum(mains[good] - claimed, 0.0).sum()) / total if total else math.nan,
        appliances={name: _one(name, guess[name], true[name], total) for name in true},
        calibration=_calibration({n: own[known[n]] for n, own in (sure or {}).items() if n in true}, guess, true),
    )


def _calibration(
    sure: Mapping[str, Array], guess: Mapping[str, Array], true: Mapping[str, Array]
) -> tuple[tuple[float, float, int], ...]:
    """(mean confidence, share that was right, how many) by tenths of confidence."""
    told, right, count = np.zeros(10), np.zeros(10), np.zeros(10)
    for name, own in sure.items():
        limit = threshold_w(name)
        tenth = np.minimum((own * 10).astype(int), 9)
        told += np.bincount(tenth, own, 10)
        right += np.bincount(tenth, (guess[name] >= limit) == (true[name] >= limit), 10)
        count += np.bincount(tenth, minlength=10)
    return tuple((told[k] / count[k], right[k] / count[k], int(count[k])) for k in range(10) if count[k])


def _one(name: str, guess: Array, true: Array, total: float) -> Score:
    """Scores of one appliance."""
    limit = threshold_w(name)
    wrong = float(np.abs(guess - true).sum())
    used = float(np.abs(true).sum())
    squares = float((true**2).sum())
    return Score(
        mae_w=wrong / max(1, len(true)),
        nde=float(((guess - true) ** 2).sum()) / squares if squares else math.nan,
        sae=abs(float(guess.sum()) - float(true.sum())) / used if used else math.nan,
        ea=1 - wrong / (2 * used) if used else math.nan,
        f1=_f1(guess >= limit, true >= limit),
        event_f1=_event_f1(guess >= limit, true >= limit),
        threshold_w=limit,
        share=used / total if total else math.nan,
    )


def _f1(guess: np.ndarray, true: np.ndarray) -> float:
    sides = float(guess.sum() + true.sum())
    return 2 * float((guess & true).sum()) / sides if sides else math.nan


def _event_f1(guess: np.ndarray, true: np.ndarray) -> float:
    """Each event of the truth is found once at most: events of one direction in order, the nearest that is free."""
    found = total = 0
    for direction in (1, -1):
        ours = np.nonzero(np.diff(guess.astype(np.int8)) == direction)[0]
        theirs = np.nonzero(np.diff(true.astype(np.int8)) == direction)[0]
        total += len(ours) + len(theirs)
        i = j = 0
        while i < len(ours) and j < len(theirs):
            if abs(int(ours[i]) - int(theirs[j])) <= TOLERANCE:
                found += 1
                i += 1
                j += 1
            elif ours[i] < theirs[j]:
                i += 1
            else:
                j += 1
    return 2 * found / total if total else math.nan
