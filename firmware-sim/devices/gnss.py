"""A GNSS receiver: NMEA 0183 sentences once a second, first without a fix, then with one.

It may stand still or go round a circle, as a cyclist round a park does. ``fault`` makes it say what receivers in the
field say: a date 1024 weeks ago (the week number rolled over), a position by dead reckoning, a damaged sum.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

from firmware_sim.line import Line

Fault = Literal["", "rollover", "dead-reckoning", "sum"]
PERIOD_S = 1.0
LATENCY_S = 0.08  # from the instant of the fix to the first byte
METRES_PER_DEGREE = 111_320.0


def sentence(body: str) -> str:
    """A sentence with its sum and line end."""
    total = 0
    for character in body:
        total ^= ord(character)
    return f"${body}*{total:02X}\r\n"


def _angle(degrees: float, digits: int, letters: str) -> str:
    whole, minutes = divmod(round(abs(degrees) * 60, 5), 60)
    return f"{int(whole):0{digits}d}{minutes:08.5f},{letters[degrees < 0]}"


def burst(at: datetime, latitude: float, longitude: float, speed_kmh: float = 0.0, course: float = 0.0) -> bytes:
    """What is said of one instant with a fix: RMC, VTG, GGA, GSA, a GSV, GLL."""
    clock = f"{at:%H%M%S}.{at.microsecond // 10_000:02d}"
    place = f"{_angle(latitude, 2, 'NS')},{_angle(longitude, 3, 'EW')}"
    knots, moving = speed_kmh / 1.852, f"{course:.2f}" if speed_kmh > 1 else ""
    return "".join(
        sentence(body)
        for body in (
            f"GNRMC,{clock},A,{place},{knots:.3f},{moving},{at:%d%m%y},,,A,V",
            f"GNVTG,{moving},T,,M,{knots:.3f},N,{speed_kmh:.3f},K,A",
            f"GNGGA,{clock},{place},1,09,0.98,56.0,M,48.5,M,,",
            "GNGSA,A,3,23,24,20,12,05,,,,,,,,1.82,0.98,1.54,1",
            "GPGSV,1,1,03,01,06,014,08,12,43,207,28,14,06,049,,1",
            f"GNGLL,{place},{clock},A,A",
        )
    ).encode("ascii")


COLD = "".join(
    sentence(body)
    for body in (
        "GNRMC,,V,,,,,,,,,,N,V",
        "GNVTG,,,,,,,,,N",
        "GNGGA,,,,,,0,00,99.99,,,,,,",
        "GNGSA,A,1,,,,,,,,,,,,,99.99,99.99,99.99,1",
        "GNGLL,,,,,,V,N",
    )
).encode("ascii")


class Gnss:
    """The receiver on its line. ``cold_s``: how long it looks for satellites; ``radius_m``: of its circle, 0: fixed."""

    echoes = False

    def __init__(
        self,
        line: Line,
        latitude: float,
        longitude: float,
        *,
        cold_s: float = 30.0,
        radius_m: float = 0.0,
        speed_kmh: float = 0.0,
        period_s: float = PERIOD_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.silent = False
        self.given = 0
        self.fault: Fault = ""
        self._line = line
        self._centre = latitude, longitude
        self._cold_s = cold_s
        self._radius_m, self._speed_kmh = radius_m, speed_kmh if radius_m else 0.0
        self._period_s = period_s
        self._now = now
        self._begun_s = now()
        line.attach(self)

    def heard(self, data: bytes) -> None:
        """It takes no commands here."""

    def quiet(self) -> None:
        """It does not wait its turn: nobody else is on its line."""

    def say(self, at_s: float) -> bytes:
        """What it says of an instant, in seconds since 1970."""
        if at_s - self._begun_s < self._cold_s:
            return COLD
        at = datetime.fromtimestamp(at_s, UTC)
        latitude, longitude, course = self._place(at_s)
        if self.fault == "rollover":
            at -= timedelta(weeks=1024)
        said = burst(at, latitude, longitude, self._speed_kmh, course)
        if self.fault == "dead-reckoning":
            lines = [line.decode().split("*")[0][1:] for line in said.splitlines()]
            lines = [line.replace(",,,A,V", ",,,E,V").replace("K,A", "K,E").replace("A,A", "A,E") for line in lines]
            said = "".join(sentence(line.replace(",1,09,", ",6,09,")) for line in lines).encode()
        if self.fault == "sum":
            said = said.replace(b"*", b"*F")
        return said

    def _place(self, at_s: float) -> tuple[float, float, float]:
        latitude, longitude = self._centre
        if not self._radius_m:
            return latitude, longitude, 0.0
        angle = at_s * self._speed_kmh / 3.6 / self._radius_m % (2 * math.pi)
        north, east = self._radius_m * math.cos(angle), self._radius_m * math.sin(angle)
        east_degree = METRES_PER_DEGREE * math.cos(math.radians(latitude))
        course = (math.degrees(angle) + 90) % 360
        return latitude + north / METRES_PER_DEGREE, longitude + east / east_degree, course

    async def run(self) -> None:
        """Speak of every whole period, a little after it, until cancelled."""
        while True:
            now = self._now()
            at_s = (now // self._period_s + 1) * self._period_s
            await asyncio.sleep(at_s + LATENCY_S - now)
            if not self.silent:
                self._line.send(self, self.say(at_s))
                self.given += 1
