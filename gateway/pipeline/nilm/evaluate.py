"""Learning on the first part of a recording and scoring on the rest, or scoring a model that there is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway.pipeline.nilm import batch, small
from gateway.pipeline.nilm.batch import Array
from gateway.pipeline.nilm.model import Model, check_period, check_phases
from gateway.pipeline.nilm.phase_learn import follow_phases, learn_phases
from gateway.pipeline.nilm.recording import Recording, joined
from gateway.pipeline.nilm.result import TOTAL, ModelError, NothingLearnedError
from gateway.pipeline.nilm.score import Report, score


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The report, of how many rows, and what was scored.

    ``settings_tried``: for each appliance, chosen between inside the training part; none is chosen by its score here.
    """

    recording: Recording
    rows: int
    settings_tried: int
    report: Report
    estimate: dict[str, Array]  # W, rows as those of the recording

    def plain(self) -> dict[str, Any]:
        """As JSON; null where a score means nothing."""
        return {
            "file": self.recording.name,
            "period_s": self.recording.period_s,
            "rows": self.rows,
            "settings_tried": self.settings_tried,
            "ea": _number(self.report.ea),
            "ea_zero": self.report.ea_zero,
            "ea_mean": _number(self.report.ea_mean),
            "appliances": {
                name: {
                    "mae": _number(one.mae_w),
                    "nde": _number(one.nde),
                    "sae": _number(one.sae),
                    "ea": _number(one.ea),
                    "f1": _number(one.f1),
                    "event_f1": _number(one.event_f1),
                    "threshold_w": one.threshold_w,
                    "share": _number(one.share),
                }
                for name, one in self.report.appliances.items()
            },
            "unexplained": _number(self.report.unexplained),
            "calibration": {
                "ece": _number(self.report.ece),
                "bins": [[round(told, 4), round(right, 4), count] for told, right, count in self.report.calibration],
            },
            "left_out": list(self.recording.left_out),
            "scale": self.recording.scale,
        }


def split_score(recording: Recording, share: float, say: small.Progress = lambda _: None) -> Evaluation:
    """Learn from the first ``share`` in time, score the rest; where no appliance ran in the first, all are zero.

    Raises ModelError where there is no first part or no rest.
    """
    first, rest = recording.split(share)
    return _learned_score(first, rest, say)


def house_score(recording: Recording, others: Sequence[Recording], say: small.Progress = lambda _: None) -> Evaluation:
    """Learn from other houses, score this one: what a home is told in which nothing was measured.

    Appliances are the same where their names are; one that no other house has is zero. ``ea_mean`` is that of the
    others' means. Raises ModelError where periods differ.
    """
    joined([*others, recording])
    return _learned_score(joined(others), recording, say)


def _learned_score(first: Recording, rest: Recording, say: small.Progress) -> Evaluation:
    try:
        learned = learned_from(first, first.name, say)
    except NothingLearnedError as error:
        say(error.cause)
        return Evaluation(rest, rest.rows, 1, score({}, rest.appliances, rest.mains, means_of(first)), {})
    tried = small.SETTINGS_TRIED if small.has_trees() and learned.phases is None else 1
    return _evaluate(learned, rest, means_of(first), tried)


def learned_from(recording: Recording, provenance: str, say: small.Progress) -> Model:
    """A model of all layers; where the recording has phases, of each phase. Raises as ``small.learn_all``."""
    if recording.phases is not None:
        return learn_phases(recording.appliances, recording.phases, recording.period_s, provenance)
    return small.learn_all(recording.appliances, recording.mains, recording.period_s, provenance, say)


def model_score(recording: Recording, learned: Model) -> Evaluation:
    """Score a model on a whole recording; ``ea_mean`` then is that of the recording's own means. Raises ModelError."""
    check_period(learned, recording.period_s)
    check_phases(learned, recording.phases or (TOTAL,))
    if learned.finds:
        raise ModelError("the model knows no load, it finds them while they run", fix="Train one, or use --split.")
    return _evaluate(learned, recording, means_of(recording), 1)


def means_of(recording: Recording) -> dict[str, float]:
    """The mean of each appliance that was ever seen, W."""
    seen = {name: watts[~np.isnan(watts)] for name, watts in recording.appliances.items()}
    return {name: float(watts.mean()) for name, watts in seen.items() if len(watts)}


def _evaluate(learned: Model, rest: Recording, means: dict[str, float], tried: int) -> Evaluation:
    if rest.phases is not None:
        estimate, sure = follow_phases(learned, rest.phases)
    else:
        estimate, sure = batch.follow_surely(learned, rest.mains)
    return Evaluation(rest, rest.rows, tried, score(estimate, rest.appliances, rest.mains, means, sure), estimate)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
