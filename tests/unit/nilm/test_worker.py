"""The worker as a real process: compiled and plain agree; it is restarted, refuses, and ends with its parent."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace
from nilm_houses import house

from gateway.pipeline.nilm import client, model, onsite
from gateway.pipeline.nilm.client import Disaggregator
from gateway.pipeline.nilm.learn import learn
from gateway.pipeline.nilm.result import ApplianceResult, Mains, Power

SECOND = 1_000_000_000
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    series, mains = house(1)
    path = tmp_path_factory.mktemp("model") / "house.json"
    model.save(learn(series, mains, 1.0, "a synthetic house, seed 1"), path)
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for the module: the second compiled worker starts warm."""
    return tmp_path_factory.mktemp("cache")


def total(watts: float) -> Mains:
    return {"total": Power(watts)}


def command(path: Path, cache: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "gateway.pipeline.nilm.worker", str(path), "--cache", str(cache), *more]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("LAMPPOST", "NUMBA"))}


def run(path: Path, cache: Path, power: list[float], *more: str, period: float = 1.0) -> list[dict]:
    samples = [{"t": round((k + 1) * period * SECOND), "p": {"total": [watts, 0.0]}} for k, watts in enumerate(power)]
    lines = [{"start": {}}, *samples]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run(command(path, cache, *more), input=text, capture_output=True, text=True, env=environment())
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_loads_are_found_without_training_and_kept_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    model.save(onsite.renamed(onsite.untrained(1.0), "load_1", "kettle"), path)
    power = ([100.0] * 40 + [2100.0] * 90 + [100.0] * 40) * 5
    told = run(path, tmp_path, power, "--pure")
    ends = [event for line in told[1:] for event in line["events"]]
    assert [event[:2] for event in ends] == [["kettle", "end"]] * 3
    again = run(path, tmp_path, power, "--pure")
    assert [part[0] for part in again[1]["parts"]] == ["kettle"]
    assert again[1]["parts"][0][2] == pytest.approx(told[-1]["parts"][0][2])


