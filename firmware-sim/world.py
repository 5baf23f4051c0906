"""What happens at the simulated site: air, weather and a cyclist, as pure functions of time and seed.

Every method takes ``t``, the true seconds since the simulator started (``World.elapsed()``). The classroom's day may
run faster than the clock on the wall: ``scenario_s(t) = start_s + t x speed`` is the time of day that is played, in
seconds since midnight of a Monday. The bicycle keeps true time, because its event times are part of what it sends.

Nothing here holds state, so that the simulator and the Bluetooth process agree without talking: the simulator writes
the parameters to ``<run>/world.json`` (:meth:`World.save`), others read them (:meth:`World.load`).
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Literal

Place = Literal["classroom", "corridor"]
DAY_S = 86_400.0
OUTDOOR_CO2_PPM = 420.0
ROOM_M3 = 200.0
CO2_M3_S_PERSON = 4.4e-6  # a seated pupil breathes out about 16 litres of CO2 an hour
WHEEL_M = 2.096  # circumference of a 700x25C wheel
GEAR = 2.6  # wheel revolutions per turn of the crank
LAPS = 6
WORLD_FILE = "world.json"


def uniform(seed: int, *key: object) -> float:
    """A number in [0, 1) that depends on nothing but the seed and the key."""
    digest = hashlib.blake2b(repr((seed, *key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


@lru_cache(maxsize=4096)
def _lattice(seed: int, name: str, index: int) -> float:
    return 2 * uniform(seed, name, index) - 1


def noise(seed: int, name: str, x: float) -> float:
    """Smooth noise in [-1, 1]: random values at whole ``x``, joined by the smoothstep polynomial 3f^2 - 2f^3."""
    index = math.floor(x)
    fraction = x - index
    blend = fraction * fraction * (3 - 2 * fraction)
    return (1 - blend) * _lattice(seed, name, index) + blend * _lattice(seed, name, index + 1)


@dataclass(frozen=True, slots=True)
class Air:
    """The room between two moments: people in it and air changes per hour, from ``start_s`` of the day on."""

    start_s: float
    people: float
    changes_h: float


_LESSONS_MIN = ((8, 30, 9, 15), (9, 20, 10, 5), (10, 25, 11, 10), (11, 15, 12, 0), (12, 45, 13, 30), (13, 35, 14, 20))


@lru_cache(maxsize=16)
def timetable(seed: int, day: int) -> tuple[Air, ...]:
    """Who is in the classroom, and how open the windows are, through one day (day 0 is a Monday)."""
    rows = [Air(0.0, 0.0, 0.35)]
    if day % 7 < 5:
        for number, (h0, m0, h1, m1) in enumerate(_LESSONS_MIN):
            people = round(20 + 8 * uniform(seed, "pupils", day, number)) + 1
            begin, end = (h0 * 60 + m0) * 60.0, (h1 * 60 + m1) * 60.0
            middle = begin + (end - begin) * (0.35 + 0.4 * uniform(seed, "middle", day, number))
            tilted = uniform(seed, "tilted", day, number) < 0.35
            rows.append(Air(begin - 240, people * 0.5, 1.6))
            rows.append(Air(begin, people, 1.0 + 0.5 * uniform(seed, "leaks", day, number)))
            rows.append(Air(middle, people, 3.0 if tilted else 1.5))
            rows.append(Air(end, people * 0.15, 6.5))
        rows.append(Air(_LESSONS_MIN[-1][2] * 3600 + 40 * 60.0, 1.0, 2.0))
        rows.append(Air(16.5 * 3600, 0.0, 0.35))
    return tuple(rows)


def _settle(co2: float, air: Air, span_s: float) -> float:
    """The mass balance dC/dt = n g / V - a (C - C_out), solved over a span of constant n and a; ppm."""
    rate = air.changes_h / 3600.0
    final = OUTDOOR_CO2_PPM + 1e6 * air.people * CO2_M3_S_PERSON / ROOM_M3 / rate
    return final + (co2 - final) * math.exp(-rate * span_s)


@lru_cache(maxsize=16)
def _co2_knots(seed: int, day: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Start of each span of the timetable and the CO2 there. A day starts at the outdoor value: the night aired out."""
    rows = timetable(seed, day)
    values = [OUTDOOR_CO2_PPM + 15.0]
    for row, following in pairwise(rows):
        values.append(_settle(values[-1], row, following.start_s - row.start_s))
    return tuple(row.start_s for row in rows), tuple(values)


