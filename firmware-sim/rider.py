"""What the world's cyclist meets on the ride: swerves, braking, impacts, overtakers, the surface. Pure, as the world.

What happens repeats with the ride; how strong it is does not.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from firmware_sim.world import World, course_of, noise, uniform

SWERVE, BRAKING, IMPACT, OVERTAKE = 1, 2, 3, 4
MOVING_M_S = 3.0
BAND_KMH = 5


@dataclass(frozen=True, slots=True)
class Happening:
    """``count`` is the number of this one among those of its kind; ``peak`` is m/s2, of an overtake metres."""

    kind: int
    count: int
    at_s: float
    peak: float
    duration_s: float
    speed_kmh: float


@lru_cache(maxsize=4)
def _script(seed: int) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """When in a ride something happens, and what: in the middle of each stretch at speed, if anything."""
    course = course_of(seed)
    at, kinds = [], []
    for (begin, end), (v, w) in zip(pairwise(course.at_s), pairwise(course.speed), strict=True):
        what = int(uniform(seed, "happening", begin) * 5)
        if min(v, w) > MOVING_M_S and what:
            at.append(begin + (end - begin) * (0.3 + 0.4 * uniform(seed, "moment", begin)))
            kinds.append(what)
    return tuple(at), tuple(kinds)


def counts(world: World, t: float) -> tuple[int, int, int, int]:
    """Swerves, hard brakings, impacts and overtakes until ``t``."""
    at, kinds = _script(world.seed)
    rides, tau = divmod(max(0.0, t), course_of(world.seed).at_s[-1])
    done = kinds[: bisect_right(at, tau)]
    swerves, brakings, impacts, overtakes = (int(rides) * kinds.count(kind) + done.count(kind) for kind in range(1, 5))
    return swerves, brakings, impacts, overtakes


def last(world: World, t: float) -> Happening | None:
    """The last that happened until ``t``, None where nothing has yet."""
    at, kinds = _script(world.seed)
    period = course_of(world.seed).at_s[-1]
    rides, tau = divmod(max(0.0, t), period)
    index = bisect_right(at, tau) - 1
    if not at or (index < 0 and rides == 0):
        return None
    when = (rides if index >= 0 else rides - 1) * period + at[index]
    kind = kinds[index]
    strength = uniform(world.seed, "strength", round(when, 3))
    low, high = {SWERVE: (2.5, 7.0), BRAKING: (3.2, 7.5), IMPACT: (15.0, 60.0), OVERTAKE: (0.7, 2.4)}[kind]
    return Happening(
        kind,
        counts(world, when + 1e-6)[kind - 1],
        when,
        low + (high - low) * strength,
        0.04 if kind == IMPACT else 0.4 + strength,
        world.bicycle(when).speed_kmh,
    )


def vibration(world: World, t: float) -> float:
    """RMS of the vertical acceleration in m/s2: rougher stretches, and more with speed."""
    rough = 1.6 + 0.9 * noise(world.seed, "surface", t / 15)
    return max(0.05, rough * world.bicycle(t).speed_kmh / 18)


def band(world: World, t: float) -> tuple[int, int]:
    """The speed band in km/h that the cyclist is in."""
    low = int(world.bicycle(t).speed_kmh // BAND_KMH) * BAND_KMH
    return low, low + BAND_KMH


def clearance(world: World, t: float, side: str) -> float:
    """Free metres to one side: parked cars, walls, and whoever overtakes."""
    free = 2.1 + 1.2 * noise(world.seed, f"clearance-{side}", t / 2)
    happened = last(world, t)
    if side == "left" and happened is not None and happened.kind == OVERTAKE and t - happened.at_s < 1.5:
        return happened.peak
    return free


def power(world: World, t: float) -> int:
    """Watts of the rider: rolling and air resistance at this speed (80 kg, CdA 0.45 m2), none while rolling out."""
    state = world.bicycle(t)
    v = state.speed_kmh / 3.6
    return round(80 * 9.81 * 0.006 * v + 0.5 * 1.2 * 0.45 * v**3) if state.cadence_rpm else 0


def passing(t: float) -> tuple[int, int]:
    """How many cyclists have passed the loops in the track until ``t``, in and out."""
    return int(t / 8), int(t / 11 + 0.5)
