"""What is done about a modem that is stuck: connect anew, register anew, disable and enable, reset, take its power.

Pure: which rung is next follows from the symptom, from what was done already and from the time. Each symptom has its
first rung and is given time to go by itself. A rung that did not help is followed by the next one up, after growing
pauses. Resets and power are limited until the modem has worked again; what goes on for ever are the two soft rungs, an
hour apart. What only people can mend (``gateway.uplink.modem.needs_human``) never comes here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from gateway.uplink.modem import Modem, ModemState


class Rung(IntEnum):
    """From the mildest to the hardest."""

    RECONNECT = 0
    REGISTER = 1
    ENABLE = 2
    RESET = 3
    POWER = 4

    @property
    def words(self) -> str:
        """For the journal."""
        return _WORDS[self]


_WORDS = {
    Rung.RECONNECT: "disconnect and connect",
    Rung.REGISTER: "register anew",
    Rung.ENABLE: "disable and enable",
    Rung.RESET: "reset",
    Rung.POWER: "power of the radio off and on",
}
HARD = frozenset({Rung.RESET, Rung.POWER})


class Symptom(StrEnum):
    """What is seen of a modem that should be connected, in the words of the journal."""

    STALLED = "is connected and moves nothing"
    UNCONNECTED = "is registered and does not connect"
    UNREGISTERED = "finds no network"
    DISABLED = "stays disabled"
    SILENT = "does not work"


FIRST = {
    Symptom.STALLED: Rung.RECONNECT,
    Symptom.UNCONNECTED: Rung.RECONNECT,
    Symptom.UNREGISTERED: Rung.REGISTER,
    Symptom.DISABLED: Rung.ENABLE,
    Symptom.SILENT: Rung.RESET,
}


@dataclass(frozen=True, slots=True)
class Timing:
    """How long is waited, in seconds. ``patience_s``: before anything is done about a symptom."""

    patience_s: dict[Symptom, float] = field(
        default_factory=lambda: {
            Symptom.STALLED: 0.0,  # see quiet_s
            Symptom.UNCONNECTED: 90.0,  # PPP and a slow network: 60 s is seen
            Symptom.UNREGISTERED: 180.0,  # a first search through all bands takes 2 to 3 minutes
            Symptom.DISABLED: 60.0,
            Symptom.SILENT: 60.0,
        }
    )
    pauses_s: tuple[float, ...] = (60.0, 120.0, 180.0, 300.0, 900.0, 1800.0, 3600.0)  # a reset modem needs a minute
    quiet_s: float = 120.0  # nothing is acknowledged, and not a byte comes in, for so long: stalled
    well_s: float = 120.0  # connected for so long: it has recovered
    activate_s: tuple[float, ...] = (5.0, 15.0, 30.0, 60.0, 300.0)  # between tries to bring the connection up


HARD_MAX = 6  # resets and power cycles until it has worked again


def symptom(modem: Modem, *, online: bool, stalled: bool) -> Symptom | None:
    """What a modem that should be connected suffers from. ``online``: the system has its connection up."""
    if modem.state is ModemState.CONNECTED and online:
        return Symptom.STALLED if stalled else None
    if modem.state >= ModemState.REGISTERED:
        return Symptom.UNCONNECTED
    if modem.state >= ModemState.ENABLED:
        return Symptom.UNREGISTERED
    if modem.state in (ModemState.DISABLED, ModemState.ENABLING):
        return Symptom.DISABLED
    return Symptom.SILENT


class Ladder:
    """Where on the ladder a modem stands. ``attempts`` counts the rungs taken since it last worked."""

    def __init__(self, timing: Timing | None = None) -> None:
        self.attempts = 0
        self._timing = timing or Timing()
        self._hard = 0
        self._last: Rung | None = None
        self._symptom: Symptom | None = None
        self._since_s = 0.0
        self._not_before_s = 0.0

    def next(self, now_s: float, seen: Symptom | None, unsupported: Collection[Rung] = ()) -> Rung | None:
        """The rung to take now, None where it is not time for one. ``unsupported``: what this modem cannot do."""
        if seen is not self._symptom:
            self._symptom, self._since_s = seen, now_s
        if seen is None:
            if now_s - self._since_s >= self._timing.well_s:
                self.forget()
            return None
        if now_s < max(self._since_s + self._timing.patience_s[seen], self._not_before_s):
            return None
        rung = self._choose(FIRST[seen], unsupported)
        self._last = rung
        self._hard += rung in HARD
        pauses = self._timing.pauses_s
        self._not_before_s = now_s + pauses[min(self.attempts, len(pauses) - 1)]
        self.attempts += 1
        return rung

    def instead(self, unsupported: Collection[Rung]) -> Rung | None:
        """The modem cannot do the last one: the next up, where there is one; counted as the same attempt."""
        rung = None if self._last is None else next((r for r in Rung if r > self._last and r not in unsupported), None)
        if rung is None or (rung in HARD and self._hard >= HARD_MAX):
            return None
        self._hard += rung in HARD
        self._last = rung
        return rung

    def _choose(self, first: Rung, unsupported: Collection[Rung]) -> Rung:
        """The next one up that the modem knows; after the last, and where hard ones are used up, from below again."""
        closed = set(unsupported) | (HARD if self._hard >= HARD_MAX else set())
        above = Rung.RECONNECT if self._last is None else self._last + 1
        order = [rung for rung in Rung if rung >= max(first, above)] + [rung for rung in Rung if rung >= first]
        return next((rung for rung in order if rung not in closed), Rung.REGISTER)

    def forget(self) -> None:
        """It works, or is not wanted: from below again."""
        self.attempts = self._hard = 0
        self._last = None
        self._not_before_s = 0.0