@dataclass(frozen=True, slots=True)
class CyclingState:
    """What a speed and cadence sensor knows: counters, times of the last event in 1/1024 s (16 bits), true speed.

    ``wheel_revs`` counts 32 bits, ``crank_revs`` 16 bits, as in the Cycling Speed and Cadence service (0x2A5B).
    """

    wheel_revs: int
    wheel_event_1024: int
    crank_revs: int
    crank_event_1024: int
    speed_kmh: float
    cadence_rpm: float


@dataclass(frozen=True, slots=True)
class Course:
    """A closed ride: speeds in m/s at the knots, linear between them; sums of metres rolled and metres pedalled."""

    at_s: tuple[float, ...]
    speed: tuple[float, ...]
    rolled: tuple[float, ...]
    pedalled: tuple[float, ...]


@lru_cache(maxsize=4)
def course_of(seed: int) -> Course:
    """Some laps through a town: pull away, cruise up and down, brake, wait at the lights."""
    at, speed, pedal = [0.0], [0.0], []
    for lap in range(LAPS):
        cruise = 4.6 + 2.2 * uniform(seed, "cruise", lap)
        for part, (span, factor) in enumerate(((9, 0.9), (22, 1.0), (18, 1.12), (25, 0.95), (12, 1.05), (7, 0.0))):
            at.append(at[-1] + span * (0.8 + 0.4 * uniform(seed, "span", lap, part)))
            speed.append(cruise * factor)
            pedal.append(factor > 0)
        at.append(at[-1] + 8 + 14 * uniform(seed, "lights", lap))
        speed.append(0.0)
        pedal.append(False)
    spans = [(b - a) * (v + w) / 2 for (a, b), (v, w) in zip(pairwise(at), pairwise(speed), strict=True)]
    pedalled = [metres if turning else 0.0 for metres, turning in zip(spans, pedal, strict=True)]
    return Course(tuple(at), tuple(speed), (0.0, *accumulate(spans)), (0.0, *accumulate(pedalled)))


def _into_span(course: Course, index: int, tau: float) -> float:
    """Metres from the knot ``index`` after ``tau`` seconds."""
    v, w = course.speed[index], course.speed[index + 1]
    return v * tau + (w - v) * tau * tau / (2 * (course.at_s[index + 1] - course.at_s[index]))


def _moment(course: Course, index: int, metres: float) -> float:
    """The inverse of :func:`_into_span`: seconds from the knot until ``metres`` are done."""
    v = course.speed[index]
    slope = (course.speed[index + 1] - v) / (course.at_s[index + 1] - course.at_s[index])
    if abs(slope) < 1e-12:
        return metres / v
    return (math.sqrt(max(0.0, v * v + 2 * slope * metres)) - v) / slope


def _events(course: Course, sums: tuple[float, ...], step_m: float, t: float) -> tuple[int, float]:
    """How many times ``step_m`` was completed until ``t``, and when the last time was (0 where never)."""
    period, lap_m = course.at_s[-1], sums[-1]
    laps, tau = divmod(t, period)
    index = min(bisect_right(course.at_s, tau) - 1, len(course.at_s) - 2)
    moving = sums[index + 1] > sums[index]
    done = laps * lap_m + sums[index] + (_into_span(course, index, tau - course.at_s[index]) if moving else 0.0)
    count = math.floor(done / step_m + 1e-9)
    if count == 0:
        return 0, 0.0
    lap, rest = divmod(count * step_m, lap_m)
    rest_index = min(bisect_right(sums, rest) - 1, len(sums) - 2)
    at = course.at_s[rest_index] + _moment(course, rest_index, rest - sums[rest_index])
    return count, min(t, lap * period + at)


