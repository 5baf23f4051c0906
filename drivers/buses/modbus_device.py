"""A device on a Modbus line, described by its template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from drivers.base import Measurement, Observation
from drivers.codecs.registers import decode, scaled
from drivers.errors import BadFrame, Refused
from drivers.planner import Block, plan
from drivers.template import Template

if TYPE_CHECKING:
    from drivers.buses.modbus_rtu import ModbusRtuBus


class ModbusDriver:
    """Polls the points of a template; see drivers.base.Driver."""

    def __init__(self, bus: ModbusRtuBus, template: Template, unit: int, period_s: float) -> None:
        self.period_s: float | None = period_s
        self.silence_s = template.silence_s
        self.unit = unit
        self._bus = bus
        self._template = template
        self.blocks = self._plan(template.gap_max)

    async def read(self) -> tuple[Observation, ...]:
        """Read all points once: one observation, at the middle of the poll. Raises a DriverError."""
        try:
            poll = await self._bus.read(self.unit, self.blocks)
        except Refused:
            # a device that has nothing in the gaps between its points refuses the whole block: from now on without
            if any(block.has_gaps for block in self.blocks):
                self.blocks = self._plan(0)
            raise
        measurements = tuple(decode_blocks(self.blocks, poll.data))
        if not measurements:
            raise BadFrame(f"unit {self.unit} has no value in any register")
        return (Observation(measurements, (poll.begin_mono_ns + poll.end_mono_ns) // 2),)

    async def close(self) -> None:
        """Nothing to let go of: the line belongs to the bus."""

    def _plan(self, gap_max: int | None) -> tuple[Block, ...]:
        template = self._template
        return plan(template.points, char_s=self._bus.char_s, registers_max=template.registers_max, gap_max=gap_max)


def decode_blocks(blocks: Sequence[Block], data: Iterable[bytes]) -> Iterable[Measurement]:
    """The values of the blocks' points; those that are "no value" are left out. Raises BadFrame."""
    for block, registers in zip(blocks, data, strict=True):
        for point in block.points:
            raw = decode(registers[2 * (point.address - block.address) :], point.type, point.word_order, point.nan)
            if raw is not None:
                yield Measurement(point.quantity, scaled(raw, point.scale))
