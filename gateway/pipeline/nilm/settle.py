"""Layer (c) online: the final values of an instant, once the window ahead of it is full. Bounded memory."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from gateway.pipeline.nilm import window
from gateway.pipeline.nilm.jit import Floats, floats
from gateway.pipeline.nilm.model import Model
from gateway.pipeline.nilm.tables import forest_of

Values = list[tuple[float, bool, float]]  # W, on, confidence of each load
HYSTERESIS = 0.5  # of on_w: a load that is on goes off below


class Sample(NamedTuple):
    """A sample of the mains; ``counted_ns``: the time that it stands for; ``values``: what layer (b) says."""

    mono_ns: int
    power_w: float
    counted_ns: int
    values: Values


class Settler:
    """Keeps the window of the mains and the samples that are not final yet."""

    def __init__(self, model: Model) -> None:
        names = model.names
        self._small = [(names.index(own.name), own) for own in model.small]
        self._extra = len(names) - len(model.tracked)
        self._loads = len(model.loads)
        self._forest = forest_of(model.small)
        self._power = floats([0.0] * window.RING)
        self._watts = floats([0.0] * (window.RING * self._loads))
        self._features = floats([0.0] * window.width(self._loads))
        self._guess = floats([0.0] * len(model.small))
        self._were_on = [False] * len(model.small)
        self._latest: Values = [(0.0, False, 0.0)] * self._extra  # of loads that layer (b) does not know
        self._pending: deque[Sample] = deque()
        self._count = 0  # samples of this run

    def push(self, sample: Sample, watts: Floats) -> tuple[Sample, Values] | None:
        """Take the next sample of a run and what the tracker says; the sample that is final now, with its values."""
        place = self._count % window.RING
        self._power[place] = sample.power_w
        for a in range(self._loads):
            self._watts[place * self._loads + a] = watts[a]
        self._count += 1
        self._pending.append(sample)
        return self._settle() if len(self._pending) > window.AHEAD else None

    def flush(self) -> list[tuple[Sample, Values]]:
        """The run ends: all that is pending, with its last sample standing for those that do not come."""
        due = [self._settle() for _ in range(len(self._pending))]
        self._count = 0
        return due

    def provisional(self, sample: Sample) -> Values:
        """At once: what layer (b) says; what it does not know is as it was last, as far as the mains allows."""
        left = max(sample.power_w, 0.0) - sum(watts for watts, _, _ in sample.values)
        values = list(sample.values)
        for watts, on, confidence in self._latest:
            values.append((min(watts, max(left, 0.0)), on, confidence))
            left -= watts
        return values

    def _settle(self) -> tuple[Sample, Values]:
        """The oldest pending sample and its final values."""
        index = self._count - len(self._pending)
        sample = self._pending.popleft()
        bounds = (0, self._count - 1)
        window.describe(self._power, self._watts, window.RING, self._loads, index, bounds, self._features)
        window.estimate(self._forest, self._features, self._guess)
        values = [*sample.values, *[(0.0, False, 0.0)] * self._extra]
        for k, (place, own) in enumerate(self._small):
            watts = min(max(float(self._guess[k]) + own.tracker * values[place][0], 0.0), own.high_w)
            on = watts >= own.on_w * (HYSTERESIS if self._were_on[k] else 1.0)
            self._were_on[k] = on
            values[place] = (watts, on, own.sure_on if on else own.sure_off)
        whole, most = sum(watts for watts, _, _ in values), max(sample.power_w, 0.0)
        scale = most / whole if whole > most else 1.0
        values = [(watts * scale, on, confidence) for watts, on, confidence in values]
        if self._extra:
            self._latest = values[-self._extra :]
        return sample, values
