"""Which meters are on an M-Bus line: by primary address, then by search for secondary ones. Nothing is written.

The search (EN 13757-3, 11.5) selects all meters whose identification begins with certain digits: silence means none,
one clean answer to the question that follows means one, anything else means several, and the next digit is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drivers import template as templates
from drivers.codecs import mbus, mbus_records
from drivers.codecs import mbus_quantities as quantities
from drivers.errors import BadFrame, Refused, Timeout

if TYPE_CHECKING:
    from drivers.buses.mbus import MBusBus

Progress = Callable[[int, int], None]  # how many addresses are done, of how many
PRIMARY = range(251)
DIGITS = 8
_UNSET = 0  # the primary address that a meter has when it comes from its maker
_BITS, _TURNAROUND_S = 330, 0.05  # EN 13757-2, 5.5.4: the longest that a meter may think
_SLACK_S = 0.04  # of USB adapters


@dataclass(frozen=True, slots=True)
class FoundMeter:
    """A meter; ``could_be`` names templates that fit its medium and maker, the closest first."""

    address: int | str
    answer: str
    could_be: tuple[str, ...]


async def scan(bus: MBusBus, progress: Progress | None) -> list[FoundMeter]:
    """Search. Raises NoPort, NoPermission or Disconnected where the line itself is gone."""
    search = _Search(bus, progress)
    await search.primary()
    await search.secondary()
    return search.found


class _Search:
    def __init__(self, bus: MBusBus, progress: Progress | None) -> None:
        self.found: list[FoundMeter] = []
        self._bus = bus
        self._timeout_s = _BITS / bus.settings.baud + _TURNAROUND_S + _SLACK_S
        self._progress = progress or (lambda done, total: None)
        self._total = len(PRIMARY) + 10
        self._known: set[str] = set()

    async def primary(self) -> None:
        for address in PRIMARY:
            self._progress(address, self._total)
            heard = await self._bus.wake(address, self._timeout_s)
            if not heard:
                continue
            try:
                readout = await self._bus.read(address, timeout_s=self._timeout_s)
            except (Timeout, BadFrame, Refused) as error:
                if address != _UNSET:  # several new meters share that one: the search tells them apart
                    self.found.append(FoundMeter(address, f"answers, but: {error}", ()))
                continue
            if address != _UNSET or readout.telegram.header.version is None:
                self._add(address, readout.telegram)

    async def secondary(self) -> None:
        for digit in range(10):
            self._progress(len(PRIMARY) + digit, self._total)
            await self._branch(str(digit))
        self._progress(self._total, self._total)

    async def _branch(self, prefix: str) -> None:
        mask = prefix.ljust(DIGITS, "f") + "f" * 8
        heard = await self._bus.select(mask, self._timeout_s)
        if not heard:
            return
        if heard == mbus.ACKNOWLEDGED:
            try:
                readout = await self._bus.read(mask, timeout_s=self._timeout_s)
            except (Timeout, BadFrame, Refused):
                pass  # several that answered with one voice
            else:
                self._add(None, readout.telegram)
                return
        if len(prefix) == DIGITS:
            self.found.append(FoundMeter(prefix, "several meters have this number, or the line is noisy", ()))
            return
        for digit in range(10):
            await self._branch(prefix + str(digit))

    def _add(self, address: int | None, telegram: mbus.Telegram) -> None:
        header = telegram.header
        who = mbus_records.identity(header)
        if who in self._known:
            return
        self._known.add(who)
        kind = quantities.medium(header.medium)
        answer = f"{header.maker or 'unknown maker'}, {kind}, number {header.serial}"
        if header.version is not None:
            answer += f", version {header.version}"
        self.found.append(FoundMeter(who if address is None else address, answer, _could_be(header.maker, kind)))


def _could_be(maker: str, kind: str) -> tuple[str, ...]:
    """Templates for this medium: those for the maker first, then those that name none."""
    fitting: list[tuple[bool, str]] = []
    for name in templates.names():
        known = templates.load(name)
        if known.protocol == "mbus" and known.options.get("medium", kind) == kind:
            made_by = known.options.get("maker")
            if made_by in (None, maker):
                fitting.append((made_by is None, name))
    return tuple(name for _, name in sorted(fitting))
