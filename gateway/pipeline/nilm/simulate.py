"""Labelled synthetic houses: a load model of our own, seeded, no two houses alike (numpy).

``house`` draws which appliances there are, how they are rated and used, and what is not metered; so it serves to see
whether disaggregation holds in a house that nobody tuned it to. Shapes follow physics (thermostats, heating elements,
motors with a start-up spike, drums, batteries that fill), figures those of type plates.

========  ============================================================================================================
cold      a compressor by thermostat: 60-250 W, 8-30 min on, 15-60 min off, more by day
heat      heating elements: kettle, toaster, microwave, iron, hair dryer: 600-3000 W, 1-10 min, some times a day
thermo    oven, heater, water heater: an element by thermostat for 20-180 min
wash      washing machine and dish washer: heating, a motor in steps, spins or a second heating, most days
pump      heat pump, air conditioner: modulates between a third and all of 400-2500 W
fill      a car or a battery: constant, then falls off
steady    a router or a ventilator that hardly ever stops
light     lights and screens: 10-200 W for hours, mornings and evenings
========  ============================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gateway.pipeline.nilm.batch import Array

DAY_S = 86400
STEP_S = 1.0  # of the model where it is finer than the meter
Rng = np.random.Generator
Shape = Callable[[Rng], Array]


@dataclass(frozen=True, slots=True)
class House:
    """``mains`` and each of ``appliances``: W every ``period_s``, the mean over it."""

    period_s: float
    mains: Array
    appliances: dict[str, Array]


def house(seed: int, days: float, period_s: float, appliances: int = 6) -> House:
    """A house of its own for each seed; the same arguments give the same one.

    ``appliances``: 1 to 20 labelled ones; a like number is there without a label. Raises ValueError.
    """
    if not (days > 0 and period_s > 0 and 1 <= appliances <= 20):
        raise ValueError(f"no such house: {days} days, a sample every {period_s} s, {appliances} appliances")
    rng = np.random.default_rng([seed, 20])
    step_s = min(STEP_S, period_s)
    stride = max(1, round(period_s / step_s))
    count = int(days * DAY_S / step_s) // stride * stride
    if count < stride:
        raise ValueError(f"no such house: {days} days are less than a sample")
    known: dict[str, Array] = {}
    for kind in _drawn(rng, appliances):
        number = 1 + sum(name.startswith(kind) for name in known)
        known[kind if number == 1 else f"{kind}_{number}"] = _mean(KINDS[kind](rng, count, step_s), stride)
    other = np.full(count // stride, rng.uniform(30, 250))
    for kind in _drawn(rng, max(2, appliances // 2)):
        other += _mean(KINDS[kind](rng, count, step_s), stride)
    total = np.sum([*known.values(), other], axis=0)
    noise = rng.normal(0, rng.uniform(0.5, 4), len(total)) + rng.normal(0, 0.003, len(total)) * total
    return House(period_s, np.maximum(total + noise, 0.0), known)


def _drawn(rng: Rng, many: int) -> list[str]:
    """Kinds by chance, what every house has first."""
    likely = ["fridge", "kettle", "washing_machine", "lights"][:many]
    return likely + [str(kind) for kind in rng.choice(list(KINDS), many - len(likely))]


def _mean(watts: Array, stride: int) -> Array:
    return np.asarray(watts.reshape(-1, stride).mean(axis=1))


def _runs(rng: Rng, count: int, step_s: float, per_day: float, hours: tuple[float, ...], shape: Shape) -> Array:
    """Runs around some hours of the day; they do not overlap: a later one that would is left out."""
    series = np.zeros(count)
    free = 0
    days = int(np.ceil(count * step_s / DAY_S))
    begins = [
        (day + (float(rng.choice(hours)) + rng.normal(0, 1.2)) / 24) * DAY_S
        for day in range(days)
        for _ in range(int(rng.poisson(per_day)))
    ]
    for begin in sorted(begins):
        at, run = round(begin / step_s), shape(rng)
        run = run[np.minimum((np.arange(max(1, int(len(run) / step_s))) * step_s).astype(int), len(run) - 1)]
        if free <= at < count:
            end = min(count, at + len(run))
            series[at:end] = run[: end - at]
            free = end + round(60 / step_s)
    return series


def _cold(rng: Rng, count: int, step_s: float) -> Array:
    watts, spike = rng.uniform(60, 250), rng.uniform(1.5, 6)
    on_s, off_s = rng.uniform(480, 1800), rng.uniform(900, 3600)
    series = np.zeros(count)
    at = int(rng.uniform(0, off_s) / step_s)
    while at < count:
        run = max(2, int(on_s * rng.uniform(0.8, 1.25) / step_s))
        shape = watts * (1 + 0.15 * np.exp(-np.arange(run) * step_s / 200))
        shape[: max(1, round(1 / step_s))] = watts * spike
        series[at : at + run] = shape[: max(0, count - at)]
        by_day = 1 - 0.3 * np.sin(2 * np.pi * (at * step_s / DAY_S - 0.3))
        at += run + max(2, int(off_s * by_day * rng.uniform(0.8, 1.25) / step_s))
    return series


def _heat(
    watts: tuple[float, float], seconds: tuple[float, float], per_day: float
) -> Callable[[Rng, int, float], Array]:
    def make(rng: Rng, count: int, step_s: float) -> Array:
        rated, often = rng.uniform(*watts), per_day * rng.uniform(0.6, 1.5)

        def shape(own: Rng) -> Array:
            return np.full(int(own.uniform(*seconds)), rated) * own.uniform(0.98, 1.02)

        return _runs(rng, count, step_s, often, (7, 8, 12, 18, 20), shape)

    return make


def _thermo(rng: Rng, count: int, step_s: float) -> Array:
    rated, idle = rng.uniform(900, 3200), rng.uniform(0, 70)
    period, duty = rng.uniform(90, 500), rng.uniform(0.25, 0.7)

    def shape(own: Rng) -> Array:
        tau = np.arange(int(own.uniform(1200, 9000)))
        hot = own.uniform(180, 600)
        return np.where((tau < hot) | (tau % period < duty * period), rated + idle, idle)

    return _runs(rng, count, step_s, rng.uniform(0.4, 1.5), (6, 12, 18), shape)


def _wash(rng: Rng, count: int, step_s: float) -> Array:
    heater, motor = rng.uniform(1400, 2300), rng.uniform(40, 250)
    spins, on_s = rng.uniform(250, 700), rng.uniform(6, 20)
    twice = rng.random() < 0.5  # heats again to dry: a dish washer

    def shape(own: Rng) -> Array:
        tau = np.arange(int(own.uniform(2400, 5400)))
        power = np.where(tau % (on_s + 6) < on_s, motor * own.uniform(0.9, 1.1), 10.0)
        heat = int(own.uniform(500, 1300))
        power[120 : 120 + heat] += heater
        if twice:
            power[-heat // 2 - 300 : -300] += heater
        else:
            power[-400:] = spins * np.minimum(1.0, np.arange(400) / 150)
        return power

    return _runs(rng, count, step_s, rng.uniform(0.4, 1.2), (8, 13, 19), shape)


def _pump(rng: Rng, count: int, step_s: float) -> Array:
    rated = rng.uniform(400, 2500)

    def shape(own: Rng) -> Array:
        length = int(own.uniform(1800, 9000))
        knots = np.clip(0.65 + np.cumsum(own.normal(0, 0.08, length // 120 + 2)), 0.33, 1.0)
        walk = np.interp(np.arange(length), np.arange(len(knots)) * 120, knots)
        return rated * walk * np.minimum(1.0, 0.2 + np.arange(length) / 60)

    return _runs(rng, count, step_s, rng.uniform(3, 8), (3, 6, 9, 14, 18, 22), shape)


def _fill(rng: Rng, count: int, step_s: float) -> Array:
    rated = float(rng.choice([45.0, 150.0, 2300.0, 3680.0]))

    def shape(own: Rng) -> Array:
        full = own.uniform(2000, 12000)
        tau = np.arange(int(full + 1500))
        return rated * np.where(tau > full, np.exp(-(tau - full) / 400), 1.0)

    return _runs(rng, count, step_s, rng.uniform(0.4, 1.0), (9, 18, 21), shape)


def _steady(rng: Rng, count: int, step_s: float) -> Array:
    return rng.uniform(5, 60) * (1 + 0.02 * rng.normal(0, 1, count))


def _lights(rng: Rng, count: int, step_s: float) -> Array:
    watts = rng.uniform(10, 200, 3)

    def shape(own: Rng) -> Array:
        return np.full(int(own.lognormal(7.8, 0.8)), float(own.choice(watts)))

    return _runs(rng, count, step_s, rng.uniform(2, 6), (6, 7, 17, 19, 21), shape)


KINDS: dict[str, Callable[[Rng, int, float], Array]] = {
    "fridge": _cold,
    "kettle": _heat((1800, 3000), (80, 240), 5),
    "washing_machine": _wash,
    "lights": _lights,
    "microwave": _heat((700, 1600), (40, 400), 3),
    "toaster": _heat((600, 1400), (90, 240), 1.5),
    "oven": _thermo,
    "dish_washer": _wash,
    "freezer": _cold,
    "heat_pump": _pump,
    "charger": _fill,
    "router": _steady,
}
