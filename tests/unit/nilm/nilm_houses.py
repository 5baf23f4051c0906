"""A small synthetic house: exact steps, a start-up spike, a two-level washer, foreign loads; seeded."""

import numpy as np

SAMPLES = 6000


def house(seed: int, samples: int = SAMPLES) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(W by appliance, mains) at 1 s."""
    rng = np.random.default_rng(seed)
    fridge, kettle, washer, foreign = (np.zeros(samples) for _ in range(4))
    at = int(rng.integers(20, 120))
    while at < samples:
        on = int(rng.integers(150, 220))
        fridge[at : at + on] = 90
        fridge[at : at + 1] += 500
        at += on + int(rng.integers(150, 250))
    for start in rng.integers(100, samples - 200, 6):
        kettle[start : start + int(rng.integers(60, 120))] = 2000
    for start in rng.integers(100, samples - 900, 2):
        washer[start : start + 600] = 200
        washer[start + 50 : start + 250] = 2300
    for start in rng.integers(0, samples, 15):
        foreign[start : start + int(rng.integers(20, 400))] += rng.choice([40.0, 400.0, 700.0])
    series = {"fridge": fridge, "kettle": kettle, "washer": washer}
    return series, np.sum([*series.values()], axis=0) + foreign + 120 + rng.normal(0, 2, samples)
