"""Speed, memory and scores of disaggregation. Prints one JSON object.

Own load model: another seed trains than is scored. Recordings (``shared/data/nilm`` beside the repository, passed over
where it is absent): the first 70 % trains, the rest is scored.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from firmware_sim.loads.model import household
from gateway.pipeline.nilm import batch, evaluate, learn, model, recording, score
from gateway.pipeline.nilm.phase_learn import follow_phases, learn_phases
from gateway.pipeline.nilm.phased import PhasedTracker
from gateway.pipeline.nilm.result import Power
from tests.bench import fhmm

ROOT = Path(__file__).parents[2]
HOUSES: dict[str, tuple[float | None, str]] = {
    "redd_house1": (3.0, "main"),
    "redd_house2": (3.0, "main"),
    "redd_house3": (3.0, "main"),
    "ukdale_house1": (6.0, "main"),
    "massachusetts_home_1min": (None, "main_W"),
}
TRAIN_SEED, SHOWN_SEED = 101, 202
SHARE = 0.7


def own(step_s: float) -> tuple[model.Model, score.Report, dict[str, float]]:
    """Learn four days of one seed, score three of another; (model, report, times)."""
    truth, mains = _split(household(TRAIN_SEED, 4, step_s))
    begun = time.perf_counter()
    learned = learn.learn(truth, mains, step_s, f"own load model, seed {TRAIN_SEED}")
    trained_s = time.perf_counter() - begun
    shown, shown_mains = _split(household(SHOWN_SEED, 3, step_s))
    batch.follow(learned, shown_mains[:100])
    begun = time.perf_counter()
    estimate = batch.follow(learned, shown_mains)
    rate = len(shown_mains) / (time.perf_counter() - begun)
    means = {name: float(watts.mean()) for name, watts in truth.items()}
    report = score.score(estimate, shown, shown_mains, means)
    return learned, report, {"train_s": round(trained_s, 2), "samples_per_s": round(rate)}


def beside_fhmm(step_s: float, more: int) -> dict[str, object]:
    """Ours and a factorial hidden Markov model with the same states, learned from and shown the same, in one run.

    ``more``: so many loads of a second house are behind the same meter. The baseline sees fewer rows where it is slow.
    """
    truth, mains = _split(_houses(TRAIN_SEED, 4, step_s, more))
    learned = learn.learn(truth, mains, step_s, "")
    levels = {load.name: [state.level_w for state in load.states] for load in learned.loads}
    baseline = fhmm.fit(levels, truth)
    shown, shown_mains = _split(_houses(SHOWN_SEED, 3, step_s, more))
    rows = len(shown_mains) if baseline.states < 500 else 2000
    means = {name: float(truth[name].mean()) for name in levels}
    told: dict[str, object] = {"loads": len(levels), "states": baseline.states}
    batch.follow(learned, shown_mains[:100])
    for name, decode, count in (
        ("ours", partial(batch.follow, learned), len(shown_mains)),
        ("fhmm", baseline.decode, rows),
    ):
        begun = time.process_time()
        estimate = decode(shown_mains[:count])
        told[f"{name}_samples_per_cpu_s"] = round(count / (time.process_time() - begun))
        cut = {each: watts[:rows] for each, watts in estimate.items()}
        real = {each: shown[each][:rows] for each in levels}
        told[f"{name}_ea"] = round(score.score(cut, real, shown_mains[:rows], means).ea, 3)
    return told


def _houses(seed: int, days: float, step_s: float, more: int) -> dict[str, np.ndarray]:
    """A house, with some loads of another one."""
    second = [item for item in household(seed + 1, days, step_s).items() if item[0] != "other"][:more]
    return household(seed, days, step_s) | {f"{name}_2": watts for name, watts in second}


def _split(powers: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    mains = np.sum([watts.astype(float) for watts in powers.values()], axis=0)
    return {name: watts.astype(float) for name, watts in powers.items() if name != "other"}, mains


def recorded(path: Path, period_s: float | None, mains: str) -> dict[str, object]:
    """Learn the first part of a recording and score the rest; all labelled appliances."""
    return evaluate.split_score(recording.read(path, mains=mains, period_s=period_s), SHARE).plain()


def plain(report: score.Report) -> dict[str, object]:
    """A report as JSON."""
    return {
        "ea": round(report.ea, 3),
        "ea_zero": report.ea_zero,
        "ea_mean": round(report.ea_mean, 3),
        "appliances": {
            name: {"mae_w": round(s.mae_w, 1), "f1": round(s.f1, 2), "ea": round(s.ea, 2), "share": round(s.share, 3)}
            for name, s in report.appliances.items()
        },
    }


def _line(at_s: float, watts: dict[str, float]) -> str:
    """A sample as the worker takes it."""
    phases = {phase: [round(float(value), 1), 0.0] for phase, value in watts.items()}
    return json.dumps({"t": round(at_s * 1e9), "p": phases}) + "\n"


def three_phases() -> dict[str, object]:
    """Twelve loads of two houses on three phases: what a sample costs, and what is gained over the total alone."""
    loads = _houses(TRAIN_SEED, 4, 1.0, 6)
    place = {name: f"L{number % 3 + 1}" for number, name in enumerate(sorted(loads))}

    def mains(powers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        by_phase = {phase: np.zeros(len(next(iter(powers.values())))) for phase in ("L1", "L2", "L3")}
        for name, watts in powers.items():
            by_phase[place[name]] += watts
        return by_phase

    known = {name: watts.astype(float) for name, watts in loads.items() if name != "other"}
    learned = learn_phases(known, mains(loads), 1.0, f"own load model, seeds {TRAIN_SEED} and {TRAIN_SEED + 1}")
    shown = _houses(SHOWN_SEED, 1, 1.0, 6)
    power = mains(shown)
    truth = {name: watts.astype(float) for name, watts in shown.items() if name != "other"}
    means = {name: float(watts.mean()) for name, watts in known.items()}
    whole = np.sum([*power.values()], axis=0)
    report = score.score(follow_phases(learned, power)[0], truth, whole, means)
    other = learn.learn(known, np.sum([*mains(loads).values()], axis=0), 1.0, "")
    total = score.score(batch.follow(other, whole), truth, whole, means)
    tracker, inside = PhasedTracker(learned), []
    rows = np.stack([power[phase] for phase in ("L1", "L2", "L3")], axis=1).tolist()
    for k, row in enumerate(rows):
        sample = {phase: Power(watts) for phase, watts in zip(("L1", "L2", "L3"), row, strict=True)}
        begun = time.perf_counter()
        tracker.step((k + 1) * 1_000_000_000, sample)
        inside.append(time.perf_counter() - begun)
    warm = inside[100:]
    return {
        "loads": len(learned.names),
        "ea": round(report.ea, 3),
        "ea_of_the_total_alone": round(total.ea, 3),
        "sample_ms": {f"p{q}": round(float(np.quantile(warm, q / 100)) * 1e3, 3) for q in (50, 99)},
        "sample_ms_max": round(max(warm) * 1e3, 3),
    }


def worker(path: Path, cache: Path, power: np.ndarray, *more: str) -> dict[str, object]:
    """A worker: time to ready, memory when it has worked, samples per second through the pipe, CPU at one a second."""
    command = [sys.executable, "-m", "gateway.pipeline.nilm.worker", str(path), "--cache", str(cache), *more]
    begun = time.perf_counter()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA", "LAMPPOST"))}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())["ready"]
        ready_s = time.perf_counter() - begun
        process.stdin.write('{"start":{}}\n')
        begun = time.perf_counter()
        times = []
        for k, value in enumerate(power):
            sent = time.perf_counter()
            process.stdin.write(_line(k + 1, {"total": value}))
            process.stdin.flush()
            process.stdout.readline()
            times.append(time.perf_counter() - sent)
        rate = len(power) / (time.perf_counter() - begun)
        inside = psutil.Process(process.pid)
        memory = inside.memory_full_info()
        before = inside.cpu_times()
        for k in range(10):
            time.sleep(1)
            process.stdin.write(_line(len(power) + k + 1, {"total": power[-1]}))
            process.stdin.flush()
            process.stdout.readline()
        after = inside.cpu_times()
        process.stdin.close()
    return {
        "compiled": ready["compiled"],
        "ready_s": round(ready_s, 2),
        "rss_mib": round(memory.rss / 2**20, 1),
        "pss_mib": round(memory.pss / 2**20, 1),
        "samples_per_s": round(rate),
        "sample_p99_ms": round(float(np.quantile(times, 0.99)) * 1e3, 3),
        "cpu_percent_at_1_hz": round((after.user + after.system - before.user - before.system) / 10 * 100, 2),
    }


def replay(path: Path, cache: Path, days: float, step_s: float) -> dict[str, object]:
    """Days through a worker: how its memory grows from the first day on, and how far its parts are off their sum."""
    power = _split(household(SHOWN_SEED, 3, step_s))[1]
    a_day = round(86_400 / step_s)
    command = [sys.executable, "-m", "gateway.pipeline.nilm.worker", str(path), "--cache", str(cache)]
    off_w, grown_kib = 0.0, 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        inside = psutil.Process(process.pid)
        process.stdin.write('{"start":{}}\n')
        for row in range(round(days * a_day)):
            watts = power[row % len(power)]
            process.stdin.write(_line((row + 1) * step_s, {"total": watts}))
            process.stdin.flush()
            said = json.loads(process.stdout.readline())
            parts = sum(part[1] for part in said["parts"]) + said["other"]
            off_w = max(off_w, abs(parts - said["mains"]))
            if row == a_day:
                grown_kib = -(inside.memory_full_info().uss >> 10)
        grown_kib += inside.memory_full_info().uss >> 10
        process.stdin.close()
    return {"days": days, "step_s": step_s, "grown_kib_after_a_day": grown_kib, "sum_off_w_max": round(off_w, 3)}


def main() -> None:
    """Run all and print. BENCH_DAYS (default 30) are replayed."""
    data = ROOT.parent / "shared" / "data" / "nilm"
    result: dict[str, object] = {}
    learned, report, times = own(1.0)
    result["own_1s"] = plain(report) | times
    for step_s in (5.0, 10.0, 30.0, 60.0):
        _, report, times = own(step_s)
        result[f"own_{step_s:g}s"] = plain(report) | times
    for name, (period_s, mains) in HOUSES.items():
        path = data / f"{name}.parquet"
        result[name] = recorded(path, period_s, mains) if path.exists() else "absent"
    power = _split(household(SHOWN_SEED, 0.5, 1.0))[1][25_000:35_000]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save(learned, path)
        result["worker_cold"] = worker(path, Path(folder), power)
        result["worker_warm"] = worker(path, Path(folder), power)
        result["three_phases"] = three_phases()
        result["beside_fhmm"] = [beside_fhmm(6.0, more) for more in (0, 3)]
        result["replay"] = replay(path, Path(folder), float(os.environ.get("BENCH_DAYS", "30")), 1.0)
        result["worker_plain"] = worker(path, Path(folder), power[:3000], "--pure")
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
