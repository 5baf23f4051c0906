"""Whole recordings at once, for learning and scoring (numpy): not part of the online way, but the same kernels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gateway.pipeline.nilm import window
from gateway.pipeline.nilm.beam import publish, restart, step
from gateway.pipeline.nilm.belief import Beam, Tables
from gateway.pipeline.nilm.edges import Detector, EdgeSettings, detect, new_detector, reset
from gateway.pipeline.nilm.jit import Floats, Ints, floats, ints, kernel
from gateway.pipeline.nilm.model import Model
from gateway.pipeline.nilm.tables import forest_of, new_beam, settings_of, tables_of

Array = npt.NDArray[np.float64]


@kernel
def _edges(power: Floats, settings: EdgeSettings, d: Detector, sizes: Floats) -> None:
    """The edge completed at each sample; NaN is a gap."""
    for i in range(len(power)):
        if math.isnan(power[i]):
            reset(d)
        else:
            sizes[i] = detect(power[i], settings, d)


@kernel
def _follow(
    power: Floats,
    settings: EdgeSettings,
    t: Tables,
    d: Detector,
    b: Beam,
    now: tuple[Floats, Ints, Floats],
    out: tuple[Floats, Floats],
) -> None:
    """Watts and confidence of each load at each sample, flat, into out; now is scratch."""
    loads = len(t.first) - 1
    gap = True
    for i in range(len(power)):
        if math.isnan(power[i]):
            gap = True
            continue
        if gap:
            reset(d)
            restart(t, b)
            gap = False
        step(power[i], 1, settings, t, d, b)
        publish(power[i], t, b, now[0], now[1], now[2])
        for a in range(loads):
            out[0][i * loads + a] = now[0][a]
            out[1][i * loads + a] = now[2][a]


def edges(power: Array, settings: EdgeSettings) -> tuple[npt.NDArray[np.int64], Array]:
    """(index of the sample that completed it, size in W) of all edges; NaN in ``power`` is a gap."""
    sizes = floats([0.0] * len(power))
    _edges(_sequence(power), settings, new_detector(), sizes)
    found = np.asarray(sizes)
    at = np.nonzero(found)[0]
    return at, found[at]


def follow(model: Model, power: Array) -> dict[str, Array]:
    """Disaggregate a recording at the model's period, as it would be online with the final values; NaN is a gap."""
    return follow_surely(model, power)[0]


def follow_surely(model: Model, power: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """Watts by load, as ``follow``, and how sure it is that the load is on or off as they say."""
    watts, sureness = _track(model, power)
    parts = {load.name: watts[:, a] for a, load in enumerate(model.loads)}
    sure = {load.name: sureness[:, a] for a, load in enumerate(model.loads)}
    left = np.maximum(power - watts.sum(axis=1), 0.0)
    for load in model.steady:
        parts[load.name] = np.minimum(load.level_w, left)
        sure[load.name] = np.full(len(power), load.share)
        left = left - parts[load.name]
    if not model.small:
        return parts, sure
    guess = _small(model, power, watts)
    for k, own in enumerate(model.small):
        tracked = parts.get(own.name, np.zeros(len(power)))
        parts[own.name] = np.clip(guess[:, k] + own.tracker * tracked, 0.0, own.high_w)
        sure[own.name] = np.where(parts[own.name] >= own.on_w, own.sure_on, own.sure_off)
    whole = np.sum([*parts.values()], axis=0)
    most = np.maximum(power, 0.0)
    scale = np.where(whole > most, most / np.maximum(whole, 1e-9), 1.0)
    return {name: own * scale for name, own in parts.items()}, sure


def _track(model: Model, power: Array) -> tuple[Array, Array]:
    """Watts and confidence of the loads that switch by sample (rows) and load, by layer (b) alone."""
    loads = len(model.loads)
    now = (floats([0] * loads), ints([0] * loads), floats([0] * loads))
    out = (_sequence(np.zeros(len(power) * loads)), _sequence(np.zeros(len(power) * loads)))
    _follow(_sequence(power), settings_of(model), tables_of(model), new_detector(), new_beam(model), now, out)
    watts, sure = (np.asarray(one).reshape(len(power), loads) for one in out)
    return watts, sure


def features(power: Array, watts: Array, rows: npt.NDArray[np.int64]) -> Array:
    """What small models see of the samples ``rows``, of which none may be a gap; ``watts``: the tracker's."""
    firsts, lasts = runs_of(power)
    run = np.searchsorted(firsts, rows, side="right") - 1
    size = window.width(watts.shape[1])
    out = _sequence(np.zeros(len(rows) * size))
    places = (_places(rows), _places(firsts[run]), _places(lasts[run]))
    row = floats([0.0] * size)
    window.describe_rows(_sequence(power), _sequence(watts.ravel()), watts.shape[1], places, row, out)
    return np.asarray(out).reshape(len(rows), size)


def runs_of(power: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First and last sample of each run without a gap."""
    edges_at = np.diff(np.concatenate([[0], (~np.isnan(power)).astype(np.int8), [0]]))
    return np.nonzero(edges_at == 1)[0], np.nonzero(edges_at == -1)[0] - 1


def _small(model: Model, power: Array, watts: Array) -> Array:
    """What the trees of the small models sum to, by sample and model; 0 in gaps."""
    firsts, lasts = runs_of(power)
    loads, count = watts.shape[1], len(model.small)
    out = _sequence(np.zeros(len(power) * count))
    scratch = (floats([0.0] * window.width(loads)), floats([0.0] * count))
    flat = _sequence(power), _sequence(watts.ravel())
    window.estimate_rows(*flat, loads, (_places(firsts), _places(lasts)), forest_of(model.small), scratch, out)
    return np.asarray(out).reshape(len(power), count)


def _places(values: npt.NDArray[np.int64]) -> Ints:
    """Integers as the kernels take them."""
    places: Ints = values.tolist() if isinstance(ints([]), list) else np.ascontiguousarray(values, dtype=np.int64)
    return places


def _sequence(values: Array) -> Floats:
    """The values as the kernels take them; without a detour over a list where they are compiled."""
    empty = floats([])
    sequence: Floats = values.tolist() if isinstance(empty, list) else np.ascontiguousarray(values, dtype=np.float64)
    return sequence