def test_what_is_provisional_is_followed_by_what_is_final(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    series, mains = house(1)
    level = model.SmallModel("pump", 0.0, 20.0, 30.0, 20.0, 0.7, 0.9)
    model.save(replace(learn(series, mains, 1.0, ""), small=(level,)), path)
    told = run(path, tmp_path, [120.0] * 100, "--pure")[1:]
    late = [line["t"] for line in told if line.get("late")]
    assert late == [(k + 1) * SECOND for k in range(70)]
    assert sum(not line["final"] for line in told) == 100


def test_compiled_and_plain_give_the_same(model_path: Path, cache: Path, tmp_path: Path) -> None:
    _, mains = house(5)
    compiled = run(model_path, cache, mains.tolist())
    plain = run(model_path, tmp_path, mains.tolist(), "--pure")
    assert compiled[0]["ready"]["compiled"] is True
    assert plain[0]["ready"]["compiled"] is False
    assert plain[0]["ready"]["why"]
    assert len(compiled) == len(plain) == len(mains) + 1
    for one, other in zip(compiled[1:], plain[1:], strict=True):
        assert one["events"] == other["events"]
        assert one["other"] == pytest.approx(other["other"], abs=1e-6)
        for a, b in zip(one["parts"], other["parts"], strict=True):
            assert a[0] == b[0]
            assert a[3] == b[3]
            assert a[1:3] == pytest.approx(b[1:3], abs=1e-6)


def test_without_numba_it_says_so_and_works(model_path: Path, tmp_path: Path) -> None:
    """A module that cannot be imported stands before numba, as where the extra is not installed."""
    (tmp_path / "numba.py").write_text("raise ImportError('not installed')")
    env = environment() | {"PYTHONPATH": str(tmp_path)}
    text = '{"start":{}}\n{"t":1000000000,"p":{"total":[120,0]}}\n'
    done = subprocess.run(command(model_path, tmp_path / "c"), input=text, capture_output=True, text=True, env=env)
    ready, result = (json.loads(line) for line in done.stdout.splitlines())
    assert ready["ready"]["compiled"] is False
    assert "not installed" in ready["ready"]["why"]
    assert result["mains"] == 120


@pytest.mark.parametrize("mode", [["--pure"], pytest.param([], marks=pytest.mark.slow)])
def test_a_cache_that_cannot_be_written_costs_no_result(model_path: Path, tmp_path: Path, mode: list[str]) -> None:
    (tmp_path / "file").write_text("")
    lines = run(model_path, tmp_path / "file" / "cache", [120.0], *mode)
    assert lines[1]["mains"] == 120
    assert "not saved" in lines[2]["note"]


def test_a_feed_at_another_period_is_refused(model_path: Path, tmp_path: Path) -> None:
    last = run(model_path, tmp_path, [120.0] * 30, "--pure", period=5.0)[-1]
    assert last["error"]["code"] == "nilm.period"
    assert last["error"]["refused"] is True


def test_lines_that_are_none_are_passed_over(model_path: Path, tmp_path: Path) -> None:
    text = 'what\n{"start":{}}\n[]\n{"t":1}\n{"t":1,"p":120}\n{"t":1000000000,"p":{"total":[120.0,0]}}\n'
    done = subprocess.run(command(model_path, tmp_path, "--pure"), input=text, capture_output=True, text=True)
    assert [*json.loads(done.stdout.splitlines()[1])][:2] == ["t", "mains"]
    assert len(done.stdout.splitlines()) == 2


def speak(path: Path, cache: Path, samples: list[Mains]) -> list[dict]:
    """What a plain worker says of one sample a second."""
    lines = [{"start": {}}, *({"t": (k + 1) * SECOND, "p": sample} for k, sample in enumerate(samples))]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run(command(path, cache, "--pure"), input=text, capture_output=True, text=True, env=environment())
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_phases_are_told_apart_and_other_feeds_refused(tmp_path: Path) -> None:
    path = tmp_path / "phases.json"
    known = None
    for name, phase in (("kettle", "L1"), ("heater", "L2")):
        load = onsite.load_from(name, [2000.0], [-2000.0], 1.0)
        known = onsite.with_loads(known, {phase: load}, 1.0, {"L1": 100.0, "L2": 100.0}, "test")
    assert known is not None
    model.save(known, path)
    quiet, heat = {"L1": Power(100.0), "L2": Power(100.0)}, {"L1": Power(100.0), "L2": Power(2100.0)}
    said = speak(path, tmp_path, [quiet] * 30 + [heat] * 30)
    parts = {name: (watts, on) for name, watts, _, on, _ in said[-1]["parts"]}
    assert parts["heater"][1]
    assert parts["kettle"] == (0.0, False)
    assert said[-1]["mains"] == 2200
    for feed in ({"total": Power(200.0)}, {"L1": Power(100.0)}, {**quiet, "L3": Power(100.0)}):
        error = speak(path, tmp_path, [feed] * 30)[-1]["error"]
        assert (error["code"], error["refused"]) == ("nilm.phases", True)


def test_reactive_power_tells_found_loads_apart(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    model.save(onsite.untrained(1.0), path)
    samples: list[Mains] = []
    for var in (0.0, 300.0) * 5:
        samples += [total(100.0)] * 60 + [{"total": Power(500.0, var)}] * 60 + [total(100.0)] * 60
    assert len(speak(path, tmp_path / "with", samples)[-1]["parts"]) == 2
    without = [total(sample["total"].power_w) for sample in samples]
    assert len(speak(path, tmp_path / "without", without)[-1]["parts"]) == 1


@asynccontextmanager
async def running(path: Path, cache: Path, pure: bool = True) -> AsyncIterator[tuple[Disaggregator, list]]:
    results: list[ApplianceResult] = []
    disaggregator = Disaggregator(path, cache, results.append, pure=pure)
    task = asyncio.create_task(disaggregator.run())
    try:
        yield disaggregator, results
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.02)


async def test_samples_in_results_out_in_order(model_path: Path, tmp_path: Path) -> None:
    async with running(model_path, tmp_path) as (disaggregator, results):
        for k in range(100):
            disaggregator.feed((k + 1) * SECOND, total(120.0 if k < 50 else 2120.0))
        await until(lambda: len(results) == 100)
        assert [result.mono_ns for result in results] == [(k + 1) * SECOND for k in range(100)]
        assert {part.name: part.on for part in results[-1].parts}["kettle"]
        state = disaggregator.state()
        assert (state.ready, state.backlog, state.dropped, state.restarts) == (True, 0, 0, 0)
        pid = state.pid
    assert pid is not None
    assert not psutil.pid_exists(pid)


async def test_a_killed_worker_comes_back_and_energies_go_on(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "BACKOFF_S", (0.05, 1.0))
    async with running(model_path, tmp_path) as (disaggregator, results):
        for k in range(100):
            disaggregator.feed((k + 1) * SECOND, total(120.0 if k < 50 else 2120.0))
        await until(lambda: len(results) == 100)
        counted = {part.name: part.energy_kwh for part in results[-1].parts}
        assert counted["kettle"] > 0
        pid = disaggregator.state().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: disaggregator.state().restarts == 1 and disaggregator.state().ready)
        disaggregator.feed(101 * SECOND, total(2120.0))
        await until(lambda: len(results) == 101)
        assert disaggregator.state().pid != pid
        assert {part.name: part.energy_kwh for part in results[-1].parts} == counted


