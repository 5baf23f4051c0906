"""Whole recordings at once, for learning and scoring (numpy): not part of the online way, but the same kernels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gateway.pipeline.nilm.beam import publish, restart, step
from gateway.pipeline.nilm.belief import Beam, Tables
from gateway.pipeline.nilm.edges import Detector, EdgeSettings, detect, new_detector, reset
from gateway.pipeline.nilm.jit import Floats, Ints, floats, ints, kernel
from gateway.pipeline.nilm.model import Model
from gateway.pipeline.nilm.tables import new_beam, settings_of, tables_of

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
    power: Floats, settings: EdgeSettings, t: Tables, d: Detector, b: Beam, out: tuple[Floats, Ints, Floats, Floats]
) -> None:
    """Watts of each load at each sample, flat, into out[3]; out[:3] is scratch for one sample."""
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
        publish(power[i], t, b, out[0], out[1], out[2])
        for a in range(loads):
            out[3][i * loads + a] = out[0][a]


def edges(power: Array, settings: EdgeSettings) -> tuple[npt.NDArray[np.int64], Array]:
    """(index of the sample that completed it, size in W) of all edges; NaN in ``power`` is a gap."""
    sizes = floats([0.0] * len(power))
    _edges(_sequence(power), settings, new_detector(), sizes)
    found = np.asarray(sizes)
    at = np.nonzero(found)[0]
    return at, found[at]


def follow(model: Model, power: Array) -> dict[str, Array]:
    """Disaggregate a recording at the model's period, sample by sample as it would be online; NaN is a gap."""
    loads = len(model.loads)
    out = (floats([0] * loads), ints([0] * loads), floats([0] * loads), _sequence(np.zeros(len(power) * loads)))
    _follow(_sequence(power), settings_of(model), tables_of(model), new_detector(), new_beam(model), out)
    watts = np.asarray(out[3]).reshape(len(power), loads)
    parts = {load.name: watts[:, a] for a, load in enumerate(model.loads)}
    left = np.maximum(power - watts.sum(axis=1), 0.0)
    for load in model.steady:
        parts[load.name] = np.minimum(load.level_w, left)
        left = left - parts[load.name]
    return parts


def _sequence(values: Array) -> Floats:
    """The values as the kernels take them; without a detour over a list where they are compiled."""
    empty = floats([])
    sequence: Floats = values.tolist() if isinstance(empty, list) else np.ascontiguousarray(values, dtype=np.float64)
    return sequence
