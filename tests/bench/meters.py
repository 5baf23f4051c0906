"""Electricity meters as an edge reads them: our load model, a meter's resolutions, the jitter of polling."""

from __future__ import annotations

import random

import numpy as np

from drivers.quantities import QUANTITIES
from firmware_sim.loads.model import household
from gateway.model import Reading

SECOND = 1_000_000_000
DAY_S = 86_400
NAMES = [f"{stem}_{phase}" for stem in ("voltage", "current", "active_power") for phase in ("l1", "l2", "l3")]
NAMES.append("frequency")
JITTER_NS = 1_000_000  # of a poll, one standard deviation


class Meters:
    """``count`` meters of ten values each; meter and phase are the same day of a household at other hours of it."""

    def __init__(self, count: int, seed: int = 7) -> None:
        rng = np.random.default_rng(seed)
        day = household(seed, 1.0, 1.0)
        total = np.sum([watts for name, watts in day.items() if name != "mains"], axis=0)
        slow = np.interp(np.arange(DAY_S), np.arange(0, DAY_S + 300, 300), rng.normal(230, 1.5, DAY_S // 300 + 1))
        volts = slow - total / 2500 + rng.normal(0, 0.08, DAY_S)
        hertz = np.interp(np.arange(DAY_S), np.arange(0, DAY_S + 20, 20), rng.normal(50, 0.02, DAY_S // 20 + 1))
        self._watts = np.round(total + rng.normal(0, 1, DAY_S), 1).tolist()
        self._volts = np.round(volts, 1).tolist()
        self._amps = np.round(total * 1.04 / volts, 2).tolist()
        self._hertz = np.round(hertz, 2).tolist()
        self._units = [QUANTITIES[name].unit for name in NAMES]
        self._random = random.Random(seed)
        self.devices = [f"meter-{number}" for number in range(count)]

    def observation(self, number: int, second: int, start_ns: int) -> list[Reading]:
        """What meter ``number`` says at ``start_ns`` + ``second``; its poll has its own place within the second."""
        at = [(second + number * 1721 + phase * 28_793) % DAY_S for phase in range(3)]
        values = [column[hour] for column in (self._volts, self._amps, self._watts) for hour in at]
        values.append(self._hertz[second % DAY_S])
        phase_ns = number * SECOND // len(self.devices)
        observed_ns = start_ns + second * SECOND + phase_ns + int(self._random.gauss(0, JITTER_NS))
        device = self.devices[number]
        return [
            Reading(device, name, value, unit, observed_ns)
            for name, value, unit in zip(NAMES, values, self._units, strict=True)
        ]
