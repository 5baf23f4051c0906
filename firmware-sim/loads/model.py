"""A load model of our own: what a small building's appliances draw, second by second.

The appliances and their ratings are the same for every seed; the seed makes other days of the same building. So a model
learned on one seed can be shown another. Ratings are typical figures of type plates and energy labels:

===============  =====================================================================================================
fridge           90 W compressor, 14-22 min on, 20-34 min off; the motor's start draws 620 W in the first second
kettle           2200 W for 100-230 s, some seven times a day
washing machine  2050 W water heating for 10-18 min, drum 150 W turning 11 s of 17 s, three spins up to 520 W; most days
oven             2600 W until hot (6-9 min), then 55 s of every 150 s by thermostat, fan and light 65 W; most days
heat pump        500-1900 W by the outdoor temperature, modulating slowly, minutes-long ramps, standby 9 W
car              one phase, 16 A: 3680 W, ramp of 25 s, falls off exponentially when full; two days of three
other            base load of 140-260 W that walks slowly, lights and computers in steps, unknown small things,
                 and the meter's noise: 3 W + 0.4 % of the total (one standard deviation)
===============  =====================================================================================================

Heating elements follow the mains voltage, P = P0 (U / U0)^2, which wanders by up to 1.2 % over minutes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Watts = NDArray[np.float32]
DAY_S = 86_400
APPLIANCES = ("fridge", "kettle", "washing_machine", "oven", "heat_pump", "car")
_NAMES = (*APPLIANCES, "base", "steps", "noise", "mains")


def _rng(seed: int, name: str, day: int = -1) -> np.random.Generator:
    return np.random.default_rng([seed, _NAMES.index(name), day + 1])


def _put(series: Watts, at: float, shape: Watts) -> None:
    """Add a run of an appliance at second ``at``; what is beyond the end of the series is cut off."""
    begin = int(at)
    if begin < len(series):
        end = min(len(series), begin + len(shape))
        series[begin:end] += shape[: end - begin]


def _walk(rng: np.random.Generator, seconds: int, knot_s: int, pull: float) -> Watts:
    """A slow random walk of about unit size: steps at knots, pulled back to zero, linear between the knots."""
    count = seconds // knot_s + 2
    steps = rng.standard_normal(count)
    value, knots = 0.0, np.empty(count)
    keep, kick = 1 - pull, float(np.sqrt(1 - (1 - pull) ** 2))
    for index in range(count):
        value = keep * value + kick * float(steps[index])
        knots[index] = value
    return np.interp(np.arange(seconds), np.arange(count) * knot_s, knots).astype(np.float32)


def _fridge(seed: int, seconds: int) -> Watts:
    """Compressor cycles; warm food and open doors make some runs longer."""
    rng, series, at = _rng(seed, "fridge"), np.zeros(seconds, np.float32), 0.0
    at = float(rng.uniform(0, 1500))
    while at < seconds:
        run = rng.uniform(840, 1320) * (1.6 if rng.random() < 0.12 else 1.0)
        tau = np.arange(int(run), dtype=np.float32)
        shape = 90 + 18 * np.exp(-tau / 150)
        shape[0] = rng.uniform(560, 680)
        shape[1:2] = rng.uniform(130, 180)
        _put(series, at, shape.astype(np.float32))
        at += run + float(rng.uniform(1200, 2040))
    return series


def _kettle(seed: int, seconds: int, day: int, series: Watts) -> None:
    rng = _rng(seed, "kettle", day)
    for hour in (6.9, 7.6, 10.15, 12.2, 15.1, 17.3, 20.2):
        if rng.random() < 0.9:
            at = day * DAY_S + hour * 3600 + rng.normal(0, 900)
            _put(series, max(0.0, at), np.full(int(rng.uniform(100, 230)), 2200, np.float32))


def _drum(rng: np.random.Generator, seconds: int, watts: float) -> Watts:
    """The drum turns 11 s one way, rests 6 s, turns 11 s the other way; the load of the cloth differs each time."""
    tau = np.arange(seconds)
    torque = rng.uniform(0.85, 1.15, seconds // 17 + 1)
    return np.where(tau % 17 < 11, watts * torque[tau // 17], 12.0).astype(np.float32)


def _spin(rng: np.random.Generator, seconds: int) -> Watts:
    """Spinning: the power rises with the speed, holds, and falls to nothing at the brake."""
    ramp = np.minimum(1.0, np.arange(seconds) / (0.4 * seconds))
    shape = 60 + 460 * ramp * rng.uniform(0.9, 1.05)
    shape[-int(0.1 * seconds) :] = 15
    return shape.astype(np.float32)


def _washing_machine(seed: int, seconds: int, day: int, series: Watts) -> None:
    rng = _rng(seed, "washing_machine", day)
    for hour, chance in ((8.3, 0.75), (18.6, 0.4)):
        if rng.random() < chance:
            wash = _drum(rng, int(rng.uniform(2400, 3000)), 150)
            heat = int(rng.uniform(600, 1080))
            wash[90 : 90 + heat] += 2050
            parts = [wash]
            for _ in range(3):
                parts += [_spin(rng, 150), _drum(rng, 260, 130)]
            parts.append(_spin(rng, 420))
            _put(series, day * DAY_S + hour * 3600 + rng.uniform(-2400, 2400), np.concatenate(parts))


def _oven(seed: int, seconds: int, day: int, series: Watts) -> None:
    rng = _rng(seed, "oven", day)
    if rng.random() < 0.8:
        length, hot = int(rng.uniform(2100, 3600)), int(rng.uniform(360, 540))
        tau = np.arange(length)
        period, duty = int(rng.uniform(140, 165)), int(rng.uniform(50, 62))
        heating = (tau < hot) | ((tau - hot - 60) % period < duty) & (tau > hot + 60)
        shape = np.where(heating, 2600.0, 0.0) + 65
        hour = 11.4 if rng.random() < 0.6 else 17.8
        _put(series, day * DAY_S + hour * 3600 + rng.normal(0, 1200), shape.astype(np.float32))


def _heat_pump(seed: int, seconds: int) -> Watts:
    """Long runs whose power follows the cold outside (coldest at 5 in the morning) and the pump's own modulation."""
    rng, series, at = _rng(seed, "heat_pump"), np.full(seconds, 9, np.float32), 0.0
    at = float(rng.uniform(600, 4000))
    modulation = _walk(_rng(seed, "heat_pump", 0), seconds, 120, 0.15)
    while at < seconds:
        run = int(rng.uniform(2400, 6600))
        begin, end = int(at), min(seconds, int(at) + run)
        hour = np.arange(begin, end) / 3600
        cold = 1150 + 380 * np.cos(2 * np.pi * (hour - 5) / 24)
        power = np.clip(cold + 170 * modulation[begin:end], 500, 1900)
        tau = np.arange(end - begin)
        series[begin:end] = power * np.clip(tau / 75, 0.22, 1) * np.clip((run - tau) / 40, 0.3, 1) + 9
        at += run + float(rng.uniform(1500, 4200))
    return series


