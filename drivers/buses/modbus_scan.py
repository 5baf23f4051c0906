"""Who is on a Modbus line, and what it may be. Only functions 3 and 4 are used: nothing is ever written by a scan.

That a device answers proves little: some answer everything with zeros. A template is guessed only where the values that
its ``identify`` names are plausible; those that fit alike are all named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from drivers import template as templates
from drivers.buses.modbus_device import decode_blocks
from drivers.buses.modbus_poll import Timing
from drivers.errors import BadFrame, Refused, Timeout
from drivers.planner import Block, plan_for

if TYPE_CHECKING:
    from drivers.buses.modbus_bus import ModbusBus

Progress = Callable[[int, int], None]  # how many addresses are done, of how many
ANY_SENSEAIR = 254  # reserved by the standard; SenseAir sensors answer to it whatever their own address is
SCAN_UNITS: tuple[int, ...] = (*range(1, 248), ANY_SENSEAIR)
QUICK = Timing(timeout_s=0.2)
FLOAT_OCTAVES = 508  # of both signs, in single precision
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
            look = _Look(bus, unit)
            fitting = _believable([template for template in known if await look.fits(template)])
            found.append(FoundUnit(unit, answer, tuple(template.name for template in fitting)))
    if progress is not None:
        progress(len(units), len(units))
    return found


def _believable(fitting: list[templates.Template]) -> list[templates.Template]:
    """Those that did not fit by chance, the best proven first."""
    most = max(map(_surprise, fitting), default=0.0)
    by_proof = get_args(templates.Evidence).index
    kept = [template for template in fitting if 2 * _surprise(template) >= most]
    return sorted(kept, key=lambda template: (by_proof(template.evidence), -_surprise(template), template.name))


def _surprise(template: templates.Template) -> float:
    """How unlikely it is, in bits, that registers of some other meaning lie in all ranges of ``identify``.

    One register in a wide range says next to nothing; three floats between 80 and 300 hardly come by chance.
    """
    points = {point.quantity: point for point in template.points}
    return sum(_bits(points[quantity], *bounds) for quantity, bounds in template.identify.items())


def _bits(point: templates.Point, low: float, high: float) -> float:
    if point.type.startswith("f"):  # as many floats lie between 1 and 2 as between 1024 and 2048
        octaves = math.log2(high / low) if low > 0 else FLOAT_OCTAVES / 4
        return math.log2(FLOAT_OCTAVES / max(octaves, 1e-6))
    raw = max((high - low) / abs(point.scale), 1.0)
    return max(0.0, 16 * point.count - math.log2(raw))


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


class _Look:
    """What one unit answered so far: many models begin with the same registers, which are read once."""

    def __init__(self, bus: ModbusBus, unit: int) -> None:
        self._bus = bus
        self._unit = unit
        self._heard: dict[tuple[int, int, int], bytes | None] = {}

    async def fits(self, template: templates.Template) -> bool:
        """Whether all values that identify the model are there and plausible."""
        points = [point for point in template.points if point.quantity in template.identify]
        blocks = plan_for(template, points, self._bus.char_s)
        values: dict[str, object] = {}
        for block in blocks:
            registers = await self._read(block)
            if registers is None:
                return False
            values |= {m.quantity: m.value for m in decode_blocks((block,), (registers,))}
        return bool(points) and all(
            isinstance(value := values.get(quantity), int | float) and low <= value <= high
            for quantity, (low, high) in template.identify.items()
        )

    async def _read(self, block: Block) -> bytes | None:
        key = block.function, block.address, block.count
        if key not in self._heard:
            try:
                self._heard[key] = (await self._bus.read(self._unit, (block,), timing=QUICK)).data[0]
            except (Timeout, Refused, BadFrame):
                self._heard[key] = None
        return self._heard[key]
