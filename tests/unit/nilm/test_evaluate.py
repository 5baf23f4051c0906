"""Scoring a recording: the command, steady loads, more loads than hypotheses."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from nilm_houses import house

from gateway.cli.models import command
from gateway.pipeline.nilm import batch, learn
from gateway.pipeline.nilm.recording import Recording, joined
from gateway.pipeline.nilm.result import ModelError
from gateway.pipeline.nilm.tracker import Tracker


def saved(path: Path, samples: int = 2800) -> Path:
    series, mains = house(3, samples)
    np.savez(path, main=mains, router=np.full(samples, 12.0), **series)
    return path


def test_the_rest_is_scored_by_what_the_first_part_taught(tmp_path: Path) -> None:
    file = saved(tmp_path / "house.npz")
    done = CliRunner().invoke(command, ["score", str(file), "--period", "1", "--split", "0.7", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told.keys() >= {"file", "period_s", "rows", "settings_tried", "ea", "ea_zero", "ea_mean", "unexplained"}
    assert (told["rows"], told["ea_zero"]) == (840, 0.5)
    assert told["ea"] > max(told["ea_zero"], told["ea_mean"])
    bins = told["calibration"]["bins"]
    assert sum(count for _, _, count in bins) == 840 * 3, "the washer ran too seldom to be learned"
    assert told["calibration"]["ece"] == pytest.approx(sum(n * abs(c - r) for c, r, n in bins) / (840 * 3), abs=1e-3)
    assert told["appliances"]["router"]["ea"] > 0.9, "what never switches is estimated all the same"
    assert told["appliances"]["kettle"].keys() >= {"mae", "nde", "sae", "ea", "f1", "threshold_w"}


def test_a_trained_model_is_scored(tmp_path: Path) -> None:
    file, output = saved(tmp_path / "house.npz", 1900), tmp_path / "model.json"
    runner = CliRunner()
    assert runner.invoke(command, ["train", str(file), "--period", "1", "--output", str(output)]).exit_code == 0
    done = runner.invoke(command, ["score", str(file), "--period", "1", "--model", str(output)])
    assert done.exit_code == 0
    assert "kettle" in done.output
    assert "predicting zero 0.500" in done.output


def test_a_house_is_scored_by_what_others_taught(tmp_path: Path) -> None:
    file, other, bare = saved(tmp_path / "here.npz", 1900), tmp_path / "there.npz", tmp_path / "bare.npz"
    series, mains = house(4, 2800)
    np.savez(other, main=mains, toaster=np.zeros(len(mains)), **series)
    np.savez(bare, main=mains, fridge=series["fridge"])
    score = ["score", str(file), "--period", "1", "--json", "--train", str(other)]
    done = CliRunner().invoke(command, [*score, "--train", str(bare)])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["file"], told["rows"]) == ("here.npz", 1900)
    assert told["ea"] > max(told["ea_zero"], told["ea_mean"]), "houses of one kind"
    assert told["appliances"].keys() == {*series, "router"}, "this house's, not the others'"
    assert told["appliances"]["router"]["ea"] == 0.5, "no other house has it: zero"
    refused = CliRunner().invoke(command, [*score, "--split", "0.7"])
    assert refused.exit_code != 0


def test_houses_of_different_periods_are_refused(tmp_path: Path) -> None:
    series, mains = house(3, 1900)
    parts = [Recording(name, period, 1900, mains, series, ()) for name, period in (("a", 1.0), ("b", 6.0))]
    with pytest.raises(ModelError, match="each 6 s"):
        joined(parts)


def test_a_steady_load_takes_what_is_left_of_the_mains() -> None:
    series, mains = house(3)
    model = learn.learn({**series, "router": np.full(len(mains), 12.0)}, mains, 1.0, "")
    assert [load.name for load in model.steady] == ["router"]
    tracker = Tracker(model)
    result = tracker.step(1_000_000_000, 5.0)
    assert result is not None
    parts = {part.name: part for part in result.parts}
    assert 0 < parts["router"].power_w <= 5.0
    assert result.other_w + sum(part.power_w for part in result.parts) == pytest.approx(5.0)
    whole = batch.follow(model, mains)
    assert np.all(np.sum([*whole.values()], axis=0) <= np.maximum(mains, 0) + 1e-6)


def test_more_loads_than_hypotheses() -> None:
    """At a start there are more single states than the beam has room for."""
    rng = np.random.default_rng(5)
    series = {}
    for k in range(20):
        own = np.zeros(4000)
        for start in rng.integers(20, 3800, 5):
            own[start : start + 60] = 100.0 + 60 * k
            own[start + 60 : start + 120] = 400.0 + 90 * k
        series[f"load{k}"] = own
    mains = np.sum([*series.values()], axis=0)
    model = learn.learn(series, mains, 1.0, "")
    assert sum(len(load.states) - 1 for load in model.loads) > 32
    estimate = batch.follow(model, mains[:300])
    assert set(estimate) == set(series)