async def test_energies_go_on_after_the_daemon_stopped(model_path: Path, tmp_path: Path) -> None:
    counted = []
    for _ in range(2):
        async with running(model_path, tmp_path) as (disaggregator, results):
            for k in range(100):
                disaggregator.feed((k + 1) * SECOND, total(120.0 if k < 50 else 2120.0))
            await until(lambda got=results: len(got) == 100)
            counted.append(results[-1].parts[1].energy_kwh)
    assert counted[1] == pytest.approx(2 * counted[0])


async def test_a_refused_model_is_told_and_not_tried_again(model_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text('{"version":99}')
    async with running(path, tmp_path) as (disaggregator, _):
        await until(lambda: disaggregator.state().refused)
        state = disaggregator.state()
        assert state.error is not None
        assert state.error.code == "nilm.model"
        assert "version 99" in state.error.cause
        disaggregator.feed(SECOND, total(120.0))
        assert disaggregator.state().dropped == 1
        assert disaggregator.state().backlog == 0


async def test_the_backlog_is_bounded_and_the_oldest_goes(model_path: Path, tmp_path: Path) -> None:
    disaggregator = Disaggregator(model_path, tmp_path, lambda _: None)
    for k in range(client.BACKLOG_MAX + 7):
        disaggregator.feed(k, total(1.0))
    assert (disaggregator.state().backlog, disaggregator.state().dropped) == (client.BACKLOG_MAX, 7)


async def test_a_python_that_is_not_there_is_told(model_path: Path, tmp_path: Path) -> None:
    disaggregator = Disaggregator(model_path, tmp_path, lambda _: None, python=str(tmp_path / "python"))
    task = asyncio.create_task(disaggregator.run())
    await until(lambda: disaggregator.state().error is not None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "cannot be started" in str(disaggregator.state().error)


def test_the_worker_dies_with_its_parent(model_path: Path, tmp_path: Path) -> None:
    """The parent is killed while somebody else still holds the worker's stdin open: the end of input never comes."""
    program = f"""
import subprocess, sys, time
child = subprocess.Popen({command(model_path, tmp_path, "--pure")!r}, stdin=0, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 20
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_the_daemons_side_imports_nothing_heavy() -> None:
    program = (
        "import sys, gateway.pipeline.nilm.client; print([m for m in ('numpy','numba','msgspec') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
