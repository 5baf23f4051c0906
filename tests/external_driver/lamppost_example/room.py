"""The driver: a sensor on the box. ``decode`` is pure, so that the frames of the template test it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drivers.base import Bus, Measurement, Observation
from drivers.errors import BadFrame
from drivers.template import Field, Template
from lamppost_example.lines import LinesBus


def decode(answer: str, fields: tuple[Field, ...]) -> tuple[Measurement, ...]:
    """Measurements out of ``co2=612 temp=213``. Raises BadFrame for all that is not certainly an answer."""
    pairs = [word.split("=") for word in answer.split()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise BadFrame(f"{answer[:40]!r} is not a line of NAME=NUMBER")
    told = dict(pairs)
    missing = [field.path for field in fields if field.path not in told]
    if missing:
        raise BadFrame(f"no {missing[0]} in {answer[:40]!r}")
    return tuple(Measurement(field.quantity, _number(told[field.path]) * field.scale) for field in fields)


def _number(text: str) -> int:
    if not text.isascii() or not text.removeprefix("-").isdigit() or len(text) > 9:
        raise BadFrame(f"{text[:20]!r} is not a number")
    return int(text)


class RoomDriver:
    """See ``drivers.base.Driver``."""

    def __init__(self, bus: LinesBus, address: int, fields: tuple[Field, ...], period_s: float) -> None:
        self.period_s: float | None = period_s
        self.silence_s = 60.0
        self._bus, self._address, self._fields = bus, address, fields

    async def read(self) -> tuple[Observation, ...]:
        """Ask once. Raises a DriverError."""
        answer, mono_ns = await self._bus.ask(f"READ {self._address}")
        return (Observation(decode(answer, self._fields), mono_ns),)

    async def close(self) -> None:
        """Nothing is held between two reads."""


def make_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> RoomDriver:
    """The driver of a device. A ValueError is what `lamppost check` tells."""
    if not isinstance(bus, LinesBus):
        raise ValueError(f"{template.name} needs a bus of type example-lines")
    if not isinstance(address, int) or isinstance(address, bool) or address < 0:
        raise ValueError(f"{template.name} needs the number of its socket as address, not {address!r}")
    if options:
        raise ValueError(f"unknown option {min(options)!r}; known: none")
    return RoomDriver(bus, address, template.fields, period_s or template.period_s or 10.0)
