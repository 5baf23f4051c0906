"""How good a template is, computed from the file alone: none, bronze, silver, gold or platinum.

Each grade asks for all that the ones below ask for, and more:

bronze
    It can be read and recognised. Modbus: ``identify`` bounds at least one point. Others: it has ``fields``, or a frame
    that shows what comes. (That it loads is checked by the reader; that a device made from it is read, by the tests.)
silver
    It can be installed without guessing. ``sources`` are named; Modbus: ``line`` or ``tcp_port`` is stated. The pace
    makes sense: a poll each 1 s to 1 h, or at most a day of silence for a device that speaks by itself. Every point
    fits into the device's longest answer.
gold
    It can be trusted. ``evidence`` is ``agreed`` or ``captured``, and no point is ``disputed``.
platinum
    It is proven. ``evidence`` is ``captured``, with a frame of the device in the file or named in ``captured``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from types import MappingProxyType

from drivers.template import Template

PERIOD_MIN_S, PERIOD_MAX_S = 1.0, 3600.0
SILENCE_MAX_S = 86_400.0


class Grade(IntEnum):
    """The grades, worst first."""

    NONE = 0
    BRONZE = 1
    SILVER = 2
    GOLD = 3
    PLATINUM = 4

    @property
    def word(self) -> str:
        """``bronze``."""
        return self.name.lower()


def grade(template: Template) -> Grade:
    """The highest grade whose demands, and those of all below it, are met."""
    reached = Grade.NONE
    for wanted in DEMANDS:
        if _unmet(template, wanted):
            break
        reached = wanted
    return reached


def missing(template: Template) -> list[str]:
    """What it takes for the next grade; empty for the highest."""
    reached = grade(template)
    return [] if reached is Grade.PLATINUM else _unmet(template, Grade(reached + 1))


def _unmet(template: Template, wanted: Grade) -> list[str]:
    return [text for text, met in DEMANDS[wanted].items() if not met(template)]


def _recognised(template: Template) -> bool:
    return bool(template.identify) if template.protocol == "modbus" else bool(template.fields or template.frames)


def _reached(template: Template) -> bool:
    return template.protocol != "modbus" or template.line.stated or template.tcp_port is not None


def _paced(template: Template) -> bool:
    if template.period_s is None:
        return template.protocol != "modbus" and template.silence_s <= SILENCE_MAX_S
    return PERIOD_MIN_S <= template.period_s <= PERIOD_MAX_S


def _fits(template: Template) -> bool:
    return all(point.count <= template.registers_max for point in template.points)


def _proven(template: Template) -> bool:
    return template.evidence == "captured" and bool(template.captured or template.frames)


DEMANDS: Mapping[Grade, Mapping[str, Callable[[Template], bool]]] = MappingProxyType(
    {
        Grade.BRONZE: {"say what makes a device plausible (`identify`), or show a frame": _recognised},
        Grade.SILVER: {
            "name the sources": lambda template: bool(template.sources),
            "state the serial line or the TCP port, from a source": _reached,
            "give a period from 1 s to 1 h, or a silence of at most a day": _paced,
            "allow answers as long as the longest value": _fits,
        },
        Grade.GOLD: {
            "find a second source that agrees, or capture a frame": lambda t: t.evidence in ("agreed", "captured"),
            "settle the points on which the sources differ": lambda template: not template.disputed,
        },
        Grade.PLATINUM: {"capture a frame of the device and store it as a test": _proven},
    }
)
