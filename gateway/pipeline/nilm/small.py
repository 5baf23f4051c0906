"""Learning layer (c): for each load trees, the tracker, its correction by trees, or a level (scikit-learn).

Which of them serves a load is chosen by cross-validation in time, inside the training data: the recording is cut into
``FOLDS`` blocks; a block is estimated by a tracker and trees that never saw it; what is off by the least wins. The
trees are boosted on the absolute error, so they say the median of what a load draws where the window looks like this,
or, as a correction, the median of what the tracker is off by: nothing where it is mostly right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.pipeline.nilm import batch, learn
from gateway.pipeline.nilm.batch import Array
from gateway.pipeline.nilm.model import SMALL_MAX, Model, SmallModel
from gateway.pipeline.nilm.result import ModelError
from gateway.pipeline.nilm.score import threshold_w
from gateway.pipeline.nilm.window import LEAF

FOLDS = 3
LEAST_ROWS = 2000  # fewer teach trees nothing that holds
MOST_ROWS = 40_000  # a bound on time and memory, whatever the recording
MOST_CELLS = 400_000  # rows times loads
CELLS_MAX = 20_000_000  # of the recording itself: 23 days of ten appliances at 1 s
TREES, LEAVES, RATE, LEAF_ROWS = 60, 15, 0.15, 30
LEAST_SHARE = 0.003  # of the energy of all loads: what uses less is left to the tracker
# of the tracker's error: what is no better does not replace it; a level says nothing of when, so it must be far better
GAIN = {"trees": 0.93, "corrected": 0.93, "level": 0.85}
SETTINGS_TRIED = 1 + len(GAIN)  # for each load, inside the training data
Progress = Callable[[str], None]
Rows = npt.NDArray[np.int64]


def learn_all(
    series: Mapping[str, Array], mains: Array | None, period_s: float, provenance: str, say: Progress = lambda _: None
) -> Model:
    """A model of both layers; of layer (b) alone where the data is too short or scikit-learn is not installed.

    Arguments and errors: as ``learn.learn``; ``say`` is told how far it is.
    """
    series, mains = _newest(series, mains)
    say("the tracker")
    tracked = learn.learn(series, mains, period_s, provenance)
    power = np.sum([np.nan_to_num(own) for own in series.values()], axis=0) if mains is None else mains
    known = int((~np.isnan(power)).sum())
    if known < LEAST_ROWS or not has_trees():
        return tracked
    watts = np.zeros((len(power), len(tracked.loads)))
    whole = {name: np.zeros(len(power)) for name in series}  # layer (b) as a result, steady loads too
    blocks = np.array_split(np.arange(len(power)), FOLDS)
    for number, block in enumerate(blocks):
        say(f"cross-validation {number + 1} of {FOLDS}: the tracker")
        _cross_fit(series, power, tracked, block, watts, whole)
    names = _worth(series, power)
    rows = _chosen(power, max(LEAST_ROWS, min(MOST_ROWS, MOST_CELLS // max(1, len(names)))))
    seen = batch.features(power, watts, rows).astype(np.float32)
    small = []
    for number, name in enumerate(names):
        say(f"small models: {name} ({number + 1} of {len(names)})")
        if (own := _choose(name, series[name], whole[name], rows, seen, blocks)) is not None:
            small.append(own)
    return msgspec.structs.replace(tracked, small=tuple(small))


def _newest(series: Mapping[str, Array], mains: Array | None) -> tuple[Mapping[str, Array], Array | None]:
    """The newest rows, as many as memory and time are for; they are what the days to come are like."""
    most = CELLS_MAX // max(1, len(series))
    return {name: own[-most:] for name, own in series.items()}, None if mains is None else mains[-most:]


def has_trees() -> bool:
    """Whether scikit-learn is installed."""
    return _regressor() is not None


def _regressor() -> Any:
    """The class of boosted trees; None where scikit-learn is not installed."""
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
    except ImportError:
        return None
    return HistGradientBoostingRegressor


def _cross_fit(
    series: Mapping[str, Array], power: Array, tracked: Model, block: Rows, watts: Array, whole: dict[str, Array]
) -> None:
    """Fill in what a tracker that never saw the block says of it; a load that it does not know stays at zero."""
    before, after = slice(0, block[0]), slice(block[-1] + 1, None)
    rest = {name: _joined(own[before], own[after]) for name, own in series.items()}
    try:
        other = learn.learn(rest, _joined(power[before], power[after]), tracked.period_s, "")
    except ModelError:
        return
    said = batch.follow(other, power[block])
    for name, own in said.items():
        whole[name][block] = own
    for a, load in enumerate(tracked.loads):
        if load.name in said:
            watts[block, a] = np.nan_to_num(said[load.name])


def _joined(before: Array, after: Array) -> Array:
    return np.concatenate([before, [np.nan], after])


def _worth(series: Mapping[str, Array], power: Array) -> list[str]:
    """The loads that matter for their energy, most first."""
    known = ~np.isnan(power)
    means = {name: float(np.nanmean(own[known])) for name, own in series.items() if (~np.isnan(own[known])).any()}
    least = LEAST_SHARE * sum(max(0.0, mean) for mean in means.values())
    return sorted((name for name in means if means[name] > least), key=lambda name: -means[name])[:SMALL_MAX]


def _chosen(power: Array, most: int) -> Rows:
    """The rows that teach: all, or as many as there may be, spread at random."""
    rows = np.nonzero(~np.isnan(power))[0]
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    return rows


def _choose(name: str, own: Array, tracked: Array, rows: Rows, seen: npt.NDArray[np.float32], blocks: list[Rows]
) -> SmallModel | None:  # fmt: skip
    """What serves one load best; None: the tracker."""
    good = ~np.isnan(own[rows])
    rows, seen = rows[good], seen[good]
    if len(rows) < LEAST_ROWS:
        return None
    true, b = own[rows], np.nan_to_num(tracked[rows])
    level, trees, corrected = np.zeros(len(rows)), np.zeros(len(rows)), np.zeros(len(rows))
    for block in blocks:
        mine = (rows >= block[0]) & (rows <= block[-1])
        if mine.all():
            return None
        if mine.any():
            level[mine] = float(np.median(true[~mine]))
            trees[mine] = _fit(seen[~mine], true[~mine]).predict(seen[mine])
            if b.any():
                corrected[mine] = b[mine] + _fit(seen[~mine], (true - b)[~mine]).predict(seen[mine])
    limit = float(np.abs(b - true).mean())
    best, chosen = None, b
    for kind, guess in (("trees", trees), ("corrected", corrected), ("level", level)):
        wrong = float(np.abs(np.maximum(guess, 0.0) - true).mean())
        if wrong < (limit if best else GAIN[kind] * limit):
            best, chosen, limit = kind, guess, wrong
    if best is None:
        return None
    high, on_w = max(0.0, float(true.max())), threshold_w(name)
    sure = _sure(chosen >= on_w, true >= on_w)
    if best == "level":
        return SmallModel(name, 0.0, max(0.0, float(np.median(true))), high, on_w, *sure)
    add = 1.0 if best == "corrected" else 0.0
    return _exported(_fit(seen, true - add * b), SmallModel(name, add, 0.0, high, on_w, *sure))


def _sure(guess: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """How often it was on where that was said, and off; half a case either way, so that none is certain."""
    on, off = int(guess.sum()), int((~guess).sum())
    return (int((guess & true).sum()) + 0.5) / (on + 1), (int((~guess & ~true).sum()) + 0.5) / (off + 1)


def _fit(seen: npt.NDArray[np.float32], true: Array) -> Any:
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    with threadpool_limits(1):  # two threads that wait for one core that is busy are slower than one
        return _regressor()(
            loss="absolute_error",
            max_iter=TREES,
            max_leaf_nodes=LEAVES,
            learning_rate=RATE,
            min_samples_leaf=LEAF_ROWS,
            early_stopping=False,
            random_state=0,
        ).fit(seen, true)


def _exported(fitted: Any, model: SmallModel) -> SmallModel:
    """The model with the trees as its file has them."""
    roots: list[int] = []
    features: list[int] = []
    values: list[float] = []
    rights: list[int] = []
    for (predictor,) in fitted._predictors:
        nodes = predictor.nodes
        roots.append(len(features))
        pending: list[tuple[int, int]] = [(0, -1)]  # (node there, the node here whose right child it is)
        while pending:
            there, parent = pending.pop()
            node, here = nodes[there], len(features)
            if parent >= 0:
                rights[parent] = here - parent
            leaf = bool(node["is_leaf"])
            features.append(LEAF if leaf else int(node["feature_idx"]))
            values.append(float(f"{node['value']:.7g}") if leaf else float(node["num_threshold"]))
            rights.append(0)
            if not leaf:
                pending += [(int(node["right"]), here), (int(node["left"]), -1)]
    base = float(np.ravel(fitted._baseline_prediction)[0])
    return msgspec.structs.replace(
        model, base_w=base, roots=tuple(roots), features=tuple(features), values=tuple(values), rights=tuple(rights)
    )
