"""Each phase by itself: what only the phase or reactive power tells apart, gaps of one phase, loads on several."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import numpy as np
import pytest

from gateway.pipeline.nilm import evaluate, model, onsite, recording
from gateway.pipeline.nilm.model import Model
from gateway.pipeline.nilm.phase_learn import learn_phases, shares_of
from gateway.pipeline.nilm.phased import PhasedTracker
from gateway.pipeline.nilm.result import ApplianceResult, Mains, ModelError, NothingLearnedError, Power

SECOND = 1_000_000_000
KETTLE_W = 2000.0


def taught(*where: tuple[str, str, float]) -> Model:
    """A model of loads on phases, each switched on site: (name, phase, W)."""
    known: Model | None = None
    for name, phase, watts in where:
        load = onsite.load_from(name, [watts], [-watts], 1.0)
        known = onsite.with_loads(known, {phase: load}, 1.0, dict.fromkeys(("L1", "L2", "L3"), 100.0), "test")
    assert known is not None
    return known


def follow(tracker: PhasedTracker, samples: Iterable[Mains], begin: int = 1) -> list[ApplianceResult]:
    results = [tracker.step((begin + k) * SECOND, mains) for k, mains in enumerate(samples)]
    return [result for result in results if result is not None]


def mains(**watts: float) -> Mains:
    """All three phases; 100 W where nothing is said."""
    return {phase: Power(watts.get(phase, 100.0)) for phase in ("L1", "L2", "L3")}


def on(result: ApplianceResult) -> set[str]:
    return {part.name for part in result.parts if part.on}


def check_sum(results: Iterable[ApplianceResult]) -> None:
    for result in results:
        assert sum(part.power_w for part in result.parts) + result.other_w == pytest.approx(result.mains_w)
        assert all(part.power_w >= 0 for part in result.parts)


def test_loads_of_one_power_are_told_apart_by_their_phase() -> None:
    tracker = PhasedTracker(taught(("kettle", "L1", KETTLE_W), ("heater", "L2", KETTLE_W)))
    quiet, boil, heat = [mains()] * 30, [mains(L1=2100.0)] * 60, [mains(L2=2100.0)] * 60
    results = follow(tracker, quiet + boil + quiet + heat + quiet)
    check_sum(results)
    assert on(results[80]) == {"kettle"}
    assert on(results[170]) == {"heater"}
    ends = [event for result in results for event in result.events if event.kind == "end"]
    assert [event.name for event in ends] == ["kettle", "heater"]
    assert ends[0].energy_kwh == pytest.approx(KETTLE_W * 60 / 3.6e6, rel=0.05)


def test_a_load_on_all_phases_is_one_with_one_run() -> None:
    where = [("cooker", phase, 1500.0) for phase in ("L1", "L2", "L3")]
    loads = {phase: onsite.load_from(name, [watts], [-watts], 1.0) for name, phase, watts in where}
    learned = onsite.with_loads(None, loads, 1.0, dict.fromkeys(loads, 100.0), "test")
    tracker = PhasedTracker(learned)
    some = mains(L1=1600.0, L2=1600.0)  # the third phase follows a moment later, and goes first
    whole = mains(L1=1600.0, L2=1600.0, L3=1600.0)
    results = follow(tracker, [mains()] * 30 + [some] * 5 + [whole] * 60 + [some] * 5 + [mains()] * 30)
    check_sum(results)
    assert learned.names == ["cooker"]
    (part,) = results[70].parts
    assert part.power_w == pytest.approx(4500, rel=0.02)
    events = [event for result in results for event in result.events]
    assert [event.kind for event in events] == ["start", "end"]
    assert events[1].duration_s == pytest.approx(70, abs=4)
    assert events[1].energy_kwh == pytest.approx(1500 * (70 + 70 + 60) / 3.6e6, rel=0.05)
    assert events[1].energy_kwh == pytest.approx(results[-1].parts[0].energy_kwh, rel=0.02)


def test_a_gap_of_one_phase_leaves_the_others_alone() -> None:
    tracker = PhasedTracker(taught(("kettle", "L1", KETTLE_W), ("heater", "L2", KETTLE_W)))
    both = mains(L1=2100.0, L2=2100.0)
    without = {phase: power for phase, power in both.items() if phase != "L2"}
    results = follow(tracker, [mains()] * 30 + [both] * 30 + [without] * 30 + [both] * 5)
    check_sum(results)
    assert on(results[55]) == {"kettle", "heater"}
    gap = results[75]
    assert on(gap) == {"kettle"}
    assert gap.mains_w == pytest.approx(2200)
    sure = {part.name: part.confidence for part in gap.parts}
    assert sure["heater"] == 0
    counted = [{part.name: part.energy_kwh for part in results[k].parts} for k in (60, 88)]
    assert counted[1]["heater"] == counted[0]["heater"], "nothing is filled forward"
    assert counted[1]["kettle"] > counted[0]["kettle"]


def found_day(reactive: bool) -> list[Mains]:
    """On L1 a lamp and a motor of one power, on L2 a lamp of that power, too."""
    rng = random.Random(1)
    samples: list[Mains] = []
    for kind in ("lamp", "motor", "other lamp") * 5:
        for watts in (0.0, 400.0, 0.0):
            first = 100.0 + (watts if kind != "other lamp" else 0.0)
            var = 300.0 if kind == "motor" and watts and reactive else 0.0
            second = 100.0 + (watts if kind == "other lamp" else 0.0)
            for _ in range(60):
                noise = rng.gauss(0, 1)
                samples.append({"L1": Power(first + noise, var), "L2": Power(second + noise)})
    return samples


@pytest.mark.parametrize(("reactive", "loads"), [(True, 3), (False, 2)])
def test_loads_are_found_by_phase_and_reactive_power(reactive: bool, loads: int) -> None:
    tracker = PhasedTracker(onsite.untrained(1.0, ("L1", "L2")))
    check_sum(follow(tracker, found_day(reactive)))
    assert sorted(tracker.names) == [f"load_{number}" for number in range(1, loads + 1)], "each number once"


def test_of_the_total_alone_they_are_one_load() -> None:
    tracker = onsite_tracker()
    for k, sample in enumerate(found_day(reactive=True)):
        tracker.step((k + 1) * SECOND, sum(power.power_w for power in sample.values()))
    assert len(tracker.names) == 1


def onsite_tracker():  # noqa: ANN201
    from gateway.pipeline.nilm.events import EventTracker

    return EventTracker(1.0)


def test_found_loads_outlive_a_restart_and_may_share_a_name() -> None:
    learned = onsite.untrained(1.0, ("L1", "L2"))
    before = PhasedTracker(learned)
    follow(before, found_day(reactive=True))
    kept = msgspec.json.decode(msgspec.json.encode(before.state()))
    for number in (1, 3):
        learned = onsite.renamed(learned, f"load_{number}", "lights")
    after = PhasedTracker(learned, None, kept)
    assert sorted(after.names) == ["lights", "load_2"]
    counters = dict(zip(before.names, before.energy_kwh, strict=True))
    energies = dict(zip(after.names, after.energy_kwh, strict=True))
    assert energies["lights"] == pytest.approx(counters["load_1"] + counters["load_3"])
    results = follow(after, found_day(reactive=True), 10_000)
    check_sum(results)
    assert sorted(after.names) == ["lights", "load_2"]


def test_energies_go_on() -> None:
    learned = taught(("kettle", "L1", KETTLE_W))
    tracker = PhasedTracker(learned, {"kettle": 5.0})
    results = follow(tracker, [mains()] * 30 + [mains(L1=2100.0)] * 60)
    assert results[0].parts[0].energy_kwh == 5.0
    assert results[-1].parts[0].energy_kwh == pytest.approx(5.0 + KETTLE_W * 58 / 3.6e6, rel=0.01)


def test_a_model_of_phases_is_kept_renamed_and_corrected(tmp_path: Path) -> None:
    learned = taught(("kettle", "L1", KETTLE_W), ("heater", "L2", KETTLE_W), ("heater", "L3", KETTLE_W))
    model.save(learned, tmp_path / "model.json")
    assert model.load(tmp_path / "model.json") == learned
    assert learned.names == ["kettle", "heater"]
    assert learned.phases is not None
    assert "heater" not in learned.phases["L2"].names, "taught again, on another phase"
    assert onsite.renamed(learned, "heater", "boiler").names == ["kettle", "boiler"]
    assert onsite.without(learned, "kettle").names == ["heater"]
    corrected = onsite.corrected(learned, "kettle", 2400.0, "test").phases
    assert corrected is not None
    assert corrected["L1"].loads[0].states[1].level_w == pytest.approx(2200)
    with pytest.raises(ModelError, match="phase"):
        onsite.corrected(learned, "toaster", 900.0, "test")
    with pytest.raises(ModelError, match="no load 'toaster'"):
        onsite.without(learned, "toaster")


def test_a_model_is_for_its_phases_only() -> None:
    learned = taught(("kettle", "L1", KETTLE_W))
    model.check_phases(learned, ("L1", "L2", "L3"))
    for others in (("total",), ("L1", "L2")):
        with pytest.raises(ModelError) as refused:
            model.check_phases(learned, others)
        assert refused.value.code == "nilm.phases"
    with pytest.raises(ModelError, match="of the mains"):
        model.check_phases(onsite.untrained(1.0), ("L1", "L2", "L3"))


@pytest.mark.parametrize(
    "change",
    [
        {"phases": {}},
        {"phases": {"L4": None}},
        {"period_s": 5.0},
        {"found": {}},
    ],
)
def test_what_is_no_model_of_phases_is_refused(change: Mapping[str, object]) -> None:
    plain = msgspec.to_builtins(taught(("kettle", "L1", KETTLE_W)))
    with pytest.raises(ModelError):
        model.decode(msgspec.json.encode({**plain, **change}), "test")


def three_phases(seed: int, samples: int = 6000) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(W by appliance, W by phase): a kettle on L1, a heater as strong on L2, a cooker on all, a fridge on L3."""
    rng = np.random.default_rng(seed)
    series = {name: np.zeros(samples) for name in ("kettle", "heater", "cooker", "fridge")}
    for name, watts, seconds in (
        ("kettle", 2000, 90),
        ("heater", 2000, 400),
        ("cooker", 4500, 300),
        ("fridge", 90, 200),
    ):
        for start in np.arange(100 + int(rng.integers(0, 300)), samples - seconds, 1000 if watts > 90 else 450):
            begin = int(start + rng.integers(0, 200))
            series[name][begin : begin + seconds] = watts
    third = series["cooker"] / 3
    phases = {
        "L1": series["kettle"] + third,
        "L2": series["heater"] + third,
        "L3": series["fridge"] + third,
    }
    return series, {phase: watts + 60 + rng.normal(0, 2, samples) for phase, watts in phases.items()}


