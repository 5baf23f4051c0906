"""What every Modbus bus does, whatever carries the frames: turns, patience with each unit, refusals as errors.

One request is on its way at a time. Of those that wait, the one with the earliest deadline goes next. A unit that is
known to be silent is given only the time that it usually took, so that it costs its neighbours little.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from drivers.base import Direction, Frame, Tap
from drivers.buses import modbus_adu as adu
from drivers.buses import modbus_scan
from drivers.buses.modbus_owed import Owed
from drivers.buses.modbus_poll import AS_THE_BUS, Answer, ModbusRefused, Poll, Timing
from drivers.buses.modbus_scan import SCAN_UNITS, FoundUnit, Progress
from drivers.buses.turns import Turns
from drivers.errors import Timeout
from drivers.planner import Block

TIMEOUT_S = 0.5
TURNAROUND_S = 0.05  # the least a unit gets, besides the wire: USB adapters hold bytes back for 16 ms
LEARNED_TIMES = 4  # a silent unit gets so many times its usual turn-around
FULL_EVERY = 4  # of the requests to a silent unit, one in so many waits the full time: it may have become slower
STRANGER_MISSES = 3  # from then on a unit that never answered gets no more time than the slowest one that did
LATE_TIMES = 3  # how late an answer may still come, where nobody says: so many time-outs,
LATE_MIN_S = 1.0  # and at least this
ASIDE_S = 5.0  # what has no deadline of its own (a scan, a person's question) is asked after what is due by then


@dataclass(slots=True)
class Unit:
    """What the bus knows of one address. Times are the loop's; ``usual_s`` is the turn-around."""

    address: int
    quiet_until: float = 0.0
    usual_s: float | None = None
    misses: int = 0
    owed: Owed = field(default_factory=Owed)


class ModbusBus(ABC):
    """See drivers.base.Bus. ``char_s`` is the wire time of a character, for the planner."""

    unit_min = 1  # 0 is the broadcast of a line

    def __init__(self, name: str, timing: Timing, char_s: float) -> None:
        self.name = name
        self.tap: Tap | None = None
        self.timeout_s = TIMEOUT_S if timing.timeout_s is None else timing.timeout_s
        self.late_s = timing.late_s
        self.gap_s = timing.gap_s
        self.char_s = char_s
        self._units: dict[int, Unit] = {}
        self._turns = Turns()

    @abstractmethod
    async def open(self) -> None:
        """Open the medium now. Raises NoPort, NoPermission or Disconnected."""

    @abstractmethod
    def _drop(self) -> None:
        """Close the medium."""

    @abstractmethod
    async def _ask(self, known: Unit, block: Block, timing: Timing) -> Answer:
        """One request and its answer, alone on the bus. Raises a DriverError."""

    async def close(self) -> None:
        """Close the medium, once the exchange in progress is over."""
        await self._turns.take(float("-inf"))
        try:
            self._drop()
        finally:
            self._turns.give()

    async def read(
        self, unit: int, blocks: Sequence[Block], *, timing: Timing = AS_THE_BUS, deadline: float | None = None
    ) -> Poll:
        """Read the blocks of one unit. Raises a DriverError; nothing is returned by half.

        ``deadline`` (the loop's time) is when it should be done: what is due earlier goes first.
        """
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + ASIDE_S
        known = self._units.get(unit) or self._units.setdefault(unit, Unit(unit))
        if len(blocks) == 1:
            data, _, begin_ns, end_ns, at_ns = await self._in_turn(known, blocks[0], timing, deadline)
            return Poll((data,), begin_ns, end_ns, at_ns)
        answers = [await self._in_turn(known, block, timing, deadline) for block in blocks]
        instants = [answer.at_mono_ns for answer in answers]
        middle_ns = (min(instants) + max(instants)) // 2
        return Poll(
            tuple(answer.data for answer in answers), answers[0].begin_mono_ns, answers[-1].end_mono_ns, middle_ns
        )

    async def scan(self, progress: Progress | None = None, units: Iterable[int] = SCAN_UNITS) -> list[FoundUnit]:
        """Ask every address for one register, read only, and guess the templates of those that answer."""
        return await modbus_scan.scan(self, units, progress)

    async def _in_turn(self, known: Unit, block: Block, timing: Timing, deadline: float) -> Answer:
        while True:
            if known.quiet_until and (rest_s := known.quiet_until - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(rest_s)
            await self._turns.take(deadline)
            try:
                # it may have been asked by others meanwhile, and been silent
                if not known.quiet_until or known.quiet_until <= asyncio.get_running_loop().time():
                    answer = await self._ask(known, block, timing)
                    break
            finally:
                self._turns.give()
        if answer.exception:
            raise _refusal(known, block, answer.exception)
        return answer

    def _patience_s(self, known: Unit, timeout_s: float) -> float:
        """How long to wait for a unit: a silent one gets what it usually took, and now and then its full time again."""
        if known.misses % FULL_EVERY == 0:
            return timeout_s
        usual_s = known.usual_s
        if usual_s is None:
            heard = [other.usual_s for other in self._units.values() if other.usual_s is not None]
            if known.misses < STRANGER_MISSES or not heard:
                return timeout_s
            usual_s = max(heard)
        return min(timeout_s, max(TURNAROUND_S, LEARNED_TIMES * usual_s))

    def _timeout_s(self, timing: Timing) -> float:
        return self.timeout_s if timing.timeout_s is None else timing.timeout_s

    def _late_s(self, timing: Timing) -> float:
        for stated in (timing.late_s, self.late_s):
            if stated is not None:
                return stated
        return max(LATE_MIN_S, LATE_TIMES * self._timeout_s(timing))

    def _gap_s(self, timing: Timing) -> float:
        return timing.gap_s if timing.gap_s is not None else self.gap_s or 0.0

    def _show(self, direction: Direction, data: bytes) -> None:
        if self.tap is not None:
            self.tap(Frame(self.name, direction, data, time.time_ns()))


def took(known: Unit, took_s: float) -> None:
    """The unit answered after so long, wire time aside."""
    known.usual_s = took_s if known.usual_s is None else 0.8 * known.usual_s + 0.2 * took_s
    known.misses = 0


def _refusal(known: Unit, block: Block, exception: int) -> Timeout | ModbusRefused:
    if exception in adu.GATEWAY_EXCEPTIONS:
        known.misses += 1
        return Timeout(f"the gateway says that unit {known.address} does not answer: {adu.EXCEPTIONS[exception]}")
    meaning = adu.EXCEPTIONS.get(exception, "unknown")
    where = f"function {block.function}, {block.count} registers from {block.address:#06x}"
    return ModbusRefused(f"unit {known.address} refused {where}: exception {exception}, {meaning}", exception)
