"""Layer (a) without training: purity of its loads on mixtures of tracebase device-days. Prints one JSON object.

A mixture is the sum of one device-day of each of some types. The label of an edge is the device that moved most in
its direction. Purity: the share of the edges of a load that its commonest label has, over all loads that got a number.
``purity_one``: were all edges one load.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from pyarrow import csv, parquet

from gateway.pipeline.nilm.events import EventTracker

BESIDE = Path(__file__).parents[2].parent / "shared" / "data" / "nilm"
FOLDER = Path(os.environ.get("LAMPPOST_RECORDINGS") or BESIDE) / "tracebase"
COVERAGE_MIN = 0.5  # less was measured, the rest is filled forward
MEAN_MIN_W = 2.0
REACH = 8  # samples before an edge is complete


def mixture(rng: np.random.Generator, types: int) -> dict[str, np.ndarray]:
    """One device-day of each of some types, W each second."""
    rows = csv.read_csv(FOLDER / "inventory.csv").to_pylist()
    good = [row for row in rows if row["raw_coverage"] >= COVERAGE_MIN and row["mean_W"] >= MEAN_MIN_W]
    kinds = sorted({row["type"] for row in good})
    days = {}
    for kind in rng.choice(kinds, min(types, len(kinds)), replace=False):
        names = parquet.read_schema(FOLDER / f"{kind}.parquet").names
        own = parquet.read_table(FOLDER / f"{kind}.parquet", columns=[str(rng.choice(names))])
        days[str(kind)] = np.nan_to_num(own.column(0).to_numpy().astype(float))
    return days


def maker(days: dict[str, np.ndarray], i: int, sign: int) -> str:
    """The device that moved most in one direction in the samples that an edge may have taken."""
    moved = {
        kind: float(np.maximum(sign * np.diff(own[max(0, i - REACH) : i + 1]), 0).sum()) for kind, own in days.items()
    }
    return max(moved, key=lambda kind: moved[kind])


def purity(days: dict[str, np.ndarray], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """(edges of loads, those with their load's commonest label, edges with the commonest label of all, loads)."""
    mains = 80 + np.sum([*days.values()], axis=0) + rng.normal(0, 1, 86_400)
    tracker = EventTracker(1.0)
    labels: dict[int, Counter[str]] = defaultdict(Counter)
    for i, power in enumerate(mains.tolist()):
        tracker.step((i + 1) * 10**9, power)
        if tracker.run is not None:
            began_ns, cluster = tracker.run
            labels[id(cluster)][maker(days, round(began_ns / 1e9) - 1, 1)] += 1
            labels[id(cluster)][maker(days, i, -1)] += 1
    loads = [labels[id(one)] for one in tracker.clusters if one.number]
    whole = sum(loads, Counter[str]())
    most = sum(max(one.values()) for one in loads)
    return whole.total(), most, max(whole.values(), default=0), len(loads)


def main() -> None:
    """Mixtures of 3 to 10 types."""
    if not FOLDER.is_dir():
        print(json.dumps({"skipped": f"{FOLDER} is not there"}))
        return
    seed, many = int(os.environ.get("SEED", "1")), int(os.environ.get("MIXTURES", "12"))
    done = []
    for k in range(many):
        rng = np.random.default_rng([seed, k])
        edges, most, one, loads = purity(mixture(rng, 3 + k % 8), rng)
        done.append((edges, most, one, loads))
    edges = sum(row[0] for row in done)
    print(
        json.dumps(
            {
                "mixtures": many,
                "edges": edges,
                "loads": sum(row[3] for row in done),
                "purity": round(sum(row[1] for row in done) / max(1, edges), 3),
                "purity_mean": round(float(np.mean([row[1] / row[0] for row in done if row[0]])), 3),
                "purity_one": round(sum(row[2] for row in done) / max(1, edges), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
