"""What is on a serial port of which nothing is known: who speaks by itself, who answers Modbus, at which settings.

Read only: it listens, then asks for one register with functions 3 and 4. A device that speaks by itself is heard at any
speed, if only as garbage; so a port that is silent is listened to once, and one that is not at every usual setting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

from drivers import registry
from drivers import template as templates
from drivers.buses import modbus_scan
from drivers.buses.modbus_rtu import ModbusRtuBus
from drivers.buses.serial_port import PortSettings, SerialPort
from drivers.buses.serial_stream import PortDriver, SerialBus
from drivers.errors import BadFrame, Refused, Timeout
from drivers.planner import Block
from drivers.template import Template

Progress = Callable[[str, int, int], None]  # what is being tried, how much is done, of how much

SPEAKERS = ("p1", "sml", "d0", "pms", "sds", "hpma", "mcu680", "nmea")
HEARD_AT = (  # the usual settings of devices that speak by themselves
    *((115_200, "none", 8), (9600, "none", 8), (9600, "even", 7), (4800, "none", 8), (38_400, "none", 8)),
    *((300, "even", 7), (2400, "even", 8)),
)
BAUDS = (9600, 19_200, 115_200, 2400, 38_400, 4800, 57_600, 1200)
PARITIES = ("none", "even")
FIRST_UNITS = (*range(1, 11), 247, 254)  # where a line is tried: what is fresh from the box answers there
LISTEN_S = 3.0
LOOK_S = 0.05
PATIENCE_S = 0.3


@dataclass(frozen=True, slots=True)
class FoundOnPort:
    """A device on a port. ``address`` is None for one that speaks by itself; ``could_be``: see modbus_scan."""

    port: PortSettings
    protocol: str
    address: int | None
    answer: str
    could_be: tuple[str, ...]


async def scan_port(
    path: str, progress: Progress, *, listen_s: float = LISTEN_S, thorough: bool = False
) -> list[FoundOnPort]:
    """Who is on the port. ``thorough`` asks every address at every setting: an hour rather than two minutes.

    Raises NoPort, NoPermission or Disconnected.
    """
    speaker = await _listen(path, progress, listen_s)
    return [speaker] if speaker is not None else await _ask(path, progress, thorough)


async def _listen(path: str, progress: Progress, listen_s: float) -> FoundOnPort | None:
    for done, (baud, parity, bits) in enumerate(HEARD_AT):
        settings = PortSettings(path, baud, parity, bits)
        progress(f"listening at {_shown(settings)}", done, len(HEARD_AT))
        heard, speaking = await _hear(settings, listen_s)
        if speaking:
            names = tuple(template.name for template in speaking)
            return FoundOnPort(settings, speaking[0].protocol, None, "speaks by itself", names)
        if not heard:
            return None
    return None


async def _hear(settings: PortSettings, listen_s: float) -> tuple[bool, list[Template]]:
    """(whether anything came, the templates that a good frame fits)."""
    speakers = list(_speakers(settings))
    heard = False
    port = SerialPort(settings)
    loop = asyncio.get_running_loop()
    until = loop.time() + listen_s
    try:
        while loop.time() < until:
            await asyncio.sleep(LOOK_S)
            data = port.read()
            heard = heard or bool(data)
            fitting = [template for template, driver in speakers if driver.feed(data, time.monotonic_ns())]
            if fitting:
                return True, fitting
    finally:
        port.close()
    return heard, []


def _speakers(settings: PortSettings) -> Iterator[tuple[Template, PortDriver]]:
    """A driver for each template of a device that speaks by itself, none of which opens the port."""
    for name in templates.names():
        template = templates.load(name)
        if template.protocol in SPEAKERS:
            driver = registry.make_driver(template, SerialBus("scan", settings), None, None, {})
            if isinstance(driver, PortDriver):
                yield template, driver


async def _ask(path: str, progress: Progress, thorough: bool) -> list[FoundOnPort]:
    settings = [PortSettings(path, baud, parity) for baud, parity in product(BAUDS, PARITIES)]
    for done, chosen in enumerate(settings):
        what = f"asking at {_shown(chosen)}"
        progress(what, done, len(settings))
        if thorough or await _answers(chosen):
            found = await _all_units(chosen, partial(progress, what))
            if found:
                return found
    progress("asked at all settings", len(settings), len(settings))
    return []


async def _answers(settings: PortSettings) -> bool:
    bus = ModbusRtuBus("scan", settings, PATIENCE_S)
    try:
        for unit in FIRST_UNITS:
            try:
                await bus.read(unit, (Block(4, 0, 1, ()),))
            except (Timeout, BadFrame):
                continue
            except Refused:  # who refuses is there
                return True
            return True
    finally:
        await bus.close()
    return False


async def _all_units(settings: PortSettings, progress: Callable[[int, int], None]) -> list[FoundOnPort]:
    bus = ModbusRtuBus("scan", settings, PATIENCE_S)
    try:
        units = await bus.scan(progress, modbus_scan.SCAN_UNITS)
    finally:
        await bus.close()
    return [FoundOnPort(settings, "modbus", unit.address, unit.answer, unit.could_be) for unit in units]


def _shown(settings: PortSettings) -> str:
    return f"{settings.baud} {settings.data_bits}{settings.parity[0].upper()}{settings.stop_bits}"