def test_training_finds_the_phases_of_each_appliance() -> None:
    series, phases = three_phases(1)
    assert shares_of(series["kettle"], phases) == {"L1": pytest.approx(1)}
    assert shares_of(series["cooker"], phases) == pytest.approx({"L1": 1 / 3, "L2": 1 / 3, "L3": 1 / 3}, rel=0.05)
    learned = learn_phases(series, phases, 1.0, "test")
    assert learned.phases is not None
    assert {phase: sorted(part.names) for phase, part in learned.phases.items()} == {
        "L1": ["cooker", "kettle"],
        "L2": ["cooker", "heater"],
        "L3": ["cooker", "fridge"],
    }
    with pytest.raises(NothingLearnedError):
        learn_phases({"kettle": np.zeros(6000)}, phases, 1.0, "test")


def test_phases_score_better_than_their_total(tmp_path: Path) -> None:
    series, phases = three_phases(2, 12_000)
    path = tmp_path / "house.npz"
    np.savez(path, allow_pickle=False, **series, **{f"main_{phase}": watts for phase, watts in phases.items()})
    read = recording.read(path, mains="main_L1,main_L2,main_L3", period_s=1.0)
    assert sorted(read.appliances) == sorted(series)
    by_phase = evaluate.split_score(read, 0.6).report
    assert by_phase.ea > 0.95
    assert min(one.f1 for one in by_phase.appliances.values()) > 0.95
    total = tmp_path / "total.npz"
    np.savez(total, allow_pickle=False, **series, main=sum(phases.values()))
    together = evaluate.split_score(recording.read(total, period_s=1.0), 0.6).report
    assert together.ea < by_phase.ea
    with pytest.raises(ModelError, match="no column"):
        recording.read(path, mains="main_L1,main_L4", period_s=1.0)