@dataclass(frozen=True, slots=True)
class World:
    """The site's script. ``start_s`` is the second of day 0 at which it begins, ``origin_s`` the monotonic start."""

    seed: int = 1
    speed: float = 1.0
    start_s: float = 8.45 * 3600
    origin_s: float = 0.0

    def elapsed(self) -> float:
        """True seconds since the simulator started, by the machine's monotonic clock."""
        return time.monotonic() - self.origin_s

    def scenario_s(self, t: float) -> float:
        """Seconds since midnight of day 0 in the day that is played."""
        return self.start_s + t * self.speed

    def co2(self, t: float) -> float:
        """Carbon dioxide of the classroom in ppm, 420 to about 1800."""
        at = self.scenario_s(t)
        day, second = int(at // DAY_S), at % DAY_S
        starts, values = _co2_knots(self.seed, day)
        index = bisect_right(starts, second) - 1
        level = _settle(values[index], timetable(self.seed, day)[index], second - starts[index])
        return level + 6 * noise(self.seed, "co2", at / 20)

    def people(self, t: float) -> float:
        """How many are in the classroom."""
        at = self.scenario_s(t)
        rows = timetable(self.seed, int(at // DAY_S))
        return rows[bisect_right([row.start_s for row in rows], at % DAY_S) - 1].people

    def pm(self, t: float) -> tuple[float, float, float]:
        """PM1, PM2.5 and PM10 of the classroom in ug/m3: a slow walk, more coarse dust where people move."""
        at = self.scenario_s(t)
        walk = 9 + 5 * noise(self.seed, "pm", at / 5400) + 2 * noise(self.seed, "pm-fast", at / 240)
        pm25 = max(1.0, walk + 0.4 * noise(self.seed, "pm-flicker", at / 4))
        coarse = 3 + 0.35 * self.people(t) * (1 + 0.3 * noise(self.seed, "pm-dust", at / 60))
        return pm25 * 0.68, pm25, pm25 + coarse

    def temperature(self, t: float, place: Place = "classroom") -> float:
        """Degrees Celsius: warmest in mid-afternoon; a full classroom is warmer, a corridor cooler."""
        at = self.scenario_s(t)
        daily = math.cos(2 * math.pi * (at / DAY_S - 15 / 24))
        drift = 0.5 * noise(self.seed, f"temperature-{place}", at / 1800)
        if place == "corridor":
            return 17.2 + 1.1 * daily + drift
        return 19.8 + 0.9 * daily + drift + 0.0013 * (self.co2(t) - OUTDOOR_CO2_PPM)

    def humidity(self, t: float, place: Place = "classroom") -> float:
        """Relative humidity in percent: breath raises it as it raises CO2."""
        at = self.scenario_s(t)
        drift = 4 * noise(self.seed, f"humidity-{place}", at / 3600)
        breath = 0.0 if place == "corridor" else 0.008 * (self.co2(t) - OUTDOOR_CO2_PPM)
        return min(95.0, 41 + drift + breath)

    def pressure(self, t: float) -> float:
        """Air pressure in hPa: weather that changes over half days."""
        at = self.scenario_s(t)
        return 1013 + 9 * noise(self.seed, "pressure", at / 43_200) + 0.2 * noise(self.seed, "gust", at / 600)

    def bicycle(self, t: float) -> CyclingState:
        """The cyclist after ``t`` true seconds; the ride repeats after its last lap. Counters wrap as on the device."""
        course = course_of(self.seed)
        tau = t % course.at_s[-1]
        index = min(bisect_right(course.at_s, tau) - 1, len(course.at_s) - 2)
        share = (tau - course.at_s[index]) / (course.at_s[index + 1] - course.at_s[index])
        speed = course.speed[index] + share * (course.speed[index + 1] - course.speed[index])
        pedalling = course.pedalled[index + 1] > course.pedalled[index]
        wheel, wheel_s = _events(course, course.rolled, WHEEL_M, t)
        crank, crank_s = _events(course, course.pedalled, WHEEL_M * GEAR, t)
        return CyclingState(
            wheel_revs=wheel % 2**32,
            wheel_event_1024=int(wheel_s * 1024) % 2**16,
            crank_revs=crank % 2**16,
            crank_event_1024=int(crank_s * 1024) % 2**16,
            speed_kmh=speed * 3.6,
            cadence_rpm=60 * speed / (WHEEL_M * GEAR) if pedalling else 0.0,
        )

    def save(self, run: Path) -> None:
        """Write the parameters for the other processes of this run."""
        values = {"seed": self.seed, "speed": self.speed, "start_s": self.start_s, "origin_s": self.origin_s}
        publish(run / WORLD_FILE, json.dumps(values))

    @classmethod
    def load(cls, run: Path) -> World:
        """The world of a running simulator. Raises OSError or ValueError where ``<run>/world.json`` cannot serve."""
        values = json.loads((run / WORLD_FILE).read_text(encoding="utf-8"))
        return cls(int(values["seed"]), float(values["speed"]), float(values["start_s"]), float(values["origin_s"]))


def publish(path: Path, text: str) -> None:
    """Write a file that others wait for: it is there as a whole or not at all."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
