"""Which readings of a meter are its mains: by phase or their total, with reactive power where the meter gives it."""

from __future__ import annotations

from collections.abc import Sequence

from drivers.base import Quality, Reading
from drivers.quantities import by_phase
from gateway.pipeline.nilm.result import TOTAL, Mains, Power

REACTIVE = {"active_power": "reactive_power", "active_power_total": "reactive_power_total"}


def quantities(quantity: str) -> dict[str, str]:
    """Quantity of each phase where the configured one has phases (``active_power``), else of the total."""
    return by_phase(quantity) or {quantity: TOTAL}


class MainsReader:
    """Makes samples of readings. What belongs together is what the meter said at one instant."""

    def __init__(self, quantity: str) -> None:
        self._power = quantities(quantity)
        self._reactive = quantities(REACTIVE[quantity]) if quantity in REACTIVE else {}
        self._known_var: dict[str, float] = {}

    def read(self, readings: Sequence[Reading]) -> Mains:
        """The phases that have a value; a BAD one is a gap, not a power. Empty: these readings are not of the mains.

        Reactive power that is missing once counts as unchanged, so that no change of it is made up.
        """
        watts: dict[str, float] = {}
        for reading in readings:
            if reading.quality is Quality.BAD:
                continue
            if (phase := self._power.get(reading.quantity)) is not None:
                watts[phase] = _number(reading)
            elif (phase := self._reactive.get(reading.quantity)) is not None:
                self._known_var[phase] = _number(reading)
        return {phase: Power(power_w, self._known_var.get(phase, 0.0)) for phase, power_w in watts.items()}


def _number(reading: Reading) -> float:
    assert isinstance(reading.value, float | int)
    return float(reading.value)
