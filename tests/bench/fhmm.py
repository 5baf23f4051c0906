"""A factorial hidden Markov model as the research toolkits have it: the baseline of ``bench_nilm``.

One chain of levels for each appliance, all of them combined into one chain over the product of their states, whose
transitions are the Kronecker product, and exact Viterbi over it. After Ghahramani and Jordan, "Factorial hidden Markov
models", Machine Learning 29 (1997), and as Batra et al., "NILMTK", e-Energy 2014, use it: the combined emission is a
Gaussian about the sum of the levels with a variance of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
VARIANCE = 25.0  # W^2


@dataclass(frozen=True)
class Fhmm:
    """``levels``: of each combined state, W, one row an appliance; ``start`` and ``moves``: logarithms of chances."""

    names: tuple[str, ...]
    levels: Floats
    start: Floats
    moves: Floats

    @property
    def states(self) -> int:
        """Of the product."""
        return len(self.start)

    def decode(self, mains: Floats) -> dict[str, Floats]:
        """The most probable levels of all appliances through the whole series."""
        total = self.levels.sum(axis=0)
        back = np.empty((len(mains), self.states), np.int32)
        best = self.start - (mains[0] - total) ** 2 / (2 * VARIANCE)
        everyone = np.arange(self.states)
        for row in range(1, len(mains)):
            chances = best[:, None] + self.moves
            back[row] = chances.argmax(axis=0)
            best = chances[back[row], everyone] - (mains[row] - total) ** 2 / (2 * VARIANCE)
        path = np.empty(len(mains), np.int64)
        path[-1] = best.argmax()
        for row in range(len(mains) - 1, 0, -1):
            path[row - 1] = back[row, path[row]]
        return {name: self.levels[place, path] for place, name in enumerate(self.names)}


def fit(levels: Mapping[str, Sequence[float]], truth: Mapping[str, Floats]) -> Fhmm:
    """Transitions are counted in the truth, each sample being in the state of the nearest level."""
    start, moves = np.ones(1), np.ones((1, 1))
    combined: list[Floats] = []
    for name, own in levels.items():
        known = np.asarray(own, float)
        states = np.abs(truth[name][:, None] - known).argmin(axis=1)
        counts = np.ones((len(known), len(known)))  # none is impossible
        np.add.at(counts, (states[:-1], states[1:]), 1)
        share = np.bincount(states, minlength=len(known)) + 1.0
        combined = [np.repeat(one, len(known)) for one in combined] + [np.tile(known, len(start))]
        start = np.kron(start, share / share.sum())
        moves = np.kron(moves, counts / counts.sum(axis=1, keepdims=True))
    return Fhmm(tuple(levels), np.array(combined), np.log(start), np.log(moves))
