"""The other end of the Modbus benchmarks, in a process of its own: a paced line on a pseudo-terminal, or a TCP host.

Its loop waits with select(), whose timers are good to microseconds; those of epoll() are to milliseconds.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_sim.line import Line, PtyPort
from firmware_sim.modbus import READ_HOLDING, READ_INPUT, Slave, Table, Unit
from firmware_sim.modbus_tcp import TcpHost

SPAWN = multiprocessing.get_context("spawn")
REGISTERS = 2000


@dataclass(frozen=True)
class Far:
    """What is there: ``units`` from 1 up. With ``link`` a line of ``baud`` on that port, else a TCP host.

    ``late_s``: each ``late_every``-th answer of a unit comes up to that late. ``noise``: share of the bytes on the line
    that are damaged. ``clock``: the first four registers tell the instant of the read in monotonic nanoseconds.
    ``wait_s``: the TCP host is a gateway that itself waits so long for a dead unit, and everybody behind it too.
    """

    units: int
    link: str = ""
    baud: int = 115_200
    dead: tuple[int, ...] = ()
    turnaround_s: float = 0.0
    late_every: int = 0
    late_s: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0
    clock: bool = False
    wait_s: float = 0.0


def value_of(address: int) -> int:
    """What a register holds: which one it is, scattered over 16 bits."""
    return address * 40_503 & 0xFFFF


@contextmanager
def running(far: Far) -> Iterator[int]:
    """Start it; gives the TCP port, 0 for a line."""
    ready = SPAWN.Queue()
    process = SPAWN.Process(target=_serve, args=(far, ready), daemon=True)
    process.start()
    try:
        yield ready.get(timeout=20)
    finally:
        process.terminate()
        process.join()


def _serve(far: Far, ready: Any) -> None:
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(_line(far, ready) if far.link else _host(far, ready))


async def _line(far: Far, ready: Any) -> None:
    line = Line("bench", far.baud)
    line.noise = far.noise
    port = PtyPort(line, Path(far.link))
    port.plug()
    for number in range(1, far.units + 1):
        slave = Slave(line, number, _tables(far), turnaround_s=far.turnaround_s)
        _settle(slave, number, far)
    ready.put(0)
    await asyncio.Event().wait()


async def _host(far: Far, ready: Any) -> None:
    units = {number: Unit(_tables(far), turnaround_s=far.turnaround_s) for number in range(1, far.units + 1)}
    for number, unit in units.items():
        _settle(unit, number, far)
    host = TcpHost(units)
    host.wait_s = far.wait_s
    await host.up()
    ready.put(host.port)
    await asyncio.Event().wait()


def _settle(unit: Unit, number: int, far: Far) -> None:
    unit.silent = number in far.dead
    unit.faults.late_every = far.late_every
    low, high = far.late_s
    spread = (number * 0.618_034) % 1.0  # units differ in how late they are
    unit.faults.late_s = low + (high - low) * spread


def _tables(far: Far) -> dict[int, Table]:
    fixed = {address: value_of(address) for address in range(REGISTERS)}

    def now() -> dict[int, int]:
        ns = time.monotonic_ns()
        return fixed | {at: ns >> 48 - 16 * at & 0xFFFF for at in range(4)}

    table: Callable[[], dict[int, int]] = now if far.clock else lambda: fixed
    return {READ_INPUT: table, READ_HOLDING: table}
