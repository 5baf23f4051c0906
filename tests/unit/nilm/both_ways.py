"""What the tracker, the finder of loads and the trees say of random houses, as text: compiled or plain, as told.

``python both_ways.py SEED ...``; LAMPPOST_NILM_PURE chooses.
"""

import json
import sys

import numpy as np
from msgspec.structs import replace
from nilm_houses import house

from gateway.pipeline.nilm import batch, jit, learn, model, window
from gateway.pipeline.nilm.events import EventTracker
from gateway.pipeline.nilm.tracker import Tracker
from gateway.pipeline.nilm.worker import encode

SAMPLES = 1500


def trees(rng: np.random.Generator, name: str, features: int) -> model.SmallModel:
    """A few random trees of two levels."""
    roots, feature, value, right = [], [], [], []
    for _ in range(5):
        roots.append(len(feature))
        feature += [int(rng.integers(features)), int(rng.integers(features)), -1, -1, -1]
        value += [float(v) for v in (*rng.normal(200, 500, 2), *rng.normal(20, 30, 3))]
        right += [4, 2, 0, 0, 0]
    places = tuple(roots), tuple(feature), tuple(value), tuple(right)
    return model.SmallModel(name, float(rng.integers(2)), 5.0, 3000.0, 20.0, 0.8, 0.9, *places)


def signal(rng: np.random.Generator, mains: np.ndarray) -> np.ndarray:
    """The mains with what meters do: gaps, feed-in, a slow wave, edges that fall on one another."""
    power = mains.copy()
    power += 80 * np.sin(np.arange(len(power)) / rng.uniform(20, 300))
    for at in rng.integers(0, len(power), 4):
        power[at : at + int(rng.integers(1, 40))] = np.nan
    at = int(rng.integers(0, len(power)))
    power[at : at + 100] -= 3000
    return power


def say(seed: int) -> dict[str, object]:
    """All results of one seed."""
    rng = np.random.default_rng([seed, 9])
    series, mains = house(seed)
    tracked = learn.learn(series, mains, 1.0, "")
    features = window.width(len(tracked.loads))
    whole = replace(tracked, small=(trees(rng, tracked.loads[0].name, features), trees(rng, "pump", features)))
    power = signal(rng, house(seed + 100)[1][:SAMPLES])
    watts, sure = batch.follow_surely(whole, power)
    online, finder = Tracker(whole), EventTracker(1.0)
    said = []
    for index, one in enumerate(power.tolist()):
        for tracker in (online, finder):
            result = tracker.step((index + 1) * 10**9, one)
            said += [encode(r) for r in (*tracker.settled, *([result] if result else []))]
    return {
        "batch": {name: own.tolist() for name, own in (watts | {f"{n} sure": s for n, s in sure.items()}).items()},
        "online": said,
        "clusters": finder.state(),
    }


if __name__ == "__main__":
    print(json.dumps({"compiled": jit.COMPILED, **{seed: say(int(seed)) for seed in sys.argv[1:]}}))