def _car(seed: int, seconds: int, day: int, series: Watts) -> None:
    rng = _rng(seed, "car", day)
    if rng.random() < 0.67:
        full = int(rng.uniform(4500, 10_800))
        tau = np.arange(full + 1200)
        ramp = np.clip(0.375 + tau / 40, 0, 1)  # from 6 A, the least that a charge point offers
        taper = np.where(tau > full, np.exp(-(tau - full) / 420), 1.0)
        shape = 3680 * ramp * taper
        shape[taper < 0.08] = 0
        hour = 8.7 if rng.random() < 0.5 else 18.2
        _put(series, day * DAY_S + hour * 3600 + rng.normal(0, 1500), shape.astype(np.float32))


def _steps(seed: int, seconds: int, day: int, series: Watts) -> None:
    """Lights, screens and unknown small things: steps of 15 to 160 W, most of them by day, and some short bursts."""
    rng = _rng(seed, "steps", day)
    for _ in range(26):
        at = day * DAY_S + float(np.clip(rng.normal(14.5, 4.5), 0, 23.9)) * 3600
        watts, length = float(rng.choice([18, 35, 60, 95, 140])), int(rng.lognormal(7.4, 0.9))
        _put(series, at, np.full(min(length, 4 * 3600), watts * rng.uniform(0.85, 1.15), np.float32))
    for _ in range(5):
        at = day * DAY_S + rng.uniform(6.5, 22) * 3600
        _put(series, at, np.full(int(rng.uniform(8, 90)), rng.uniform(250, 1100), np.float32))


def _by_day(make: Callable[[int, int, int, Watts], None], seed: int, seconds: int) -> Watts:
    series = np.zeros(seconds, np.float32)
    for day in range(-(-seconds // DAY_S)):
        make(seed, seconds, day, series)
    return series


def household(seed: int, days: float, step_s: float) -> dict[str, Watts]:
    """Power of each appliance and of ``other``, in W, from midnight on; their sum is the main meter's reading.

    ``step_s`` is a whole number of seconds; each value is the mean over its step. The same arguments give the same
    arrays, and more days only append. Raises ValueError for other steps or less than one step.
    """
    stride, seconds = round(step_s), round(days * DAY_S)
    if stride < 1 or abs(stride - step_s) > 1e-9 or seconds < stride:
        raise ValueError(f"no such household: {days} days in steps of {step_s} s")
    seconds -= seconds % stride
    element = (1 + 0.004 * np.clip(_walk(_rng(seed, "mains"), seconds, 30, 0.08), -3, 3)) ** 2
    powers = {
        "fridge": _fridge(seed, seconds),
        "kettle": _by_day(_kettle, seed, seconds) * element,
        "washing_machine": _by_day(_washing_machine, seed, seconds),
        "oven": _by_day(_oven, seed, seconds) * element,
        "heat_pump": _heat_pump(seed, seconds),
        "car": _by_day(_car, seed, seconds),
    }
    base = 200 + 28 * np.clip(_walk(_rng(seed, "base"), seconds, 600, 0.1), -2, 2)
    other = base + _by_day(_steps, seed, seconds)
    total = np.sum([*powers.values(), other], axis=0)
    white = _rng(seed, "noise").standard_normal(seconds, dtype=np.float32)
    powers["other"] = np.maximum(other + white * (3 + 0.004 * total), 0).astype(np.float32)
    if stride > 1:
        powers = {name: watts.reshape(-1, stride).mean(axis=1, dtype=np.float32) for name, watts in powers.items()}
    return {name: watts.astype(np.float32, copy=False) for name, watts in powers.items()}
