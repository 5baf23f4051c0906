"""What disaggregation says: the types that leave this package, and its error. No heavy import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from gateway.errors import LamppostError


class ModelError(LamppostError):
    """A model file cannot be read, is not of this version, or was made for another sampling period."""

    code = "nilm.model"
    fix = "Train a model for this meter at its sampling period and set disaggregation.model to it."


class NothingLearnedError(ModelError):
    """No appliance of a recording ran often enough, or steadily, to be learned."""

    code = "nilm.nothing"
    fix = "Train from a longer recording."


class Power(NamedTuple):
    """Of the mains or of one phase of it, W and var; 0 var where the meter does not tell."""

    power_w: float
    reactive_var: float = 0.0


TOTAL = "total"
Mains: TypeAlias = Mapping[str, Power]
"""One sample of the meter: by phase (``L1``, ...), or ``total`` alone."""


@dataclass(frozen=True, slots=True)
class Part:
    """One appliance at one instant. ``energy_kwh`` is a counter, ``confidence`` (0..1) is that of ``on``."""

    name: str
    power_w: float
    energy_kwh: float
    on: bool
    confidence: float


@dataclass(frozen=True, slots=True)
class RunEvent:
    """A run of an appliance began or ended.

    For an end: how long it lasted (s), what it used (kWh) and the mean confidence while it went on; else 0.
    """

    name: str
    kind: Literal["start", "end"]
    mono_ns: int
    duration_s: float = 0.0
    energy_kwh: float = 0.0
    confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class ApplianceResult:
    """The mains of one sample in parts: ``sum(part.power_w) + other_w == mains_w``, all in W.

    ``final``: nothing later changes it. A provisional one is followed by a final one of the same instant, which takes
    its place; energies and events are those of final ones.
    """

    mono_ns: int
    mains_w: float
    other_w: float
    parts: tuple[Part, ...]
    events: tuple[RunEvent, ...] = ()
    final: bool = True
