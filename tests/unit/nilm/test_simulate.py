"""Synthetic houses: repeatable, each another; and scoring never fails on one, whatever its file looks like."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from gateway.cli.models import command
from gateway.pipeline.nilm import recording
from gateway.pipeline.nilm.simulate import house

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def test_the_same_seed_gives_the_same_house() -> None:
    one, same, another = house(3, 1, 60), house(3, 1, 60), house(4, 1, 60)
    assert np.array_equal(one.mains, same.mains)
    assert not np.array_equal(one.mains, another.mains)
    assert len(one.mains) == 1440
    assert one.mains.min() >= 0
    assert all(own.min() >= 0 for own in one.appliances.values())


def test_a_house_is_written_and_scored(tmp_path: Path) -> None:
    file, runner = tmp_path / "house.npz", CliRunner()
    made = runner.invoke(command, ["simulate", "--output", str(file), "--seed", "2", "--days", "1", "--period", "60"])
    assert made.exit_code == 0, made.output
    done = runner.invoke(command, ["score", str(file), "--period", "60", "--split", "0.7", "--json"])
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)["appliances"]) == set(house(2, 1, 60).appliances)


def columns(**changes: object) -> dict[str, object]:
    made = house(5, 0.5, 30, 3)
    return {"main": made.mains, **made.appliances, **changes}


ODD = {
    "gaps": {"main": np.where(np.arange(1440) % 97 < 9, np.nan, 300.0)},
    "all gaps": {"main": np.full(1440, np.nan)},
    "an appliance never known": {"fridge": np.full(1440, np.nan)},
    "never on": {"fridge": np.zeros(1440), "kettle": np.zeros(1440), "washing_machine": np.zeros(1440)},
    "infinite": {"main": np.where(np.arange(1440) == 7, np.inf, 300.0)},
    "negative import": {"main": -house(5, 0.5, 30, 3).mains},
    "feed-in by day": {"main": house(5, 0.5, 30, 3).mains - 2000 * (np.arange(1440) % 700 > 300)},
    "whole numbers": {"main": house(5, 0.5, 30, 3).mains.astype(np.int32)},
    "text beside": {"note": ["x"] * 1440},
    "odd names": {"Wäsche (1)": np.ones(1440), "Wäsche [1)": np.ones(1440), "other": np.ones(1440), "": np.ones(1440)},
    "a clock": {"timestamp": 1_700_000_000 + 30 * np.arange(1440)},
    "many segments": {"segment": np.arange(1440) // 3},
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_scored_too(tmp_path: Path, name: str) -> None:
    path = tmp_path / "odd.parquet"
    parquet.write_table(pyarrow.table(columns(**ODD[name])), path)
    done = CliRunner().invoke(command, ["score", str(path), "--period", "30", "--split", "0.7", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert set(told["appliances"]) >= {"fridge", "kettle", "washing_machine"}


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_numbers_may_be_times(tmp_path: Path, unit: int) -> None:
    path = tmp_path / "a.parquet"
    begin = 1_700_000_000 * unit
    parquet.write_table(pyarrow.table(columns(time=begin + 30 * unit * np.arange(1440))), path)
    assert recording.read(path).period_s == pytest.approx(30)


def test_a_missed_sample_does_not_part_runs(tmp_path: Path) -> None:
    times = np.datetime64("2026-01-01", "us") + np.delete(np.arange(1441), 700) * np.timedelta64(30, "s")
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table(columns(when=times)), path)
    assert not np.isnan(recording.read(path).mains).any()


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "days", "period", "appliances"), [(11, 6, 60, 6)])
def test_a_house_that_nobody_tuned_for_beats_zero_and_the_mean(
    tmp_path: Path, seed: int, days: float, period: float, appliances: int
) -> None:
    from gateway.pipeline.nilm import evaluate

    made = house(seed, days, period, appliances)
    np.savez(tmp_path / "h.npz", main=made.mains, **made.appliances)  # type: ignore[arg-type]
    read = recording.read(tmp_path / "h.npz", period_s=period)
    report = evaluate.split_score(read, 0.7).report
    assert report.ea > max(0.5, report.ea_mean)
