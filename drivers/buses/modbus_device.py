"""A device on a Modbus bus of any kind, described by its template."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from drivers.base import Bus, Driver, Measurement, Observation
from drivers.buses.modbus_plan import DevicePlan
from drivers.buses.modbus_poll import ModbusRefused, Poll, Timing
from drivers.codecs import registers
from drivers.errors import BadFrame, DriverError, Refused, Timeout
from drivers.planner import Block, halves
from drivers.template import Point, Template

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
LACKING_TIMES = 3  # from then on it is told that a slow class cannot be read
UNIT_MAX, UNIT_ON_LINE_MAX = 255, 247
PERIOD_S = 10.0  # between polls, where neither the device nor its template says
OPTIONS = ("timeout", "gap", "late")


@runtime_checkable
class ModbusMaster(Protocol):
    """What a driver needs of a bus; see ``drivers.buses.modbus_bus``. ``unit_min`` is the lowest address on it."""

    char_s: float
    unit_min: int

    async def read(self, unit: int, blocks: Sequence[Block], *, timing: Timing, deadline: float | None = None) -> Poll:
        """Read the blocks of one unit. Raises a DriverError."""


class ModbusDriver:
    """Polls the points of a template; see drivers.base.Driver.

    ``lacking`` says what the device refuses, while the rest is delivered; None where nothing.
    """

    def __init__(
        self, bus: ModbusMaster, template: Template, unit: int, period_s: float, timing: Timing | None = None
    ) -> None:
        self.silence_s = template.silence_s
        self.unit = unit
        self.lacking: DriverError | None = None
        self._bus = bus
        self._timing = timing or Timing(template.timeout_s, template.gap_s, template.late_s)
        self._plan = DevicePlan(template, bus.char_s, period_s, unit)
        self.period_s: float | None = self._plan.period_s
        self._was_silent = False

    async def read(self) -> tuple[Observation, ...]:
        """Read the points that are due: one observation, at the middle of the poll. Raises a DriverError."""
        now = asyncio.get_running_loop().time()
        blocks = self._plan.due(now)
        if self._was_silent or not blocks:
            await self._probe(now)
            blocks = self._plan.due(now)
        answers: list[tuple[Block, Poll]] = []
        failed: DriverError | None = None
        for block in blocks:
            try:
                answers += await self._carefully(block, now)
            except DriverError as error:
                self._was_silent = isinstance(error, Timeout)
                if not (answers and self._plan.is_slow(block)):
                    raise
                if self._plan.postponed(block, now) >= LACKING_TIMES:
                    failed = error
        slow = self._plan.taken((point for block, _ in answers for point in block.points), now)
        self._tell(failed, delivered=bool(answers), slow_again=slow)
        measurements = tuple(decode_blocks([b for b, _ in answers], [poll.data[0] for _, poll in answers]))
        if not measurements:
            raise BadFrame(f"unit {self.unit} has no value in any register")
        instants = [poll.at_mono_ns for _, poll in answers]
        return (Observation(measurements, (min(instants) + max(instants)) // 2),)

    async def close(self) -> None:
        """Nothing to let go of: the line belongs to the bus."""

    async def _carefully(self, block: Block, now: float) -> list[tuple[Block, Poll]]:
        """What the device gives of a block; where it refuses, its halves, and so on. Raises a DriverError."""
        try:
            return [(block, await self._ask(block, now))]
        except ModbusRefused as refused:
            if refused.exception not in (ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE):
                raise
            parts = None if refused.exception == ILLEGAL_FUNCTION else halves(block)
            if parts is None:
                self._plan.refuse(block, now)
                return []
        answers = [await self._carefully(part, now) for part in parts]
        if all(len(answer) == 1 and answer[0][0] is part for answer, part in zip(answers, parts, strict=True)):
            self._plan.cut(parts[1], now)
        return [one for answer in answers for one in answer]

    async def _probe(self, now: float) -> None:
        """Ask for one register: a device that was silent, or had nothing to give, is not asked for more."""
        try:
            await self._ask(self._plan.probe(), now)
        except ModbusRefused as refused:
            if not self._plan.due(now):
                raise Refused(f"unit {self.unit} refuses every point: {refused}") from None
        else:
            if not self._plan.due(now):
                self._plan.forget()
        self._was_silent = False

    async def _ask(self, block: Block, now: float) -> Poll:
        deadline = now + self._plan.period_s
        return await self._bus.read(self.unit, (block,), timing=self._timing, deadline=deadline)

    def _tell(self, failed: DriverError | None, *, delivered: bool, slow_again: bool) -> None:
        """Note what the device does not give. Raises Refused where that is all."""
        if refused := self._plan.refused:
            what = ", ".join(f"{p.quantity} (function {p.function}, {p.address:#06x})" for p in refused)
            if not delivered:
                raise Refused(f"unit {self.unit} refuses every point: {what}")
            self.lacking = Refused(f"unit {self.unit} refuses {what}; the rest is read")
        elif failed is not None:
            self.lacking = failed
        elif slow_again or isinstance(self.lacking, Refused):
            self.lacking = None


def decode_blocks(blocks: Sequence[Block], data: Iterable[bytes]) -> Iterable[Measurement]:
    """The values of the blocks' points; those that are "no value", or lack their scale, are left out.

    Raises BadFrame.
    """
    read = list(zip(blocks, data, strict=True))
    for block, words in read:
        for point in block.points:
            power = 0 if point.scale_register is None else _power(point, read)
            if power is None:
                continue
            value = registers.value(point, words[2 * (point.address - block.address) :], power)
            if value is not None:
                yield Measurement(point.quantity, value)


def _power(point: Point, read: Sequence[tuple[Block, bytes]]) -> int | None:
    """The power of ten in the scale register of a point; None where it was not read, or holds none."""
    assert point.scale_register is not None
    for block, words in read:
        at = point.scale_register - block.address
        if block.function == point.function and 0 <= at < block.count:
            return registers.exponent(words[2 * at :], point.byte_order)
    return None


def make_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol modbus; options ``timeout``, ``gap``, ``late`` (seconds).

    Raises ValueError.
    """
    if not isinstance(bus, ModbusMaster):
        raise ValueError(f"{template.name} needs a bus of type modbus-rtu or modbus-tcp")
    timing = Timing(
        _seconds(options, "timeout", template.timeout_s),
        _seconds(options, "gap", template.gap_s),
        _seconds(options, "late", template.late_s),
    )
    unit = _unit(template, address, bus.unit_min)
    return ModbusDriver(bus, template, unit, period_s or template.period_s or PERIOD_S, timing)


def _seconds(options: Mapping[str, Any], word: str, otherwise: float | None) -> float | None:
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}; known: {', '.join(OPTIONS)}")
    value = options.get(word, otherwise)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value >= 0):
        return None if value is None else float(value)
    raise ValueError(f"option {word} is {value!r}: expected seconds")


def _unit(template: Template, address: str | int | None, unit_min: int) -> int:
    address = template.address if address is None else address
    if address is None:
        raise ValueError(f"{template.name} needs an address, 1 to {UNIT_ON_LINE_MAX}")
    try:
        unit = int(address)
    except ValueError:
        raise ValueError(f"{address!r} is no Modbus address: expected a number, 1 to {UNIT_ON_LINE_MAX}") from None
    if not unit_min <= unit <= UNIT_MAX:
        raise ValueError(f"{unit} is no Modbus address: expected 1 to {UNIT_ON_LINE_MAX}")
    return unit
