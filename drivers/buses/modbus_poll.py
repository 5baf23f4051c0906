"""What goes to and comes from a Modbus bus: times, answers, refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from drivers.errors import Refused


@dataclass(frozen=True, slots=True)
class Timing:
    """What a bus allows, or a device needs where it differs from its bus; see ``drivers.template.Template``."""

    timeout_s: float | None = None
    gap_s: float | None = None
    late_s: float | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Timing:
        """From a bus of the configuration."""
        stated = (settings.get(word) for word in ("timeout", "gap", "late"))
        return cls(*(None if value is None else float(value) for value in stated))


AS_THE_BUS = Timing()


class Answer(NamedTuple):
    """``data`` are the registers' bytes; ``exception`` is the code where the device refused, 0 else.

    Monotonic instants: the first byte sent, the last one received, and when the device looked at its registers, as
    far as that can be told.
    """

    data: bytes
    exception: int
    begin_mono_ns: int
    end_mono_ns: int
    at_mono_ns: int


class Poll(NamedTuple):
    """The registers of each block. Instants as of :class:`Answer`; ``at_mono_ns`` is the middle of the blocks'."""

    data: tuple[bytes, ...]
    begin_mono_ns: int
    end_mono_ns: int
    at_mono_ns: int


class ModbusRefused(Refused):
    """The device answered with a Modbus ``exception``."""

    def __init__(self, cause: str, exception: int) -> None:
        super().__init__(cause)
        self.exception = exception
