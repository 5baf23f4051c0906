"""Who is on a Modbus line, and what it may be. Only functions 3 and 4 are used: nothing is ever written by a scan.

That a device answers proves little: some answer everything with zeros. A template is guessed only where the values that
its ``identify`` names are plausible; those that fit alike are all named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drivers import template as templates
from drivers.buses.modbus_device import decode_blocks
from drivers.buses.modbus_poll import Timing
from drivers.errors import BadFrame, Refused, Timeout
from drivers.planner import Block, plan

if TYPE_CHECKING:
    from drivers.buses.modbus_bus import ModbusBus

Progress = Callable[[int, int], None]  # how many addresses are done, of how many
ANY_SENSEAIR = 254  # reserved by the standard; SenseAir sensors answer to it whatever their own address is
SCAN_UNITS: tuple[int, ...] = (*range(1, 248), ANY_SENSEAIR)
QUICK = Timing(timeout_s=0.2)
_PROBE = Block(4, 0, 1, ())


@dataclass(frozen=True, slots=True)
class FoundUnit:
    """An address where something answered; ``could_be`` names templates with plausible values, best proven first."""

    address: int
    answer: str
    could_be: tuple[str, ...]


async def scan(bus: ModbusBus, units: Iterable[int], progress: Progress | None) -> list[FoundUnit]:
    """Ask each unit. Raises NoPort, NoPermission or Disconnected where the line itself is gone."""
    units = list(units)
    known = [template for name in templates.names() if (template := templates.load(name)).protocol == "modbus"]
    found: list[FoundUnit] = []
    for done, unit in enumerate(units):
        if progress is not None:
            progress(done, len(units))
        answer = await _probe(bus, unit)
        if answer:
            fitting = [template for template in known if await _fits(bus, unit, template)]
            fitting.sort(key=lambda template: -len(template.identify))
            found.append(FoundUnit(unit, answer, tuple(template.name for template in fitting)))
    if progress is not None:
        progress(len(units), len(units))
    return found


async def _probe(bus: ModbusBus, unit: int) -> str:
    try:
        await bus.read(unit, (_PROBE,), timing=QUICK)
    except Timeout:
        return ""
    except Refused as refused:
        return str(refused)
    except BadFrame as damaged:
        return str(damaged)
    return "answers"


async def _fits(bus: ModbusBus, unit: int, template: templates.Template) -> bool:
    points = [point for point in template.points if point.quantity in template.identify]
    if not points:
        return False
    blocks = plan(points, char_s=bus.char_s, registers_max=template.registers_max, gap_max=template.gap_max)
    try:
        poll = await bus.read(unit, blocks, timing=QUICK)
    except (Timeout, Refused, BadFrame):
        return False
    values = {m.quantity: m.value for m in decode_blocks(blocks, poll.data)}
    return all(
        isinstance(value := values.get(quantity), int | float) and low <= value <= high
        for quantity, (low, high) in template.identify.items()
    )
