"""Better than predicting zero and the mean: on days that were not learned, and on recordings where they are."""

from pathlib import Path

import numpy as np
import pytest

from firmware_sim.loads.model import household
from gateway.pipeline.nilm import batch, learn, score

RECORDINGS = Path(__file__).parents[3] / "../shared/data/nilm"
HOUSES = {"redd_house1": 3.0, "redd_house2": 3.0, "redd_house3": 3.0, "ukdale_house1": 6.0}
Series = dict[str, np.ndarray]


def split(powers: Series) -> tuple[Series, np.ndarray]:
    mains = np.sum([watts.astype(float) for watts in powers.values()], axis=0)
    return {name: watts.astype(float) for name, watts in powers.items() if name != "other"}, mains


@pytest.mark.parametrize("step_s", [10.0, 60.0, pytest.param(1.0, marks=pytest.mark.slow)])
def test_another_seed_of_the_own_load_model(step_s: float) -> None:
    learned_from, mains = split(household(7, 3, step_s))
    learned = learn.learn(learned_from, mains, step_s, "own load model, seed 7")
    truth, shown = split(household(8, 1, step_s))
    means = {name: float(watts.mean()) for name, watts in learned_from.items()}
    report = score.score(batch.follow(learned, shown), truth, shown, means)
    assert report.ea > 0.65 > max(report.ea_zero, report.ea_mean)


@pytest.mark.slow
@pytest.mark.parametrize("name", HOUSES)
def test_the_rest_of_a_recording(name: str) -> None:
    path = RECORDINGS / f"{name}.parquet"
    if not path.exists():
        pytest.skip("no recordings beside the repository")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(path)
    columns = {column: table[column].to_numpy().astype(float) for column in table.column_names}
    mains = columns.pop("main")
    columns = {column: watts for column, watts in columns.items() if column not in ("i", "segment")}
    cut, end = int(0.7 * len(mains)), int(0.75 * len(mains))
    first = {column: watts[:cut] for column, watts in columns.items()}
    rest = {column: watts[cut:end] for column, watts in columns.items() if np.nanmean(watts[cut:end]) > 2}
    learned = learn.learn(first, mains[:cut], HOUSES[name], name)
    estimate = batch.follow(learned, mains[cut:end])
    report = score.score(estimate, rest, mains[cut:end], {})
    assert report.ea > report.ea_zero


def test_scores_mean_what_they_say() -> None:
    truth = {"kettle": np.array([0.0, 2000.0, 2000.0, 0.0]), "fridge": np.array([100.0, 100.0, 0.0, 0.0])}
    mains = np.array([200.0, 2200.0, 2100.0, 100.0])
    zero = score.score({}, truth, mains, {})
    assert (zero.ea, zero.ea_zero) == (0.5, 0.5)
    perfect = score.score(truth, truth, mains, {})
    assert perfect.ea == 1.0
    assert [one.f1 for one in perfect.appliances.values()] == [1.0, 1.0]
    late = score.score({"kettle": np.array([0.0, 0.0, 2000.0, 0.0])}, {"kettle": truth["kettle"]}, mains, {})
    assert late.appliances["kettle"].mae_w == 500
    assert late.appliances["kettle"].f1 == pytest.approx(2 / 3)
    assert late.ea == 0.75
    mains[1] = np.nan
    assert score.score({}, truth, mains, {}).appliances["kettle"].mae_w == pytest.approx(2000 / 3)
