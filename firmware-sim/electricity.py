"""What the electricity meters of the site see: appliance powers spread over three phases, and energy over true time."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from firmware_sim.world import noise, uniform

Three = tuple[float, float, float]
THIRDS: Three = (1 / 3, 1 / 3, 1 / 3)
ONE: Three = (1.0, 0.0, 0.0)
SPREAD: Mapping[str, Three] = {"heat_pump": THIRDS, "other": (0.42, 0.33, 0.25), "kettle": (0, 1, 0), "oven": (0, 0, 1)}
POWER_FACTOR: Mapping[str, float] = {"fridge": 0.88, "heat_pump": 0.94, "washing_machine": 0.96, "other": 0.92}
VOLTAGE = 231.0
LINE_OHM = 0.08  # of each phase from the transformer to the board


class Loads(Protocol):
    """Where power comes from: see ``firmware_sim.loads.sources.LoadSource``."""

    appliances: tuple[str, ...]

    def at(self, t_s: float) -> dict[str, float]:
        """W by appliance and ``other``, ``t_s`` true seconds after the start."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A meter's view of one second. Phases without load have their voltage and no current; energies in kWh."""

    volts: Three = (VOLTAGE, VOLTAGE, VOLTAGE)
    amps: Three = (0.0, 0.0, 0.0)
    watts: Three = (0.0, 0.0, 0.0)
    vars: Three = (0.0, 0.0, 0.0)
    hertz: float = 50.0
    import_kwh: Three = (0.0, 0.0, 0.0)
    export_kwh: Three = (0.0, 0.0, 0.0)

    @property
    def apparent(self) -> Three:
        """VA of each phase."""
        a, b, c = (math.hypot(watt, var) for watt, var in zip(self.watts, self.vars, strict=True))
        return a, b, c


def spread(name: str) -> Three:
    """The share of an appliance's power on each phase."""
    if name in SPREAD:
        return SPREAD[name]
    phase = zlib.crc32(name.encode()) % 3
    return (float(phase == 0), float(phase == 1), float(phase == 2))


class Meter:
    """One electricity meter. ``measures`` is ``all`` or names of appliances; ``phases`` 1 or 3.

    Its counters integrate the power that it shows over true time (rectangles of the time between two calls of
    :meth:`advance`), from a starting value that depends on its name, as does its error of up to 0.4 %.
    """

    def __init__(self, name: str, seed: int, measures: Literal["all"] | tuple[str, ...], phases: int = 3) -> None:
        self.snapshot = Snapshot()
        self._seed = seed
        self._measures = measures
        self._phases = phases
        self._gain = 1 + 0.008 * (uniform(seed, "gain", name) - 0.5)
        start = 3000 + 9000 * uniform(seed, "counter", name)
        self._import = [start / phases if phase < phases else 0.0 for phase in range(3)]
        self._export = [0.0, 0.0, 0.0]
        self._at_s: float | None = None

    def advance(self, t_s: float, powers: Mapping[str, float]) -> None:
        """Show the powers of ``t_s``; count what was shown until now."""
        if self._at_s is not None:
            hours = (t_s - self._at_s) / 3600
            for phase, power in enumerate(self.snapshot.watts):
                (self._import if power >= 0 else self._export)[phase] += abs(power) * hours / 1000
        self._at_s = t_s
        watts, reactive = self._by_phase(powers)
        volts = self._volts(t_s, watts)
        amps = [math.hypot(w, q) / u for w, q, u in zip(watts, reactive, volts, strict=True)]
        self.snapshot = Snapshot(
            volts=volts,
            amps=(amps[0], amps[1], amps[2]),
            watts=watts,
            vars=reactive,
            hertz=50 + 0.03 * noise(self._seed, "hertz", t_s / 20),
            import_kwh=(self._import[0], self._import[1], self._import[2]),
            export_kwh=(self._export[0], self._export[1], self._export[2]),
        )

    def _by_phase(self, powers: Mapping[str, float]) -> tuple[Three, Three]:
        watts, reactive = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
        for name, power in powers.items():
            if self._measures == "all" or name in self._measures:
                tangent = math.tan(math.acos(POWER_FACTOR.get(name, 1.0)))
                for phase, share in enumerate(spread(name) if self._phases == 3 else ONE):
                    watts[phase] += power * share * self._gain
                    reactive[phase] += power * share * self._gain * tangent
        return (watts[0], watts[1], watts[2]), (reactive[0], reactive[1], reactive[2])

    def _volts(self, t_s: float, watts: Three) -> Three:
        level = VOLTAGE + 2.2 * noise(self._seed, "volts", t_s / 90)
        a, b, c = (
            level + 0.8 * noise(self._seed, f"volts-{phase}", t_s / 15) - LINE_OHM * power / VOLTAGE
            for phase, power in enumerate(watts)
        )
        return a, b, c


class Electricity:
    """All meters of a site, moved on together.

    A meter whose appliances the loads do not know (a heat pump, where a recorded house has none) hangs on a circuit of
    its own, not behind the main meter: it gets its power from ``spare``.
    """

    def __init__(self, loads: Loads, spare: Callable[[], Loads]) -> None:
        self._loads = loads
        self._make_spare = spare
        self._spare: Loads | None = None
        self._behind_main: list[Meter] = []
        self._own_circuit: list[Meter] = []

    def add(self, meter: Meter, measures: Literal["all"] | tuple[str, ...]) -> None:
        """Wire a meter to the loads that have what it measures."""
        if measures == "all" or set(measures) & {*self._loads.appliances, "other"}:
            self._behind_main.append(meter)
        else:
            self._spare = self._spare or self._make_spare()
            self._own_circuit.append(meter)

    def advance(self, t_s: float) -> None:
        """Move all meters to ``t_s`` true seconds after the start."""
        powers = self._loads.at(t_s)
        for meter in self._behind_main:
            meter.advance(t_s, powers)
        if self._spare is not None:
            powers = self._spare.at(t_s)
            for meter in self._own_circuit:
                meter.advance(t_s, powers)
