"""A meter on an M-Bus line.

``address`` is the primary address (a number, 0 to 250), or the secondary one in quotes: the 8 digits on the meter, or
16 with maker, version and medium as ``lamppost scan`` shows them (F: any). Options: ``medium`` and ``maker`` say what
the meter has to be; another one is WrongDevice. Paths of ``fields``: :mod:`drivers.codecs.mbus_quantities`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from drivers.base import Bus, Driver, Observation
from drivers.buses.mbus import PRIMARY_MAX, MBusBus
from drivers.codecs import mbus
from drivers.codecs import mbus_quantities as quantities
from drivers.codecs.mbus_records import Header
from drivers.errors import BadFrame, WrongDevice
from drivers.template import Template

PERIOD_S = 300.0  # between polls, where neither the device nor its template says: meters live on a battery
_ANY_ELSE = "ffffffff"  # maker, version and medium


class MBusDriver:
    """Polls one meter; see drivers.base.Driver."""

    def __init__(
        self, bus: MBusBus, template: Template, address: int | str, period_s: float, options: Mapping[str, str]
    ) -> None:
        self.period_s: float | None = period_s
        self.silence_s = template.silence_s
        self.address = address
        self._bus = bus
        self._fields = template.fields
        self._medium, self._maker = options.get("medium"), options.get("maker")

    async def read(self) -> tuple[Observation, ...]:
        """Read all records once: one observation. Raises a DriverError."""
        readout = await self._bus.read(self.address)
        header = readout.telegram.header
        self._check(header)
        measurements = mbus.measurements(readout.telegram, self._fields)
        if not measurements:
            raise BadFrame(f"meter {self.address} has no value that is known")
        return (Observation(measurements, (readout.begin_mono_ns + readout.end_mono_ns) // 2),)

    async def close(self) -> None:
        """Nothing to let go of: the line belongs to the bus."""

    def _check(self, header: Header) -> None:
        medium = quantities.medium(header.medium)
        if self._medium is not None and medium != self._medium:
            raise WrongDevice(f"meter {self.address} measures {medium}, not {self._medium}")
        if self._maker is not None and header.maker and header.maker != self._maker:
            raise WrongDevice(f"meter {self.address} is made by {header.maker}, not {self._maker}")


def address_of(address: str | int | None) -> int | str:
    """A primary address, or a secondary one of 16 digits. Raises ValueError."""
    if isinstance(address, str) and re.fullmatch(r"[0-9a-eA-E]{8}([0-9a-fA-F]{8})?", address):
        return (address + _ANY_ELSE)[:16].lower()
    try:
        number = int(address if address is not None else "")
    except ValueError:
        number = -1
    if not 0 <= number <= PRIMARY_MAX:
        raise ValueError(
            f"{address!r} is no M-Bus address: expected a number, 0 to {PRIMARY_MAX}, or in quotes the 8 digits of "
            "the meter's number, or 16 as `lamppost scan` shows them"
        )
    return number


def make_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol mbus. Raises ValueError."""
    if not isinstance(bus, MBusBus):
        raise ValueError(f"{template.name} needs a bus of type mbus")
    unknown = sorted(set(options) - {"medium", "maker"})
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}; known: medium, maker")
    if "medium" in options and options["medium"] not in quantities.MEDIUM_NAMES:
        known = ", ".join(sorted(quantities.MEDIUM_NAMES))
        raise ValueError(f"option medium is {options['medium']!r}: expected one of {known}")
    for field in template.fields:
        if not field.path.startswith("header:"):
            quantities.Path.parse(field.path)
    if address is None:
        address = template.address
    return MBusDriver(
        bus,
        template,
        address_of(address),
        period_s or template.period_s or PERIOD_S,
        {k: str(options[k]) for k in options},
    )
